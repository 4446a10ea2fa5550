"""CTK's inputs: double spin box, slider with spin box."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets
from PySide6.QtCore import Qt, Signal

from .gate import hostWidget

_STEPS = 1_000_000_000


def _forwarded(target: str, *names: str) -> Any:
    """A class decorator: property `name` and its setter are those of the inner widget `target`."""

    def decorate(realClass: type) -> type:
        for name in names:
            setter = f"set{name[0].upper()}{name[1:]}"
            getter = {"frame": "hasFrame", "readOnly": "isReadOnly"}.get(name, name)
            setattr(realClass, name, lambda self, g=getter: getattr(getattr(self, target), g)())
            setattr(realClass, setter, lambda self, value, s=setter: getattr(getattr(self, target), s)(value))
        return realClass

    return decorate


@hostWidget("ctk", "ctkDoubleSpinBox")
@_forwarded("spinBox", "alignment", "frame", "readOnly", "prefix", "suffix", "minimum", "maximum", "singleStep", "value")
class DoubleSpinBox(QtWidgets.QWidget):
    """A spin box in a widget of its own, as CTK has it. `decimalsOption`s are kept; the decimals stay fixed."""

    SetIfDifferent, SetAlways = 0, 1
    SizeHintByMinMax, SizeHintByValue = 0, 1
    FixedDecimals, DecimalsByShortcuts, DecimalsByKey, DecimalsByValue = 0, 1, 2, 4
    InsertDecimals, ReplaceDecimals, DecimalsAsMax, DecimalsAsMin, DecimalPointAlwaysVisible = 8, 16, 32, 64, 128
    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, *args: Any) -> None:
        super().__init__(next((a for a in args if isinstance(a, QtWidgets.QWidget)), None))
        self.spinBox = QtWidgets.QDoubleSpinBox()
        self.options = {"decimals": 0, "mode": 0, "sizeHint": 0, "inverted": False}
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.spinBox)
        self.setFocusProxy(self.spinBox)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Fixed)
        self.spinBox.valueChanged.connect(self.valueChanged)
        self.spinBox.editingFinished.connect(self.editingFinished)

    def cleanText(self) -> str:
        return self.spinBox.cleanText()

    def decimals(self) -> int:
        return self.spinBox.decimals()

    def setDecimals(self, count: int) -> None:
        changed = count != self.decimals()
        self.spinBox.setDecimals(count)
        if changed:
            self.decimalsChanged.emit(count)

    def setValueIfDifferent(self, value: float) -> None:
        self.spinBox.setValue(value)

    def setValueAlways(self, value: float) -> None:
        self.spinBox.setValue(value)

    def stepUp(self) -> None:
        self.spinBox.stepUp()

    def stepDown(self) -> None:
        self.spinBox.stepDown()

    def setRange(self, minimum: float, maximum: float) -> None:
        self.spinBox.setRange(minimum, maximum)

    def decimalsOption(self) -> int:
        return self.options["decimals"]

    def setDecimalsOption(self, option: int) -> None:
        self.options["decimals"] = int(option)

    def setMode(self) -> int:
        return self.options["mode"]

    def setSetMode(self, mode: int) -> None:
        self.options["mode"] = int(mode)

    def sizeHintPolicy(self) -> int:
        return self.options["sizeHint"]

    def setSizeHintPolicy(self, policy: int) -> None:
        self.options["sizeHint"] = int(policy)

    def invertedControls(self) -> bool:
        return self.options["inverted"]

    def setInvertedControls(self, on: bool) -> None:
        self.options["inverted"] = on

    def isSettingValue(self) -> bool:
        return False


@hostWidget("ctk", "ctkSliderWidget")
@_forwarded("spinBox", "prefix", "suffix", "value")
class SliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show the same number (0 to 99.99, step 1, 2 decimals to begin with).

    As in CTK, setting `decimals` sets them on all sliders under the same parent whose `synchronizeSiblings` has the flag
    `SynchronizeDecimals`, which is so from the start.
    """

    NoSynchronize, SynchronizeWidth, SynchronizeDecimals, SynchronizeSiblings = 0, 1, 2, 3
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.spinBox = QtWidgets.QDoubleSpinBox()
        self.options = {"tick": 0.0, "siblings": 3, "popup": False, "page": 10.0, "tracking": True}
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.spinBox)
        self.setFocusProxy(self.slider)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.spinBox.valueChanged.connect(self._spinBoxChanged)
        self.slider.valueChanged.connect(self._sliderMoved)
        self.slider.sliderReleased.connect(self._released)
        self._updateSlider()

    def _spinBoxChanged(self, value: float) -> None:
        self._updateSlider()
        self.valueChanged.emit(value)

    def _sliderMoved(self, position: int) -> None:
        value = self.minimum() + (self.maximum() - self.minimum()) * position / _STEPS
        step = self.singleStep()
        value = self.minimum() + round((value - self.minimum()) / step) * step
        if self.slider.isSliderDown() and not self.options["tracking"]:
            self.valueIsChanging.emit(value)
        else:
            self.spinBox.setValue(value)

    def _released(self) -> None:
        self._sliderMoved(self.slider.value())
        self._updateSlider()

    def _updateSlider(self) -> None:
        if self.slider.isSliderDown():
            return
        span = self.maximum() - self.minimum()
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(round(_STEPS * (self.value() - self.minimum()) / span) if span else 0)
        self.slider.setSingleStep(min(_STEPS, max(1, round(_STEPS * self.singleStep() / span))) if span else 1)
        self.slider.setPageStep(min(_STEPS, max(1, round(_STEPS * self.options["page"] / span))) if span else 1)
        self.slider.blockSignals(blocked)

    def minimum(self) -> float:
        return self.spinBox.minimum()

    def setMinimum(self, value: float) -> None:
        self.spinBox.setMinimum(value)
        self._updateSlider()

    def maximum(self) -> float:
        return self.spinBox.maximum()

    def setMaximum(self, value: float) -> None:
        self.spinBox.setMaximum(value)
        self._updateSlider()

    def singleStep(self) -> float:
        return self.spinBox.singleStep()

    def setSingleStep(self, step: float) -> None:
        self.spinBox.setSingleStep(step)
        self._updateSlider()

    def pageStep(self) -> float:
        return self.options["page"]

    def setPageStep(self, step: float) -> None:
        self.options["page"] = step
        self._updateSlider()

    def decimals(self) -> int:
        return self.spinBox.decimals()

    def setDecimals(self, count: int) -> None:
        siblings = self.parent().findChildren(SliderWidget) if self.parent() else []
        followers = [s for s in siblings if s is not self and s.synchronizeSiblings() & self.SynchronizeDecimals]
        for slider in [self, *(followers if self.synchronizeSiblings() & self.SynchronizeDecimals else [])]:
            changed = count != slider.decimals()
            slider.spinBox.setDecimals(count)
            slider._updateSlider()
            if changed:
                slider.decimalsChanged.emit(count)

    def reset(self) -> None:
        self.spinBox.setValue(0)

    def tracking(self) -> bool:
        return self.options["tracking"]

    def setTracking(self, on: bool) -> None:
        self.options["tracking"] = on

    def spinBoxVisible(self) -> bool:
        return not self.spinBox.isHidden()

    def setSpinBoxVisible(self, on: bool) -> None:
        self.spinBox.setVisible(on)

    def spinBoxAlignment(self) -> Qt.AlignmentFlag:
        return self.spinBox.alignment()

    def setSpinBoxAlignment(self, alignment: Qt.AlignmentFlag) -> None:
        self.spinBox.setAlignment(Qt.AlignmentFlag(alignment))

    def tickInterval(self) -> float:
        return self.options["tick"]

    def setTickInterval(self, interval: float) -> None:
        self.options["tick"] = interval

    def tickPosition(self) -> QtWidgets.QSlider.TickPosition:
        return self.slider.tickPosition()

    def setTickPosition(self, position: QtWidgets.QSlider.TickPosition) -> None:
        self.slider.setTickPosition(QtWidgets.QSlider.TickPosition(position))

    def synchronizeSiblings(self) -> int:
        return self.options["siblings"]

    def setSynchronizeSiblings(self, flags: int) -> None:
        self.options["siblings"] = int(flags)

    def popupSlider(self) -> bool:
        return self.options["popup"]

    def invertedAppearance(self) -> bool:
        return self.slider.invertedAppearance()

    def setInvertedAppearance(self, on: bool) -> None:
        self.slider.setInvertedAppearance(on)

    def setPopupSlider(self, on: bool) -> None:
        self.options["popup"] = on
