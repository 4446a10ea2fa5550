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
from SegAdversarialGui.checks_box import ChecksBox
from SegAdversarialGui.runner import Listener, Outcome

_MOST_LOG_LINES = 2000


class RunSection(Listener):
    """Starts and cancels work, and shows how it goes. It is the listener of the panel's tasks."""

    def __init__(
        self,
        onSegment: Callable[[], None],
        onAttack: Callable[[], None],
        onCancel: Callable[[], None],
        onAudit: Callable[[], None] = lambda: None,
        onCertify: Callable[[], None] = lambda: None,
    ) -> None:
        self.widget, form = widgets.section(_("Run"), "runSection")
        self.segmentButton = widgets.button(_("Segment"), "segmentButton", "")
        self.attackButton = widgets.button(_("Attack"), "attackButton", "")
        self.cancelButton = widgets.button(_("Cancel"), "cancelButton", _("Stop the work; the scene stays as it is"))
        self.auditButton = widgets.button(_("Audit"), "auditButton", "")
        self.certifyButton = widgets.button(_("Certify"), "certifyButton", "")
        for button, action in (
            (self.segmentButton, onSegment),
            (self.attackButton, onAttack),
            (self.auditButton, onAudit),
            (self.certifyButton, onCertify),
            (self.cancelButton, onCancel),
        ):
            button.connect("clicked(bool)", lambda _checked=False, action=action: action())
        grid = qt.QGridLayout()
        for place, button in enumerate((self.segmentButton, self.attackButton, self.auditButton, self.certifyButton)):
            grid.addWidget(button, place // 2, place % 2)
        grid.addWidget(self.cancelButton, 0, 2)
        form.addRow(grid)
        self.checks = ChecksBox()
        form.addRow(self.checks.widget)
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
        """Show the settings of audits and certificates in a parameter node; None: of no node."""
        self.checks.setState(state)

    def refresh(self) -> None:
        """Show the state; the buttons are told by `setProblems`."""
        self.checks.refresh()

    def tabOrder(self) -> list[Any]:
        """The widgets that take the keyboard, in reading order."""
        buttons = [self.segmentButton, self.attackButton, self.cancelButton, self.auditButton, self.certifyButton]
        return [*buttons, *self.checks.tabOrder(), self.log, self.clearButton]

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
            self.auditButton: _("Find out on these images whether the network's robustness is real, or only seems so"),
            self.certifyButton: _("Find out by noise what no attack within a radius can change of the segmentation"),
        }
        problemsOf = {self.segmentButton: segment, self.attackButton: attack}
        checks = {self.auditButton: self.checks.auditProblem, self.certifyButton: self.checks.certifyProblem}
        for button, problem in checks.items():
            # what is missing for a segmentation may be the packages, without which nothing is known of settings
            problemsOf[button] = segment or [x for x in [problem()] if x]
        for button, problems in problemsOf.items():
            missing = [*running, *([] if busy else problems)]
            button.setEnabled(not missing)
            button.toolTip = widgets.tip("\n".join(missing) if missing else ready[button])
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

    def say(self, text: str) -> None:
        """Say what is worth knowing once nothing runs any more."""
        self._showIdle(text)
        self.onLog(text)

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
