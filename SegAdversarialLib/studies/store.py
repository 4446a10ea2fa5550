"""Where a study's results are kept: one SQLite file, written by one client, one transaction for each cell that is finished."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import database
from SegAdversarialLib.studies.database import TABLES, in_a_sentence, quoted
from SegAdversarialLib.studies.records import Cell, Outcome
from SegAdversarialLib.studies.rows import Rows


@dataclass(frozen=True)
class Counts:
    """How far a study has come.

    Attributes:
        total: cells of the plan.
        done: those that are finished.
        failed: those that something was wrong with; the next run tries them again.
        poisoned: those that have failed too often to be tried again unasked.
        left_out: finished cells that are no longer in the plan: kept, but not reported.
    """

    total: int
    done: int
    failed: int
    poisoned: int
    left_out: int

    @property
    def waiting(self) -> int:
        """Cells that have not been tried."""
        return self.total - self.done - self.failed - self.poisoned


class Store(Rows):
    """The results of a study. Open it with `open`, use it in a `with` block, or close it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: database.Lock | None) -> None:
        super().__init__(path, connection)
        self._lock = lock
        self._mutex = threading.RLock()
        self._parts: dict[str, int] = {}

    @classmethod
    def open(cls, path: str | Path, study: str = "", *, reading: bool = False) -> Store:
        """Open the store of a study.

        Args:
            path: the file (`study.sqlite` in the study's folder); made if it is to be written and is not there.
            study: the study's name; empty: whichever it is.
            reading: only read it, which several can at once, also while another process writes.

        Raises:
            InputError: it is not there, not a store, that of another study or version, or another process writes it.
        """
        path = Path(path)
        if reading:
            store = cls(path, database.connected(path, reading=True), None)
        else:
            lock = database.Lock(path)
            with in_a_sentence(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                free = lock.take()
            if not free:
                raise InputError(f"The study in {path.parent} is being run by {_runner(path)}; wait for it, or stop it first.")
            try:
                store = cls(path, database.connected(path, reading=False), lock)
            except BaseException:
                lock.release()
                raise
        try:
            store._begin(study)
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            if self._lock is not None:
                with suppress(sqlite3.Error):  # a full disk: that it says who wrote it last is no harm
                    self._connection.execute("DELETE FROM about WHERE name = 'client'")
            self._connection.close()
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    @property
    def runner(self) -> str | None:
        """Who is writing the store now, in words; None: nobody."""
        if self._lock is not None or not database.Lock(self.path).is_held():
            return None
        with in_a_sentence(self.path):
            return database.in_words(database.about(self._connection, "client"))

    def add(self, cells: Iterable[Cell], *, skipped: Mapping[str, str] | None = None, notes: Iterable[str] = ()) -> Counts:
        """Make these cells the plan. Those that are known keep their results; others that are finished stay, unreported.

        Args:
            cells: all cells of the plan, in their order.
            skipped: cases that the plan leaves out, and why.
            notes: what is odd about the plan, in sentences.

        Raises:
            InputError: the disk is full, or the file cannot be written.
        """
        with self._transaction():
            self._connection.execute("UPDATE cells SET planned = 0")
            for position, cell in enumerate(cells):
                known = self._connection.execute(
                    "UPDATE cells SET planned = 1, position = ? WHERE key = ?", (position, cell.key)
                ).rowcount
                if not known:
                    self._insert(cell, position)
            self._say("skipped", dict(skipped or {}))
            self._say("notes", list(notes))
        return self.counts()

    def waiting(self) -> list[Cell]:
        """The cells that are still to be done, in the plan's order; those that have failed, but not too often, among them."""
        with in_a_sentence(self.path):
            return list(self._planned("state IN ('waiting', 'failed')"))

    def finish(self, cell: Cell, outcome: Outcome, *, worker: str = "") -> bool:
        """Keep what came out of a cell, whole or not at all; False: it was finished already, and that stays.

        Raises:
            InputError: the disk is full, or the file cannot be written.
        """
        with self._transaction():
            number, state = self._find(cell)
            if state == "done":
                return False
            for table, columns in TABLES.items():
                rows = getattr(outcome, table)
                marks = ", ".join("?" * (len(columns) + 2))
                self._connection.executemany(
                    f'INSERT INTO "{table}" (cell, {quoted(columns)}, absent) VALUES ({marks})',
                    [(number, *_stored(row, columns)) for row in rows],
                )
            if outcome.trace:
                trace = json.dumps([{key: _plain(x) for key, x in row.items()} for row in outcome.trace])
                self._connection.execute('INSERT INTO traces (cell, "rows") VALUES (?, ?)', (number, trace))
            self._connection.execute(
                "UPDATE cells SET state = 'done', tries = tries + 1, error = '', worker = ?, finished = ?, seconds = ?, "
                "product = ?, kept = ?, notes = ?, versions = ? WHERE id = ?",
                (
                    *(worker, time.time(), float(outcome.seconds), outcome.product),
                    *(json.dumps(list(outcome.kept)), json.dumps(list(outcome.notes))),
                    *(self._part(outcome.versions), number),
                ),
            )
        return True

    def keep(self, cell: Cell, kept: Iterable[str]) -> None:
        """Say which volumes of a finished cell are kept now.

        Raises:
            InputError: the disk is full, or the file cannot be written.
        """
        with self._transaction():
            number, _ = self._find(cell)
            self._connection.execute("UPDATE cells SET kept = ? WHERE id = ?", (json.dumps(list(kept)), number))

    def fail(self, cell: Cell, error: str, *, worker: str = "", poison: bool = False) -> None:
        """Keep why a cell came to nothing.

        Args:
            cell: the cell.
            error: why, in a sentence.
            worker: where.
            poison: it is not to be tried again unasked.

        Raises:
            InputError: the disk is full, or the file cannot be written.
        """
        with self._transaction():
            number, state = self._find(cell)
            if state != "done":
                self._connection.execute(
                    "UPDATE cells SET state = ?, tries = tries + 1, error = ?, worker = ?, finished = ? WHERE id = ?",
                    ("poisoned" if poison else "failed", str(error), worker, time.time(), number),
                )

    def forgive(self) -> int:
        """Let cells be tried again that have failed too often; how many there were.

        Raises:
            InputError: the disk is full, or the file cannot be written.
        """
        with self._transaction():
            return self._connection.execute("UPDATE cells SET state = 'failed' WHERE state = 'poisoned' AND planned").rowcount

    def counts(self) -> Counts:
        """How far the study has come."""
        with in_a_sentence(self.path):
            found = dict(self._connection.execute("SELECT state, count(*) FROM cells WHERE planned GROUP BY state"))
            (left_out,) = self._connection.execute(
                "SELECT count(*) FROM cells WHERE NOT planned AND state = 'done'"
            ).fetchone()
        return Counts(sum(found.values()), found.get("done", 0), found.get("failed", 0), found.get("poisoned", 0), left_out)

    def _begin(self, study: str) -> None:
        """Find out whether it is the right study's, and say who writes it."""
        with in_a_sentence(self.path):
            known = database.about(self._connection, "study")
        if study and known and known != study:
            raise InputError(
                f'{self.path} holds the study "{known}", not "{study}"; give another folder (--output), or the old name.'
            )
        if self._lock is not None:
            with self._transaction():
                self._say("client", database.me())
                if study:
                    self._say("study", study)

    def _say(self, name: str, value: Any) -> None:
        self._connection.execute("INSERT OR REPLACE INTO about (name, value) VALUES (?, ?)", (name, json.dumps(value)))

    def _find(self, cell: Cell) -> tuple[int, str]:
        found = self._connection.execute("SELECT id, state FROM cells WHERE key = ?", (cell.key,)).fetchone()
        if found is None:
            raise ValueError(f"The cell {cell.key} is not in the store.")
        return int(found[0]), str(found[1])

    def _insert(self, cell: Cell, position: int) -> None:
        columns = ("key", "kind", "network", "case", "patient", "attack", "settings", "repeat", "work", "needs", "position")
        values = (
            *(cell.key, cell.kind, cell.network, cell.case, cell.patient, cell.attack, self._part(cell.settings), cell.repeat),
            *(json.dumps({name: self._part(value) for name, value in cell.work.items()}), json.dumps(list(cell.needs))),
            position,
        )
        marks = ", ".join("?" * len(columns))
        self._connection.execute(f"INSERT INTO cells ({quoted(columns)}, planned) VALUES ({marks}, 1)", values)

    def _part(self, data: Any) -> int:
        """The number of some data that many cells share, kept once."""
        text = json.dumps(data, sort_keys=True, allow_nan=False)
        if text not in self._parts:
            self._connection.execute("INSERT OR IGNORE INTO parts (text) VALUES (?)", (text,))
            (self._parts[text],) = self._connection.execute("SELECT id FROM parts WHERE text = ?", (text,)).fetchone()
        return self._parts[text]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self._mutex, in_a_sentence(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._parts.clear()  # some of them may not be there
                if self._connection.in_transaction:  # SQLite itself takes some errors back
                    self._connection.execute("ROLLBACK")
                raise


def _runner(path: Path) -> str:
    """Who writes a store, in words."""
    try:
        with in_a_sentence(path):
            connection = database.connected(path, reading=True)
            try:
                return database.in_words(database.about(connection, "client"))
            finally:
                connection.close()
    except InputError:  # it is only just being made
        return database.in_words(None)


def _stored(row: Mapping[str, Any], columns: tuple[str, ...]) -> list[Any]:
    """A row's values in their order, and the names of those that are not there at all.

    SQLite has one NULL, which stands for not a number (as it also reads one) and for nothing: the last value tells them apart.
    """
    if unknown := set(row) - set(columns):
        raise ValueError(f"A row has no column {sorted(unknown)[0]}; it has {', '.join(columns)}.")
    values = [_plain(row.get(name)) for name in columns]
    absent = [name for name, value in zip(columns, values) if value is None]
    return [*values, ",".join(absent) or None]


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's own."""
    return value.item() if hasattr(value, "item") and not isinstance(value, (str, bytes)) else value
