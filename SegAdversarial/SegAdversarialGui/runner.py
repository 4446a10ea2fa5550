"""Running a task: nodes to files, the worker's job, files to nodes, in steps between which Slicer answers."""

from __future__ import annotations

import logging
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from SegAdversarialGui.exchange import Task
from SegAdversarialGui.worker import Worker

if TYPE_CHECKING:
    from SegAdversarialLib.scene.steps import Steps

_log = logging.getLogger(__name__)

_FOLDERS = "SegAdversarial-task-"
"""What the names of tasks' folders begin with."""

_LET_WORK = 0.02
"""Seconds of each turn that the background thread gets, which works only then: see `done_within`."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        kind: "done", "cancelled" or "failed".
        nodes: what the task added to the scene.
        message: one sentence for the user; empty when done.
        details: what helps to find out more: the worker's log, or where in the program it went wrong.
    """

    kind: str
    nodes: Any = None
    message: str = ""
    details: str = ""


class Listener:
    """What somebody who started a task is told. Each is called on the main thread."""

    def onProgress(self, fraction: float, message: str, remaining: float | None) -> None:
        """Work goes on: the finished fraction, what is done now, and the seconds that are left, where that is known."""

    def onLog(self, text: str) -> None:
        """Something worth noting happened."""

    def onEnd(self, outcome: Outcome) -> None:
        """It is over; this comes exactly once, last."""


class Runner:
    """Runs one task at a time.

    Its files lie in a folder that only the user may enter and that is gone afterwards.
    """

    def __init__(self, worker: Worker, temporaryPath: Callable[[], str] = lambda: slicer.app.temporaryPath) -> None:
        self.worker = worker
        self._temporaryPath = temporaryPath
        self._task: Task | None = None
        self._listener = Listener()
        self._folder: Path | None = None
        self._request = ""
        self._steps: Steps[None] | None = None
        self._waited: Any = None
        self._afterwards: Callable[[], None] | None = None
        self._timer: Any = None
        self._cancelled = self._stepping = False
        self._timeLeft: Any = None

    @property
    def busy(self) -> bool:
        """Whether a task is going on."""
        return self._task is not None

    def start(self, task: Task, listener: Listener) -> None:
        """Begin a task; returns at once, and Qt's event loop does the rest.

        Raises:
            RuntimeError: another task is going on.
        """
        if self.busy:
            raise RuntimeError(_("Another task is running; wait for it or cancel it."))
        self._task, self._listener = task, listener
        task.say = listener.onLog
        self._request, self._folder, self._cancelled = "", None, False
        self._follow(self._prepare(task), self._submit)

    def run(self, task: Task, listener: Listener) -> Outcome:
        """Run a task and return when it is over; windows answer meanwhile.

        Raises:
            RuntimeError: another task is going on.
        """
        loop = qt.QEventLoop()
        relay = _Relay(listener, loop.quit)
        self.start(task, relay)
        if relay.outcome is None:
            loop.exec_()
        assert relay.outcome is not None
        return relay.outcome

    def cancel(self) -> None:
        """Ask the task to stop. Its end comes as an outcome: at once between two steps of ours, after three seconds at the
        latest while the worker works."""
        self._cancelled = True
        if self._request:
            self.worker.cancel(self._request)
        elif self.busy and not self._stepping:
            self._endCancelled()

    def _prepare(self, task: Task) -> Steps[None]:
        self._folder = _privateFolder(self._temporaryPath())
        yield
        yield from task.prepare(self._folder)

    def _submit(self) -> None:
        assert self._task is not None and self._folder is not None
        job = self._task.job(self._folder)
        if job is None:
            self._deliver()
            return
        self._listener.onProgress(0.0, _("starting"), None)
        from SegAdversarialLib.jobs.programs import programs_of
        from SegAdversarialLib.jobs.time_left import TimeLeft

        programs = programs_of(job)
        if self.worker.mustStartAnew(programs):
            self._listener.onLog(_("Networks that are programs run in a process of their own: the worker starts anew"))
        self._timeLeft = TimeLeft()
        self._request = self.worker.submit({"request": "job", "job": job}, self._onEvent, programs)
        if self._cancelled and self._request:
            # somebody cancelled while the listener showed that the work starts
            self.worker.cancel(self._request)

    def _onEvent(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "progress":
            from SegAdversarialLib.jobs.time_left import says_time_left

            fraction = float(event["fraction"])
            left = self._timeLeft.after(fraction)
            if says_time_left(event["message"]):
                left = None
            elif "left" in event:  # a job that knows its own parts knows better than its fraction tells
                left = event["left"]
            self._listener.onProgress(fraction, event["message"], left)
        elif kind == "log":
            self._listener.onLog(event["message"])
        elif kind in ("trace", "result") and self._task is not None:
            self._tell(self._task, event)
        elif kind == "cancelled":
            self._endCancelled()
        elif kind == "error":
            self._end(Outcome("failed", message=event["message"], details=event.get("details", "")))
        elif kind == "done":
            self._request = ""
            self._deliver()

    def _deliver(self) -> None:
        assert self._task is not None and self._folder is not None
        self._listener.onProgress(1.0, _("adding the result to the scene"), None)
        self._follow(self._task.deliver(self._folder), self._finish)

    def _tell(self, task: Task, event: dict[str, Any]) -> None:
        """What the task cannot take in does not end the work."""
        try:
            task.hear(event)
        except Exception as error:
            self._listener.onLog(sentenceOf(error))

    def _finish(self) -> None:
        assert self._task is not None
        self._end(Outcome("done", nodes=self._task.nodes))

    def _follow(self, steps: Steps[None], afterwards: Callable[[], None]) -> None:
        self._steps, self._afterwards, self._waited = steps, afterwards, None
        if self._timer is None:
            self._timer = qt.QTimer(slicer.app)
            self._timer.setSingleShot(True)
            self._timer.connect("timeout()", self._advance)
        self._timer.start(0)

    def _advance(self) -> None:
        """One step, and then a turn for everything else in the window."""
        if self._task is None or self._steps is None or self._afterwards is None:
            return
        if self._cancelled:
            self._endCancelled()
            return
        if self._waited is not None and not _letWork(self._waited):
            self._timer.start(0)
            return
        self._stepping = True
        try:
            self._waited = next(self._steps)
        except StopIteration:
            self._guarded(self._afterwards)
            return
        except Exception as error:
            self._fail(error)
            return
        finally:
            self._stepping = False
        if self._timer is not None:
            self._timer.start(0)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._end(Outcome("failed", message=sentenceOf(error), details=detailsOf(error)))

    def _endCancelled(self) -> None:
        assert self._task is not None
        self._end(Outcome("cancelled", message=self._task.cancelledSentence()))

    def _end(self, outcome: Outcome) -> None:
        listener, folder, steps = self._listener, self._folder, self._steps
        if self._timer is not None:
            self._timer.stop()
            self._timer.deleteLater()
            self._timer = None
        self._task, self._steps, self._afterwards, self._folder = None, None, None, None
        self._request, self._listener = "", Listener()
        if steps is not None:
            # what they have added to the scene by now goes again
            steps.close()
        if folder is not None:
            _removeLater(folder)
        listener.onEnd(outcome)


class _Relay(Listener):
    """Passes everything on, keeps the outcome, and ends the wait."""

    def __init__(self, listener: Listener, quitWaiting: Callable[[], None]) -> None:
        self.onProgress, self.onLog = listener.onProgress, listener.onLog  # type: ignore[method-assign]
        self._listener, self._quit = listener, quitWaiting
        self.outcome: Outcome | None = None

    def onEnd(self, outcome: Outcome) -> None:
        """The wait is over."""
        self.outcome = outcome
        self._listener.onEnd(outcome)
        self._quit()


def sentenceOf(error: Exception) -> str:
    """What to tell the user of an error: its own sentence where it was written for users."""
    from SegAdversarialLib.errors import InputError

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ImportError):
        return _("A Python package is missing ({error}); install what the module needs with the button at the top.").format(
            error=error
        )
    _log.error("Unexpected error", exc_info=error)
    return _("Something went wrong in the module ({kind}: {error}); please report it with the log.").format(
        kind=type(error).__name__, error=error
    )


def detailsOf(error: Exception) -> str:
    """Where in the program it went wrong; empty for what the user can mend."""
    from SegAdversarialLib.errors import InputError

    return "" if isinstance(error, InputError) else "".join(traceback.format_exception(error))


def _letWork(future: Any) -> bool:
    """Whether the background thread is ready; it gets a moment for it."""
    from SegAdversarialLib.scene.steps import done_within

    return done_within(future, _LET_WORK)


def _removeLater(folder: Path) -> None:
    """Remove a folder in the background, after what is still being written into it."""
    from SegAdversarialLib.scene.steps import background

    removal = background().submit(shutil.rmtree, folder, ignore_errors=True)
    timer = qt.QTimer(slicer.app)
    timer.setSingleShot(True)

    def turn() -> None:
        if _letWork(removal):
            timer.deleteLater()
        else:
            timer.start(0)

    timer.connect("timeout()", turn)
    timer.start(0)


def _privateFolder(parent: str) -> Path:
    """A new folder that nobody else may enter. Those of Slicers that were killed go: what lies in them are somebody's images.

    Raises:
        InputError: it cannot be made.
    """
    from SegAdversarialLib.errors import InputError
    from SegAdversarialLib.volumes.interrupted import new_mark, remove_left

    remove_left(Path(parent), _FOLDERS)
    try:
        return Path(tempfile.mkdtemp(prefix=f"{_FOLDERS}{new_mark()}-", dir=parent))
    except OSError as error:
        raise InputError(
            _(
                "Slicer's folder for temporary files, {folder}, cannot be written to ({error}); choose another one in "
                "Edit > Application Settings > Modules."
            ).format(folder=parent, error=error.strerror or error)
        ) from error
