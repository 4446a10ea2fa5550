"""What an attack job writes: each finished attack with all that belongs to it at once, the folder's table included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.attacks import AttackResult
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.evaluation.evaluation import Evaluation, compare
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.jobs.planning import Planned, asked_of
from SegAdversarialLib.jobs.results import JOB_FILE, TABLE_FILE, measured_rows, write_clean
from SegAdversarialLib.jobs.results_folder import ResultsFolder, write_job
from SegAdversarialLib.jobs.specification import AttackJob
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import RESULT_MARKER

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel


class AttackWriter:
    """Writes into the folder of an attack job.

    Args:
        job: the job.
        case, clean: its case, and the network's answer for it.
        place: the folder.
        plans: the attacks, by the names of their folders.
    """

    def __init__(
        self, job: AttackJob, case: Case, clean: Prediction, place: ResultsFolder, plans: Mapping[str, Planned]
    ) -> None:
        self._job, self._case, self._clean, self._place = job, case, clean, place
        self._rows = {
            name: compare({name: measured_rows(record)})[0] | _spared(record.get("windows_spared", 0.0))
            for name, record in place.earlier.items()
        }
        every = {name: asked_of(record) for name, record in place.earlier.items()}
        every |= {name: plan.asked for name, plan in plans.items()}
        self._attacks = list(every.values()) if len(every) > len(plans) else None
        self._begun = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table: a row for each attack that is in the folder, in the order in which they first came."""
        return list(self._rows.values())

    def row(self, name: str) -> dict[str, Any]:
        """The table's row of an attack."""
        return self._rows[name]

    def begin(self) -> None:
        """Write what is there before any attack, unless earlier results are to go: they stay until one is finished."""
        if not self._place.overwrites:
            with self._place.change() as folder:
                self._write_beginning(folder)

    def add(
        self, name: str, result: AttackResult, evaluation: Evaluation, model: SegmentationModel, about: Mapping[str, Any]
    ) -> None:
        """Write a finished attack, and the table with it."""
        with self._place.change([name]) as folder:
            self._write_beginning(folder)
            write_attack(folder / name, result, evaluation, model, self._job.ending, about)
            write_job(folder, self._job, model, self._attacks)  # now it is known how the network is best asked
            there = {x: row for x, row in self._rows.items() if (self._place.path / x / RESULT_MARKER).is_file()}
            rows = {**there, name: compare({name: evaluation})[0] | _spared(result.windows_spared)}
            write_table(list(rows.values()), folder / TABLE_FILE)
        self._rows = rows

    def _write_beginning(self, folder: Path) -> None:
        if not self._begun or not (self._place.path / JOB_FILE).is_file():  # somebody took the folder away meanwhile
            write_clean(folder, self._clean.labels, self._case, self._job.ending)
            write_job(folder, self._job, attacks=self._attacks)
            self._begun = True


def _spared(share: float) -> dict[str, float]:
    """The table's column that says which share of the windows was spared, where any was."""
    return {"windows spared": round(share, 4)} if share else {}
