"""Bases of the qMRML widgets: the scene, and observers of VTK objects that end with the widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import QObject, Signal

from .gate import hostWidget


class Observers:
    """Observers of VTK objects, all removed when their owner is destroyed. They do not keep the owner alive."""

    def __init__(self, owner: QObject) -> None:
        self._tags: list[tuple[Any, int]] = []
        # the list, not self: the owner is dying when this is called
        tags = self._tags
        owner.destroyed.connect(lambda *_: _remove(tags))

    def observe(self, target: Any, event: int | str, method: Callable[..., None], priority: float = 0.0) -> None:
        """Call `method(caller)`; for a scene's node events `method(scene, node)`. It must be a bound method."""
        weak = WeakMethod(method)
        if event in _NODE_EVENTS:

            @vtk.calldata_type(vtk.VTK_OBJECT)
            def call(caller: Any, _event: str, node: Any) -> None:
                if weak() is not None:
                    weak()(caller, node)
        else:

            def call(caller: Any, _event: str) -> None:
                if weak() is not None:
                    weak()(caller)

        self._tags.append((target, target.AddObserver(event, call, priority)))

    def removeFrom(self, target: Any) -> None:
        """Stop observing an object."""
        mine = [x for x in self._tags if x[0] is target]
        self._tags[:] = [x for x in self._tags if x[0] is not target]
        _remove(mine)

    def removeAll(self) -> None:
        """Stop observing."""
        _remove(self._tags)


_NODE_EVENTS = tuple(getattr(slicer.vtkMRMLScene, f"Node{x}Event") for x in ("Added", "AboutToBeRemoved", "Removed"))


def _remove(tags: list[tuple[Any, int]]) -> None:
    for target, tag in tags:
        target.RemoveObserver(tag)
    tags.clear()


@hostWidget("slicer", "qMRMLWidget", signals={"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"})
class MRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.scene: Any = None

    def mrmlScene(self) -> Any:
        return self.scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.scene:
            self.scene = scene
            self.mrmlSceneChanged.emit(scene)


@hostWidget("slicer", "qSlicerWidget")
class SlicerWidget(MRMLWidget):
    """The base of the modules' own widgets."""
