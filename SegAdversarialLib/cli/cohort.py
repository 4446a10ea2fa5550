"""What `segadversarial cohort` shows: the cases of a cohort, and what is wrong with which."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.evaluation.tables import format_table

if TYPE_CHECKING:
    from SegAdversarialLib.cohorts import Check, Cohort
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_SHOWN = 20
"""Cases that are listed unless all are asked for; wrong ones always are."""


def show_cohort(options: argparse.Namespace, console: Console, model: SegmentationModel | None) -> None:
    """List the cases, what is wrong with them, and the label values in them."""
    from SegAdversarialLib import cohorts

    cohort = cohorts.find(options.cohort, label_names=options.label_names, channels=options.rename)
    console.say(f"{cohort!r}\n")
    check = cohort.check(model, labels=options.labels, progress=_progress(console))
    console.emit({"event": "progress", "fraction": 1.0, "message": "checked"})
    for row in check.rows():
        console.emit({"event": "case", **row})
    _show_cases(cohort, check, options.all, console)
    if values := label_rows(cohort, check):
        console.say(f"\n{format_table(values)}")
    _say_unused_names(options, check, console)
    wrong = check.wrong
    if wrong:
        console.say(f"\n{format_table([{'case': name, 'problem': reason} for name, reason in wrong.items()])}")
    rest = f"; {len(wrong)} {'is' if len(wrong) == 1 else 'are'} skipped" if wrong else ""
    console.say(f"\n{len(cohort) - len(wrong)} of {len(cohort)} cases can be used{rest}.")


def label_rows(cohort: Cohort, check: Check) -> list[dict[str, Any]]:
    """A row for each label value that occurs: what it is called, in how many cases it is, and how many voxels have it."""
    cases: Counter[int] = Counter()
    voxels: Counter[int] = Counter()
    names: dict[int, str] = {}
    for entry, finding in zip(cohort.entries, check.findings):
        for value, count in (finding.labels or {}).items():
            cases[value] += 1
            voxels[value] += count
            name = entry.names.get(str(value), "background" if value == 0 else "")
            if name and name not in names.get(value, "").split(" / "):
                names[value] = f"{names[value]} / {name}" if value in names else name
    return [
        {"label": value, "name": names.get(value, ""), "cases": cases[value], "mean voxels": voxels[value] // cases[value]}
        for value in sorted(cases)
    ]


def _show_cases(cohort: Cohort, check: Check, everything: bool, console: Console) -> None:
    rows = [x for x in check.rows() if everything or not x["problem"]]
    shown = rows if everything else rows[:_SHOWN]
    same = all(x.patient == x.name for x in cohort.entries)
    columns = [x for x in ("case", "patient", "voxels", "labels") if x != "patient" or not same]
    console.say(format_table([{x: row[x] for x in columns if row[x] or x == "case"} for row in shown]))
    if len(rows) > len(shown):
        console.say(f"... and {len(rows) - len(shown)} more (--all)")
    grids = Counter(x.grid for x in check.findings if x.grid)
    if len(grids) > 1:
        console.say("\n" + format_table([{"voxels": grid, "cases": count} for grid, count in grids.most_common(10)]))


def _say_unused_names(options: argparse.Namespace, check: Check, console: Console) -> None:
    """Say which label values have got a name and occur in no case, where the references were read."""
    present = {str(x) for finding in check.findings for x in finding.labels or ()}
    if present:
        for number in options.label_names:
            if number.removeprefix("-").isdecimal() and number not in present:
                message = f"No reference has a label {number} to be called {options.label_names[number]}."
                console.emit({"event": "log", "level": "warning", "message": message})


def _progress(console: Console) -> Callable[[float, str], None]:
    return lambda fraction, message: console.emit({"event": "progress", "fraction": fraction, "message": message})
