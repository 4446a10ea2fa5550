"""How little was enough: the least budgets that a study has looked for, by network, attack and structure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from SegAdversarialLib.attacks.threshold import MEAN as MEAN_DICE
from SegAdversarialLib.attacks.threshold import SHARE
from SegAdversarialLib.evaluation.statistics import Interval, intervals, summary
from SegAdversarialLib.studies.grouping import ALL, MEAN, Condition, Row, condition_of, in_order, patients
from SegAdversarialLib.studies.tables import Entry, Table

_MOST_PLACES = 60
"""Of a curve: searches of a large cohort try thousands of budgets."""

_Key = tuple[str, Condition, str, str, str, float, bool]
"""Network, attack with its largest budget, structure, setting, unit, drop, and whether the search was for the structure."""


def least_budgets(rows: Iterable[Row]) -> Table:
    """The least budget of every network, attack and structure: its median over patients, and how many it is not enough for.

    Args:
        rows: the store's rows of thresholds.
    """
    known = list(rows)
    found = patients(known, "upper", _key)
    ends = intervals((x for x in found.values()), of="median")
    body = [_row(key, values, end) for (key, values), end in zip(found.items(), ends)]
    columns = (
        *("Network", "Attack", "Channels", "Structure", "Drop (%)", "Bounded by", "n", "Median", "95 % interval"),
        *("Least", "Greatest", "Not within the largest", "Largest allowed", "Search"),
    )
    notes = (
        "The least budget at which Dice fell by the drop: an upper bound of what the network tolerates, which a stronger "
        "attack may undercut. Median over patients, those for whom the largest budget was not enough counted as above all "
        "others; interval: bootstrap over patients. On the way: read off the images that were tried for the mean Dice.",
    )
    return Table("Least budget", columns, tuple(body), notes)


def axis_of(setting: str, unit: str) -> tuple[float, str]:
    """By what a budget is multiplied to be shown, and what it is bounded by, in words: "max bias (%)"."""
    words = setting.replace("_", " ")
    return (100.0, f"{words} (%)") if unit == SHARE else (1.0, f"{words} ({unit})" if unit else words)


def curves(traces: Iterable[Row]) -> dict[tuple[str, str], dict[str, list[tuple[float, dict[str, float]]]]]:
    """Dice within each budget that a search for the least one has tried, by network and attack, then by structure.

    Whatever is found with a budget is allowed with any larger one: a case's Dice at a budget is the lowest of all images that
    were tried with no more. The budgets of all cases are put together, and there is a value for each patient at each of them.

    Args:
        traces: the store's rows of traces; those without "at budget" do not count.
    """
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in traces:
        if "at budget" in row:
            name = row["network"], condition_of(row).label
            groups.setdefault(name, {}).setdefault(row["key"], []).append(row)
    return {name: _by_structure(list(cells.values())) for name, cells in groups.items()}


def _by_structure(cells: Sequence[Sequence[Row]]) -> dict[str, list[tuple[float, dict[str, float]]]]:
    budgets = _some(sorted({float(row["at budget"]) for rows in cells for row in rows}))
    columns = in_order(x for rows in cells for row in rows for x in row if x.startswith("dice "))
    found: dict[str, list[tuple[float, dict[str, float]]]] = {}
    for column in columns:
        own = [_lowest(rows, column, budgets) for rows in cells]
        told = [{**rows[0], "reached": x[n], "place": n} for rows, x in zip(cells, own) for n in range(len(budgets))]
        by_place = patients(told, "reached", lambda row: (row["place"],))
        structure = column.removeprefix("dice ")
        found[MEAN if structure == MEAN_DICE else structure] = [(x, by_place[n,]) for n, x in enumerate(budgets)]
    return found


def _some(budgets: Sequence[float]) -> list[float]:
    """As many as a curve can show, evenly spread over what was tried; the least and the greatest among them."""
    if len(budgets) <= _MOST_PLACES:
        return list(budgets)
    return [budgets[n * (len(budgets) - 1) // (_MOST_PLACES - 1)] for n in range(_MOST_PLACES)]


def _lowest(rows: Sequence[Row], column: str, budgets: Sequence[float]) -> list[float]:
    """The lowest value of a column among a case's rows with no more than each budget; nan where there is none."""
    tried = sorted((float(row["at budget"]), row[column]) for row in rows if row.get(column) is not None)
    lowest, place, found = math.nan, 0, []
    for budget in budgets:
        while place < len(tried) and tried[place][0] <= budget:
            lowest = tried[place][1] if math.isnan(lowest) else min(lowest, tried[place][1])
            place += 1
        found.append(lowest)
    return found


def _key(row: Row) -> _Key:
    condition = condition_of(row)
    told = row["structure"], row["setting"], row["unit"], float(row["drop"]), bool(row["searched"])
    return row["network"], condition, *told


def _row(key: _Key, values: dict[str, float], end: Interval) -> tuple[Entry, ...]:
    network, condition, structure, setting, unit, drop, searched = key
    scale, bounded_by = axis_of(setting, unit)
    found, known = summary(values), [x for x in values.values() if math.isfinite(x)]

    def number(value: float) -> float | None:
        return float(f"{scale * value:.3g}") if math.isfinite(value) else None

    median: Any = number(found.median)
    interval = f"{scale * end.low:.3g} to {scale * end.high:.3g}" if math.isfinite(end.low + end.high) else None
    return (
        *(network, condition.what, "" if condition.channels == ALL else condition.channels),
        *("mean Dice" if structure == MEAN_DICE else structure, round(100 * drop, 1)),
        *(bounded_by, found.n, "not within" if median is None and found.n else median, interval),
        *((number(min(known)), number(max(known))) if known else (None, None)),
        f"{found.infinite} of {found.n}",
        None if condition.budget is None else number(condition.budget),
        "its own" if searched else "on the way",
    )
