"""3D views of a layout."""

from __future__ import annotations

from typing import Any

import slicer
from trame_slicer.views import ThreeDView
from trame_slicer.views.render_scheduler import NoScheduleRendering

from .gate import hostWidget
from .view_base import Canvas, ControllerBar, ViewWidget, pictureOf


class _View(ThreeDView):
    """A 3D view of a node that is in the scene already, as Slicer's layout logic has made it."""

    def __init__(self, node: Any, applicationLogic: Any) -> None:
        self.node = node
        super().__init__(node.GetScene(), applicationLogic, node.GetLayoutName(), NoScheduleRendering())

    def set_scene(self, scene: Any) -> None:
        self._scene = scene
        self._logic.SetMRMLScene(scene)
        self.set_view_node(self.node)

    def _reset_node_view_properties(self) -> None:
        """The node's properties are the layout's business."""

    def end(self) -> None:
        """Let go of the scene and of the drawing resources."""
        slicer.app.applicationLogic().GetViewLogics().RemoveItem(self._logic)
        self._displayable_manager_group.SetMRMLDisplayableNode(None)
        self._logic.SetMRMLScene(None)
        self.finalize()


@hostWidget("slicer", "qMRMLThreeDViewControllerWidget")
class ThreeDController(ControllerBar):
    """The bar over a 3D view."""


@hostWidget("slicer", "qMRMLThreeDView")
class ThreeDCanvas(Canvas):
    """The picture in a 3D view."""

    def __init__(self, widget: ThreeDWidget) -> None:
        super().__init__(widget, "#a9aede")
        self.widget = widget

    def mrmlViewNode(self) -> Any:
        return self.widget.node

    def resetFocalPoint(self) -> None:
        self.widget.resetCamera()

    def forceRender(self) -> None:
        self.widget.draw()


@hostWidget("slicer", "qMRMLThreeDWidget")
class ThreeDWidget(ViewWidget):
    """A 3D view with its bar. The VTK view is made when it is first drawn."""

    def __init__(self, node: Any, applicationLogic: Any) -> None:
        super().__init__(node)
        self.applicationLogic = applicationLogic
        self.view: _View | None = None
        self.fill(ThreeDController(self), ThreeDCanvas(self))

    def mrmlViewNode(self) -> Any:
        return self.node

    def threeDView(self) -> ThreeDCanvas:
        return self.picture

    def threeDController(self) -> ControllerBar:
        return self.bar

    def resetCamera(self) -> None:
        if self.view is not None:
            self.view.reset_camera()

    def draw(self) -> None:
        if self.view is None:
            self.view = _View(self.node, self.applicationLogic)
        self.view.render_window().SetSize(max(self.picture.width(), 2), max(self.picture.height(), 2))
        self.view.render()
        self.picture.setImage(pictureOf(self.view.render_window()))

    def finish(self) -> None:
        super().finish()
        if self.view is not None:
            self.view.end()
