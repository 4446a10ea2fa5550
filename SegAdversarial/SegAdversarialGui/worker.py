"""The worker process: networks run outside Slicer, so that Slicer stays quick and survives whatever they do."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

Event = dict[str, Any]
OnEvent = Callable[[Event], None]

EARLY = "SEGADVERSARIAL_EARLY_WORKER"
"""The environment variable with which ("0") the process starts with the first request, not when the panel is opened."""

PATIENCE = 3000
"""Milliseconds between asking a request to stop and ending the process."""

_LOG_LINES = 500
_ENDS = ("done", "cancelled", "error")
_LAUNCHER_SAYS = "exit abnormally - Report the problem."
_log = logging.getLogger(__name__)


def workerCommand() -> list[str]:
    """Program and arguments of the worker: Slicer's own Python, or outside Slicer the running one."""
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    beside = Path(slicer.app.slicerHome or "") / "bin" / name
    # Python inside another program may not know of any interpreter; then what should have been there is named when it fails
    python = str(beside) if beside.is_file() else shutil.which("PythonSlicer") or sys.executable or str(beside)
    return [python, "-m", "SegAdversarialLib", "worker"]


class Worker:
    """One long-lived process that takes requests one after the other and answers with events.

    It starts with the first request, or earlier with `prepare`. A process that has opened a program of a stranger's is used
    for nothing else, and a program gets a process that has done nothing else: between the two it starts anew. When it dies,
    everything that was asked of it ends with an error event of kind "died", and the next request starts a new one. All is
    done on the main thread, driven by Qt's event loop.

    Attributes:
        lines: the last lines that the process wrote for people, the newest last.
        process: the QProcess, or None while nothing runs.
    """

    def __init__(self, command: Callable[[], list[str]] = workerCommand) -> None:
        self.lines: deque[str] = deque(maxlen=_LOG_LINES)
        self.process: Any = None
        self._command = command
        self._program = ""
        self._listeners: dict[str, OnEvent] = {}
        self._partial = {"out": b"", "err": b""}
        self._leader = 0
        self._cancelled: dict[str, float] = {}
        self._insistence: Any = None
        self._programs: frozenset[str] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None

    @property
    def processId(self) -> int:
        """The worker's number in the operating system; 0 while nothing runs.

        PythonSlicer is a launcher: the worker itself is its child, which says its number when it is ready.
        """
        if self.process is None:
            return 0
        return self._leader or int(self.process.processId())

    def submit(self, request: dict[str, Any], onEvent: OnEvent, programs: frozenset[str] | None = None) -> str:
        """Send a request (see `SegAdversarialLib.jobs.worker`).

        Args:
            onEvent: called with each of its events; the last is of the kind "done", "cancelled" or "error".
            programs: the SHA-256 of the programs that it opens, by which it goes to a process of its own; None: it reads no
                case and opens no network.

        Returns:
            The request's identifier.
        """
        identifier = uuid.uuid4().hex
        if programs is not None:
            if self.mustStartAnew(programs):
                self.stop()
            self._programs = programs
        # first, because a process that cannot start says so at once
        self._listeners[identifier] = onEvent
        if self.process is None:
            self._start()
        self._send({**request, "id": identifier})
        return identifier

    def mustStartAnew(self, programs: frozenset[str]) -> bool:
        """Whether a request that opens these programs (their SHA-256) must not get the process that is there."""
        return self.process is not None and self._programs not in (None, programs)

    def letGo(self, sums: Iterable[str]) -> None:
        """End the process if it has opened one of these programs and has nothing to do: they are trusted no more."""
        if self.process is not None and not self._listeners and not (self._programs or frozenset()).isdisjoint(sums):
            self.stop()

    def prepare(self) -> None:
        """Start the process before it is needed, and let it import what networks need; nobody waits for that."""
        if self.process is None and os.environ.get(EARLY, "1") != "0":
            self.submit({"request": "prepare"}, lambda event: None)

    def cancel(self, identifier: str) -> None:
        """Ask a request to stop; if it has not after three seconds, the process and all its children are ended."""
        if identifier not in self._listeners or identifier in self._cancelled:
            return
        self._cancelled[identifier] = time.monotonic()
        self._send({"request": "cancel", "id": identifier})
        if self._insistence is None:
            self._insistence = qt.QTimer(slicer.app)
            self._insistence.setSingleShot(True)
            self._insistence.connect("timeout()", self._insist)
        if not self._insistence.isActive():
            self._insistence.start(PATIENCE)

    def stop(self) -> None:
        """End the process, and whatever it has started, now; requests that are open end as cancelled."""
        if self.process is None:
            return
        process = self.process
        self._cancelled.update(dict.fromkeys(self._listeners, 0.0))
        self._send({"request": "quit"})
        process.closeWriteChannel()
        # it leaves at once when it hears that nobody is there any more; its children do not
        endTree(self.processId)
        process.kill()
        process.waitForFinished(2000)
        self._finish(0, 0)

    def _start(self) -> None:
        self._program, *arguments = self._command()
        environment = qt.QProcessEnvironment.systemEnvironment()
        root = str(libraryRoot())
        others = environment.value("PYTHONPATH") or ""
        environment.insert("PYTHONPATH", os.pathsep.join(x for x in (others, root) if x))
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        # Slicer's ITK plug-ins read its scene, which a process of its own has not got
        environment.insert("ITK_AUTOLOAD_PATH", "")
        # with a parent: without one PythonQt would destroy it as soon as `_finish` forgets it, in the midst of its own signal
        process = qt.QProcess(slicer.app)
        process.setProcessEnvironment(environment)
        process.connect("readyReadStandardOutput()", self._readOutput)
        process.connect("readyReadStandardError()", self._readLog)
        process.connect("finished(int,QProcess::ExitStatus)", self._finish)
        process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self.lines.clear()
        self._partial = {"out": b"", "err": b""}
        self._leader = 0
        self.process = process
        process.start(self._program, arguments)

    def _send(self, request: dict[str, Any]) -> None:
        if self.process is not None:
            self.process.write((json.dumps(request) + "\n").encode("ascii"))

    def _insist(self) -> None:
        """End the process if it has not stopped what it was asked to stop long enough ago."""
        asked = [moment for identifier, moment in self._cancelled.items() if identifier in self._listeners]
        if not asked or self.process is None:
            return
        left = PATIENCE - round(1000 * (time.monotonic() - min(asked)))
        if left > 0:
            self._insistence.start(left)
            return
        endTree(self.processId)
        self.process.kill()

    def _readOutput(self) -> None:
        if self.process is None:
            return
        for line in self._lines("out", self.process.readAllStandardOutput().data()):
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):
                self.lines.append(line)
                continue
            self._hand(kind, event)

    def _hand(self, kind: str, event: Event) -> None:
        identifier = event.get("id", "")
        listener = self._listeners.pop(identifier, None) if kind in _ENDS else self._listeners.get(identifier)
        if kind in _ENDS:
            self._cancelled.pop(identifier, None)
        if kind == "ready":
            self._leader = int(event.get("process", 0))
        elif listener is not None:
            listener(event)
        elif kind == "error":
            _log.error("%s", event.get("message", ""))

    def _readLog(self) -> None:
        if self.process is not None:
            self.lines.extend(self._lines("err", self.process.readAllStandardError().data()))

    def _lines(self, stream: str, data: bytes) -> list[str]:
        *whole, self._partial[stream] = (self._partial[stream] + data).split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in whole if line.strip()]

    def _failed(self, error: int) -> None:
        # of all errors only this one is not followed by "finished"; its channels are closed
        if error == qt.QProcess.FailedToStart:
            self._end(self._neverStarted())

    def _finish(self, code: int = 0, status: int = 0) -> None:
        """The process has gone: say so to everybody who waits for it."""
        if self.process is None:
            return
        self._readOutput()
        self._readLog()
        self.lines.extend(x for x in (self._partial["err"].decode("utf-8", "replace").strip(),) if x)
        self._end(self._lastWords(code, status))

    def _end(self, message: str) -> None:
        process, self.process = self.process, None
        self._programs = None
        process.deleteLater()
        if self._insistence is not None:
            self._insistence.stop()
            self._insistence.deleteLater()
            self._insistence = None
        waiting, self._listeners = self._listeners, {}
        cancelled, self._cancelled = self._cancelled, {}
        for identifier, listener in waiting.items():
            if identifier in cancelled:
                listener({"event": "cancelled", "id": identifier})
            else:
                details = "\n".join(self.lines)
                listener({"event": "error", "id": identifier, "kind": "died", "message": message, "details": details})

    def _neverStarted(self) -> str:
        """One sentence on what could not be started."""
        return _("The worker process could not be started: {program} ({reason}); check the installation of Slicer.").format(
            program=self._program, reason=self.process.errorString()
        )

    def _lastWords(self, code: int, status: int) -> str:
        """One sentence on why the process has gone."""
        last = next((line.strip() for line in reversed(self.lines) if line.strip()), "")
        # PythonSlicer ends in good order (code 1) when the Python that it has started was killed or has crashed, and says so
        behindLauncher = status != qt.QProcess.CrashExit and last.endswith(_LAUNCHER_SAYS)
        if status == qt.QProcess.CrashExit or behindLauncher:
            signalled = code in (signal.SIGTERM, getattr(signal, "SIGKILL", 9))
            if signalled or (behindLauncher and not any("atal Python error" in line for line in self.lines)):
                return _(
                    "The worker process was ended from outside, most often because memory ran out; close other programs, use "
                    "a smaller volume, and run again."
                )
            return _("The worker process crashed (code {code}); run again, and see the log if it does it again.").format(
                code=code
            )
        return _("The worker process ended by itself (code {code}): {last}").format(code=code, last=last or _("no message"))


def libraryRoot() -> Path:
    """The folder that holds the library's package."""
    import SegAdversarialLib

    return Path(SegAdversarialLib.__file__).resolve().parents[1]


def endTree(processId: int) -> None:
    """End a worker process and all that it has started."""
    if processId <= 0:
        return
    if os.name == "nt":
        # without the flag a console window would flash up
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        command = ["taskkill", "/T", "/F", "/PID", str(processId)]
        subprocess.run(command, capture_output=True, check=False, creationflags=hidden)
        return
    try:
        # the worker leads a process group of its own; before it has got so far it has no children either
        os.killpg(processId, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        _log.debug("No process group %d.", processId)


_shared: list[Worker] = []
_panels: list[Any] = []


def sharedWorker() -> Worker:
    """The worker of this Slicer, for all panels and the Python console alike; it ends with Slicer."""
    if not _shared:
        worker = Worker()
        slicer.app.connect("aboutToQuit()", worker.stop)
        _shared.append(worker)
    return _shared[0]


def holdSharedWorker(panel: Any) -> None:
    """Keep the shared worker until this panel lets go of it."""
    _panels.append(panel)


def releaseSharedWorker(panel: Any) -> None:
    """A panel goes away; the shared worker ends with the last one."""
    _panels[:] = [x for x in _panels if x is not panel]
    if not _panels:
        stopSharedWorker()


def stopSharedWorker() -> None:
    """End the shared worker, if there is one."""
    while _shared:
        worker = _shared.pop()
        slicer.app.disconnect("aboutToQuit()", worker.stop)
        worker.stop()
