"""`qMRMLNodeComboBox`: chooses a node of the scene, and follows the scene."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .gate import hostWidget
from .mrml_widget import Observers

Scene = slicer.vtkMRMLScene
_ID = Qt.ItemDataRole.UserRole
_ACTION = Qt.ItemDataRole.UserRole + 1


class _Box(QtWidgets.QComboBox):
    """Like CTK's combo box, which may become narrower than its longest text."""

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(self.fontMetrics().horizontalAdvance("x" * 7) + 30, super().minimumSizeHint().height())


@hostWidget("slicer", "qMRMLNodeComboBox", signals={
    "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
    "currentNodeChanged(bool)": "currentNodeIsValid",
    "nodeActivated(vtkMRMLNode*)": "nodeActivated",
    "nodeAdded(vtkMRMLNode*)": "nodeAdded",
    "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
    "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction",
    "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
    "nodeAboutToBeEdited(vtkMRMLNode*)": "nodeAboutToBeEdited",
})  # fmt: skip
class NodeComboBox(QtWidgets.QWidget):
    """A row for "None" where that is enabled, one for each node that is let through, and rows that do something."""

    currentNodeChanged = Signal(object)
    currentNodeIsValid = Signal(bool)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.scene: Any = None
        self.types: list[str] = []
        self.hiddenTypes: list[str] = []
        self.flags = {"none": False, "add": True, "remove": True, "edit": False, "rename": False}
        self.flags.update(hidden=False, children=True, select=True)
        self.noneText = "None"
        self.base = ""
        self.labels: dict[str, str] = {}
        self.attributes: dict[tuple[str, str], str | None] = {}
        self.requested = ""
        self.interactionTag = "Singleton"
        self.watched: set[str] = set()
        self.shownID = ""
        self.observers = Observers(self)
        self.box = _Box(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box)
        self.setFocusProxy(self.box)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Fixed)
        # as in Slicer: choosing another node of the same name is no change, another name for the current node is one
        self.box.currentTextChanged.connect(self._emitCurrent)
        self.box.activated.connect(self._activated)
        self.setEnabled(False)

    # the scene

    def mrmlScene(self) -> Any:
        return self.scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self.scene:
            return
        wanted = self._id() or self.requested
        self.observers.removeAll()
        self.watched.clear()
        self.scene = scene
        if scene is not None:
            # after all others, as Slicer's model of the scene does
            self.observers.observe(scene, Scene.NodeAddedEvent, self._added, priority=-10.0)
            self.observers.observe(scene, Scene.NodeAboutToBeRemovedEvent, self._removing, priority=-10.0)
            self.observers.observe(scene, Scene.EndImportEvent, self._refill)
        self._rebuild(wanted)
        self.requested = ""
        self.setEnabled(scene is not None)

    def _nodes(self) -> list[Any]:
        """The scene's nodes that are let through, in the scene's order. All that may be some day are watched."""
        if self.scene is None:
            return []
        nodes = [self.scene.GetNthNode(n) for n in range(self.scene.GetNumberOfNodes())]
        nodes = [x for x in nodes if self._isOfType(x)]
        for node in nodes:
            self._watch(node)
        return [x for x in nodes if self._accepts(x)]

    def _watch(self, node: Any) -> None:
        if node.GetID() not in self.watched:
            self.watched.add(node.GetID())
            self.observers.observe(node, "ModifiedEvent", self._modified)

    def _isOfType(self, node: Any) -> bool:
        kinds = [x for x in self.types if (node.IsA(x) if self.flags["children"] else node.GetClassName() == x)]
        return bool(kinds) and not any(node.IsA(x) for x in self.hiddenTypes)

    def _accepts(self, node: Any) -> bool:
        if not self._isOfType(node) or (node.GetHideFromEditors() and not self.flags["hidden"]):
            return False
        for (nodeType, name), value in self.attributes.items():
            has = node.GetAttribute(name)
            if node.IsA(nodeType) and (has is None or (value is not None and has != value)):
                return False
        return True

    def _rebuild(self, wanted: str | None = None, first: bool = True) -> None:
        """Make all rows anew and tell if the current node is another than before.

        Args:
            first: whether the first node becomes the current one where there is no wanted one and no "None".
        """
        wanted, before = self._id() if wanted is None else wanted, self._id()
        blocked = self.box.blockSignals(True)
        self.box.clear()
        if self.flags["none"]:
            self.box.addItem(self.noneText)
        self.box.setPlaceholderText(f"Select a {self.nodeTypeLabel(self.types[0] if self.types else '')}")
        for node in self._nodes():
            self._list(node, self.box.count())
        self._addActions()
        row = self.box.findData(wanted, _ID) if wanted else -1
        nothing = 0 if self.flags["none"] or (first and self.nodeCount()) else -1
        self.box.setCurrentIndex(row if row >= 0 else nothing)
        self.box.blockSignals(blocked)
        if self._id() != before:
            self._emitCurrent()

    def _addActions(self) -> None:
        label = self.nodeTypeLabel(self.types[0] if len(self.types) == 1 else "")
        texts = [(f"{verb} current {label}", key) for key, verb in (("rename", "Rename"), ("edit", "Edit")) if self.flags[key]]
        if self.flags["add"]:
            texts += [(f"Create new {self.nodeTypeLabel(x)}", f"add {x}") for x in self.types]
        if self.flags["remove"]:
            texts.append((f"Delete current {label}", "remove"))
        if texts and self.scene is not None:
            self.box.insertSeparator(self.box.count())
            for text, action in texts:
                self.box.addItem(text)
                self.box.setItemData(self.box.count() - 1, action, _ACTION)

    def _list(self, node: Any, row: int) -> None:
        self.box.insertItem(row, node.GetName() or "", node.GetID())
        self.box.setItemData(row, node.GetName() or "", Qt.ItemDataRole.ToolTipRole)

    def _ids(self) -> list[str]:
        return [x for x in (self.box.itemData(n, _ID) for n in range(self.box.count())) if x]

    def _refill(self, _scene: Any) -> None:
        """As in Slicer, where importing a scene takes all rows out and puts them in again: the current node is lost, and
        that is told (Slicer's issue 4570)."""
        self._rebuild("", first=not any(self.flags[x] for x in ("add", "remove", "edit", "rename")))

    def _added(self, scene: Any, node: Any) -> None:
        if scene.IsImporting():
            return
        if self._isOfType(node):
            self._watch(node)
        if self._accepts(node):
            first = not self.nodeCount()
            self._list(node, self._rowFor(node))
            if first and not self.flags["none"] and self.box.currentIndex() < 0:
                self.box.setCurrentIndex(0)
            self.nodeAdded.emit(node)

    def _rowFor(self, node: Any) -> int:
        """Before which row a node belongs: the scene's order."""
        order = [x.GetID() for x in self._nodes()]
        return order.index(node.GetID()) + self.flags["none"]

    def _removing(self, _scene: Any, node: Any) -> None:
        self.observers.removeFrom(node)
        self.watched.discard(node.GetID())
        row = self.box.findData(node.GetID(), _ID)
        if row < 0:
            return
        self.nodeAboutToBeRemoved.emit(node)
        alone = self.nodeCount() == 1 and not self.flags["none"]
        if row == self.box.currentIndex():
            # the row before takes over: so does Qt 5, while Qt 6 takes the one behind
            self.box.setCurrentIndex(-1 if alone else row - 1 if row else 1)
        self.box.removeItem(row)

    def _modified(self, node: Any) -> None:
        row = self.box.findData(node.GetID(), _ID)
        if (row >= 0) != self._accepts(node):
            self._rebuild()
        elif row >= 0 and self.box.itemText(row) != node.GetName():
            self.box.setItemText(row, node.GetName() or "")
            self.box.setItemData(row, node.GetName() or "", Qt.ItemDataRole.ToolTipRole)

    # the current node

    def _id(self) -> str:
        return self.box.currentData(_ID) or ""

    def currentNode(self) -> Any:
        return self.scene.GetNodeByID(self._id()) if self.scene is not None and self._id() else None

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            raise TypeError("setCurrentNode takes a node; for an identifier there is setCurrentNodeID")
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, nodeID: str | None) -> None:
        if self.scene is None:
            self.requested = nodeID or ""
        row = self.box.findData(nodeID, _ID) if nodeID else -1
        self.box.setCurrentIndex(row if row >= 0 else 0 if self.flags["none"] else -1)

    def setCurrentNodeIndex(self, index: int) -> None:
        node = self.nodeFromIndex(index)
        self.setCurrentNode(node)

    def nodeCount(self) -> int:
        return len(self._ids())

    def nodeFromIndex(self, index: int) -> Any:
        ids = self._ids()
        return self.scene.GetNodeByID(ids[index]) if 0 <= index < len(ids) else None

    def _emitCurrent(self, _text: str = "") -> None:
        if self.box.currentData(_ACTION) is None:
            node = self.currentNode()
            self.currentNodeChanged.emit(node)
            self.currentNodeIsValid.emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")
            self.shownID = self._id()

    def _activated(self, index: int) -> None:
        """A user's choice."""
        action = self.box.itemData(index, _ACTION)
        if action is None:
            self.nodeActivated.emit(self.currentNode())
            return
        blocked = self.box.blockSignals(True)
        self.setCurrentNodeID(self.shownID)
        self.box.blockSignals(blocked)
        verb, _, nodeType = action.partition(" ")
        if verb == "add":
            self.nodeAddedByUserAction.emit(self.addNode(nodeType))
        else:
            {"remove": self.removeCurrentNode, "rename": self.renameCurrentNode, "edit": self.editCurrentNode}[verb]()

    # what a user may do

    def addNode(self, nodeType: str = "") -> Any:
        """Add a node, of the first type unless one is given, with the attributes that the box asks for."""
        nodeType = nodeType or self.types[0]
        if nodeType not in self.types:
            return None
        node = self.scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        node.SetName(self.scene.GenerateUniqueName(self.base or self.nodeTypeLabel(nodeType)))
        for (_type, name), value in self.attributes.items():
            node.SetAttribute(name, value or "")
        self.scene.AddNode(node)
        if self.flags["select"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self.scene.RemoveNode(self.currentNode())

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            name, sure = QtWidgets.QInputDialog.getText(self, "Rename", "New name:", text=node.GetName())
            if sure and name:
                node.SetName(name)
                self.currentNodeRenamed.emit(name)

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def addAttribute(self, nodeType: str, attribute: str, value: Any = None) -> None:
        self.attributes[(nodeType, attribute)] = None if value is None else str(value)
        self._rebuild()

    def removeAttribute(self, nodeType: str, attribute: str) -> None:
        self.attributes.pop((nodeType, attribute), None)
        self._rebuild()

    def nodeTypeLabel(self, nodeType: str) -> str:
        own = self.labels.get(nodeType)
        known = self.scene.GetTypeDisplayNameByClassName(nodeType) if self.scene is not None and nodeType else ""
        return own or known or "node"

    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self.labels[nodeType] = label
        self._rebuild()

    # properties

    def sizeAdjustPolicy(self) -> Any:
        return self.box.sizeAdjustPolicy()

    def setSizeAdjustPolicy(self, policy: Any) -> None:
        self.box.setSizeAdjustPolicy(policy)

    def _put(self, name: str, value: Any) -> None:
        self.flags[name] = bool(value)
        self._rebuild()

    def _setTypes(self, types: list[str]) -> None:
        self.types = [types] if isinstance(types, str) else list(types)
        self._rebuild()

    def _setHiddenTypes(self, types: list[str]) -> None:
        self.hiddenTypes = list(types)
        self._rebuild()

    def _setNoneText(self, text: str) -> None:
        self.noneText = text
        self._rebuild()

    def _setBase(self, name: str) -> None:
        self.base = name

    def _setTag(self, tag: str) -> None:
        self.interactionTag = tag

    nodeTypes = Property("QStringList", lambda self: self.types, _setTypes)
    hideChildNodeTypes = Property("QStringList", lambda self: self.hiddenTypes, _setHiddenTypes)
    noneDisplay = Property(str, lambda self: self.noneText, _setNoneText)
    baseName = Property(str, lambda self: self.base, _setBase)
    interactionNodeSingletonTag = Property(str, lambda self: self.interactionTag, _setTag)
    currentNodeID = Property(str, lambda self: self._id(), lambda self, x: self.setCurrentNodeID(x))
    noneEnabled = Property(bool, lambda self: self.flags["none"], lambda self, on: self._put("none", on))
    addEnabled = Property(bool, lambda self: self.flags["add"], lambda self, on: self._put("add", on))
    removeEnabled = Property(bool, lambda self: self.flags["remove"], lambda self, on: self._put("remove", on))
    editEnabled = Property(bool, lambda self: self.flags["edit"], lambda self, on: self._put("edit", on))
    renameEnabled = Property(bool, lambda self: self.flags["rename"], lambda self, on: self._put("rename", on))
    showHidden = Property(bool, lambda self: self.flags["hidden"], lambda self, on: self._put("hidden", on))
    showChildNodeTypes = Property(bool, lambda self: self.flags["children"], lambda self, on: self._put("children", on))
    selectNodeUponCreation = Property(bool, lambda self: self.flags["select"], lambda self, on: self._put("select", on))
