"""The SQLite file of a study: opened, told from others, locked by the client that writes it, its errors said in sentences."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.records import (
    AUDITED_COLUMNS,
    CHANNEL_COLUMNS,
    CHECK_COLUMNS,
    STRUCTURE_COLUMNS,
    THRESHOLD_COLUMNS,
)

APPLICATION = 0x5E6AD5
"""What SQLite files of this software call themselves (PRAGMA application_id)."""

VERSION = 2
"""Of the tables (PRAGMA user_version)."""

TABLES = {
    "structures": STRUCTURE_COLUMNS,
    "channels": CHANNEL_COLUMNS,
    "audited": AUDITED_COLUMNS,
    "checks": CHECK_COLUMNS,
    "thresholds": THRESHOLD_COLUMNS,
}
"""Tables with one row for each thing that was measured, by cell. One that an older store lacks is made when it is written."""

_PATIENCE = 30.0
"""Seconds that a write waits for somebody else's, such as a program that shows the file."""

_LAST_NAME = ".lock"


def quoted(names: Sequence[str]) -> str:
    """Names of columns in SQL; some of ours, such as "case", are its words."""
    return ", ".join(f'"{name}"' for name in names)


_MEASURED = "\n".join(
    f'CREATE TABLE IF NOT EXISTS "{table}" (cell INTEGER NOT NULL REFERENCES cells(id), {quoted(columns)}, absent TEXT);\n'
    f'CREATE INDEX IF NOT EXISTS "{table}_of_cell" ON "{table}" (cell);'
    for table, columns in TABLES.items()
)

_SCHEMA = f"""
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE parts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE cells (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL, network TEXT NOT NULL, "case" TEXT NOT NULL, patient TEXT NOT NULL, attack TEXT NOT NULL,
    settings INTEGER NOT NULL REFERENCES parts(id), "repeat" INTEGER NOT NULL, work TEXT NOT NULL, needs TEXT NOT NULL,
    position INTEGER NOT NULL, planned INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
    worker TEXT NOT NULL DEFAULT '', finished REAL, seconds REAL,
    product TEXT NOT NULL DEFAULT '', kept TEXT NOT NULL DEFAULT '[]', notes TEXT NOT NULL DEFAULT '[]',
    versions INTEGER REFERENCES parts(id)
);
CREATE INDEX cells_in_order ON cells (planned, position);
CREATE TABLE traces (cell INTEGER PRIMARY KEY REFERENCES cells(id), "rows" TEXT NOT NULL);
{_MEASURED}
"""


class Lock:
    """Held by the one client that writes a store; the system lets go of it when the process ends, however it ends.

    It is an exclusive lock on a SQLite file of its own, so that others can still read the store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + _LAST_NAME)
        self._held: sqlite3.Connection | None = None

    def take(self) -> bool:
        """Take the lock; False: somebody else has it."""
        connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            connection.close()
            if "locked" in str(error):
                return False
            raise
        self._held = connection
        return True

    def is_held(self) -> bool:
        """Whether anybody has the lock."""
        if not self._path.exists():
            return False
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            return "locked" in str(error)
        return False

    def release(self) -> None:
        """Let go of it."""
        if self._held is not None:
            self._held.close()
            self._held = None


def connected(path: Path, reading: bool) -> sqlite3.Connection:
    """The store's file, made if it is to be written and is not there.

    Raises:
        InputError: it is not there, not ours, of another version, or cannot be opened.
    """
    if reading and not path.exists():
        raise InputError(f"There is no store {path}; the study has not been run yet.")
    with in_a_sentence(path):
        if reading:
            connection = _for_reading(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            _check(connection, path, reading)
        except BaseException:
            connection.close()
            raise
    return connection


def me() -> dict[str, Any]:
    """Who this process is, for others who would write the store."""
    user = ""
    with suppress(Exception):  # a user without a name, as in containers
        user = getpass.getuser()
    return {"host": socket.gethostname(), "process": os.getpid(), "user": user, "since": time.time()}


def in_words(client: dict[str, Any] | None) -> str:
    """Who somebody is."""
    if not client:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(client.get("since", 0))))
    user = f" of {client['user']}" if client.get("user") else ""
    return f"process {client.get('process')}{user} on {client.get('host')} since {since}"


def about(connection: sqlite3.Connection, name: str) -> Any:
    """What the store says of itself under a name; None: nothing."""
    found = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
    return None if found is None else json.loads(found[0])


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether a store has a table; older ones have not all."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone() is not None


@contextmanager
def in_a_sentence(path: Path) -> Iterator[None]:
    """What SQLite and the system find wrong, and what is no JSON where that should be, as one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(_sentence(path, error)) from error
    except OSError as error:
        raise InputError(f"The store {path} cannot be used: {error.strerror or error}; what was stored is intact.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"The store {path} is damaged: something in it is no JSON; put back a copy, or give another folder (--output)."
        ) from error


def _sentence(path: Path, error: sqlite3.Error) -> str:
    text = str(error)
    if "full" in text:
        return f"The disk is full, so that {path} cannot grow; make room and resume: everything that was stored is intact."
    if "locked" in text or "busy" in text:
        return f"Another program keeps {path} locked; close it, and resume: everything that was stored is intact."
    if "readonly" in text:
        return f"{path} may not be written to; run the study in a folder that you may write to (--output)."
    if "not a database" in text:
        return f"{path} is no store of a study; move it away, or give another folder (--output)."
    if "malformed" in text:
        return f"The store {path} is damaged; put back a copy of it, or give another folder (--output)."
    if "unable to open" in text:
        return f"The store {path} cannot be opened; check that its folder may be written to."
    return f"The store {path} cannot be used ({text}); everything that was stored before is intact."


def _for_reading(path: Path) -> sqlite3.Connection:
    """A store may be read while it is written, and also where nothing can be written beside it."""
    address = path.absolute().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=_PATIENCE, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if not any(x in str(error) for x in ("unable to open", "readonly")):
            raise
        return sqlite3.connect(f"{address}?immutable=1", uri=True, check_same_thread=False)
    return connection


def _check(connection: sqlite3.Connection, path: Path, reading: bool) -> None:
    """Make the tables, or find out whether they are ours."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not tables and not application:
        if reading:
            raise InputError(f"The store {path} is empty; the study has not been run yet.")
        connection.execute("PRAGMA journal_mode = WAL")
        script = f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {_SCHEMA} COMMIT;"
        connection.executescript(script)
    elif application != APPLICATION:
        raise InputError(f"{path} is a database of another program; move it away, or give another folder (--output).")
    elif version > VERSION:
        raise InputError(f"The store {path} was written by a newer version of this software; update to read it.")
    elif version < VERSION:
        raise InputError(
            f"The store {path} was written by an older version of this software; run the study in another folder."
        )
    if not reading:
        connection.execute("PRAGMA journal_mode = WAL")
        if tables:
            connection.executescript(f"BEGIN IMMEDIATE; {_MEASURED} COMMIT;")
        # a killed process loses nothing; at a power failure the last results may be missing, and are made again
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
