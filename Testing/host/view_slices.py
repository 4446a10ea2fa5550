"""Slice views: trame-slicer's off-screen view, drawn by Slicer's own logic and displayable managers, as Qt widgets."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Qt
from trame_slicer.views import SliceView
from trame_slicer.views.render_scheduler import NoScheduleRendering

from .gate import hostWidget
from .view_base import Canvas, ControllerBar, ViewWidget, pictureOf

NARROWEST = 327
"""A slice view is never narrower than its bar, in pixels; seen in Slicer 5.13."""

_LONGEST_TEXT, _TEXT_SIZE = 35, 14
_LEGENDS = "vtkMRMLColorLegendDisplayableManager"


class _SliceView(SliceView):
    """A slice view of a node that is in the scene already, as Slicer's layout logic has made it."""

    def __init__(self, node: Any, applicationLogic: Any) -> None:
        self.node = node
        super().__init__(node.GetScene(), applicationLogic, node.GetLayoutName(), NoScheduleRendering())

    def set_scene(self, scene: Any) -> None:
        # the image is drawn first, as in Slicer; added later it would be drawn over what is there by then
        self._render_manager.SetImageDataConnection(None)
        self._scene = scene
        self._logic.SetMRMLScene(scene)
        self._logic.SetSliceNode(self.node)
        self.set_view_node(self.node)
        self._legends().SetMRMLScene(None)

    def _legends(self) -> Any:
        return self._displayable_manager_group.GetDisplayableManagerByClassName(_LEGENDS)

    def listenForLegends(self) -> None:
        """What comes in Slicer once the view is there: colour legends that are older are not drawn before the composite node
        says that a user has changed its volumes."""
        self._legends().SetMRMLScene(self._scene)

    def _reset_node_view_properties(self) -> None:
        """The node's properties are the layout's business."""

    def logic(self) -> Any:
        return self._logic

    def end(self) -> None:
        """Let go of the scene and of the drawing resources."""
        self._event_observer.RemoveAllObservers()
        logics = slicer.app.applicationLogic().GetSliceLogics()
        logics.RemoveItem(self._logic)
        self._legends().SetMRMLScene(None)
        self._displayable_manager_group.SetMRMLDisplayableNode(None)
        self._logic.SetMRMLScene(None)
        self.finalize()


@hostWidget("slicer", "qMRMLSliceControllerWidget")
class SliceController(ControllerBar):
    """The bar over a slice view, with the slider that moves through the slices."""

    def __init__(self, widget: SliceWidget) -> None:
        super().__init__(widget)
        self.widget = widget
        self.slider = QtWidgets.QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, 1000)
        self.slider.setObjectName("SliceOffsetSlider")
        self.offset = QtWidgets.QLabel(self)
        self.offset.setStyleSheet("color: black;")
        self.row.addWidget(self.slider, 1)
        self.row.addWidget(self.offset)
        self.offset.setFixedWidth(self.offset.fontMetrics().horizontalAdvance("S: 000.0 mm"))
        # in Slicer the bar has buttons, too
        self.slider.setMinimumWidth(NARROWEST - self.row.minimumSize().width() + self.slider.minimumSizeHint().width())
        self.slider.sliderMoved.connect(self._moved)

    def _range(self) -> tuple[float, float]:
        low, high = self.widget.view.get_slice_range()
        return (low, high) if high > low else (low, low + 1)

    def _moved(self, position: int) -> None:
        low, high = self._range()
        self.setSliceOffsetValue(low + (high - low) * position / 1000)

    def setSliceOffsetValue(self, offset: float) -> None:
        logic = self.widget.sliceLogic()
        logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
        logic.SetSliceOffset(offset)
        logic.EndSliceNodeInteraction()

    def showNow(self) -> None:
        """Follow the slice node."""
        node = self.widget.mrmlSliceNode()
        low, high = self._range()
        offset = self.widget.sliceLogic().GetSliceOffset()
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(round(1000 * min(max((offset - low) / (high - low), 0), 1)))
        self.slider.blockSignals(blocked)
        letter = {"Axial": "S" if offset >= 0 else "I", "Sagittal": "R" if offset >= 0 else "L"}
        side = letter.get(node.GetOrientation(), "A" if offset >= 0 else "P")
        self.offset.setText(f"{side}: {abs(offset):.1f} mm")
        self.label.setText(node.GetLayoutLabel() or "")
        self.setColor(node.GetLayoutColor())

    def fitSliceToBackground(self) -> None:
        self.widget.fitSliceToBackground()

    def setSliceLink(self, on: bool) -> None:
        self.mrmlSliceCompositeNode().SetLinkedControl(on)

    def mrmlSliceNode(self) -> Any:
        return self.widget.mrmlSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self.widget.mrmlSliceCompositeNode()

    def sliceLogic(self) -> Any:
        return self.widget.sliceLogic()

    def sliceOffsetSlider(self) -> QtWidgets.QSlider:
        return self.slider


@hostWidget("slicer", "qMRMLSliceView")
class SliceCanvas(Canvas):
    """The picture in a slice view."""

    def __init__(self, widget: SliceWidget) -> None:
        super().__init__(widget)
        self.widget = widget

    def mrmlSliceNode(self) -> Any:
        return self.widget.mrmlSliceNode()

    def renderWindow(self) -> Any:
        return self.widget.view.render_window()

    def scheduleRender(self) -> None:
        """Drawn when the window's picture is asked for."""

    def forceRender(self) -> None:
        self.widget.draw()


@hostWidget("slicer", "qMRMLSliceWidget")
class SliceWidget(ViewWidget):
    """A slice view with its bar."""

    def __init__(self, node: Any, applicationLogic: Any) -> None:
        super().__init__(node)
        self.view = _SliceView(node, applicationLogic)
        QtCore.QTimer.singleShot(0, self, self._listen)
        self.texts = vtk.vtkCornerAnnotation()
        self.texts.SetMaximumFontSize(_TEXT_SIZE)
        self.texts.SetMinimumFontSize(1)
        self.texts.GetTextProperty().ShadowOn()
        self.view.renderers()[-1].AddViewProp(self.texts)
        picture = SliceCanvas(self)
        picture.resized.connect(self._resize)
        self.fill(SliceController(self), picture)

    def _listen(self) -> None:
        if self.view is not None:
            self.view.listenForLegends()

    def _resize(self, width: int, height: int) -> None:
        self.sliceLogic().ResizeSliceNode(width, height)

    def showNode(self, _caller: Any = None) -> None:
        self.bar.showNow()

    def sliceViewName(self) -> str:
        return self.node.GetLayoutName()

    def sliceViewLabel(self) -> str:
        return self.node.GetLayoutLabel()

    def sliceLogic(self) -> Any:
        return self.view.logic()

    def logic(self) -> Any:
        return self.view.logic()

    def mrmlSliceNode(self) -> Any:
        return self.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self.view.logic().GetSliceCompositeNode()

    def sliceController(self) -> SliceController:
        return self.bar

    def sliceView(self) -> SliceCanvas:
        return self.picture

    def sliceOrientation(self) -> str:
        return self.node.GetOrientation()

    def setSliceOrientation(self, orientation: str) -> None:
        self.node.SetOrientation(orientation)

    def fitSliceToBackground(self) -> None:
        self.sliceLogic().FitSliceToBackground()

    def draw(self) -> None:
        width, height = max(self.picture.width(), 2), max(self.picture.height(), 2)
        self.view.render_window().SetSize(width, height)
        self.sliceLogic().ResizeSliceNode(width, height)
        self.texts.SetText(vtk.vtkCornerAnnotation.LowerLeft, self._cornerText())
        self.view.render()
        self.picture.setImage(pictureOf(self.view.render_window()))
        self.bar.showNow()

    def _cornerText(self) -> str:
        """The names of the shown volumes, as Slicer writes them into each slice view."""
        composite = self.mrmlSliceCompositeNode()
        named = (("F", composite.GetForegroundVolumeID()), ("B", composite.GetBackgroundVolumeID()))
        shown = [(letter, self.scene.GetNodeByID(identifier).GetName()) for letter, identifier in named if identifier]
        opacity = f" ({round(100 * composite.GetForegroundOpacity())}%)"
        return "\n".join(f"{letter}: {_shortened(name)}{opacity * (letter == 'F')}" for letter, name in shown)

    def finish(self) -> None:
        super().finish()
        self.view.end()


def _shortened(name: str) -> str:
    half = _LONGEST_TEXT // 2
    return name if len(name) <= _LONGEST_TEXT else f"{name[: half - 1]}...{name[-half + 2 :]}"
