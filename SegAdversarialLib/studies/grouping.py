"""A study's flat rows, brought together: what belongs to one network under one condition, as one value for each patient."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from SegAdversarialLib.evaluation.statistics import by_patient

Row = Mapping[str, Any]
"""A row of the store: of one cell and structure, or of one cell and channel."""

ALL = "all"
"""What a row says of an attack on all channels."""

CLEAN = "No attack"

MEAN = "mean"
"""In place of a structure: the mean over all."""

_BEFORE_AFTER = ("dice", "iou", "hd95", "volume")

_NOT_CONDITIONS = {"attack", "name", "seed", "channels"}
"""Settings that say nothing new beside the row's own columns."""


@dataclass(frozen=True)
class Condition:
    """What a network was put under.

    Attributes:
        attack: what the study calls it; empty: nothing, the unchanged images.
        budget_name, budget: the setting that bounds it, and its value; None where there is none.
        channels: "all", or those attacked: "T1+T2".
        settings: what else the study varied for this attack, as (name, value in JSON) in the order of names.
    """

    attack: str = ""
    budget_name: str = ""
    budget: float | None = None
    channels: str = ALL
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def what(self) -> str:
        """The attack with what else was varied, without budget and channels: "ifgsm, iterations = 10"."""
        return ", ".join([self.attack, *self._others]) if self.attack else CLEAN

    @property
    def dose(self) -> str:
        """Budget and what else was varied: "epsilon = 0.05, radius = 15"."""
        return ", ".join([*([] if self.budget is None else [f"{self.budget_name} = {self.budget:g}"]), *self._others])

    @property
    def label(self) -> str:
        """All of it in words: "fgsm, epsilon = 0.05, T1+T2 only"."""
        only = [] if self.channels == ALL else [f"{self.channels} only"]
        return ", ".join(x for x in (self.attack or CLEAN, self.dose, *only) if x)

    @property
    def _others(self) -> list[str]:
        return [f"{name} = {_plain(value)}" for name, value in self.settings]


UNCHANGED = Condition()


class Conditions:
    """Which condition each row is under: two rows of an attack differ where any setting but the seed does."""

    def __init__(self, rows: Iterable[Row]) -> None:
        settings: dict[str, dict[str, set[str]]] = {}
        seen: dict[str, tuple[Row, dict[str, str]]] = {}
        for row in rows:
            if row["key"] in seen:
                continue
            told = {k: json.dumps(v, sort_keys=True) for k, v in (row.get("settings") or {}).items()}
            seen[row["key"]] = row, told
            known = settings.setdefault(row["attack"], {})
            for name, value in told.items():
                known.setdefault(name, set()).add(value)
        varied = {
            attack: sorted(x for x, values in known.items() if len(values) > 1 and x not in _NOT_CONDITIONS)
            for attack, known in settings.items()
        }
        self._found: dict[str, Condition] = {}
        shared: dict[Condition, Condition] = {}
        for key, (row, told) in seen.items():
            budget = row.get("budget")
            name = row.get("budget_name") or ""
            others = tuple((x, told[x]) for x in varied[row["attack"]] if x != name and x in told)
            number = None if budget is None else float(budget)
            found = Condition(row["attack"], name, number, row.get("channels") or ALL, others)
            self._found[key] = shared.setdefault(found, found)
        self._all = list(shared)

    def of(self, row: Row) -> Condition:
        """The condition of a row."""
        return self._found[row["key"]]

    def knows(self, row: Row) -> bool:
        """Whether a row is of one of the cells."""
        return row["key"] in self._found

    def __contains__(self, condition: object) -> bool:
        return condition in self._all

    def __iter__(self) -> Iterator[Condition]:
        return iter(self._all)


class Results:
    """Rows of a study, and what they say of each network under each condition, patient by patient.

    Attributes:
        rows: as the store gives them.
        networks, structures, conditions: what occurs in them, in the order in which it first does.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)
        self._conditions = Conditions(self.rows)
        self.networks = in_order(row["network"] for row in self.rows)
        self.structures = in_order(row["structure"] for row in self.rows if "structure" in row)
        self.conditions = list(self._conditions)
        self._found: dict[str, dict[tuple[Any, ...], dict[str, float]]] = {}

    @classmethod
    def of(cls, rows: Results | Iterable[Row]) -> Results:
        """The same, where it has been brought together already."""
        return rows if isinstance(rows, Results) else cls(rows)

    def values(self, network: str, condition: Condition, structure: str, metric: str = "dice") -> dict[str, float]:
        """A metric of each patient; of the unchanged images under `UNCHANGED`, and where the budget is 0 and was not run.

        Args:
            structure: one, or `MEAN` for each patient's mean over all structures.
            metric: "dice", "iou", "hd95" or "volume"; or the name of any column.
        """
        if condition.attack and (condition in self._conditions or condition.budget != 0):
            column = f"{metric}_after" if metric in _BEFORE_AFTER else metric
            return self._gathered(column).get((network, condition, structure), {})
        return self._gathered(f"{metric}_before").get((network, UNCHANGED, structure), {})

    def condition_of(self, row: Row) -> Condition:
        """What a row's network was put under."""
        return self._conditions.of(row)

    def knows(self, row: Row) -> bool:
        """Whether a row by channel, iteration or anything else is of a cell whose results these are."""
        return self._conditions.knows(row)

    def _gathered(self, column: str) -> dict[tuple[Any, ...], dict[str, float]]:
        if column not in self._found:
            before = column.endswith("_before")

            def condition(row: Row) -> Condition:
                return UNCHANGED if before else self._conditions.of(row)

            found = patients(self.rows, column, lambda x: (x["network"], condition(x), x["structure"]))
            found |= patients(self.rows, column, lambda x: (x["network"], condition(x), MEAN))
            self._found[column] = found
        return self._found[column]


def patients(
    rows: Iterable[Row], column: str, keys: Callable[[Row], tuple[Any, ...]]
) -> dict[tuple[Any, ...], dict[str, float]]:
    """One value for each patient from a column, by what `keys` says of a row; in the order in which they first occur."""
    gathered: dict[tuple[Any, ...], tuple[list[str], list[str], list[float]]] = {}
    for row in rows:
        names, cases, values = gathered.setdefault(keys(row), ([], [], []))
        value = row.get(column)
        names.append(row["patient"] or row["case"])
        cases.append(row["case"])
        values.append(float("nan") if value is None else value)
    return {key: by_patient(*found) for key, found in gathered.items()}


def in_order(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order in which they first occur."""
    return list(dict.fromkeys(values))


def _plain(value: str) -> str:
    found = json.loads(value)
    if isinstance(found, list):
        return "+".join(map(str, found))
    return f"{found:g}" if isinstance(found, float) else str(found)
