"""How far a call from the Python console is: in a dialog, or as text where there is no window."""

from __future__ import annotations

from typing import Any

import slicer

from SegAdversarialGui.runner import Listener


class ConsoleProgress(Listener):
    """Shows the progress of a call from the console: in a dialog, or as text where there is no window."""

    def __init__(self, text: str, cancel: Any) -> None:
        self._last, self._dialog = "", None
        if slicer.util.mainWindow() is not None:
            self._dialog = slicer.util.createProgressDialog(labelText=text, maximum=1000, value=0)
            self._dialog.connect("canceled()", cancel)

    def onProgress(self, fraction: float, message: str, remaining: float | None) -> None:
        """Show how far the work is."""
        if self._dialog is not None:
            self._dialog.labelText = message
            # a dialog that reaches its maximum would close itself
            self._dialog.setValue(min(round(1000 * fraction), 999))
        elif message != self._last:
            print(f"{fraction:4.0%}  {message}", flush=True)
        self._last = message

    def onLog(self, text: str) -> None:
        """Print what is worth noting."""
        print(text, flush=True)

    def close(self) -> None:
        """The work is over."""
        if self._dialog is not None:
            # closing it would count as cancelling, also of what somebody else is running
            self._dialog.blockSignals(True)
            self._dialog.close()
            self._dialog.deleteLater()
            self._dialog = None
