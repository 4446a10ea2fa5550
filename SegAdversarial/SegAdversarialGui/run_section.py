"""The panel's Run section: the buttons, how far the work is, and the log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from SegAdversarialGui import widgets
from SegAdversarialGui.runner import Listener, Outcome

_MOST_LOG_LINES = 2000


class RunSection(Listener):
    """Starts and cancels work, and shows how it goes. It is the listener of the panel's tasks."""

    def __init__(self, onSegment: Callable[[], None], onAttack: Callable[[], None], onCancel: Callable[[], None]) -> None:
        self.widget, form = widgets.section(_("Run"), "runSection")
        self.segmentButton = widgets.button(_("Segment"), "segmentButton", "")
        self.attackButton = widgets.button(_("Attack"), "attackButton", "")
        self.cancelButton = widgets.button(_("Cancel"), "cancelButton", _("Stop the work; the scene stays as it is"))
        for button, action in (
            (self.segmentButton, onSegment),
            (self.attackButton, onAttack),
            (self.cancelButton, onCancel),
        ):
            button.connect("clicked(bool)", lambda _checked=False, action=action: action())
        buttons = qt.QHBoxLayout()
        for button in (self.segmentButton, self.attackButton, self.cancelButton):
            buttons.addWidget(button)
        form.addRow(buttons)
        self.progressBar = qt.QProgressBar()
        self.progressBar.objectName = "progressBar"
        self.progressBar.toolTip = _("How much of the work is done")
        self.progressBar.setRange(0, 1000)
        form.addRow(self.progressBar)
        self.message = widgets.note("runMessage")
        form.addRow(self.message)
        form.addRow(self._makeLog())
        self.onEndOfWork: Callable[[Outcome], None] = lambda outcome: None
        self._showIdle("")
        self.setProblems([], [], False)

    def setScene(self, scene: Any) -> None:
        """Nothing here depends on the scene."""

    def setState(self, state: Any) -> None:
        """Nothing here is kept with the scene."""

    def refresh(self) -> None:
        """The buttons are told by `setProblems`."""

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        return [self.segmentButton, self.attackButton, self.cancelButton, self.log, self.clearButton]

    def setProblems(self, segment: Sequence[str], attack: Sequence[str], busy: bool) -> None:
        """Let the buttons work, or say what is missing.

        Args:
            segment, attack: one sentence for each thing that is missing; none: it can start.
            busy: whether work is going on.
        """
        running = [_("Something is running; wait for it or cancel it.")] if busy else []
        ready = {
            self.segmentButton: _("Let the network segment the images"),
            self.attackButton: _("Change the images as chosen above, and measure what that does to the segmentation"),
        }
        for button, problems in ((self.segmentButton, segment), (self.attackButton, attack)):
            missing = [*running, *([] if busy else problems)]
            button.setEnabled(not missing)
            button.toolTip = "\n".join(missing) if missing else ready[button]
        self.cancelButton.setEnabled(busy)

    def begin(self, text: str) -> None:
        """Work has been started."""
        self.progressBar.setValue(0)
        self.progressBar.setVisible(True)
        self.message.setVisible(True)
        self.message.text = text
        self.onLog(text)

    def onProgress(self, fraction: float, message: str, remaining: float | None) -> None:
        """Show how far the work is and how long it will take."""
        self.progressBar.setValue(round(1000 * fraction))
        left = "" if remaining is None else timeLeft(remaining)
        self.message.text = f"{message}\n{left}" if left else message

    def onLog(self, text: str) -> None:
        """Add a line to the log."""
        self.log.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def onEnd(self, outcome: Outcome) -> None:
        """Say how it ended."""
        self._showIdle(outcome.message or _("Done."))
        self.onLog(outcome.message or _("Done."))
        if outcome.details:
            self.onLog(outcome.details)
        self.onEndOfWork(outcome)

    def _showIdle(self, text: str) -> None:
        self.progressBar.setVisible(False)
        self.message.text = text
        self.message.setVisible(bool(text))

    def _makeLog(self) -> Any:
        box = ctk.ctkCollapsibleGroupBox()
        box.title = _("Log")
        box.objectName = "logBox"
        box.toolTip = _("What the worker process has said")
        box.collapsed = True
        layout = qt.QVBoxLayout(box)
        self.log = qt.QPlainTextEdit()
        self.log.objectName = "log"
        self.log.toolTip = _("What the worker process has said")
        self.log.readOnly = True
        self.log.maximumBlockCount = _MOST_LOG_LINES
        self.log.minimumHeight = 90
        layout.addWidget(self.log)
        self.clearButton = widgets.button(_("Clear log"), "clearLogButton", _("Forget what stands in the log"))
        self.clearButton.connect("clicked(bool)", lambda _checked=False: self.log.clear())
        layout.addWidget(self.clearButton)
        return box


def timeLeft(seconds: float) -> str:
    """A duration as people say it: rounded up, and no more exact than it is known."""
    if seconds < 10:
        return _("a few seconds left")
    if seconds < 90:
        return _("about {n} seconds left").format(n=math.ceil(seconds / 10) * 10)
    if seconds < 5400:
        return _("about {n} minutes left").format(n=math.ceil(seconds / 60))
    return _("about {n} hours left").format(n=math.ceil(seconds / 3600))
