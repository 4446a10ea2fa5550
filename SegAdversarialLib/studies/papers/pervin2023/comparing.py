"""What the study has measured in the place of each figure of Pervin et al. 2023: one cohort beside each of the paper's two."""

from __future__ import annotations

from SegAdversarialLib.studies.papers.comparing import Found, beside
from SegAdversarialLib.studies.papers.measured import Measured, by_patient
from SegAdversarialLib.studies.papers.pervin2023.claims import attacked, clean
from SegAdversarialLib.studies.papers.pervin2023.names import AUGMENTED, after
from SegAdversarialLib.studies.papers.pervin2023.tables import PLAIN, TABLE_1, TABLE_3, TABLES
from SegAdversarialLib.studies.papers.printed import PrintedTable
from SegAdversarialLib.studies.tables import Table


def compare(measured: Measured) -> list[Table]:
    """Tables 1 to 3."""

    def here(table: PrintedTable, row: tuple[str, ...], column: str) -> Found:
        if table is TABLE_3:
            return by_patient(clean(measured, row[0]))
        if table is TABLE_1:
            return by_patient(clean(measured, after(row[0], int(column.rpartition("epoch ")[2]))))
        network = PLAIN if row[1] == "before" else AUGMENTED[row[0]]
        return by_patient(attacked(measured, network, row[0], float(column.rpartition("ε = ")[2])))

    return [beside(table, here) for table in TABLES]
