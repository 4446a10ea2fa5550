"""What all views have in common: a coloured bar over a picture that is drawn off screen when it is asked for."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal
from vtk.util.numpy_support import vtk_to_numpy

from .gate import hostWidget
from .mrml_widget import MRMLWidget, Observers

BAR_HEIGHT = 20


def pictureOf(window: Any) -> QtGui.QImage:
    """What a VTK window shows."""
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.ShouldRerenderOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()
    return QtGui.QImage(pixels.tobytes(), width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy()


class Canvas(QtWidgets.QWidget):
    """Shows a picture that was drawn off screen; black (or the given colour) before that."""

    resized = Signal(int, int)

    def __init__(self, parent: QtWidgets.QWidget | None = None, color: str = "#000000") -> None:
        super().__init__(parent)
        self.color = QtGui.QColor(color)
        self.image: QtGui.QImage | None = None
        self.setMinimumSize(40, 40)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)

    def setImage(self, image: QtGui.QImage | None) -> None:
        self.image = image
        self.update()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), self.color)
        if self.image is not None:
            painter.drawImage(self.rect(), self.image)

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self.image = None
        self.resized.emit(event.size().width(), event.size().height())


@hostWidget("slicer", "qMRMLViewControllerBar")
class ControllerBar(MRMLWidget):
    """The coloured bar over a view, with the view's letter."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedHeight(BAR_HEIGHT)
        self.setAutoFillBackground(True)
        self.label = QtWidgets.QLabel(self)
        self.label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        # so that a bar that is pressed takes the letters of a longer name away
        self.label.setMinimumWidth(self.label.fontMetrics().horizontalAdvance("XX"))
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(6, 0, 4, 0)
        row.setSpacing(4)
        row.addWidget(self.label)
        self.row = row

    def viewLabel(self) -> QtWidgets.QLabel:
        return self.label

    def setColor(self, color: tuple[float, float, float]) -> None:
        shade = QtGui.QColor.fromRgbF(*color)
        palette = self.palette()
        palette.setColor(QtGui.QPalette.ColorRole.Window, shade)
        self.setPalette(palette)
        self.label.setStyleSheet(f"font-weight: bold; color: {'black' if shade.lightnessF() > 0.4 else 'white'};")


@hostWidget("slicer", "qMRMLAbstractViewWidget")
class ViewWidget(MRMLWidget):
    """A view: a bar over a picture."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.node = node
        self.scene = node.GetScene()
        self.setObjectName(f"{type(self).__name__}{node.GetLayoutName()}")
        self.observers = Observers(self)
        self.column = QtWidgets.QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(0)

    def fill(self, bar: ControllerBar, picture: QtWidgets.QWidget) -> None:
        self.bar, self.picture = bar, picture
        if bar.row.count() == 1:
            bar.row.addStretch(1)
        self.column.addWidget(bar)
        self.column.addWidget(picture, 1)
        self.showNode()
        self.observers.observe(self.node, "ModifiedEvent", self.showNode)

    def showNode(self, _caller: Any = None) -> None:
        self.bar.label.setText(self.node.GetLayoutLabel() or "")
        self.bar.setColor(self.node.GetLayoutColor())

    def mrmlAbstractViewNode(self) -> Any:
        return self.node

    def controllerWidget(self) -> ControllerBar:
        return self.bar

    def viewWidget(self) -> QtWidgets.QWidget:
        return self.picture

    def viewLabel(self) -> str:
        return self.node.GetLayoutLabel()

    def setViewLabel(self, label: str) -> None:
        self.node.SetLayoutLabel(label)

    def draw(self) -> None:
        """Bring the picture up to date."""

    def finish(self) -> None:
        """The node has gone."""
        self.observers.removeFrom(self.node)
