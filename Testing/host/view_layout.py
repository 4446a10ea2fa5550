"""`slicer.app.layoutManager()`: the layout node as Qt widgets. The view nodes are made by Slicer's own layout logic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Qt, Signal

from .gate import hostWidget
from .mrml_widget import MRMLWidget, Observers
from .view_plots import PlotWidget
from .view_slices import SliceWidget
from .view_tables import TableWidget
from .view_threed import ThreeDWidget

Scene = slicer.vtkMRMLScene
_WIDGETS: dict[str, Callable[..., Any]] = {
    "vtkMRMLSliceNode": SliceWidget,
    "vtkMRMLViewNode": ThreeDWidget,
    "vtkMRMLPlotViewNode": PlotWidget,
    "vtkMRMLTableViewNode": TableWidget,
}


@hostWidget("slicer", "qSlicerLayoutManager", signals={"layoutChanged(int)": "layoutIdChanged"})
class LayoutManager(QtCore.QObject):
    """Makes a widget for each view node, and arranges those of the current layout in the viewport."""

    layoutIdChanged = Signal(int)
    layoutChanged = Signal()
    selectModule = Signal(str)

    def __init__(self, applicationLogic: Any, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self.applicationLogic = applicationLogic
        self.scene: Any = None
        self.logic = slicer.vtkMRMLLayoutLogic()
        self.widgets: dict[str, MRMLWidget] = {}
        self.frame: QtWidgets.QWidget | None = None
        self.content: QtWidgets.QWidget | None = None
        self.shownLayout = (-1, "")
        self.observers = Observers(self)

    def setMRMLScene(self, scene: Any) -> None:
        self.scene = scene
        self.logic.SetMRMLScene(scene)
        for event, method in (
            (Scene.NodeAddedEvent, self._nodeAdded),
            (Scene.NodeRemovedEvent, self._nodeRemoved),
            (Scene.EndBatchProcessEvent, self._update),
        ):
            self.observers.observe(scene, event, method)
        self.observers.observe(self.logic.GetLayoutNode(), "ModifiedEvent", self._update)
        self._update()

    def mrmlScene(self) -> Any:
        return self.scene

    def layoutLogic(self) -> Any:
        return self.logic

    def layout(self) -> int:
        return self.logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, layout: int) -> None:
        self.logic.GetLayoutNode().SetViewArrangement(layout)

    def setViewport(self, frame: QtWidgets.QWidget) -> None:
        """Show the layout inside a widget."""
        self.frame = frame
        row = QtWidgets.QVBoxLayout(frame)
        row.setContentsMargins(0, 0, 0, 0)
        self.shownLayout = (-1, "")
        if self.scene is not None:
            self._update()

    def viewport(self) -> QtWidgets.QWidget | None:
        return self.frame

    # the views

    def viewWidget(self, node: Any) -> MRMLWidget | None:
        return self.widgets.get(node.GetID()) if node is not None else None

    def viewWidgets(self) -> list[MRMLWidget]:
        return list(self.widgets.values())

    def sliceViewNames(self) -> list[str]:
        return [x.sliceViewName() for x in self._of(SliceWidget)]

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return next((x for x in self._of(SliceWidget) if x.sliceViewName() == name), None)

    def mrmlSliceLogics(self) -> Any:
        return self.applicationLogic.GetSliceLogics()

    def mrmlViewLogics(self) -> Any:
        return self.applicationLogic.GetViewLogics()

    def threeDViewCount(self) -> int:
        return len(self._of(ThreeDWidget))

    def threeDWidget(self, which: int | str) -> ThreeDWidget | None:
        return self._nth(ThreeDWidget, which)

    def plotViewCount(self) -> int:
        return len(self._of(PlotWidget))

    def plotWidget(self, which: int) -> PlotWidget | None:
        return self._nth(PlotWidget, which)

    def tableViewCount(self) -> int:
        return len(self._of(TableWidget))

    def tableWidget(self, which: int) -> TableWidget | None:
        return self._nth(TableWidget, which)

    def resetSliceViews(self) -> None:
        for widget in self._of(SliceWidget):
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._of(ThreeDWidget):
            widget.resetCamera()

    def pauseRender(self) -> None:
        """Nothing is drawn before it is asked for anyway."""

    def resumeRender(self) -> None:
        """Nothing is drawn before it is asked for anyway."""

    def renderAll(self) -> None:
        """Draw all views that are on the screen."""
        for widget in self.widgets.values():
            if widget.isVisible():
                widget.draw()

    def _of(self, kind: type[Any]) -> list[Any]:
        return [x for x in self.widgets.values() if isinstance(x, kind)]

    def _nth(self, kind: type[Any], which: int | str) -> Any:
        found = self._of(kind)
        if isinstance(which, str):
            return next((x for x in found if x.mrmlAbstractViewNode().GetLayoutName() == which), None)
        return found[which] if 0 <= which < len(found) else None

    # following the scene

    def _nodeAdded(self, scene: Any, node: Any) -> None:
        if not scene.IsBatchProcessing():
            self._add(node)

    def _add(self, node: Any) -> None:
        make = _WIDGETS.get(node.GetClassName())
        if make is not None and node.GetID() not in self.widgets:
            self.widgets[node.GetID()] = make(node, self.applicationLogic)
            if make is SliceWidget:
                self._showActiveVolume(self.widgets[node.GetID()].mrmlSliceCompositeNode())

    def _showActiveVolume(self, composite: Any) -> None:
        """A new view shows what was last loaded through the application."""
        selected = self.applicationLogic.GetSelectionNode().GetActiveVolumeID()
        if composite is not None and selected and not composite.GetBackgroundVolumeID():
            composite.SetBackgroundVolumeID(selected)

    def _nodeRemoved(self, _scene: Any, node: Any) -> None:
        widget = self.widgets.pop(node.GetID() or "", None)
        if widget is not None:
            widget.finish()
            widget.setParent(None)
            widget.deleteLater()

    def _update(self, _caller: Any = None) -> None:
        if self.scene.IsBatchProcessing():
            return
        for n in range(self.scene.GetNumberOfNodes()):
            self._add(self.scene.GetNthNode(n))
        node = self.logic.GetLayoutNode()
        wanted = (node.GetViewArrangement(), node.GetCurrentLayoutDescription() or "")
        if self.frame is not None and wanted != self.shownLayout:
            self.shownLayout = wanted
            self._arrange(node.GetLayoutRootElement())
            self.layoutIdChanged.emit(wanted[0])
            self.layoutChanged.emit()

    def _arrange(self, root: Any) -> None:
        for widget in self.widgets.values():
            widget.hide()
            widget.setParent(None)
        if self.content is not None:
            self.frame.layout().removeWidget(self.content)
            self.content.setParent(None)
            self.content.deleteLater()
        arrangement = Arrangement(self._viewOf)
        self.content = arrangement.layout(root) if root is not None else QtWidgets.QWidget()
        self.frame.layout().addWidget(self.content)
        # only now that they have a parent: shown without one, they would be windows
        for widget in arrangement.views:
            widget.show()
        self.content.show()
        # the views get their sizes, as in Slicer, in the next turn of the event loop

    def _viewOf(self, element: Any) -> QtWidgets.QWidget:
        node = self.logic.GetViewFromElement(element)
        if node is None:
            raise ValueError(f"the layout has a view that the scene has not: {element.GetAttribute('singletontag')}")
        self._add(node)
        return self.widgets[node.GetID()]

    def finish(self) -> None:
        """Take all views off the scene."""
        self.observers.removeFrom(self.scene)
        self.observers.removeFrom(self.logic.GetLayoutNode())
        for widget in self.widgets.values():
            widget.finish()
            widget.setParent(None)
            widget.deleteLater()
        self.widgets.clear()


class Arrangement:
    """A layout's description as Qt widgets: nested rows, columns, grids and tabs of views."""

    def __init__(self, viewOf: Callable[[Any], QtWidgets.QWidget]) -> None:
        self.viewOf = viewOf
        self.views: list[QtWidgets.QWidget] = []

    def layout(self, element: Any) -> QtWidgets.QWidget:
        """The widget of a `layout` element."""
        kind = element.GetAttribute("type") or "horizontal"
        items = [element.GetNestedElement(n) for n in range(element.GetNumberOfNestedElements())]
        if any((x.GetAttribute("multiple") or "false") == "true" for x in items):
            raise NotImplementedError("the host shows no layouts of compare views (multiple='true')")
        if kind == "tab":
            return self._tabs(items)
        if kind == "grid":
            return self._grid(items)
        if kind not in ("horizontal", "vertical"):
            raise ValueError(f"unknown type of layout: {kind}")
        upright = kind == "vertical"
        return self._split(items, upright) if element.GetAttribute("split") == "true" else self._box(items, upright)

    def item(self, element: Any) -> QtWidgets.QWidget:
        """The widget of an `item` element: a layout or a view."""
        inside = element.GetNestedElement(0)
        if inside.GetName() == "layout":
            return self.layout(inside)
        self.views.append(self.viewOf(inside))
        return self.views[-1]

    def _split(self, items: list[Any], upright: bool) -> QtWidgets.QWidget:
        splitter = QtWidgets.QSplitter(Qt.Orientation.Vertical if upright else Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        sizes = [int(x.GetAttribute("splitSize") or 0) for x in items]
        for n, element in enumerate(items):
            splitter.addWidget(self.item(element))
            splitter.setStretchFactor(n, 1)
        splitter.setSizes([x or 500 for x in sizes])
        return splitter

    def _box(self, items: list[Any], upright: bool) -> QtWidgets.QWidget:
        holder = QtWidgets.QWidget()
        box = QtWidgets.QVBoxLayout(holder) if upright else QtWidgets.QHBoxLayout(holder)
        _tighten(box)
        for element in items:
            stretch = element.GetAttribute("verticalStretch" if upright else "horizontalStretch")
            box.addWidget(self.item(element), max(1, int(stretch or 0)))
        return holder

    def _grid(self, items: list[Any]) -> QtWidgets.QWidget:
        holder = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(holder)
        _tighten(grid)
        for element in items:
            numbers = [int(element.GetAttribute(x) or d) for x, d in _GRID]
            grid.addWidget(self.item(element), *numbers)
        return holder

    def _tabs(self, items: list[Any]) -> QtWidgets.QWidget:
        tabs = QtWidgets.QTabWidget()
        for element in items:
            tabs.addTab(self.item(element), element.GetAttribute("name") or "")
        return tabs


_GRID = (("row", 0), ("column", 0), ("rowspan", 1), ("colspan", 1))


def _tighten(layout: QtWidgets.QLayout) -> None:
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(2)
