"""`qMRMLSegmentSelectorWidget`: chooses a segmentation and one of its segments."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .gate import hostWidget
from .mrml_combo import NodeComboBox
from .mrml_widget import MRMLWidget, Observers

_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified")


@hostWidget("slicer", "qMRMLSegmentSelectorWidget", signals={
    "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
    "currentNodeChanged(bool)": "currentNodeIsValid",
    "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
})  # fmt: skip
class SegmentSelector(MRMLWidget):
    """A selector of segmentations, and under or beside it one of the segments. One segment at a time."""

    currentNodeChanged = Signal(object)
    currentNodeIsValid = Signal(bool)
    currentSegmentChanged = Signal(str)
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.segmentation: Any = None
        self.current = ""
        self.observers = Observers(self)
        self.nodes = NodeComboBox(self)
        self.nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self.nodes.addEnabled = self.nodes.removeEnabled = False
        self.segments = QtWidgets.QComboBox(self)
        self.message = QtWidgets.QLabel(self)
        self.box = QtWidgets.QBoxLayout(QtWidgets.QBoxLayout.Direction.TopToBottom, self)
        self.box.setContentsMargins(0, 0, 0, 0)
        for widget in (self.nodes, self.segments, self.message):
            self.box.addWidget(widget)
        self.mrmlSceneChanged.connect(self.nodes.setMRMLScene)
        self.nodes.currentNodeChanged.connect(self._nodeChanged)
        self.nodes.currentNodeChanged.connect(self.currentNodeChanged)
        self.nodes.currentNodeIsValid.connect(self.currentNodeIsValid)
        self.segments.currentIndexChanged.connect(self._segmentChanged)
        self._fill()

    def currentNode(self) -> Any:
        return self.nodes.currentNode()

    def setCurrentNode(self, node: Any) -> None:
        self.nodes.setCurrentNode(node)

    def currentNodeID(self) -> str:
        return self.nodes.currentNodeID

    def setCurrentNodeID(self, nodeID: str) -> None:
        self.nodes.setCurrentNodeID(nodeID)

    def currentSegmentID(self) -> str:
        return self.current

    def setCurrentSegmentID(self, segmentID: str) -> None:
        index = 0 if not segmentID and self.noneEnabled else self.segments.findData(segmentID)
        if index >= 0:
            self.segments.setCurrentIndex(index)

    def segmentIDs(self) -> list[str]:
        return list(self.segmentation.GetSegmentation().GetSegmentIDs()) if self.segmentation is not None else []

    def _nodeChanged(self, node: Any) -> None:
        if node is self.segmentation:
            return
        if self.segmentation is not None:
            self.observers.removeFrom(self.segmentation)
        self.segmentation = node
        for event in _EVENTS if node is not None else ():
            self.observers.observe(node, getattr(slicer.vtkSegmentation, event), self._fill)
        self._fill()

    def _fill(self, _caller: Any = None) -> None:
        """Make the segments' rows anew; as in Slicer, the first segment is chosen where the current one has gone."""
        ids = self.segmentIDs()
        blocked = self.segments.blockSignals(True)
        self.segments.clear()
        if self.noneEnabled and ids:
            self.segments.addItem("None", "")
        for segmentID in ids:
            self.segments.addItem(self.segmentation.GetSegmentation().GetSegment(segmentID).GetName(), segmentID)
        kept = self.current in ids or (self.noneEnabled and not self.current)
        self.segments.setCurrentIndex(self.segments.findData(self.current) if kept else -1)
        self.segments.blockSignals(blocked)
        self.segments.setVisible(bool(ids))
        self.message.setVisible(not ids)
        self.message.setText("No node is selected" if self.segmentation is None else "No segments in segmentation")
        if ids and not kept:
            self.segments.setCurrentIndex(int(self.noneEnabled))

    def _segmentChanged(self, index: int) -> None:
        if self.segmentation is not None:
            self.current = self.segments.itemData(index) or ""
            self.currentSegmentChanged.emit(self.current)

    def _setNone(self, on: bool) -> None:
        self.nodes.noneEnabled = on
        self._fill()

    def _setHorizontal(self, on: bool) -> None:
        ways = QtWidgets.QBoxLayout.Direction
        self.box.setDirection(ways.LeftToRight if on else ways.TopToBottom)

    def _isHorizontal(self) -> bool:
        return self.box.direction() == QtWidgets.QBoxLayout.Direction.LeftToRight

    noneEnabled = Property(bool, lambda self: self.nodes.noneEnabled, _setNone)
    editEnabled = Property(bool, lambda self: self.nodes.editEnabled, lambda self, on: setattr(self.nodes, "editEnabled", on))
    horizontalLayout = Property(bool, _isHorizontal, _setHorizontal)
    segmentationNodeSelectorVisible = Property(
        bool, lambda self: not self.nodes.isHidden(), lambda self, on: self.nodes.setVisible(on)
    )
