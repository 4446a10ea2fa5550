"""What the study has measured in the place of each figure of Chen et al. 2019; other structures have rows of their own."""

from __future__ import annotations

from dataclasses import replace

from SegAdversarialLib.studies.papers.chen2019 import tables
from SegAdversarialLib.studies.papers.chen2019.claims import chosen, clean, is_region, left, structures_of
from SegAdversarialLib.studies.papers.chen2019.names import BOTH, DEFORMED, SHADED
from SegAdversarialLib.studies.papers.chen2019.tables import ABLATED, BORDER, ORGANS, STRENGTHS, TABLE_1, row_of
from SegAdversarialLib.studies.papers.comparing import Found, beside
from SegAdversarialLib.studies.papers.judging import SUCCESS
from SegAdversarialLib.studies.papers.measured import Measured, by_patient
from SegAdversarialLib.studies.papers.printed import PrintedTable
from SegAdversarialLib.studies.tables import Table

_PERCENT = 100.0
_ATTACK = {
    **{row_of(x): (BOTH, x) for x in STRENGTHS},
    tables.DEFORMED: (DEFORMED, ABLATED),
    tables.SHADED: (SHADED, ABLATED),
}
"""Attack and xi, by the row."""


def compare(measured: Measured) -> list[Table]:
    """Table 1: Dice of the paper's organs and of the cohort's other structures, and perceptibility."""
    table = _with_others(measured)
    dice = replace(table, columns=table.columns[:-1], rows={row: x[:-1] for row, x in table.rows.items()})
    seen = replace(table, columns=table.columns[-1:], rows={row: x[-1:] for row, x in table.rows.items() if row[0] in _ATTACK})

    def here(_: PrintedTable, row: tuple[str, ...], column: str) -> Found:
        return _dice(measured, row[0], structures_of(measured, column) if column in ORGANS else [column])

    def visible(_: PrintedTable, row: tuple[str, ...], column: str) -> Found:
        return by_patient(measured.quality(chosen(*_ATTACK[row[0]]), "perceptibility"))

    dice = replace(dice, title="Abdominal organ segmentation, Dice (%)")
    seen = replace(seen, title="Perceptibility p, in standard deviations of a channel")
    return [beside(dice, here, _PERCENT), beside(seen, visible)]


def _dice(m: Measured, row: str, structures: list[str]) -> Found:
    if row in _ATTACK:
        return by_patient(left(m, structures, *_ATTACK[row]))
    found = by_patient(clean(m, structures))
    return {x: value * (1 - SUCCESS) for x, value in found.items()} if row == BORDER else found


def _with_others(m: Measured) -> PrintedTable:
    """The printed table with columns, empty in the paper, for structures that are none of its organs."""
    known = {x for organ in ORGANS for x in structures_of(m, organ)}
    others = tuple(x for x in m.structures if x not in known and not is_region(x))
    columns = (*TABLE_1.columns[:-1], *others, TABLE_1.columns[-1])
    rows = {row: (*x[:-1], *(None for _ in others), x[-1]) for row, x in TABLE_1.rows.items()}
    return replace(TABLE_1, columns=columns, rows=rows)
