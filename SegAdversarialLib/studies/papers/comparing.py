"""A paper's printed table beside what came out here: paper, here, and the difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from SegAdversarialLib.evaluation.statistics import summary
from SegAdversarialLib.studies.papers.printed import Printed, PrintedTable
from SegAdversarialLib.studies.tables import Entry, Measure, Table

Found = Mapping[str, float] | float | None
"""What was measured: by patient, or one number (a p-value); None or nothing: it was not."""

Here = Callable[[PrintedTable, tuple[str, ...], str], Found]
"""Gives what was measured in the place of a figure: its table, row and column."""

_UNSAID_DIGITS = 3


def as_printed(table: PrintedTable) -> Table:
    """The paper's table alone, in its layout."""
    rows = [(*row, *("-" if x is None else x.text for x in figures)) for row, figures in table.rows.items()]
    return Table(f"{table.number}: {table.title}", (*table.heads, *table.columns), tuple(rows), _notes(table))


def beside(table: PrintedTable, here: Here, scale: float = 1.0) -> Table:
    """A row for each figure of the paper's: which it is, the figure, ours as mean ± SD over patients, and ours - paper's.

    Args:
        here: gives what was measured.
        scale: what we show is this many times as large as measured: 100 where the paper prints percent.
    """
    rows: list[tuple[Entry, ...]] = []
    for row, figures in table.rows.items():
        for column, figure in zip(table.columns, figures):
            found = here(table, row, column)
            if figure is not None or found:
                rows.append((*row, column, "-" if figure is None else figure.text, *_ours(figure, found, scale)))
    columns = (*table.heads, "Figure", "paper", "here", "difference")
    return Table(f"{table.number}: {table.title}", columns, tuple(rows), _notes(table))


def _ours(figure: Printed | None, found: Found, scale: float) -> tuple[Entry, Entry]:
    """What was found here, and by how much it is above the paper's figure."""
    if isinstance(found, (int, float)):
        return float(f"{found:.3g}"), None
    if not found:
        return None, None
    digits = _UNSAID_DIGITS if figure is None else max(figure.digits, 2)
    ours = Measure(summary(dict(found)), digits=digits, scale=scale)
    if figure is None or not math.isfinite(ours.number):
        return ours, None
    return ours, round(ours.number - figure.number, digits)


def _notes(table: PrintedTable) -> tuple[str, ...]:
    return (table.note,) if table.note else ()
