"""A process that works for another program: requests come in as JSON lines, events go out as JSON lines.

Requests (standard input), each with an "id" of the caller's choice::

    {"request": "job", "id": "1", "job": {...}}          run a job (see `specification`)
    {"request": "network", "id": "2", "model": {...}}    open a network, keep it, and say what it is
    {"request": "devices", "id": "3"}                    list the devices
    {"request": "fetch", "id": "4", "network": NAME}     download a network of the catalogue (see `formats.fetching`)
    {"request": "prepare", "id": "5"}                    import what networks need, beside whatever else is asked
    {"request": "cancel", "id": "1"}                     stop a request that runs or waits
    {"request": "quit"}                                  end at once

Events (standard output): first "ready"; then, with the request's id, "progress", "log", "trace" and "result", and for each
request exactly one of "done", "cancelled" and "error". Requests run one after another in the main thread. Nothing else ever
reaches the standard output: whatever networks and libraries print goes to standard error. The end of standard input means that
the caller is gone; the process then ends at once, also in the middle of a job.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TextIO

from SegAdversarialLib import __version__
from SegAdversarialLib.errors import Cancelled, InputError, check_cancel
from SegAdversarialLib.jobs.failures import failure
from SegAdversarialLib.jobs.warming import Warming
from SegAdversarialLib.volumes.json_data import plain
from SegAdversarialLib.volumes.own_streams import take_over_streams

if TYPE_CHECKING:
    from SegAdversarialLib.formats.model_cache import ModelCache
    from SegAdversarialLib.formats.source import ModelSource
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

PROTOCOL = 1

Send = Callable[[dict[str, Any]], None]

_PROGRESS_INTERVAL = 0.05
"""Seconds between two progress events with the same message: more often nobody can see it."""


@dataclass(eq=False)
class Request:
    """One thing to do: its id, its kind, all that was said, and whether it is to stop."""

    id: Any
    kind: str
    said: dict[str, Any]
    stop: threading.Event = field(default_factory=threading.Event)


class Inbox:
    """Requests in the order in which they came; filled by one thread, emptied by another."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._running: Request | None = None

    @property
    def running(self) -> Request | None:
        """The request that is being worked on."""
        return self._running

    @property
    def waits(self) -> bool:
        """Whether a request waits behind the one that is being worked on."""
        return bool(self._waiting)

    def put(self, request: Request) -> bool:
        """Add a request; False if another with its id has not ended yet."""
        with self._changed:
            if any(x.id == request.id for x in (*self._waiting, self._running) if x is not None):
                return False
            self._waiting.append(request)
            self._changed.notify()
            return True

    def take(self) -> Request:
        """Wait for the next request and take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._running = self._waiting.popleft()
            return self._running

    def finish(self) -> None:
        """The request that was taken is done with."""
        with self._changed:
            self._running = None

    def cancel(self, identifier: Any) -> bool:
        """Take out a request that waits (True), or tell the one that runs to stop; one that has ended is past stopping."""
        with self._changed:
            for request in self._waiting:
                if request.id == identifier:
                    self._waiting.remove(request)
                    return True
            if self._running is not None and self._running.id == identifier:
                self._running.stop.set()
            return False


class Worker:
    """Takes requests in one thread and answers them in another.

    Args:
        send: gets each event, from any thread.
    """

    def __init__(self, send: Send) -> None:
        self._send, self._inbox = send, Inbox()
        self._models: ModelCache | None = None
        self._answers = {
            "job": self._job,
            "network": self._network,
            "devices": self._devices,
            "fetch": self._fetch,
            "prepare": self._prepare,
        }
        self._warming = Warming()

    def hear(self, line: bytes) -> bool:
        """Take in one line of the caller's; False when it says to quit."""
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            self._refuse(None, f"A request must be one line of JSON; this one is not ({error}).")
            return True
        if not isinstance(said, dict) or not isinstance(said.get("request"), str):
            self._refuse(said.get("id") if isinstance(said, dict) else None, 'A request must be an object with a "request".')
        elif said["request"] == "quit":
            return False
        elif said["request"] == "cancel":
            if self._inbox.cancel(said.get("id")):
                self._send({"event": "cancelled", "id": said["id"]})
        elif said["request"] not in self._answers:
            known = ", ".join((*self._answers, "cancel"))
            self._refuse(said.get("id"), f"The worker does not know the request {said['request']}; it knows {known} and quit.")
        elif said.get("id") is None:
            self._refuse(None, f"The request {said['request']} needs an id, by which its events are known.")
        elif not self._inbox.put(Request(said["id"], said["request"], said)):
            # without the id: with it, this would end the other request
            self._refuse(None, f"The id {said['id']} belongs to a request that has not ended; give another.")
        return True

    def work(self) -> NoReturn:
        """Answer requests for ever."""
        while True:
            self.answer(self._inbox.take())
            self._warming.go_on(lambda: self._inbox.waits)

    def answer(self, request: Request) -> None:
        """Do what a request asks and send its end."""
        try:
            check_cancel(request.stop.is_set)
            if not _imports_nothing(request):
                self._warming.end(request.stop.is_set)
            end = {"event": "done", **self._answers[request.kind](request)}
        except Cancelled:
            end = {"event": "cancelled"}
        except (Exception, SystemExit) as error:  # whatever a stranger's network does, the worker lives on
            end = failure(error)
        if end.get("kind") == "memory":
            self._free_memory()
        self._inbox.finish()
        self._send({**end, "id": request.id})

    def log(self, level: str, message: str) -> None:
        """Send a log event on behalf of the request that runs."""
        running = self._inbox.running
        identified = {} if running is None else {"id": running.id}
        self._send({"event": "log", "level": level, "message": message, **identified})

    def _job(self, request: Request) -> dict[str, Any]:
        from SegAdversarialLib.formats.source import describe_source
        from SegAdversarialLib.jobs import running, specification

        job = specification.make_job(request.said.get("job"))
        if isinstance(job, specification.AttackJob) and (job.scene or job.pictures):
            raise InputError("The worker makes no scenes and no pictures; leave scene and pictures out of the job.")
        emit = _thinned(lambda event: self._send({**event, "id": request.id}))
        rows = running.run(
            job, emit, request.stop.is_set, open_model=lambda x: self._open(x, request), describe=describe_source
        )
        return {"rows": rows}

    def _network(self, request: Request) -> dict[str, Any]:
        from pydantic import ValidationError

        from SegAdversarialLib.errors import first_problem
        from SegAdversarialLib.formats.source import ModelSource

        try:
            source = ModelSource.model_validate(request.said.get("model"))
        except ValidationError as error:
            raise InputError(f"The network: {first_problem(error)}") from None
        return {"network": self._open(source, request).describe()}

    def _prepare(self, request: Request) -> dict[str, Any]:
        self._warming.begin()
        return {}

    def _devices(self, request: Request) -> dict[str, Any]:
        from SegAdversarialLib.model.devices import advice, list_devices

        return {"devices": list_devices(), "advice": advice()}

    def _fetch(self, request: Request) -> dict[str, Any]:
        from SegAdversarialLib.formats.fetching.catalogue import entry
        from SegAdversarialLib.formats.fetching.getting import get
        from SegAdversarialLib.jobs.opening import progress_event

        send = _thinned(lambda event: self._send({**event, "id": request.id}))
        network = entry(str(request.said.get("network")))
        found = get(network, progress=lambda *how: send(progress_event(*how)), cancel=request.stop.is_set)
        return {"network": found.name, "path": str(found.path), "sha256": found.sha256}

    def _open(self, source: ModelSource, request: Request) -> SegmentationModel:
        from SegAdversarialLib.formats.model_cache import ModelCache

        if self._models is None:
            self._models = ModelCache()
        model = self._models.get(source, lambda name: self.log("info", f"opening {name}"))
        check_cancel(request.stop.is_set)
        return model

    def _free_memory(self) -> None:
        if self._models is not None:
            self._models.clear()
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _refuse(self, identifier: Any, message: str) -> None:
        identified = {} if identifier is None else {"id": identifier}
        self._send({**failure(InputError(message)), **identified})


def _imports_nothing(request: Request) -> bool:
    """Whether a request is for what the first part of warming has imported, or for that itself."""
    job = request.said.get("job")
    return request.kind == "prepare" or (isinstance(job, dict) and job.get("kind") == "phantom")


def serve() -> NoReturn:
    """Be a worker until the caller is gone."""
    requests, events = take_over_streams()
    faulthandler.enable()  # a crash inside a library leaves its stack in the caller's log
    if hasattr(os, "setsid"):
        with suppress(OSError):  # the leader of a group, when started from a shell, is on its own already
            os.setsid()
    send = _sender(events)
    worker = Worker(send)
    logging.getLogger("SegAdversarialLib").addHandler(_ToCaller(worker))
    send({"event": "ready", "protocol": PROTOCOL, "process": os.getpid(), "version": __version__})
    threading.Thread(target=_listen, args=(requests, worker), daemon=True).start()
    worker.work()


def _sender(events: TextIO) -> Send:
    lock = threading.Lock()

    def send(event: dict[str, Any]) -> None:
        line = json.dumps(plain(event), default=str) + "\n"
        with lock:
            try:
                events.write(line)
                events.flush()
            except (OSError, ValueError):  # nobody reads any more
                os._exit(0)

    return send


def _listen(requests: BinaryIO, worker: Worker) -> None:
    """Read requests until there are no more, and end the process then."""
    try:
        for line in requests:
            if line.strip() and not worker.hear(line):
                break
    finally:  # come what may: a worker that hears nothing any more must not stay behind
        os._exit(0)


def _thinned(send: Send) -> Send:
    """`send` with fewer progress events where a job reports more than anybody can see."""
    last: list[Any] = [None, 0.0]

    def thinned(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            now = time.monotonic()
            if event["message"] == last[0] and now - last[1] < _PROGRESS_INTERVAL:
                return
            last[:] = event["message"], now
        send(event)

    return thinned


class _ToCaller(logging.Handler):
    """The library's warnings as log events."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(logging.WARNING)
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        self._worker.log(record.levelname.lower(), record.getMessage())
