"""What the study has measured in the place of each figure of Liu et al. 2021."""

from __future__ import annotations

from SegAdversarialLib.evaluation.statistics import paired
from SegAdversarialLib.studies.papers.comparing import Found, beside
from SegAdversarialLib.studies.papers.liu2021.claims import clean, left
from SegAdversarialLib.studies.papers.liu2021.names import ATTACKS, in_2d
from SegAdversarialLib.studies.papers.liu2021.tables import EPSILONS, NOTHING, REGIONS, TABLE_1, TABLE_3, TABLES
from SegAdversarialLib.studies.papers.measured import Measured, Row, Values, by_patient, is_setting, together
from SegAdversarialLib.studies.papers.printed import PrintedTable
from SegAdversarialLib.studies.tables import Table

_USUAL = EPSILONS[1]
_REGION = {name: region for region, name in REGIONS.items()}


def compare(measured: Measured) -> list[Table]:
    """Tables 1 to 3."""

    def here(table: PrintedTable, row: tuple[str, ...], column: str) -> Found:
        return _attack(measured, row[0], column) if table is TABLE_1 else _defence(measured, table, row, column)

    return [beside(table, here) for table in TABLES]


def _attack(measured: Measured, attack: str, column: str) -> Found:
    """Table 1, on the network without defence."""
    if column in _REGION:
        region = (_REGION[column],)
        values = left(measured, NOTHING, region, _USUAL, attack) if attack in ATTACKS else clean(measured, NOTHING, region)
        return by_patient(values)
    return by_patient(_of_channels(measured, attack, column.lower())) if attack in ATTACKS else None


def _of_channels(measured: Measured, attack: str, column: str) -> Values:
    """PSNR, SSIM or RMSE, the latter as a share of the range."""

    def chosen(row: Row) -> bool:
        return row["network"] == NOTHING and row["attack"] == attack and is_setting(row, "epsilon", _USUAL)

    return measured.quality(chosen, column)


def _defence(measured: Measured, table: PrintedTable, row: tuple[str, ...], column: str) -> Found:
    """Tables 2 and 3."""
    region, defence = (_REGION[row[0]],), row[1]
    networks = [in_2d(x) if table is TABLE_3 else x for x in (defence, NOTHING)]
    tested, _, size = column.rpartition("ε = ")
    epsilon = float(size)
    ours, undefended = (left(measured, x, region, epsilon) if epsilon else clean(measured, x, region) for x in networks)
    if not tested:
        return by_patient(ours)
    if defence == NOTHING or not set(ours) & set(undefended):
        return None
    before, after = together(undefended, ours)
    return paired(before, after).p
