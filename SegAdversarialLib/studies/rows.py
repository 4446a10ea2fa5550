"""What a store gives back: flat rows, one after the other, so that a hundred thousand of them need not be held at once."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.budgets import Budgets
from SegAdversarialLib.studies.database import TABLES, about, has_table, in_a_sentence, quoted
from SegAdversarialLib.studies.records import Cell

CELL_COLUMNS = (
    *("key", "kind", "network", "case", "patient", "attack", "settings", "repeat"),
    *("budget", "budget_name", "channels", "variant"),
)
"""What every row says of its cell: `settings` is a mapping; `variant` tells, in words, configurations of one attack apart that
differ in more than budget, channels and seed."""

STATE_COLUMNS = ("state", "tries", "error", "worker", "finished", "seconds", "product", "kept", "notes", "versions")
"""What is known of a cell itself; `finished` in seconds since 1970."""

TEXTS = {"structure", "channel", "strongest", "check", "verdict", "sentence", "setting", "unit"}
"""Columns of measured rows that are texts."""

BOOLEANS = {"success", "searched", "region"}
"""Those that are true or false."""

_AT_ONCE = 2000
"""Rows that are fetched at once."""


class Rows:
    """Reads a store."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    def results(self) -> Iterator[dict[str, Any]]:
        """A row for each (attack, structure): CELL_COLUMNS and STRUCTURE_COLUMNS, in the plan's order."""
        return self._measured("structures")

    def channels(self) -> Iterator[dict[str, Any]]:
        """A row for each (attack, channel): CELL_COLUMNS and CHANNEL_COLUMNS."""
        return self._measured("channels")

    def audited(self) -> Iterator[dict[str, Any]]:
        """A row for each (network, epsilon, structure): CELL_COLUMNS and AUDITED_COLUMNS."""
        return self._measured("audited")

    def checks(self) -> Iterator[dict[str, Any]]:
        """A row for each (network, check): CELL_COLUMNS and CHECK_COLUMNS."""
        return self._measured("checks")

    def thresholds(self) -> Iterator[dict[str, Any]]:
        """A row for each (attack, structure) whose least budget was looked for: CELL_COLUMNS and THRESHOLD_COLUMNS."""
        return self._measured("thresholds")

    def traces(self) -> Iterator[dict[str, Any]]:
        """A row for each iteration of an attack or epoch of a training: CELL_COLUMNS, and what the trace says."""
        base = self._bases()
        for number, text in self._streamed('SELECT t.cell, t."rows" FROM cells c JOIN traces t ON t.cell = c.id'):
            for row in json.loads(text) if number in base else ():
                yield {**base[number], **row}

    def cells(self) -> Iterator[dict[str, Any]]:
        """A row for each cell of the plan: CELL_COLUMNS and STATE_COLUMNS, `needs` and `volumes` aside."""
        base, texts = self._bases(), self._texts()
        for number, *values in self._streamed(
            f"SELECT c.id, {', '.join(f'c.{x}' for x in STATE_COLUMNS)} FROM cells c", False
        ):
            row = dict(zip(STATE_COLUMNS, values))
            row |= {name: json.loads(row[name]) for name in ("kept", "notes")}
            row["versions"] = {} if row["versions"] is None else texts[row["versions"]]
            if number in base:
                yield {**base[number], **row}

    def planned(self) -> Iterator[Cell]:
        """All cells of the plan as they were planned, in its order."""
        with in_a_sentence(self.path):
            yield from self._planned("1")

    def skipped(self) -> dict[str, str]:
        """The cases that the plan leaves out, and why, by their names."""
        with in_a_sentence(self.path):
            return dict(about(self._connection, "skipped") or {})

    def notes(self) -> list[str]:
        """What is odd about the plan, in sentences."""
        with in_a_sentence(self.path):
            return list(about(self._connection, "notes") or [])

    def products(self) -> dict[str, str]:
        """The files that finished cells have made for others, relative to the study's folder, by the cells' keys."""
        with in_a_sentence(self.path):
            return dict(self._connection.execute("SELECT key, product FROM cells WHERE state = 'done' AND product <> ''"))

    def cell(self, key: str) -> Cell:
        """A cell as it was planned.

        Raises:
            InputError: there is none, or it is not what its key says.
        """
        with in_a_sentence(self.path):
            found = list(self._planned("key = ?", (key,), every=True))
        if not found:
            raise InputError(f"The store {self.path} has no cell {key}.")
        return found[0]

    def _planned(self, condition: str, values: tuple[Any, ...] = (), every: bool = False) -> Iterator[Cell]:
        """Cells of the plan; each is checked against its key, so that nothing runs that nobody has planned."""
        names = ("key", "kind", "network", "case", "patient", "attack", "settings", "repeat", "work", "needs")
        which = condition if every else f"planned AND {condition}"
        texts = self._texts()
        for row in self._connection.execute(f"SELECT {quoted(names)} FROM cells WHERE {which} ORDER BY position", values):
            data = dict(zip(names, row))
            key = data.pop("key")
            data["settings"] = texts[data["settings"]]
            data["work"] = {name: texts[number] for name, number in json.loads(data["work"]).items()}
            data["needs"] = tuple(json.loads(data["needs"]))
            cell = Cell(**data)
            if cell.key != key:
                raise InputError(f"The store {self.path} was changed by hand: a cell is not what its key says.")
            yield cell

    def _texts(self) -> dict[int, Any]:
        """The data that many cells share, by number; equal data are one object."""
        return _Texts(self._connection)

    def _measured(self, table: str) -> Iterator[dict[str, Any]]:
        columns = TABLES[table]
        with in_a_sentence(self.path):
            if not has_table(self._connection, table):
                return
        base = self._bases()
        chosen = ", ".join(f'm."{x}"' for x in columns)
        for number, *values, absent in self._streamed(
            f'SELECT m.cell, {chosen}, m.absent FROM cells c JOIN "{table}" m ON m.cell = c.id'
        ):
            if number not in base:  # the plan has changed in the meantime
                continue
            missing = set(absent.split(",")) if absent else ()
            yield {**base[number], **{x: _read(x, value, missing) for x, value in zip(columns, values)}}

    def _streamed(self, select: str, done: bool = True) -> Iterator[tuple[Any, ...]]:
        """The rows of a query over cells of the plan, in its order, from a cursor of their own."""
        condition = "c.planned AND c.state = 'done'" if done else "c.planned"
        with in_a_sentence(self.path):
            cursor = self._connection.execute(f"{select} WHERE {condition} ORDER BY c.position")
            while rows := cursor.fetchmany(_AT_ONCE):
                yield from rows

    def _bases(self) -> Mapping[int, dict[str, Any]]:
        """What rows say of their cells, by the cell's number; also of those that are not finished, so that what an attack is
        called does not change while a study runs."""
        texts = self._texts()
        names = ("key", "kind", "network", "case", "patient", "attack", "settings", "repeat")
        listed = ", ".join(f'c."{x}"' for x in names)
        products = self._products_by_name()
        settings: dict[int, dict[str, Any]] = {}
        cells: dict[int, dict[str, Any]] = {}
        for number, *values in self._streamed(f"SELECT c.id, {listed} FROM cells c", False):
            row = dict(zip(names, values))
            part = row["settings"]
            if part not in settings:
                settings[part] = _named(texts[part], products)
            row["settings"] = settings[part]
            cells[number] = row
        budgets = Budgets((x["attack"], x["settings"]) for x in cells.values() if x["kind"] == "attack")
        for row in cells.values():
            row |= budgets.of(row["attack"], row["settings"], row["kind"] == "attack")
        return cells

    def _products_by_name(self) -> dict[str, str]:
        """What the study calls the networks and generators that it trains, by the keys of the cells that do."""
        rows = self._connection.execute(
            "SELECT key, CASE kind WHEN 'generator' THEN attack ELSE network END FROM cells "
            "WHERE kind IN ('train', 'generator')"
        )
        return dict(rows)


class _Texts(dict[int, Any]):
    """Data by number, read when they are asked for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, number: int) -> Any:
        (text,) = self._connection.execute("SELECT text FROM parts WHERE id = ?", (number,)).fetchone()
        self[number] = json.loads(text)
        return self[number]


def _named(settings: dict[str, Any], products: Mapping[str, str]) -> dict[str, Any]:
    """Settings with names in the place of keys of the cells that make what they name."""

    def name(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"product"}:
                return products.get(value["product"], value["product"])
            return {key: name(x) for key, x in value.items()}
        return [name(x) for x in value] if isinstance(value, list) else value

    named: dict[str, Any] = name(settings)
    return named


def _read(column: str, value: Any, missing: Any) -> Any:
    """A value as it was given: NULL was not a number, unless it is told to be missing."""
    if value is None:
        return None if column in missing or column in TEXTS else math.nan
    return bool(value) if column in BOOLEANS else value
