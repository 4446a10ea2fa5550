"""Table views of a layout."""

from __future__ import annotations

from typing import Any

from .gate import hostWidget
from .mrml_table import TableView
from .view_base import ControllerBar, ViewWidget


@hostWidget("slicer", "qMRMLTableViewControllerWidget")
class TableController(ControllerBar):
    """The bar over a table."""


@hostWidget("slicer", "qMRMLTableWidget")
class TableWidget(ViewWidget):
    """A table view with its bar."""

    def __init__(self, node: Any, applicationLogic: Any) -> None:
        super().__init__(node)
        table = TableView(self)
        table.setMRMLScene(self.scene)
        table.setMRMLTableViewNode(node)
        self.fill(TableController(self), table)

    def mrmlTableViewNode(self) -> Any:
        return self.node

    def tableView(self) -> TableView:
        return self.picture

    def tableController(self) -> ControllerBar:
        return self.bar

    def finish(self) -> None:
        super().finish()
        self.picture.setMRMLTableViewNode(None)
        self.picture.setMRMLTableNode(None)
