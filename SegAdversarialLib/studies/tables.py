"""Tables as plain data, which a CSV file, Markdown, an HTML page and Slicer take alike."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.statistics import Comparison, Summary
from SegAdversarialLib.showing import notebook
from SegAdversarialLib.volumes.files import whole_file

SIGNIFICANT = "*"
"""Beside a mean: it differs significantly from what the table's note says."""


@dataclass(frozen=True)
class Measure:
    """An entry that is a mean over patients.

    Attributes:
        summary: the values of the patients.
        comparison: the test against what the table compares with; None: not tested.
        p: its p-value, corrected for all tests of the table; None: not tested.
        significant: whether p is not above the table's alpha.
        digits: decimals that are shown.
        scale: what is shown is this many times as large: 100 for percent.
        infinite: what an infinite value means.
    """

    summary: Summary
    comparison: Comparison | None = None
    p: float | None = None
    significant: bool = False
    digits: int = 3
    scale: float = 1.0
    infinite: str = "missed"

    @property
    def number(self) -> float:
        """The mean that is shown: of the finite values."""
        return self.summary.finite_mean * self.scale

    @property
    def text(self) -> str:
        """Mean ± standard deviation, a mark where significant, and how many patients have no finite value."""
        found, scale, digits = self.summary, self.scale, self.digits
        shown = "-" if math.isnan(found.finite_mean) else f"{found.finite_mean * scale:.{digits}f}"
        if not math.isnan(found.finite_sd):
            shown += f" ± {found.finite_sd * scale:.{digits}f}"
        beside = [f"{found.infinite} of {found.n} {self.infinite}"] if found.infinite else []
        beside += [f"{found.missing} undefined"] if found.missing else []
        return shown + (SIGNIFICANT if self.significant else "") + (f" ({', '.join(beside)})" if beside else "")


@dataclass(frozen=True)
class Shown:
    """An entry that is shown as a text of its own: as somebody else has printed it, or with digits of its own.

    Attributes:
        number: what it sorts by.
        text: what is shown, such as "0.741 ± 0.162*".
    """

    number: float
    text: str


Entry = str | int | float | bool | None | Measure | Shown
"""What stands in a table."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: what it shows, in one line.
        columns: their names, each once.
        rows: as many entries in each as there are columns.
        notes: sentences below it: what was tested, what marks mean, what is missing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(tuple(x) for x in self.rows))
        object.__setattr__(self, "notes", tuple(self.notes))
        if len(set(self.columns)) < len(self.columns):
            raise InputError(f'The table "{self.title}" has a column twice; its columns are {", ".join(self.columns)}.')
        if any(len(row) != len(self.columns) for row in self.rows):
            raise InputError(f'The table "{self.title}" has a row of another length than its {len(self.columns)} columns.')

    @property
    def texts(self) -> list[list[str]]:
        """Every entry as it is shown."""
        return [[text_of(x) for x in row] for row in self.rows]

    @property
    def numbers(self) -> list[list[float | None]]:
        """Every entry as the number that it sorts by; None where it is words."""
        return [[number_of(x) for x in row] for row in self.rows]

    @property
    def records(self) -> list[dict[str, str]]:
        """A mapping from column to text for each row, as Slicer's tables take."""
        return [dict(zip(self.columns, row)) for row in self.texts]

    def to_markdown(self) -> str:
        """As a Markdown table with its title and notes."""
        numeric = [any(x[n] is not None for x in self.numbers) for n in range(len(self.columns))]
        lines = [self.columns, ["---:" if x else "---" for x in numeric], *self.texts]
        body = "\n".join("| " + " | ".join(_escaped(x) for x in line) + " |" for line in lines)
        notes = "".join(f"\n{x}\n" for x in self.notes)
        return f"**{self.title}**\n\n{body}\n{notes}"

    def to_csv(self, path: str | Path | None = None) -> str:
        """As CSV, in which a mean is four columns, NAME, NAME SD, NAME n, NAME missed, and a tested one also NAME p.

        Args:
            path: also written there, whole or not at all.

        Raises:
            InputError: the file cannot be written.
        """
        measured = [any(isinstance(row[n], Measure) for row in self.rows) for n in range(len(self.columns))]
        tested = [any(isinstance(x[n], Measure) and x[n].p is not None for x in self.rows) for n in range(len(self.columns))]  # type: ignore[union-attr]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(x for n, name in enumerate(self.columns) for x in _headers(name, measured[n], tested[n]))
        for row in self.rows:
            writer.writerow(x for n, entry in enumerate(row) for x in _fields(entry, measured[n], tested[n]))
        if path is not None:
            with whole_file(path) as temporary:
                temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
        return text.getvalue()


def text_of(entry: Entry) -> str:
    """An entry as it is shown."""
    if isinstance(entry, Measure | Shown):
        return entry.text
    if isinstance(entry, float) and math.isnan(entry):
        return "-"
    return notebook.cell(entry)


def number_of(entry: Entry) -> float | None:
    """An entry as the number that it sorts by; None for words."""
    if isinstance(entry, Measure | Shown):
        return None if math.isnan(entry.number) else entry.number
    if entry is None or isinstance(entry, str) or math.isnan(entry):
        return None
    return float(entry)


def _headers(name: str, measured: bool, tested: bool) -> list[str]:
    return [name, *((f"{name} {x}" for x in ("SD", "n", "missed")) if measured else ()), *([f"{name} p"] if tested else [])]


def _fields(entry: Entry, measured: bool, tested: bool) -> list[Any]:
    if not isinstance(entry, Measure):
        said = entry.text if isinstance(entry, Shown) else entry
        blank = "" if isinstance(said, float) and math.isnan(said) else said
        return [blank, *[""] * (3 * measured + tested)]
    found = entry.summary
    numbers: list[Any] = [entry.number, found.finite_sd * entry.scale]
    shown = ["" if math.isnan(x) else x for x in numbers]
    return [*shown, found.n, found.infinite, *([entry.p if entry.p is not None else ""] if tested else [])]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
