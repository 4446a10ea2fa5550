"""The window that lists the programs which open without a question, and in which they can be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAdversarialGui import trust, widgets
from SegAdversarialGui.window import Window
from SegAdversarialLib.errors import InputError

_DIGITS = 16
_SIZE = (640, 320)


class TrustedWindow(Window):
    """Lists what is trusted: remembered for good, and in this session.

    Args:
        parent: the widget that it belongs to.
        onForgotten: called with the SHA-256 of what was forgotten.
    """

    def __init__(self, parent: Any, onForgotten: Callable[[Sequence[str]], None]) -> None:
        super().__init__()
        self._parent, self._onForgotten = parent, onForgotten
        self._sums: list[str] = []

    def show(self) -> None:
        """Show what is trusted now."""
        box = self._makeAnew(self._parent, "trustedFilesDialog", _("Trusted network files"))
        note = widgets.note("trustedFilesNote")
        note.text = _("These contents open without a question, wherever their files lie. A file that changes asks again.")
        box.addWidget(note)
        self.table = self._makeTable()
        box.addWidget(self.table)
        buttons = qt.QHBoxLayout()
        self.forgetButton = widgets.button(
            _("Forget"), "forgetTrustedButton", _("Trust the chosen contents no more; they are asked about again")
        )
        self.forgetButton.connect("clicked(bool)", lambda _checked=False: self._forget())
        buttons.addWidget(self.forgetButton)
        self.closeButton = widgets.button(_("Close"), "closeTrustedButton", _("Close this window"))
        self.closeButton.connect("clicked(bool)", lambda _checked=False: self.close())
        buttons.addWidget(self.closeButton)
        box.addLayout(buttons)
        self._fill()
        self.dialog.resize(*_SIZE)
        self.dialog.show()

    def _makeTable(self) -> Any:
        table = qt.QTableWidget()
        table.objectName = "trustedFilesTable"
        table.accessibleName = _("Trusted network files")
        table.toolTip = _("Name that the file had, the first digits of its SHA-256, since when, and what the scanner said")
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("File"), _("SHA-256"), _("Trusted since (UTC)"), _("Scanner")])
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setVisible(False)
        table.editTriggers = qt.QAbstractItemView.NoEditTriggers
        table.selectionBehavior = qt.QAbstractItemView.SelectRows
        table.connect("itemSelectionChanged()", self._chosen)
        return table

    def _fill(self) -> None:
        found = trust.trustedFiles()
        self._sums = [x[0] for x in found]
        self.table.setRowCount(0)
        self.table.setRowCount(len(found))
        for place, (sha256, name, when, scan) in enumerate(found):
            since = when.replace("T", " ").partition("+")[0] or _("until Slicer closes")
            for column, text in enumerate((name, f"{sha256[:_DIGITS]}...", since, scan)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(widgets.tip(sha256 if column == 1 else text))
                self.table.setItem(place, column, item)
        self.table.resizeColumnsToContents()
        self._chosen()

    def _rows(self) -> list[int]:
        return [n for n in range(self.table.rowCount) if self.table.item(n, 0).isSelected()]

    def _chosen(self) -> None:
        self.forgetButton.setEnabled(bool(self._rows()))

    def _forget(self) -> None:
        sums = [self._sums[n] for n in self._rows()]
        try:
            trust.forget(sums)
        except InputError as error:
            slicer.util.errorDisplay(str(error), windowTitle=_("SegAdversarial"))
        self._fill()
        self._onForgotten(sums)
