"""Editors for what an attack is made with: another network, another attack."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.editors import Choice, Editor, unknown
from SegAdversarialGui.fields import Field

_NAME = "attack"
_BROKEN = re.compile(r'\{"attack": "([^"]*)", (.*)', re.DOTALL)
"""The text that stands for settings which are no JSON (yet): the attack's name, and what was typed."""


_LINES = {"network": widgets.networkLine, "generator": widgets.weightsLine, "pattern": widgets.weightsLine}


class FileEditor(Editor):
    """A line for the file or folder of a network, generator or pattern; its list offers those that come with the software."""

    def __init__(self, field: Field) -> None:
        super().__init__(_LINES[field.choose]())
        self._default = self._value = field.default
        self._box = self.widget.comboBox()
        self._offered: list[str] = []
        self._show(self._value)
        # the line's own signal leaves out what it finds unacceptable, such as an empty path
        self._box.connect("editTextChanged(QString)", self._edited)

    def setChoices(self, choices: Sequence[Choice]) -> None:
        """Offer these in the list."""
        offered = [str(x.value) for x in choices]
        if offered != self._offered:
            self._offered = offered
            with widgets.blocked(self._box):
                self._box.clear()
                for name in offered:
                    self._box.addItem(name)
            self._show(self._value)

    def _show(self, value: Any) -> None:
        with widgets.blocked(self._box):
            self.widget.currentPath = "" if value is None else str(value)

    def _read(self) -> Any:
        return self.widget.currentPath.strip() or self._default


class AttackEditor(Editor):
    """A list of attacks, and a line for what differs from the chosen one's defaults, as JSON with or without its braces.

    The value is the attack's name, or a dictionary with its name and settings.
    """

    def __init__(self, field: Field) -> None:
        box = qt.QWidget()
        layout = qt.QVBoxLayout(box)
        layout.setContentsMargins(0, 0, 0, 0)
        self.names, self.details = widgets.combo(), qt.QLineEdit()
        self.details.placeholderText = _("more settings: {example}").format(example='{"steps": 40}')
        layout.addWidget(self.names)
        layout.addWidget(self.details)
        super().__init__(box, [self.names, self.details])
        box.setFocusProxy(self.names)
        self._offered: list[Choice] = []
        self._values: list[str] = []
        self._value = field.default
        self._show(self._value)
        self.names.connect("currentIndexChanged(int)", self._edited)
        self.details.connect("textChanged(QString)", self._edited)

    def setNames(self, objectName: str, toolTip: str, label: str) -> None:
        """Also what the line is, for screen readers."""
        super().setNames(objectName, toolTip, label)
        self.details.accessibleName = _("{label}: more settings").format(label=label)

    def setChoices(self, choices: Sequence[Choice]) -> None:
        """Offer these attacks."""
        if list(choices) != self._offered:
            self._offered = list(choices)
            self._show(self._value)

    def _show(self, value: Any) -> None:
        name, details = _takenApart(value)
        strange = [] if any(x.value == name for x in self._offered) else [name]
        self._values = [*(x.value for x in self._offered), *strange]
        said = unknown if self._offered else str
        texts = [x.text for x in self._offered] + [said(x) for x in strange]
        widgets.fillCombo(self.names, [(text, n) for n, text in enumerate(texts)], self._values.index(name))
        with widgets.blocked(self.details):
            self.details.text = details

    def _read(self) -> Any:
        name, text = self._values[self.names.currentIndex], self.details.text.strip()
        if not text:
            return name
        for candidate in (text, f"{{{text}}}"):
            try:
                found = json.loads(candidate)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                return {_NAME: name, **{key: x for key, x in found.items() if key != _NAME}}
        return f'{{"{_NAME}": "{name}", {text}'


def _takenApart(value: Any) -> tuple[str, str]:
    """An attack's name, and its settings as text."""
    broken = _BROKEN.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return (broken[1], broken[2]) if broken is not None else ("", value)
    if isinstance(value, dict) and isinstance(value.get(_NAME), str):
        others = {key: x for key, x in value.items() if key != _NAME}
        return value[_NAME], json.dumps(others, ensure_ascii=False) if others else ""
    return (value, "") if isinstance(value, str) else ("", json.dumps(value, ensure_ascii=False, default=str))
