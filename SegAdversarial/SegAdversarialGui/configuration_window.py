"""The window in which the settings of a result can be read and copied."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _


class ConfigurationWindow:
    """Shows one text at a time.

    Attributes:
        dialog: the window, or None.
    """

    def __init__(self) -> None:
        self.dialog: Any = None

    def show(self, parent: Any, title: str, text: str) -> None:
        """Show a text in place of the one before."""
        self.close()
        self.dialog = qt.QDialog(parent)
        self.dialog.objectName = "configurationDialog"
        self.dialog.windowTitle = title
        box = qt.QVBoxLayout(self.dialog)
        shown = qt.QPlainTextEdit()
        shown.objectName = "configurationText"
        shown.toolTip = _("Copy what is needed to run it again")
        shown.readOnly = True
        shown.setPlainText(text)
        box.addWidget(shown)
        self.dialog.resize(560, 480)
        self.dialog.show()

    def close(self) -> None:
        """Close the window, if there is one."""
        if self.dialog is not None:
            self.dialog.close()
            self.dialog.deleteLater()
            self.dialog = None
