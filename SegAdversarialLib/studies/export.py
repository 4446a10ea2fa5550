"""A store as tables for other programs: CSV, and Parquet. Rows are written as they are read, however many there are."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.database import TABLES
from SegAdversarialLib.studies.rows import BOOLEANS, CELL_COLUMNS, STATE_COLUMNS, TEXTS, Rows
from SegAdversarialLib.volumes.files import whole_file

Format = Literal["csv", "parquet"]
Row = dict[str, Any]

_AT_ONCE = 20_000
"""Rows of a group in a Parquet file."""

_NUMBERS: dict[str, type] = {"repeat": int, "tries": int, "budget": float, "finished": float, "seconds": float}
"""Columns that are no texts, beside those that were measured."""


def export(
    store: Rows, folder: str | Path, formats: Iterable[Format] = ("csv",), only: Collection[str] | None = None
) -> list[Path]:
    """Write the tables of a store (results, channels, thresholds, traces, audited, checks, cells), each to a file of its own.

    In CSV what was not measured is empty, what is not a number `nan`, and what is infinite `inf`; in Parquet null, NaN and
    infinity. Mappings and lists (settings, notes) are JSON.

    Args:
        store: an open store.
        folder: where to; it is made if it is missing.
        formats: "csv", "parquet", or both.
        only: the names of the tables that are wanted; None: all.

    Returns:
        The files that were written; a table without a row is not.

    Raises:
        InputError: the folder cannot be written to, the disk is full, or the package that writes Parquet is missing.
    """
    written = []
    writers = {each: _WRITERS[each] for each in formats}
    if "parquet" in writers:
        _pyarrow()
    for name, (rows, kinds) in _tables(store).items():
        if (only is not None and name not in only) or next(rows(), None) is None:
            continue
        for ending, write in writers.items():
            with whole_file(Path(folder) / f"{name}.{ending}") as path:
                write(path, rows(), kinds())
            written.append(Path(folder) / f"{name}.{ending}")
    return written


def _tables(store: Rows) -> dict[str, tuple[Callable[[], Iterator[Row]], Callable[[], dict[str, type]]]]:
    """For each file its rows, and its columns with their kinds."""

    def kinds_of(columns: Iterable[str]) -> Callable[[], dict[str, type]]:
        return lambda: {x: _kind(x) for x in (*CELL_COLUMNS, *columns)}

    return {
        "results": (store.results, kinds_of(TABLES["structures"])),
        "channels": (store.channels, kinds_of(TABLES["channels"])),
        "thresholds": (store.thresholds, kinds_of(TABLES["thresholds"])),
        "traces": (store.traces, lambda: _found(store.traces())),
        "audited": (store.audited, kinds_of(TABLES["audited"])),
        "checks": (store.checks, kinds_of(TABLES["checks"])),
        "cells": (store.cells, kinds_of(STATE_COLUMNS)),
    }


def _kind(column: str) -> type:
    """What a column holds."""
    if column in _NUMBERS or column in BOOLEANS:
        return _NUMBERS.get(column, bool)
    measured = {x for columns in TABLES.values() for x in columns} - TEXTS
    return float if column in measured else str


def _found(rows: Iterator[Row]) -> dict[str, type]:
    """The columns of rows that need not all have the same."""
    kinds: dict[str, type] = {x: _kind(x) for x in CELL_COLUMNS}
    for row in rows:
        for column, value in row.items():
            if column in CELL_COLUMNS:
                continue
            number = isinstance(value, (int, float)) or value is None
            kinds[column] = float if number and kinds.get(column, float) is float else str
    return kinds


class _Texts:
    """Mappings and lists as JSON; rows share those of their cells, each of which is put into words once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}

    def of(self, value: Any) -> str:
        """The text of a value."""
        if isinstance(value, str):
            return value
        if id(value) not in self._known:
            if len(self._known) >= _AT_ONCE:
                self._known.clear()
            self._known[id(value)] = value, json.dumps(value)  # held, so that its id stays its own
        return self._known[id(value)][1]


def _write_csv(path: Path, rows: Iterable[Row], kinds: dict[str, type]) -> None:
    texts = _Texts()

    def in_csv(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        return value if isinstance(value, (str, int, float)) or value is None else texts.of(value)

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(kinds)
        writer.writerows([in_csv(row.get(x)) for x in kinds] for row in rows)


def _write_parquet(path: Path, rows: Iterable[Row], kinds: dict[str, type]) -> None:
    from pyarrow.parquet import ParquetWriter

    pyarrow = _pyarrow()
    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in kinds.items()])
    source, texts = iter(rows), _Texts()

    def as_kind(value: Any, kind: type) -> Any:
        return None if value is None else texts.of(value) if kind is str else kind(value)

    with ParquetWriter(path, schema) as writer:
        while chunk := list(itertools.islice(source, _AT_ONCE)):
            columns = {name: [as_kind(row.get(name), kind) for row in chunk] for name, kind in kinds.items()}
            arrays = [pyarrow.array(columns[x.name], x.type, from_pandas=False) for x in schema]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise InputError(
            "Parquet needs the package pyarrow, which is not installed; install it (pip install pyarrow), or export CSV."
        ) from None
    return pyarrow


_WRITERS: dict[str, Callable[[Path, Iterable[Row], dict[str, type]], None]] = {"csv": _write_csv, "parquet": _write_parquet}
