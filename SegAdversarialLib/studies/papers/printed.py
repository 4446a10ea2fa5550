"""A paper's tables as they were printed, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FIGURE = re.compile(r"(?P<nothing>[-–](?=\s|$))|(?P<number>\d[\d.]*(?:e-?\d+)?)(?: ± (?P<deviation>[\d.]+))?(?P<mark>\*)?")


@dataclass(frozen=True)
class Printed:
    """A figure as a paper has it.

    Attributes:
        number: its value.
        text: all that was printed, such as "0.741 ± 0.162*".
        deviation: the standard deviation behind it, if there is one.
    """

    number: float
    text: str
    deviation: float | None = None

    @property
    def unmarked(self) -> str:
        """What was printed, without an asterisk."""
        return self.text.rstrip("*")

    @property
    def digits(self) -> int:
        """Decimal places that were printed."""
        return len(self.unmarked.split(" ")[0].split("e")[0].partition(".")[2])


@dataclass(frozen=True)
class PrintedTable:
    """A table of a paper.

    Attributes:
        number: "Table 2".
        title: what it shows.
        heads: what the columns are called that say which row it is.
        columns: what its other columns are called.
        rows: by what stands in the head columns, a figure for each other column; None: the paper has none.
        note: what must be known of it.
    """

    number: str
    title: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Mapping[tuple[str, ...], tuple[Printed | None, ...]]
    note: str = ""

    def get(self, row: tuple[str, ...], column: str) -> Printed | None:
        """The figure in a row and column; None: the paper has none, or no such row or column."""
        return self.rows[row][self.columns.index(column)] if row in self.rows and column in self.columns else None


def figures(line: str) -> tuple[Printed | None, ...]:
    """The figures of a printed line, such as "0.893 ± 0.053 0.741 ± 0.162* - 6.628e-4"; a dash is none."""
    found: list[Printed | None] = []
    for x in _FIGURE.finditer(line):
        deviation = None if x["deviation"] is None else float(x["deviation"])
        found.append(None if x["nothing"] else Printed(float(x["number"]), x[0], deviation))
    return tuple(found)


def block(first: str, names: tuple[str, ...], lines: str) -> dict[tuple[str, ...], tuple[Printed | None, ...]]:
    """The rows of a part of a table that `first` heads: a printed line for each name."""
    printed = [x.strip() for x in lines.strip().splitlines()]
    return {(first, name): figures(line) for name, line in zip(names, printed, strict=True)}
