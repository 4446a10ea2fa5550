"""`qMRMLTableView`: a table node of the scene as a Qt table."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt, Signal

from .gate import hostWidget
from .mrml_widget import Observers

_DISPLAY = (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole)


class TableModel(QtCore.QAbstractTableModel):
    """A table node's cells. Column names are headers where the node says so, else the first row; as in Slicer."""

    def __init__(self, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self.node: Any = None
        self.transposed = False
        self._known: dict[str, Any] = {}

    def forget(self) -> None:
        """The node has changed; what it has said is kept only until then, as in Slicer, whose model is a copy of it."""
        self._known.clear()

    def nameRow(self) -> bool:
        """Whether the first row of cells shows the columns' names."""
        if "nameRow" not in self._known:
            self._known["nameRow"] = self._nameRow()
        return self._known["nameRow"]

    def _nameRow(self) -> bool:
        return not (self.node.GetUseColumnNameAsColumnHeader() or self.node.GetUseColumnTitleAsColumnHeader())

    def _size(self) -> tuple[int, int]:
        key = f"size {self.transposed}"
        if key not in self._known:
            self._known[key] = self._sizeNow()
        return self._known[key]

    def _sizeNow(self) -> tuple[int, int]:
        if self.node is None or not self.node.GetNumberOfColumns():
            return 0, 0
        rows = self.node.GetNumberOfRows() + self.nameRow()
        columns = self.node.GetNumberOfColumns() - bool(self.node.GetUseFirstColumnAsRowHeader())
        return (columns, rows) if self.transposed else (rows, columns)

    def _cell(self, index: Any) -> tuple[int, int]:
        """Row and column in the table node; row -1: the columns' names."""
        row, column = (index.column(), index.row()) if self.transposed else (index.row(), index.column())
        return row - self.nameRow(), column + bool(self.node.GetUseFirstColumnAsRowHeader())

    def rowCount(self, parent: Any = None) -> int:
        return self._size()[0]

    def columnCount(self, parent: Any = None) -> int:
        return self._size()[1]

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self._cell(index)
        if role in _DISPLAY:
            return self.node.GetCellText(row, column) if row >= 0 else self.node.GetColumnName(column)
        if role == Qt.ItemDataRole.FontRole and row < 0:
            font = QtGui.QFont()
            font.setBold(True)
            return font
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role != Qt.ItemDataRole.DisplayRole or self.node is None:
            return None
        across = orientation == Qt.Orientation.Horizontal
        return self._columnHeader(section) if across != self.transposed else self._rowHeader(section)

    def _columnHeader(self, section: int) -> str:
        name = self.node.GetColumnName(section + bool(self.node.GetUseFirstColumnAsRowHeader()))
        if self.node.GetUseColumnTitleAsColumnHeader():
            return self.node.GetColumnTitle(name) or name
        return name if self.node.GetUseColumnNameAsColumnHeader() else _letters(section)

    def _rowHeader(self, section: int) -> str:
        row = section - self.nameRow()
        if not self.node.GetUseFirstColumnAsRowHeader():
            return str(section + 1)
        return self.node.GetCellText(row, 0) if row >= 0 else self.node.GetColumnName(0)

    def flags(self, index: Any) -> Qt.ItemFlag:
        flags = super().flags(index)
        return flags if self.node is None or self.node.GetLocked() else flags | Qt.ItemFlag.ItemIsEditable

    def setData(self, index: Any, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        row, column = self._cell(index)
        return row >= 0 and bool(self.node.SetCellText(row, column, str(value)))


def _letters(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    text = ""
    while index >= 0:
        text = chr(ord("A") + index % 26) + text
        index = index // 26 - 1
    return text


@hostWidget("slicer", "qMRMLTableView", signals={
    "mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged",
    "selectionChanged()": "selectedCellsChanged",
})  # fmt: skip
class TableView(QtWidgets.QTableView):
    """Shows a table node and follows it."""

    mrmlSceneChanged = Signal(object)
    selectedCellsChanged = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.scene: Any = None
        self.viewNode: Any = None
        self.cells = TableModel(self)
        self.sorted = QtCore.QSortFilterProxyModel(self)
        self.sorted.setSourceModel(self.cells)
        self.setModel(self.sorted)
        self.horizontalHeader().setMinimumSectionSize(60)
        self.observers = Observers(self)
        self.selectionModel().selectionChanged.connect(lambda *_: self.selectedCellsChanged.emit())

    def mrmlScene(self) -> Any:
        return self.scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.scene:
            self.scene = scene
            if scene is None:
                self.setMRMLTableNode(None)
            self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self) -> Any:
        return self.cells.node

    def setMRMLTableNode(self, node: Any) -> None:
        if node is self.cells.node:
            return
        if self.cells.node is not None:
            self.observers.removeFrom(self.cells.node)
        self.cells.node = node
        self.cells.forget()
        if node is not None:
            self.observers.observe(node, "ModifiedEvent", self._refresh)
        self._refresh()

    def mrmlTableViewNode(self) -> Any:
        return self.viewNode

    def setMRMLTableViewNode(self, node: Any) -> None:
        """Show the table that a view node names."""
        if self.viewNode is not None:
            self.observers.removeFrom(self.viewNode)
        self.viewNode = node
        if node is not None:
            self.observers.observe(node, "ModifiedEvent", self._followViewNode)
            self._followViewNode()

    def _followViewNode(self, _caller: Any = None) -> None:
        self.setMRMLTableNode(self.viewNode.GetTableNode())

    def _refresh(self, _caller: Any = None) -> None:
        self.cells.forget()
        self.cells.beginResetModel()
        self.cells.endResetModel()
        self.resizeColumnsToContents()

    # without a table node, Slicer ignores what follows

    def _columnsAreNamed(self) -> bool:
        return self.cells.node is not None and bool(self.cells.node.GetUseColumnNameAsColumnHeader())

    def _rowsAreNamed(self) -> bool:
        return self.cells.node is not None and bool(self.cells.node.GetUseFirstColumnAsRowHeader())

    def _nameColumns(self, on: bool) -> None:
        if self.cells.node is not None:
            self.cells.node.SetUseColumnNameAsColumnHeader(bool(on))

    def _nameRows(self, on: bool) -> None:
        if self.cells.node is not None:
            self.cells.node.SetUseFirstColumnAsRowHeader(bool(on))

    def firstRowLocked(self) -> bool:
        return self._rowsAreNamed() if self.cells.transposed else self._columnsAreNamed()

    def setFirstRowLocked(self, on: bool) -> None:
        (self._nameRows if self.cells.transposed else self._nameColumns)(on)

    def firstColumnLocked(self) -> bool:
        return self._columnsAreNamed() if self.cells.transposed else self._rowsAreNamed()

    def setFirstColumnLocked(self, on: bool) -> None:
        (self._nameColumns if self.cells.transposed else self._nameRows)(on)

    def transposed(self) -> bool:
        return self.cells.transposed

    def setTransposed(self, on: bool) -> None:
        if self.cells.node is not None:
            self.cells.transposed = bool(on)
            self._refresh()

    def tableModel(self) -> TableModel:
        return self.cells

    def sortFilterProxyModel(self) -> QtCore.QSortFilterProxyModel:
        return self.sorted

    def copySelection(self) -> None:
        """Put the selected cells on the clipboard, tabs between columns."""
        rows: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes(), key=lambda x: (x.row(), x.column())):
            rows.setdefault(index.row(), []).append(str(index.data()))
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(x) for x in rows.values()))
