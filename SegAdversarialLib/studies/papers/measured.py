"""What a study has measured, looked up by patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from SegAdversarialLib.studies.grouping import is_search

Row = Mapping[str, Any]
Where = Callable[[Row], bool]
Values = dict[tuple[str, ...], float]
"""A measurement by patient and by what was measured of him: case and structure, or channel; means over repeats."""


class Measured:
    """The rows of a study, without those of searches for the least budget: no paper has such images.

    Args:
        results: a row for each cell and structure (`Store.results()`).
        channels: a row for each cell and channel (`Store.channels()`).
        traces: a row for each cell and iteration (`Store.traces()`).
    """

    def __init__(self, results: Iterable[Row], channels: Iterable[Row] = (), traces: Iterable[Row] = ()) -> None:
        self.results = [x for x in results if x.get("attack") and not is_search(x)]
        self.channels = [x for x in channels if x.get("attack") and not is_search(x)]
        self.traces = [x for x in traces if x.get("attack") and not is_search(x)]

    @property
    def structures(self) -> list[str]:
        """All structures that were measured."""
        return list(dict.fromkeys(str(x["structure"]) for x in self.results))

    @property
    def networks(self) -> list[str]:
        """All networks that were attacked."""
        return list(dict.fromkeys(str(x["network"]) for x in self.results))

    def attacked(self, where: Where, structures: Sequence[str], column: str = "dice_after") -> Values:
        """What was measured of structures where the rows are as wanted."""
        return _values((x for x in self.results if x["structure"] in structures and where(x)), column, "structure")

    def clean(self, where: Where, structures: Sequence[str], column: str = "dice_before") -> Values:
        """The same without the attack, from any attack's rows."""
        return self.attacked(where, structures, column)

    def quality(self, where: Where, column: str) -> Values:
        """What was measured of channels where the rows are as wanted."""
        return _values((x for x in self.channels if where(x)), column, "channel")

    def steps(self, where: Where, column: str) -> dict[int, Values]:
        """A column of the traces by iteration."""
        found: dict[int, list[Row]] = {}
        for row in self.traces:
            if where(row) and row.get("restart", 0) in (0, None) and row.get("iteration") is not None:
                found.setdefault(int(row["iteration"]), []).append(row)
        return {step: _values(rows, column, "") for step, rows in sorted(found.items())}


def together(*several: Values) -> list[dict[str, float]]:
    """By patient, the mean of what all of several have of him: a structure that one could not measure counts in none."""
    common = set.intersection(*(set(x) for x in several)) if several else set()
    found = []
    for values in several:
        by_patient: dict[str, list[float]] = {}
        for key in sorted(common):
            by_patient.setdefault(key[0], []).append(values[key])
        found.append({patient: float(np.mean(x)) for patient, x in by_patient.items()})
    return found


def by_patient(values: Values) -> dict[str, float]:
    """The mean of all that was measured of a patient."""
    return together(values)[0]


def is_setting(row: Row, name: str, value: float) -> bool:
    """Whether an attack's setting is a number, but for rounding."""
    found = (row.get("settings") or {}).get(name)
    return isinstance(found, (int, float)) and math.isclose(float(found), value, rel_tol=1e-6, abs_tol=1e-12)


def _values(rows: Iterable[Row], column: str, what: str) -> Values:
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        value = row.get(column)
        if isinstance(value, (int, float)) and math.isfinite(value):
            key = (str(row.get("patient") or row["case"]), str(row["case"]), *([str(row[what])] if what else []))
            found.setdefault(key, []).append(float(value))
    return {key: float(np.mean(x)) for key, x in found.items()}
