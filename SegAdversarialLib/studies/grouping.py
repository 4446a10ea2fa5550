"""A study's flat rows, brought together: what belongs to one network under one condition, as one value for each patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.attacks.bounded import unit_of
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.statistics import by_patient

Row = Mapping[str, Any]
"""A row of the store: of one cell and structure, or of one cell and channel."""

ALL = "all"
"""What a row says of an attack on all channels."""

CLEAN = "No attack"

MEAN = "mean"
"""In place of a structure: the mean over the network's own ones (`metrics.mean_dice`)."""

SEARCH = "least-budget"
"""The attack that looks for the least budget: each case's image is at a budget of its own, so it has no place by budget."""

_BEFORE_AFTER = ("dice", "iou", "hd95", "volume")


@dataclass(frozen=True)
class Condition:
    """What a network was put under.

    Attributes:
        attack: what the study calls it; empty: nothing, the unchanged images.
        budget_name, budget: the setting that bounds it, and its value; None where there is none.
        channels: "all", or those attacked: "T1+T2".
        variant: what else the study varied under this name, in words: "radius 15".
        searched: whether the least budget was looked for: then the budget is the largest that was allowed.
    """

    attack: str = ""
    budget_name: str = ""
    budget: float | None = None
    channels: str = ALL
    variant: str = ""
    searched: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is done to the image: there is an attack, with another budget than 0."""
        return bool(self.attack) and self.budget != 0

    @property
    def what(self) -> str:
        """The attack with what else was varied, without budget and channels: "ifgsm, steps 10"."""
        return _joined(self.attack, self.variant) or CLEAN

    @property
    def dose(self) -> str:
        """Budget and what else was varied: "epsilon = 0.05, radius 15"; of a search "epsilon at most 0.05"."""
        sign = "at most" if self.searched else "="
        return _joined("" if self.budget is None else f"{self.budget_name} {sign} {self.budget:g}", self.variant)

    @property
    def label(self) -> str:
        """All of it in words: "fgsm, epsilon = 0.05, T1+T2 only"."""
        return _joined(self.attack or CLEAN, self.dose, "" if self.channels == ALL else f"{self.channels} only")


UNCHANGED = Condition()


def condition_of(row: Row) -> Condition:
    """What the network of a row was put under."""
    budget, channels = row.get("budget"), row.get("channels") or ALL
    number = None if budget is None else float(budget)
    return Condition(row["attack"], row.get("budget_name") or "", number, channels, row.get("variant") or "", is_search(row))


def is_search(row: Row) -> bool:
    """Whether a row is of an attack that has looked for the least budget."""
    return (row.get("settings") or {}).get("attack") == SEARCH


def counts_in_mean(row: Row) -> bool:
    """Whether a row is of one of the network's own structures, not of a region that was measured beside them."""
    return not row.get("region")


def _joined(*parts: str) -> str:
    return ", ".join(x for x in parts if x)


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


class Results:
    """Rows of a study, and what they say of each network under each condition, patient by patient.

    Attributes:
        rows: as the store gives them.
        counted: the structures that count in the mean.
        attacked: the networks to whose images something was done.
        networks, structures, tried: what occurs in them, in the order in which it first does; `tried` are conditions.
        conditions: those tried of which every case had the same budget: without searches for the least one.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)
        found: dict[Condition, Condition] = {}
        self._conditions: dict[str, Condition] = {}
        self._settings: dict[Condition, Mapping[str, Any]] = {}
        for row in self.rows:
            if row["key"] not in self._conditions:
                condition = condition_of(row)
                self._conditions[row["key"]] = found.setdefault(condition, condition)
                self._settings.setdefault(condition, row.get("settings") or {})
        self.networks = in_order(row["network"] for row in self.rows)
        self.structures = in_order(row["structure"] for row in self.rows)
        self.counted = in_order(row["structure"] for row in self.rows if counts_in_mean(row))
        self.tried = list(found)
        changing = {key for key, x in self._conditions.items() if x.changes and not x.searched}
        self.attacked = in_order(row["network"] for row in self.rows if row["key"] in changing)
        self.conditions = [x for x in self.tried if not x.searched]
        self._run = set(found)
        self._found: dict[str, dict[tuple[Any, ...], dict[str, float]]] = {}

    @classmethod
    def of(cls, rows: Results | Iterable[Row]) -> Results:
        """The same, where it has been brought together already."""
        return rows if isinstance(rows, Results) else cls(rows)

    def values(self, network: str, condition: Condition, structure: str, metric: str = "dice") -> dict[str, float]:
        """A metric of each patient; of the unchanged images under `UNCHANGED`, and where the budget is 0 and was not run.

        Args:
            structure: one, or `MEAN` for each patient's mean over the network's own structures.
            metric: "dice", "iou", "hd95" or "volume"; or the name of any column.
        """
        if condition.attack and (condition in self._run or condition.budget != 0):
            column = f"{metric}_after" if metric in _BEFORE_AFTER else metric
            return self._gathered(column).get((network, condition, structure), {})
        return self._gathered(f"{metric}_before").get((network, UNCHANGED, structure), {})

    def unit(self, condition: Condition) -> str:
        """What a condition's budget is measured in: "of the largest intensity", "mm"; empty where nobody knows."""
        settings = dict(self._settings.get(condition, {}))
        if not condition.budget_name or "attack" not in settings:
            return ""
        try:
            return unit_of(make_attack(settings.pop("attack"), settings), condition.budget_name)
        except InputError:  # made with something that is no longer there, or of another version
            return ""

    def condition_of(self, row: Row) -> Condition:
        """What a row's network was put under."""
        return self._conditions[row["key"]]

    def knows(self, row: Row) -> bool:
        """Whether a row by channel, iteration or anything else is of a cell whose results these are."""
        return row["key"] in self._conditions

    def _gathered(self, column: str) -> dict[tuple[Any, ...], dict[str, float]]:
        if column not in self._found:
            before = column.endswith("_before")

            def condition(row: Row) -> Condition:
                return UNCHANGED if before else self.condition_of(row)

            found = patients(self.rows, column, lambda x: (x["network"], condition(x), x["structure"]))
            own = (x for x in self.rows if counts_in_mean(x))
            found |= patients(own, column, lambda x: (x["network"], condition(x), MEAN))
            self._found[column] = found
        return self._found[column]
