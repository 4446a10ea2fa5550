"""A study from its file to its results: what the command line and the panel both do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback
from SegAdversarialLib.formats.trust import Trust
from SegAdversarialLib.studies.estimate import first_ones
from SegAdversarialLib.studies.folder import StudyFolder
from SegAdversarialLib.studies.plan import Plan, plan
from SegAdversarialLib.studies.records import Cell, Outcome
from SegAdversarialLib.studies.store import Counts, Store
from SegAdversarialLib.studies.study import Study
from SegAdversarialLib.volumes.files import check_writable

_LOOKING = 0.02
"""The share of the progress that looking at the cases gets."""


def run_study(
    file: str | Path,
    *,
    folder: str | Path | None = None,
    scale: str | None = None,
    cohort: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    only_resume: bool = False,
    retry: bool = False,
    first: int | None = None,
    trust: Trust = False,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
    on_begin: Callable[[Plan, Store], None] | None = None,
    on_outcome: Callable[[Cell, Outcome], None] | None = None,
) -> Counts:
    """Run a study, or go on where it stood: what is in its store already is not done again.

    Args:
        file, folder, scale, cohort: see `StudyFolder`; the last two are for a paper's study.
        scheduler, workers, threads, on_outcome: see `execution.run`.
        only_resume: refuse to begin.
        retry: also try again what failed too often.
        first: only so many of the cells that wait, of each sort one before a second of any; None: all of them.
        trust: your word on the programs among its networks, which the study file cannot give. False: those that are remembered
            open; True: also those of which the study says `trust: true`; SHA-256 sums: also these bytes, whatever it says.
        progress, cancel: as everywhere; what was finished before `Cancelled` is kept.
        on_begin: called with the plan and the open store before the first cell.

    Raises:
        InputError: something that the study names is wrong, its store is another's or is being written, or the disk is full.
        Cancelled: `cancel` said so.
    """
    from SegAdversarialLib.studies import execution

    where = StudyFolder.of(file, folder)
    study = where.study(scale, cohort)
    _check_begun(where, study, only_resume)
    planned = plan(study, trust=trust, progress=_part(progress, 0.0, _LOOKING), cancel=cancel)
    with _opened(where, study, planned) as store:
        _begin(planned, store, retry, on_begin)
        waiting = store.waiting()
        some, keep = (waiting, study.keep) if first is None else (first_ones(waiting, first), "tables")
        how: dict[str, Any] = {"scheduler": scheduler, "workers": workers, "threads": threads, "cancel": cancel}
        how["on_outcome"] = on_outcome
        return execution.run(store, some, where.path, keep=keep, progress=_part(progress, _LOOKING, 1.0, "jobs"), **how)


def _check_begun(where: StudyFolder, study: Study, only_resume: bool) -> None:
    if only_resume and not where.store.exists():
        raise InputError(f"The study {study.study} has not been begun in {where.path}; run it.")


def _begin(planned: Plan, store: Store, retry: bool, on_begin: Callable[[Plan, Store], None] | None) -> None:
    if retry:
        store.forgive()
    if on_begin is not None:
        on_begin(planned, store)


@contextmanager
def _opened(where: StudyFolder, study: Study, planned: Plan) -> Iterator[Store]:
    """The store with the plan in it."""
    check_writable(where.path)
    with Store.open(where.store, study.study) as store:
        where.write(study)
        store.add(planned.cells, skipped=planned.skipped, notes=planned.notes)
        yield store


def _part(progress: ProgressCallback | None, begin: float, end: float, said: str = "") -> ProgressCallback | None:
    """The progress of a part of the work; `said` comes before messages that do not say which part it is."""
    if progress is None:
        return None

    def told(fraction: float, message: str) -> None:
        text = f"{said}: {message}" if said and ":" not in message else message
        progress(begin + (end - begin) * fraction, text)

    return told
