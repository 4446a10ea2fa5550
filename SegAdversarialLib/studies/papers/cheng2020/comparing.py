"""What the study has measured in the place of each figure of Cheng & Ji 2020."""

from __future__ import annotations

from SegAdversarialLib.studies.papers.cheng2020.claims import chosen, clean, line
from SegAdversarialLib.studies.papers.cheng2020.tables import ATTACKED, SIZES, TABLE_1, TABLE_7, TABLES, size_name
from SegAdversarialLib.studies.papers.comparing import Found, beside
from SegAdversarialLib.studies.papers.measured import Measured, by_patient
from SegAdversarialLib.studies.papers.printed import PrintedTable
from SegAdversarialLib.studies.tables import Table

_OF_ROW = {size_name(e, r): (e, r) for e in SIZES for r in SIZES}
_ATTACKED = {table.number: what for what, table in ATTACKED.items()}


def compare(measured: Measured) -> list[Table]:
    """Tables 1 to 7."""

    def here(table: PrintedTable, row: tuple[str, ...], column: str) -> Found:
        if table is TABLE_7:
            return line(measured, row[0], f"qq_{column}_before")
        region = (column.removeprefix("Dice "),)
        if table is TABLE_1:
            return by_patient(clean(measured, region))
        rows = chosen(_ATTACKED[table.number], *_OF_ROW[row[0]])
        return by_patient(measured.attacked(rows, region))

    return [beside(table, here) for table in TABLES]
