"""Running a training as a job."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import CancelCheck
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.jobs import results
from SegAdversarialLib.jobs.kept_cases import KeptCases
from SegAdversarialLib.jobs.opening import CasesOnDemand, Emit, open_case, part_of, progress_event
from SegAdversarialLib.jobs.results_folder import ResultsFolder
from SegAdversarialLib.jobs.sources import CaseSource
from SegAdversarialLib.jobs.train_job import TrainJob
from SegAdversarialLib.volumes.json_data import plain

_log = logging.getLogger(__name__)


def run_train(job: TrainJob, emit: Emit, cancel: CancelCheck | None) -> list[dict[str, Any]]:
    """Train; each epoch is told as a row of the trace, and leaves its traces in the folder."""
    from SegAdversarialLib.defenses import recipes
    from SegAdversarialLib.formats.own_files import SETTINGS_FILE, WEIGHTS_FILE
    from SegAdversarialLib.training.loop import train
    from SegAdversarialLib.training.settings import TrainingSettings
    from SegAdversarialLib.training.task import Task

    recipe, settings = recipes.make(job.recipe), TrainingSettings(**job.settings)
    folder = Path(job.output)
    place = ResultsFolder(job, [WEIGHTS_FILE, SETTINGS_FILE])
    place.check_inputs([], [path for case in (*job.cases, *job.validation) for path in case.files])
    kept = KeptCases(job, place)
    _warn_of_shared(job)
    emit(progress_event(0.0, "reading"))
    head = Task.of(open_case(job.cases[0]), job.described).head
    rows: list[dict[str, Any]] = []

    def tell(row: dict[str, float]) -> None:
        rows.append(row)
        emit({"event": "trace", "name": job.kind, **plain(row)})

    train(
        job.network,
        CasesOnDemand(job.cases, head),
        settings,
        recipe=recipe,
        validation=CasesOnDemand(job.validation, head),
        folder=folder,
        device=job.device,
        on_begin=lambda: kept.write_job(head),
        on_epoch=tell,
        progress=part_of(emit, 0.0, 1.0),
        cancel=cancel,
        **job.described,
    )
    write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": job.kind, "file": str(folder / SETTINGS_FILE), "rows": plain(rows)})
    return rows


def _warn_of_shared(job: TrainJob) -> None:
    """Say that a network is measured on what it learns from, which flatters it and chooses its epoch."""
    whole = job.anywhere()
    known = set(map(_images_of, whole.cases))
    shared = sum(_images_of(x) in known for x in whole.validation)
    if shared:
        _log.warning(
            "The network learns from %d of the %d case(s) that it is measured on: their Dice, by which the best epoch is "
            "chosen, says little about others.",
            shared,
            len(whole.validation),
        )


def _images_of(case: CaseSource) -> tuple[Any, ...]:
    """What is equal of two cases if their images are the same."""
    phantom = None if case.phantom is None else (case.phantom.seed, case.phantom.shape)
    return (phantom, *sorted(case.channels.values()))
