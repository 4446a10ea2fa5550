"""`qMRMLSequenceBrowserSeekWidget`: a slider over the items of a sequence browser node."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets
from PySide6.QtCore import Qt

from .gate import hostWidget
from .mrml_widget import MRMLWidget, Observers


@hostWidget("slicer", "qMRMLSequenceBrowserSeekWidget")
class SequenceSeek(MRMLWidget):
    """Follows a sequence browser node and moves it."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.browser: Any = None
        self.observers = Observers(self)
        self.bar = QtWidgets.QSlider(Qt.Orientation.Horizontal, self)
        self.label = QtWidgets.QLabel(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.label)
        self.bar.valueChanged.connect(self.setSelectedItemNumber)
        self._refresh()

    def setMRMLSequenceBrowserNode(self, node: Any) -> None:
        if self.browser is not None:
            self.observers.removeFrom(self.browser)
        self.browser = node
        if node is not None:
            self.observers.observe(node, "ModifiedEvent", self._refresh)
        self._refresh()

    def setSelectedItemNumber(self, number: int) -> None:
        if self.browser is not None:
            self.browser.SetSelectedItemNumber(number)

    def slider(self) -> QtWidgets.QSlider:
        return self.bar

    def _refresh(self, _caller: Any = None) -> None:
        count = self.browser.GetNumberOfItems() if self.browser is not None else 0
        blocked = self.bar.blockSignals(True)
        self.bar.setRange(0, max(count - 1, 0))
        self.bar.setValue(self.browser.GetSelectedItemNumber() if count else 0)
        self.bar.blockSignals(blocked)
        self.bar.setEnabled(count > 0)
        self.label.setText(f"{self.bar.value() + 1}/{count}" if count else "")
