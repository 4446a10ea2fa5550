"""Marks of significance: every test of a table is corrected for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from SegAdversarialLib.evaluation.multiple_tests import Correction, corrected
from SegAdversarialLib.evaluation.statistics import paired, summary
from SegAdversarialLib.studies.tables import SIGNIFICANT, Entry, Measure, Table

ALPHA = 0.05


def measure(
    values: Mapping[str, float], against: Mapping[str, float] | None = None, *, digits: int = 3, scale: float = 1.0
) -> Measure:
    """An entry of one value for each patient, tested against the same patients' other values where there are any."""
    comparison = paired(against, values) if against and values and against is not values else None
    return Measure(summary(values), comparison, digits=digits, scale=scale)


def marked(table: Table, against: str, correction: Correction = "bonferroni", alpha: float = ALPHA) -> Table:
    """The table with its tests corrected for each other, marked, and explained in a note.

    Args:
        against: what was compared with, in words.
        correction: "bonferroni" as the papers, or "holm", which finds no less.
        alpha: the chance of any false mark in the table.
    """
    found = [x for row in table.rows for x in row if isinstance(x, Measure) and x.comparison is not None and x.comparison.n]
    if not found:
        return table
    values = corrected([x.comparison.p for x in found if x.comparison is not None], correction)
    p_values = {id(x): float(p) for x, p in zip(found, values)}

    def tested(entry: Entry) -> Entry:
        if not isinstance(entry, Measure) or id(entry) not in p_values:
            return entry
        p = p_values[id(entry)]
        return replace(entry, p=p, significant=p <= alpha)

    rows = tuple(tuple(tested(x) for x in row) for row in table.rows)
    return replace(table, rows=rows, notes=(*table.notes, *_notes(found, against, correction, alpha)))


def _notes(found: list[Measure], against: str, correction: Correction, alpha: float) -> list[str]:
    tests = len(found)
    how = {"bonferroni": "Bonferroni-corrected", "holm": "Holm-corrected", "none": "not corrected"}[correction]
    patients = max(x.comparison.n for x in found if x.comparison is not None)
    notes = [
        f"{SIGNIFICANT} differs from {against}: p <= {alpha:g}, Wilcoxon signed-rank test over up to {patients} patients, "
        f"two-sided, {how} for {tests} test{'s' if tests > 1 else ''}."
    ]
    least = 2.0 ** (1 - patients) * (1 if correction == "none" else tests)
    if least > alpha:
        notes.append(
            f"Nothing in this table can be significant: with {patients} patients the smallest p that this test can give is "
            f"{2.0 ** (1 - patients):.2g}, {min(least, 1):.2g} when corrected."
        )
    return notes
