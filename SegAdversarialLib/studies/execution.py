"""Running the cells of a study on Dask: on this machine, or on any cluster; what is finished is in the store at once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel
from SegAdversarialLib.studies.cluster import connected
from SegAdversarialLib.studies.crew import Crew, Report
from SegAdversarialLib.studies.keeping import Keep, Kept, most_again, volumes_missing
from SegAdversarialLib.studies.pace import Pace
from SegAdversarialLib.studies.records import Cell, Outcome
from SegAdversarialLib.studies.schedule import Schedule
from SegAdversarialLib.studies.work import product_of

Heard = Callable[[Cell, Outcome], None]

TRIES = 3
"""How often a cell is tried that ends in an error, or with its worker, until it is given up."""

_TICK = 0.5
"""Seconds after which the caller is asked whether to go on, and told how far it is."""

_log = logging.getLogger(__name__)

Counted = TypeVar("Counted", covariant=True)


class StoreLike(Kept, Protocol[Counted]):
    """What is needed of the study's store; only the client writes it."""

    def finish(self, cell: Cell, outcome: Outcome, *, worker: str) -> bool:
        """Keep what came out of a cell."""

    def fail(self, cell: Cell, error: str, *, worker: str, poison: bool) -> None:
        """Keep why nothing came out of a cell."""

    def counts(self) -> Counted:
        """How many cells are in which state."""


def run(
    store: StoreLike[Counted],
    cells: Iterable[Cell],
    folder: str | Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    keep: Keep = "tables",
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
    on_outcome: Heard | None = None,
) -> Counted:
    """Do cells, and write what comes out of each into the store as soon as it is there.

    A worker that dies loses the cell that it is at, which another worker begins again; after three tries a cell is given
    up and reported. An `InputError` of a cell is reported at once. Cells that need others wait for these.

    Args:
        store: the study's.
        cells: what is to be done, usually `store.waiting()`; what they need and is not among them is taken to be there.
        folder: the study's; where workers run elsewhere, on a disk that all share, under the same path.
        scheduler: address of a running Dask scheduler; None: workers of its own on this machine, one for each GPU or core.
        workers: how many of its own; None: see `cluster.posts`.
        threads: of torch in each worker; None: the cores shared out, or what the scheduler's workers have.
        keep: the volumes that are kept: none, the worst case of each network and attack, or all.
        progress: called with the finished fraction and a sentence with rate and time left.
        cancel: asked twice a second; True ends with `Cancelled`, and what was finished is in the store.
        on_outcome: called after each cell whose outcome is in the store.

    Returns:
        The store's counts.

    Raises:
        InputError: there is no such scheduler, it has gone, or no worker has the right software.
        Cancelled: `cancel` said so.
    """
    waiting, place = list(cells), Path(folder).absolute()
    if waiting or volumes_missing(store, place, keep):
        place.mkdir(parents=True, exist_ok=True)
        with connected(scheduler, workers, threads) as client, closing(Crew(client, place, threads)) as crew:
            products = {cell.key: product_of(cell) for cell in store.planned()}
            running, writer = _Running(crew, products, progress, cancel), _Writer(store, on_outcome)
            later = most_again(store.planned(), keep)
            middle = len(waiting) / (len(waiting) + later) if waiting else 0.0
            running.go(waiting, writer.write, (0.0, middle), volumes=keep == "all")
            again = volumes_missing(store, place, keep)
            running.go(again, writer.keep, (middle, 1.0), volumes=True, doing="writing volumes: ")
    return store.counts()


Told = Callable[["Report"], None]
"""Called with each report after which nothing more is tried."""


class _Writer:
    """Writes what becomes of cells into the store."""

    def __init__(self, store: StoreLike[Any], heard: Heard | None) -> None:
        self._store, self._heard = store, heard

    def write(self, report: Report) -> None:
        """Keep an outcome, or why there is none."""
        if report.outcome is None:
            poison = report.kind != "refused"
            self._store.fail(report.cell, report.error, worker=report.worker, poison=poison)
            _log.warning("%s: %s", _name(report.cell), report.error)
            return
        self._store.finish(report.cell, report.outcome, worker=report.worker)
        if self._heard is not None:
            self._heard(report.cell, report.outcome)

    def keep(self, report: Report) -> None:
        """Note the volumes for which a cell was done once more; what was measured before stays."""
        if report.outcome is None:
            _log.warning("The volumes of %s could not be written: %s", _name(report.cell), report.error)
        else:
            self._store.keep(report.cell, report.outcome.kept)


class _Running:
    """Hands out cells until all are done.

    Args:
        crew: the workers.
        products: by key what cells make for others.
        progress, cancel: see `run`.
    """

    def __init__(
        self, crew: Crew, products: dict[str, str], progress: ProgressCallback | None, cancel: CancelCheck | None
    ) -> None:
        self._crew, self._products, self._progress, self._cancel = crew, products, progress, cancel
        self._warned: set[str] = set()

    def go(self, cells: Sequence[Cell], tell: Told, part: tuple[float, float], *, volumes: bool, doing: str = "") -> None:
        """Do cells.

        Args:
            cells: what is to be done.
            tell: gets the last report on each.
            part: where they begin and end in the progress of the whole.
            volumes: write the volumes of attacks.
            doing: what progress says of it.
        """
        schedule, pace, tries, (begin, end) = Schedule(cells), Pace(cells), Counter[str](), part
        while len(schedule) or self._crew.busy:
            check_cancel(self._cancel)
            self._look_after_workers()
            self._hand_out(schedule, volumes)
            for report in self._crew.report(_TICK):
                for last in _judged(report, schedule, tries):
                    tell(last)
                    pace.finished(last.cell, last.outcome.seconds if last.outcome is not None else None)
            if self._progress is not None:
                workers = len(self._crew)
                waiting = "" if workers else "waiting for workers: "
                self._progress(begin + (end - begin) * pace.fraction, f"{waiting}{doing}{pace.sentence(workers)}")

    def _hand_out(self, schedule: Schedule, volumes: bool) -> None:
        """Give every worker something to do, and one thing more while there is plenty, so that none has to wait."""
        while schedule.ready:
            queued = 1 if schedule.ready > 2 * len(self._crew) else 0
            worker = self._crew.idle(queued)
            if worker is None:
                return
            cell = schedule.next(worker)
            if cell is None:
                return
            products = {key: self._products[key] for key in cell.needs if self._products.get(key)}
            self._crew.give(cell, worker, products, volumes and cell.kind == "attack")

    def _look_after_workers(self) -> None:
        """Say which workers were left out; without any other there is nothing to wait for."""
        for address, sentence in self._crew.refused.items():
            if address not in self._warned:
                self._warned.add(address)
                if not self._crew.hopeful:
                    raise InputError(sentence)
                _log.warning("%s", sentence)


def _judged(report: Report, schedule: Schedule, tries: Counter[str]) -> Iterator[Report]:
    """What a report means: a cell is done, or given up, and with it those that cannot do without it; or it waits again."""
    cell = report.cell
    if report.kind == "done":
        schedule.done(cell)
        yield report
        return
    if report.kind in ("lost", "failed"):
        tries[cell.key] += 1
    if report.kind == "returned" or (report.kind != "refused" and tries[cell.key] < TRIES):
        schedule.again(cell)
        return
    error = report.error if report.kind == "refused" else f"Given up after {TRIES} tries: {report.error}."
    yield replace(report, error=error)
    for other in schedule.failed(cell):
        why = f"It needs {_name(cell)}, which came to nothing: {error}"
        yield Report(other, report.worker, "refused", error=why)


def _name(cell: Cell) -> str:
    return ", ".join(x for x in (cell.attack or cell.kind, cell.network, cell.case) if x)
