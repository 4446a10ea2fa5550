"""The window in which the settings of a result can be read and copied."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from SegAdversarialGui.window import Window


class ConfigurationWindow(Window):
    """Shows one text at a time."""

    def show(self, parent: Any, title: str, text: str) -> None:
        """Show a text in place of the one before."""
        box = self._makeAnew(parent, "configurationDialog", title)
        shown = qt.QPlainTextEdit()
        shown.objectName = "configurationText"
        shown.toolTip = _("Copy what is needed to run it again")
        shown.readOnly = True
        shown.setPlainText(text)
        box.addWidget(shown)
        self.dialog.resize(560, 480)
        self.dialog.show()
