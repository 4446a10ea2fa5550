"""A form of editors for the settings of one thing, made from its schema: an attack, a recipe, a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.editor_factory import makeEditor
from SegAdversarialGui.editors import Choice, Editor, isNumber, same
from SegAdversarialGui.fields import Field


class SettingsForm:
    """Editors for settings, the advanced ones folded away.

    Args:
        objectName: of the widget.
        prefix: what the names of the editors begin with.
        choices: what is offered for a field whose values come from elsewhere, by its `Field.choose`.
        edited: called after each edit.

    Attributes:
        widget: what holds the editors.
        editors: by the settings' names.
        fields: the settings' fields, by name.
        more: the box of the advanced settings, or None.
        labels: those of the settings that are not folded away.
    """

    def __init__(
        self, objectName: str, prefix: str, choices: Callable[[str], list[Choice]], edited: Callable[[], None]
    ) -> None:
        self._prefix, self._choices, self._edited = prefix, choices, edited
        self.widget = qt.QWidget()
        self.widget.objectName = objectName
        self._column = qt.QVBoxLayout(self.widget)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._inner: Any = None
        self._shown: str | None = None
        self._collapsed = True
        self._defaults: dict[str, Any] = {}
        self.fields: dict[str, Field] = {}
        self.editors: dict[str, Editor] = {}
        self.labels: list[Any] = []
        self.more: Any = None

    def show(self, name: str, fields: Sequence[Field]) -> bool:
        """Make the editors of a thing's settings, unless they are there: so that typing is not disturbed.

        Returns:
            Whether they are new.
        """
        if name == self._shown:
            return False
        self._shown = name
        if self._inner is not None:
            self._column.removeWidget(self._inner)
            self._inner.hide()
            # out of the tree at once, so that names are never there twice
            self._inner.setParent(None)
            self._inner.deleteLater()
        self._inner = qt.QWidget()
        self._column.addWidget(self._inner)
        self.fields = {x.name: x for x in fields}
        self.editors = {x.name: makeEditor(x) for x in fields}
        self._defaults = {name: editor.value() for name, editor in self.editors.items()}
        form = widgets.formOf(self._inner)
        form.setContentsMargins(0, 0, 0, 0)
        self.labels = self._addRows(form, [x for x in fields if not x.advanced])
        self._addMore(form, [x for x in fields if x.advanced])
        return True

    def forget(self) -> None:
        """Make the editors anew the next time that they are shown."""
        self._shown = None

    def setValues(self, changed: Mapping[str, Any]) -> None:
        """Show what was changed from the defaults."""
        for name, editor in self.editors.items():
            editor.setValue(changed.get(name, self._defaults[name]))

    def values(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """What differs from the defaults; settings that no editor has, as of another version, stay as they are known."""
        changed = {name: value for name, value in known.items() if name not in self.editors}
        for name, editor in self.editors.items():
            if not _equal(editor.value(), self._defaults[name]):
                changed[name] = editor.value()
        return changed

    def refreshChoices(self) -> None:
        """Offer what there is to choose from now."""
        for name, editor in self.editors.items():
            editor.setChoices(self._choices(self.fields[name].choose))

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        order: list[Any] = []
        for name, editor in self.editors.items():
            if self.fields[name].advanced and self.more not in order:
                order.append(self.more)
            order += editor.parts
        return order

    def _addMore(self, form: Any, fields: list[Field]) -> None:
        self.more = None
        if not fields:
            return
        self.more = ctk.ctkCollapsibleGroupBox()
        self.more.title = _("More settings")
        self.more.objectName = f"{self._prefix}MoreSettingsBox" if self._prefix != "setting" else "moreSettingsBox"
        self.more.toolTip = _("Settings that are seldom changed")
        self._addRows(widgets.formOf(self.more), fields)
        self.more.collapsed = self._collapsed
        self.more.connect("toggled(bool)", self._moreToggled)
        form.addRow(self.more)

    def _addRows(self, form: Any, fields: list[Field]) -> list[Any]:
        """Put editors into a form; gives back their labels."""
        labels = []
        for field in fields:
            editor, objectName = self.editors[field.name], _objectName(self._prefix, field.name)
            labels.append(widgets.row(form, field.label, editor.widget, objectName, field.toolTip))
            editor.setNames(objectName, field.toolTip, field.label)
            editor.setChoices(self._choices(field.choose))
            editor.connectChanged(self._edited)
        return labels

    def _moreToggled(self, opened: bool) -> None:
        self._collapsed = not opened


def setTabOrder(order: Sequence[Any]) -> None:
    """Let the keyboard go from one widget to the next."""
    for before, after in zip(order, order[1:]):
        qt.QWidget.setTabOrder(before, after)


def _equal(a: Any, b: Any) -> bool:
    """Whether two values mean the same; 1 and 1.0 do."""
    return same(a, b) or (isNumber(a) and isNumber(b) and a == b)


def _objectName(prefix: str, field: str) -> str:
    return prefix + "".join(x.capitalize() for x in field.split("_"))
