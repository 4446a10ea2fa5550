"""Rows as tables: text for a terminal, and CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from SegAdversarialLib.showing import notebook
from SegAdversarialLib.volumes.files import whole_file


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned text for a terminal: four significant digits, nan reads "undefined", what a row lacks is blank.

    Column names are broken at spaces, so that a table with many columns stays narrow; no rows make an empty text.
    """
    columns = _columns(rows)
    texts = [[notebook.cell(row.get(column)) for column in columns] for row in rows]
    words = [column.split() for column in columns]
    height = max(map(len, words), default=0)
    header = list(zip(*([""] * (height - len(parts)) + parts for parts in words)))
    widths = [max(map(len, column)) for column in zip(*header, *texts)]
    numeric = [any(isinstance(row.get(column), float) for row in rows) for column in columns]
    lines = [
        "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in zip(line, widths, numeric))
        for line in (*header, ["-" * width for width in widths], *texts)
    ]
    return "\n".join(line.rstrip() for line in lines if rows)


def write_table(rows: Iterable[Mapping[str, Any]], path: str | Path, columns: Sequence[str] | None = None) -> Path:
    """Write rows as CSV, whole or not at all; nan and what a row lacks are empty; columns as in the rows unless given.

    Where the columns are given, rows may be made one by one while they are written.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    if columns is None:
        rows = list(rows)
        columns = _columns(rows)
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if _is_nan(value) else value for key, value in row.items()} for row in rows)
    return path


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
