"""Editors for the fields of a JSON schema: each shows and changes one value, and keeps exactly what it was given.

A value that an editor cannot show (a number beyond its range, a text in place of a number) stays what it is until the user
changes it: judging values is the library's work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import qt
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.fields import Bounds, Field

_LARGEST_INTEGER = 2**31 - 1
_LARGEST_NUMBER = 1e9
_LARGEST_FLOAT = 1e300
_FEWEST_DECIMALS = 4
_DECIMALS_OF = {"mm": 2, "degrees": 2, "percent": 2}
_MOST_DECIMALS = 12
_NARROWEST_BOX = 70


def same(a: Any, b: Any) -> bool:
    """Whether two values are one and the same in JSON; 1, 1.0 and true are three."""
    return json.dumps(a, sort_keys=True, default=repr) == json.dumps(b, sort_keys=True, default=repr)


@dataclass(frozen=True)
class Choice:
    """One of the values that a network offers.

    Attributes:
        value: what configurations hold.
        text: what people read.
        aliases: what else means it, in small letters.
    """

    value: Any
    text: str
    aliases: tuple[str, ...] = ()

    def means(self, value: Any) -> bool:
        """Whether a value of a configuration is this one."""
        return str(value).lower() in (str(self.value).lower(), *self.aliases)


class Editor:
    """A widget for one value.

    A subclass makes its widget and its `parts` (the widgets inside that take the keyboard), shows a value in `_show`, reads
    the widget in `_read`, and calls `_edited` when the user changed something.
    """

    def __init__(self, widget: Any, parts: Sequence[Any] = ()) -> None:
        self.widget = widget
        self.parts = list(parts) or [widget]
        self._value: Any = None
        self._tell: Callable[[], None] = lambda: None
        self._name = self._toolTip = self._label = ""

    def value(self) -> Any:
        """The value, as a configuration holds it."""
        return self._value

    def setValue(self, value: Any) -> None:
        """Show a value; nothing happens where it is there already, so that nobody is disturbed while typing."""
        if not same(value, self._value):
            self._value = value
            self._show(value)

    def connectChanged(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the user changes the value."""
        self._tell = changed

    def setChoices(self, choices: Sequence[Choice]) -> None:
        """Offer what the network has; only editors that ask for choices listen."""

    def setNames(self, objectName: str, toolTip: str, label: str) -> None:
        """Name the widget and its parts, for tests, screen readers and the curious."""
        self._name, self._toolTip, self._label = objectName, widgets.tip(toolTip), label
        self.widget.objectName, self.widget.toolTip, self.widget.accessibleName = objectName, self._toolTip, label
        for n, part in enumerate(self.parts):
            if part is not self.widget:
                part.objectName = f"{objectName}Part{n + 1}"
                part.toolTip, part.accessibleName = self._toolTip, label

    def _show(self, value: Any) -> None:
        raise NotImplementedError

    def _read(self) -> Any:
        raise NotImplementedError

    def _edited(self, *_arguments: Any) -> None:
        self._value = self._read()
        self._tell()


class NumberEditor(Editor):
    """A number with a fraction. The box shows as many decimals as the value needs, and never fewer than four; of mm, degrees
    and percent two."""

    def __init__(self, field: Field, schema: Mapping[str, Any]) -> None:
        super().__init__(qt.QDoubleSpinBox())
        self._bounds = Bounds.of(schema)
        fewest = _DECIMALS_OF.get(str(field.schema.get("unit", "")), _FEWEST_DECIMALS)
        self._fewest = max(fewest, decimalsOf(field.default))
        dress(self.widget, field)
        self.widget.stepType = qt.QAbstractSpinBox.AdaptiveDecimalStepType
        self._setRange(self._fewest)
        self._value = start(field, self._bounds, float)
        self._show(self._value)
        self.widget.connect("valueChanged(double)", self._edited)

    def _show(self, value: Any) -> None:
        if not isNumber(value):
            return
        with widgets.blocked(self.widget):
            self._setRange(max(self._fewest, decimalsOf(value)))
            self.widget.setValue(float(value))

    def _read(self) -> float:
        return float(self.widget.value)

    def _setRange(self, decimals: int) -> None:
        """The range in steps of the last decimal; an open end is one such step away."""
        least, bounds = 10.0**-decimals, self._bounds
        self.widget.decimals = decimals
        self.widget.minimum = max(bounds.low + least if bounds.lowOpen else bounds.low, -_LARGEST_NUMBER)
        self.widget.maximum = min(bounds.high - least if bounds.highOpen else bounds.high, _LARGEST_NUMBER)


class IntegerEditor(Editor):
    """A whole number that fits a spin box."""

    def __init__(self, field: Field, schema: Mapping[str, Any]) -> None:
        super().__init__(qt.QSpinBox())
        bounds = Bounds.of(schema)
        self.widget.minimum = int(max(math.floor(bounds.low) + 1 if bounds.lowOpen else bounds.low, -_LARGEST_INTEGER))
        self.widget.maximum = int(min(math.ceil(bounds.high) - 1 if bounds.highOpen else bounds.high, _LARGEST_INTEGER))
        dress(self.widget, field)
        self._value = start(field, bounds, int)
        self._show(self._value)
        self.widget.connect("valueChanged(int)", self._edited)

    @staticmethod
    def fits(schema: Mapping[str, Any]) -> bool:
        """Whether the bounds that a schema states are those of a spin box: 32 bits."""
        bounds = Bounds.of(schema)
        return all(math.isinf(x) or abs(x) <= _LARGEST_INTEGER for x in (bounds.low, bounds.high))

    def _show(self, value: Any) -> None:
        if isNumber(value):
            with widgets.blocked(self.widget):
                self.widget.setValue(int(max(self.widget.minimum, min(self.widget.maximum, value))))

    def _read(self) -> int:
        return int(self.widget.value)


class LineEditor(Editor):
    """A line of text that means a value; `toText` and `fromText` say how. What means nothing stays a text."""

    def __init__(self, toText: Callable[[Any], str], fromText: Callable[[str], Any], value: Any = None) -> None:
        super().__init__(qt.QLineEdit())
        self._toText, self._fromText = toText, fromText
        self._value = value
        self._show(value)
        self.widget.connect("textChanged(QString)", self._edited)

    def _show(self, value: Any) -> None:
        with widgets.blocked(self.widget):
            self.widget.text = self._toText(value)
            self.widget.cursorPosition = 0  # of a long text the beginning is seen

    def _read(self) -> Any:
        return self._fromText(self.widget.text)


class SwitchEditor(Editor):
    """Yes or no."""

    def __init__(self, field: Field) -> None:
        super().__init__(qt.QCheckBox())
        self._value = bool(field.default)
        self._show(self._value)
        self.widget.connect("toggled(bool)", self._edited)

    def _show(self, value: Any) -> None:
        with widgets.blocked(self.widget):
            self.widget.checked = value is True

    def _read(self) -> bool:
        return bool(self.widget.checked)


class EnumEditor(Editor):
    """One of a fixed set of values; a stored value that is none of them is shown as a further entry."""

    def __init__(self, field: Field, values: Sequence[Any]) -> None:
        super().__init__(widgets.combo())
        self._field, self._known = field, list(values)
        self._values: list[Any] = []
        self._value = field.default if any(same(field.default, x) for x in values) else self._known[0]
        self._show(self._value)
        self.widget.connect("currentIndexChanged(int)", self._edited)

    def _show(self, value: Any) -> None:
        strange = [] if any(same(value, x) for x in self._known) else [value]
        self._values = [*self._known, *strange]
        texts = [self._field.readable(x) for x in self._known] + [unknown(x) for x in strange]
        index = next(n for n, x in enumerate(self._values) if same(x, value))
        widgets.fillCombo(self.widget, [(text, n) for n, text in enumerate(texts)], index)
        for n, x in enumerate(self._known):
            if self._field.explanation(x):
                self.widget.setItemData(n, widgets.tip(self._field.explanation(x)), qt.Qt.ToolTipRole)

    def _read(self) -> Any:
        return self._values[self.widget.currentIndex]


class OptionalEditor(Editor):
    """A check box for one special value (null, "auto") beside the editor of all others."""

    def __init__(self, inner: Editor, special: Any, text: str, default: Any) -> None:
        box = qt.QWidget()
        layout = qt.QHBoxLayout(box)
        layout.setContentsMargins(0, 0, 0, 0)
        self.check = qt.QCheckBox(text)
        layout.addWidget(self.check)
        layout.addWidget(inner.widget, 1)
        widgets.shrink(inner.widget)
        inner.widget.minimumWidth = _NARROWEST_BOX
        super().__init__(box, [self.check, *inner.parts])
        box.setFocusProxy(self.check)
        self.inner, self._special = inner, special
        self._value = default
        self._show(default)
        self.check.connect("toggled(bool)", self._edited)
        inner.connectChanged(self._edited)

    def setNames(self, objectName: str, toolTip: str, label: str) -> None:
        """Also of the editor inside."""
        super().setNames(objectName, toolTip, label)
        self.inner.setNames(f"{objectName}Value", toolTip, label)
        self.check.objectName = f"{objectName}Automatic"

    def _show(self, value: Any) -> None:
        special = same(value, self._special)
        with widgets.blocked(self.check):
            self.check.checked = special
        self.inner.widget.setEnabled(not special)
        if not special:
            self.inner.setValue(value)

    def _read(self) -> Any:
        return self._special if self.check.checked else self.inner.value()

    def _edited(self, *_arguments: Any) -> None:
        self.inner.widget.setEnabled(not self.check.checked)
        super()._edited()


def dress(box: Any, field: Field) -> None:
    """Give a spin box its unit, a word for its lowest value where the description has one, and leave to be narrow."""
    box.suffix = field.suffix
    widgets.shrink(box)
    box.minimumWidth = _NARROWEST_BOX
    least = Bounds.of(field.schema).low
    if field.explanation(f"{least:g}"):
        box.specialValueText = field.explanation(f"{least:g}")


def isNumber(value: Any) -> bool:
    """Whether a value is a number that can be shown."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST_FLOAT


def decimalsOf(value: Any) -> int:
    """How many decimals a number needs to be shown whole, as far as that is readable."""
    if not isNumber(value):
        return 0
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    return min(max(0, -int(exponent)), _MOST_DECIMALS)


def start(field: Field, bounds: Bounds, kind: Callable[[float], Any]) -> Any:
    """What a number editor begins with: the default, else an example, else a number within the bounds near 0."""
    for candidate in (field.default, *field.schema.get("examples", [])):
        if isNumber(candidate):
            return candidate
    low = bounds.low + 1 if bounds.lowOpen else bounds.low
    high = bounds.high - 1 if bounds.highOpen else bounds.high
    return kind(max(min(0.0, high), low)) if low <= high else kind((bounds.low + bounds.high) / 2)


def unknown(value: Any) -> str:
    """What is shown of a stored value that is not on offer."""
    return _("{value} (not on offer)").format(value=value if isinstance(value, str) else json.dumps(value, default=str))
