"""A paper's printed table beside what came out here: paper, here, and the difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from SegAdversarialLib.evaluation.statistics import summary
from SegAdversarialLib.studies.papers.printed import Printed, PrintedTable
from SegAdversarialLib.studies.tables import Entry, Measure, Shown, Table

Found = Mapping[str, float] | float | None
"""What was measured: by patient, or one number (a p-value); None or nothing: it was not."""

Here = Callable[[PrintedTable, tuple[str, ...], str], Found]
"""Gives what was measured in the place of a figure: its table, row and column."""

_UNSAID_DIGITS = 3
_FEWEST_DIGITS = 2


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
                shown = "-" if figure is None else Shown(figure.number, figure.text)
                rows.append((*row, column, shown, *_ours(figure, found, _digits(table, column), scale)))
    columns = (*table.heads, "Figure", "paper", "here", "difference")
    notes = (*_notes(table), *_on_gaps(table, rows))
    return Table(f"{table.number}: {table.title}", columns, tuple(rows), notes)


def _digits(table: PrintedTable, column: str) -> int:
    """Decimals of what was found here: those of the paper's column, or of its table."""
    n = table.columns.index(column)
    own = [x.digits for figures in table.rows.values() if (x := figures[n]) is not None]
    found = max(own or [x.digits for figures in table.rows.values() for x in figures if x is not None], default=_UNSAID_DIGITS)
    return max(found, _FEWEST_DIGITS)


def _on_gaps(table: PrintedTable, rows: Sequence[tuple[Entry, ...]]) -> list[str]:
    """What stands in one of both alone: columns, rows and single figures that were not measured here, or are not printed."""
    names, printed, here, difference = range(len(table.heads), len(table.heads) + 4)
    measured = [x for x in rows if x[here] is not None]
    columns = [x for x in table.columns if any(row[names] == x for row in rows) and all(x != row[names] for row in measured)]
    others = [x for x in rows if x[names] not in columns]
    heads = dict.fromkeys(tuple(map(str, x[:names])) for x in others)
    missing = [", ".join(x) for x in heads if all(tuple(map(str, row[:names])) != x for row in measured)]
    said = [f"Not measured here: {'; '.join([*columns, *missing])}."] if columns or missing else []
    if any(x[here] is None and ", ".join(map(str, x[:names])) not in missing for x in others):
        said.append("A dash under here: that figure was not measured here.")
    if not table.note and any(x[printed] == "-" for x in rows):
        said.append("A dash under paper: the paper has no such figure.")
    if any(x[printed] != "-" and x[difference] is None for x in measured):
        said.append("A dash under difference: p-values are not subtracted.")
    return said


def _ours(figure: Printed | None, found: Found, digits: int, scale: float) -> tuple[Entry, Entry]:
    """What was found here, and by how much it is above the paper's figure."""
    if isinstance(found, (int, float)):
        return Shown(float(found), f"{found:.3g}"), None
    if not found:
        return None, None
    ours = Measure(summary(dict(found)), digits=digits, scale=scale)
    if figure is None or not math.isfinite(ours.number):
        return ours, None
    return ours, round(ours.number - figure.number, digits) + 0.0  # no -0.000


def _notes(table: PrintedTable) -> tuple[str, ...]:
    return (table.note,) if table.note else ()
