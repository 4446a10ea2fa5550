"""Running a study as a job: rows as they come in, the report at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import CancelCheck, check_cancel
from SegAdversarialLib.jobs.opening import Emit, part_of
from SegAdversarialLib.jobs.study_job import StudyJob
from SegAdversarialLib.metrics import mean_dice
from SegAdversarialLib.studies.budgets import Budgets
from SegAdversarialLib.studies.grouping import counts_in_mean
from SegAdversarialLib.volumes.json_data import plain

if TYPE_CHECKING:
    from SegAdversarialLib.studies.plan import Plan
    from SegAdversarialLib.studies.records import Cell, Outcome
    from SegAdversarialLib.studies.store import Store

_MOST_EARLIER = 5000
"""Rows of an earlier run that are told again: the last ones of the plan; all of them stand in the report."""

_REPORT = 0.03
"""The share of the progress that the report gets."""


def run_study_job(job: StudyJob, emit: Emit, cancel: CancelCheck | None) -> list[dict[str, Any]]:
    """Run it; each finished attack is told as a row of the trace, those of an earlier run first."""
    from SegAdversarialLib.studies import report
    from SegAdversarialLib.studies.folder import StudyFolder
    from SegAdversarialLib.studies.running import run_study
    from SegAdversarialLib.studies.store import Store

    where = StudyFolder.of(job.study, job.output or None)
    teller = _Teller(emit)
    progress = part_of(emit, 0.0, 1.0 - _REPORT)
    counts = run_study(
        job.study,
        folder=job.output or None,
        scheduler=job.scheduler,
        workers=job.workers,
        retry=job.retry,
        trust=job.trust,
        progress=progress,
        cancel=cancel,
        on_begin=teller.begin,
        on_outcome=teller.tell,
    )
    reporting = part_of(emit, 1.0 - _REPORT, 1.0)

    def written(fraction: float, message: str) -> None:
        reporting(fraction, message)
        check_cancel(cancel)

    with Store.open(where.store, reading=True) as store:
        teller.tell_failures(store)
        check_cancel(cancel)
        report.write(StudyFolder.of(where.path).study(), store, where.report, progress=written)
    row = {"study": where.path.name, "jobs": counts.total, "done": counts.done, "failed": counts.failed + counts.poisoned}
    emit({"event": "result", "name": job.kind, "folder": str(where.path), "report": str(where.report), "row": row})
    return [row]


class _Teller:
    """Tells of cells as rows: what was done, Dice before and after, and how the case can be read."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._budgets: Budgets | None = None

    def begin(self, plan: Plan, store: Store) -> None:
        """Tell of what an earlier run has finished."""
        self._budgets = Budgets((x.attack, x.settings) for x in plan.cells if x.kind == "attack")
        for note in plan.notes:
            self._emit({"event": "log", "level": "warning", "message": note})
        for case, reason in plan.skipped.items():
            self._emit({"event": "log", "level": "warning", "message": f"{case} is left out: {reason}"})
        cells = {cell.key: cell for cell in plan.cells}
        measured: dict[str, list[dict[str, Any]]] = {}
        for row in store.results():
            measured.setdefault(row["key"], []).append(row)
        for key in list(measured)[-_MOST_EARLIER:]:
            self._row(cells[key], measured[key])
        self._emit(
            {"event": "log", "level": "info", "message": f"{len(plan.cells):,} jobs, {len(measured):,} attacks are done."}
        )

    def tell(self, cell: Cell, outcome: Outcome) -> None:
        """Tell of a cell that has just been finished."""
        if cell.kind == "attack":
            self._row(cell, outcome.structures)
        else:
            self._emit({"event": "log", "level": "info", "message": f"{cell.kind}: {cell.network} is done."})

    def tell_failures(self, store: Store) -> None:
        """Tell of the cells that came to nothing, and why."""
        failed = {row["key"]: row["error"] for row in store.cells() if row["state"] in ("failed", "poisoned")}
        for key, error in failed.items():
            self._row(store.cell(key), [], error)

    def _row(self, cell: Cell, structures: Iterable[Mapping[str, Any]], error: str = "") -> None:
        rows = [x for x in structures if counts_in_mean(x)]
        row = {
            "key": cell.key,
            "network": cell.network,
            "case": cell.case,
            "attack": self._what(cell),
            "before": mean_dice(row["dice_before"] for row in rows),
            "after": mean_dice(row["dice_after"] for row in rows),
            "error": error,
            "entry": cell.work.get("case"),
        }
        self._emit({"event": "trace", "name": "study", **plain(row)})

    def _what(self, cell: Cell) -> str:
        """The attack with its budget and channels: "FGSM, epsilon 0.05, T1"."""
        if cell.kind != "attack" or self._budgets is None:
            return cell.attack or cell.kind
        said = self._budgets.of(cell.attack, cell.settings)
        budget = "" if said["budget"] is None else f"{said['budget_name']} {said['budget']:g}"
        channels = "" if said["channels"] == "all" else said["channels"]
        repeat = f"repeat {cell.repeat}" if cell.repeat else ""
        return ", ".join(x for x in (cell.attack, budget, said["variant"], channels, repeat) if x)
