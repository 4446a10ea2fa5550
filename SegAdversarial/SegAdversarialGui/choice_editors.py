"""Editors for what a network offers: its channels, structures and classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.editors import Choice, Editor, unknown
from SegAdversarialGui.fields import Field
from SegAdversarialGui.wrapping import shortened

_LONGEST_IN_TWO_COLUMNS = 14


class SeveralEditor(Editor):
    """Check boxes for some of what a network offers; all of them checked is null, where the schema takes null.

    What a configuration names and the network lacks has a box as well, so that nothing disappears in silence.
    """

    def __init__(self, field: Field) -> None:
        box = qt.QWidget()
        super().__init__(box)
        self._layout = qt.QGridLayout(box)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._empty = qt.QLabel(_("all (choose a network to see them)"))
        widgets.shrink(self._empty)
        self._empty.wordWrap = True
        self._layout.addWidget(self._empty, 0, 0, 1, 2)
        self._nullable = field.nullable
        self._offered: list[Choice] = []
        self._choices: list[Choice] = []
        self.parts: list[Any] = []
        self._value = field.default
        self._show(self._value)

    def setNames(self, objectName: str, toolTip: str, label: str) -> None:
        """Also the note that stands in for the boxes while no network is known."""
        super().setNames(objectName, toolTip, label)
        self._empty.objectName, self._empty.toolTip = f"{objectName}Note", self._toolTip
        self._nameBoxes()

    def setChoices(self, choices: Sequence[Choice]) -> None:
        """Offer these."""
        if list(choices) != self._offered:
            self._offered = list(choices)
            self._show(self._value)

    def _show(self, value: Any) -> None:
        chosen = list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
        strange = [x for x in chosen if not any(choice.means(x) for choice in self._offered)]
        # with no network there is nothing that a value could be missing from
        said = unknown if self._offered else str
        wanted = [*self._offered, *(Choice(x, said(x)) for x in dict.fromkeys(map(_hashable, strange)))]
        if wanted != self._choices:
            self._choices = wanted
            self._makeBoxes()
        for choice, box in zip(self._choices, self.parts):
            with widgets.blocked(box):
                box.checked = value is None or any(choice.means(x) for x in chosen)

    def _read(self) -> Any:
        checked = [choice.value for choice, box in zip(self._choices, self.parts) if box.checked]
        all_ = self._nullable and bool(self._offered) and checked == [x.value for x in self._offered]
        return None if all_ else checked

    def _makeBoxes(self) -> None:
        for old in self.parts:
            self._layout.removeWidget(old)
            old.hide()
            old.objectName = ""
            old.deleteLater()
        columns = 2 if all(len(x.text) <= _LONGEST_IN_TWO_COLUMNS for x in self._choices) else 1
        self.parts = []
        for n, choice in enumerate(self._choices):
            box = qt.QCheckBox(shortened(choice.text))
            box.connect("toggled(bool)", self._edited)
            self._layout.addWidget(box, 1 + n // columns, n % columns, 1, 3 - columns)
            self.parts.append(box)
        self._empty.setVisible(not self._choices)
        self.widget.setFocusProxy(self.parts[0] if self.parts else None)
        self._nameBoxes()

    def _nameBoxes(self) -> None:
        for n, (choice, box) in enumerate(zip(self._choices, self.parts)):
            box.objectName = f"{self._name}{n + 1}" if self._name else ""
            box.toolTip = f"{choice.text}\n{self._toolTip}"
            box.accessibleName = f"{self._label}: {choice.text}"


class OneEditor(Editor):
    """A list of what a network offers, to choose one from; a stored value that it lacks is a further entry."""

    def __init__(self, field: Field) -> None:
        super().__init__(widgets.combo())
        self._offered: list[Choice] = []
        self._values: list[Any] = []
        self._value = field.default
        self._show(self._value)
        self.widget.connect("currentIndexChanged(int)", self._edited)

    def setChoices(self, choices: Sequence[Choice]) -> None:
        """Offer these."""
        if list(choices) != self._offered:
            self._offered = list(choices)
            self._show(self._value)

    def _show(self, value: Any) -> None:
        index = next((n for n, x in enumerate(self._offered) if x.means(value)), len(self._offered))
        strange = [value] if index == len(self._offered) else []
        self._values = [*(x.value for x in self._offered), *strange]
        said = unknown if self._offered else str
        texts = [x.text for x in self._offered] + [said(x) for x in strange]
        widgets.fillCombo(self.widget, [(text, n) for n, text in enumerate(texts)], index)

    def _read(self) -> Any:
        return self._values[self.widget.currentIndex]


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else str(value)
