"""A window beside Slicer's own, of which there is one at a time."""

from __future__ import annotations

from typing import Any

import qt


class Window:
    """A window that is made anew each time it is shown.

    Attributes:
        dialog: the window, or None.
    """

    def __init__(self) -> None:
        self.dialog: Any = None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self.dialog is not None:
            self.dialog.close()
            self.dialog.deleteLater()
            self.dialog = None

    def _makeAnew(self, parent: Any, name: str, title: str) -> Any:
        """An empty window in the place of the one before; returns the column in which its parts are put."""
        self.close()
        self.dialog = qt.QDialog(parent)
        self.dialog.objectName = name
        self.dialog.windowTitle = title
        return qt.QVBoxLayout(self.dialog)
