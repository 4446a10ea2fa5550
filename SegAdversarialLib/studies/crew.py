"""The workers of a study, and what each of them is at.

Which worker does which cell is decided here, not by Dask: a worker has the case of its cells at hand; and it is at one cell,
so that what dies with it is known.
"""

from __future__ import annotations

import itertools
import queue
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from SegAdversarialLib import __version__
from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.studies.apart import Failed, do_cell
from SegAdversarialLib.studies.cluster import GONE
from SegAdversarialLib.studies.records import Cell, Outcome
from SegAdversarialLib.studies.work import introduce

if TYPE_CHECKING:
    from distributed import Client

_COLLECT = 30.0
"""Seconds in which an outcome must come over from its worker."""


@dataclass(frozen=True)
class Report:
    """What became of a cell that a worker was given.

    Attributes:
        cell: the cell.
        worker: its address.
        kind: "done"; "refused", where trying again changes nothing; "failed", where it might; "lost", where the worker died
            at it; "returned", where the worker left before it began.
        outcome: what came out, of one that is done.
        error: what went wrong, in a sentence.
    """

    cell: Cell
    worker: str
    kind: Literal["done", "refused", "failed", "lost", "returned"]
    outcome: Outcome | None = None
    error: str = ""


@dataclass(eq=False)
class _Worker:
    """A worker; ready once it has introduced itself."""

    address: str
    threads: int
    ready: bool = False
    flights: list[_Flight] = field(default_factory=list)


@dataclass(eq=False)
class _Flight:
    """A cell, or an introduction (None), on its way."""

    cell: Cell | None
    worker: _Worker
    future: Any = None


class Crew:
    """The workers of a client.

    Args:
        client: of the scheduler.
        folder: the study's.
        threads: that torch may use in each worker; None: as many as the worker has.

    Attributes:
        refused: why workers were left out, by address.
    """

    def __init__(self, client: Client, folder: Path, threads: int | None) -> None:
        self._client, self._folder, self._threads = client, folder, threads
        self._workers: dict[str, _Worker] = {}
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._numbers, self._session = itertools.count(), uuid.uuid4().hex[:8]
        self.refused: dict[str, str] = {}
        client.subscribe_topic("all", lambda event: self._events.put(("cluster", event[1])))
        for address, count in client.nthreads().items():
            self._meet(address, count)

    def __len__(self) -> int:
        """How many workers are ready."""
        return sum(worker.ready for worker in self._workers.values())

    @property
    def hopeful(self) -> bool:
        """Whether there is a worker that is ready, or may be once it has introduced itself."""
        return any(worker.ready or worker.flights for worker in self._workers.values())

    @property
    def busy(self) -> int:
        """How many cells are with workers."""
        return sum(flight.cell is not None for worker in self._workers.values() for flight in worker.flights)

    def idle(self, queued: int = 0) -> str | None:
        """A worker that has nothing to do, or at most so many short cells.

        A worker that is at a long cell gets nothing more: it would wait there, while others have nothing left.
        """
        for worker in self._workers.values():
            if worker.ready and not worker.flights:
                return worker.address
        for worker in self._workers.values():
            short = all(x.cell is not None and x.cell.kind == "attack" for x in worker.flights)
            if worker.ready and short and len(worker.flights) <= queued:
                return worker.address
        return None

    def give(self, cell: Cell, address: str, products: Mapping[str, str], volumes: bool) -> None:
        """Give a worker a cell."""
        worker = self._workers[address]
        threads = self._threads or worker.threads
        options = {"products": dict(products), "volumes": volumes, "threads": threads}
        self._send(_Flight(cell, worker), do_cell, cell, str(self._folder), **options)

    def report(self, timeout: float) -> list[Report]:
        """What has happened; waits for it, but not longer than so many seconds.

        Raises:
            InputError: the scheduler has gone.
        """
        try:
            what, told = self._events.get(timeout=timeout)
        except queue.Empty:
            self._check_scheduler()
            return []
        if what == "cluster":
            return self._cluster(told)
        return [] if told not in told.worker.flights else self._landed(told)

    def close(self) -> None:
        """Ask for nothing more; cells that remote workers are at go on to their end, and nobody hears of it."""
        for worker in self._workers.values():
            for flight in worker.flights:
                flight.future.cancel()
            worker.flights.clear()

    def _meet(self, address: str, threads: int) -> None:
        self._workers[address] = worker = _Worker(address, threads)
        self._send(_Flight(None, worker), introduce)

    def _send(self, flight: _Flight, function: Any, *args: Any, **options: Any) -> None:
        # never the same key twice: what Dask remembers of a cell that killed its worker is not held against it
        key = f"{function.__name__}-{self._session}-{next(self._numbers)}"
        address = flight.worker.address
        flight.worker.flights.append(flight)
        flight.future = self._client.submit(
            function, *args, **options, key=key, pure=False, workers=[address], allow_other_workers=False
        )
        flight.future.add_done_callback(lambda _: self._events.put(("future", flight)))

    def _cluster(self, event: Mapping[str, Any]) -> list[Report]:
        """Workers come and go."""
        address = event.get("worker", "")
        if event.get("action") == "add-worker":
            gone = self._gone(address, expected=False) if address in self._workers else []
            threads = self._client.nthreads().get(address)
            if threads is not None:
                self._meet(address, threads)
            return gone
        if event.get("action") == "remove-worker" and address in self._workers:
            return self._gone(address, bool(event.get("expected")))
        return []

    def _gone(self, address: str, expected: bool) -> list[Report]:
        """What a worker had is lost: what it was at may have killed it, what it had not begun certainly has not."""
        found: list[Report] = []
        worker = self._workers.pop(address)
        flights, worker.flights = worker.flights, []  # what is heard of them from now on counts for nothing
        for flight in flights:
            flight.future.cancel()
            if flight.cell is not None:
                blamed = not found and not expected and flight.future.status != "finished"
                found.append(Report(flight.cell, address, "lost" if blamed else "returned", error=_DIED))
        return found

    def _landed(self, flight: _Flight) -> list[Report]:
        status = flight.future.status
        if status == "cancelled":
            self._check_scheduler()
        first = flight is flight.worker.flights[0]
        flight.worker.flights.remove(flight)
        error, outcome = flight.future.exception(timeout=_COLLECT) if status == "error" else None, None
        if status == "finished":
            try:
                outcome = flight.future.result(timeout=_COLLECT)
            except Exception as raised:  # its worker has gone meanwhile
                error = raised
        flight.future.release()
        if flight.cell is None:
            self._introduced(flight.worker, outcome, error)
            return []
        if isinstance(outcome, Outcome):
            return [Report(flight.cell, flight.worker.address, "done", outcome)]
        if status != "error":
            return [Report(flight.cell, flight.worker.address, "returned")]
        if type(error).__name__ == "KilledWorker":
            return [Report(flight.cell, flight.worker.address, "lost" if first else "returned", error=_DIED)]
        kind: Literal["refused", "failed"] = "refused" if isinstance(error, InputError) else "failed"
        text = (
            str(error)
            if isinstance(error, (InputError, Failed))
            else f"{type(error).__name__}: {detail_of(error)}"
            if error
            else ""
        )
        return [Report(flight.cell, flight.worker.address, kind, error=text)]

    def _introduced(self, worker: _Worker, said: Mapping[str, str] | None, error: BaseException | None) -> None:
        """A worker is ready if it has the same software."""
        if said is None:
            self.refused[worker.address] = (
                f"The worker {worker.address} has no SegAdversarialLib {__version__} to work with"
                f"{f' ({detail_of(error)})' if error is not None else ''}; install the same version there as here."
            )
            return
        for package, here in (("SegAdversarialLib", __version__), ("distributed", version("distributed"))):
            if said.get(package) != here:
                self.refused[worker.address] = (
                    f"The worker {worker.address} runs {package} {said.get(package)}, this is {here}; install the same "
                    "version on both sides."
                )
                return
        worker.ready = True

    def _check_scheduler(self) -> None:
        if self._client.status != "running":
            raise InputError(GONE)


_DIED = "its worker died at it"
