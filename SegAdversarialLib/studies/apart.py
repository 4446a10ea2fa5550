"""Cells whose networks are programs, each done in a process that has opened no other networks than theirs.

A worker of a study does many cells; a program that it opened could reach the cases and networks of all that came after. So the
worker itself opens no program: it starts a process for each set of programs, which gets cells and gives outcomes in lines of
JSON, and ends when the worker does. What it says is data, and is looked at: nothing of it is unpickled.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.programs import Named, named_files, named_in_attack, named_source, sums_of_programs
from SegAdversarialLib.studies.records import Cell, Outcome
from SegAdversarialLib.studies.work import product_of, run_cell, volumes_folder
from SegAdversarialLib.volumes.own_streams import take_over_streams

_MOST_PROCESSES = 3
"""Processes that a worker keeps: cells on one case ask networks in turn, and each start takes seconds."""

_LONGEST_ANSWER = 1 << 28
"""Bytes."""

_ONE_AT_A_TIME = threading.Lock()


class Failed(RuntimeError):
    """A cell came to nothing in its process; the text says why, as of any cell."""


def do_cell(
    cell: Cell,
    folder: str | Path,
    *,
    products: Mapping[str, str] | None = None,
    volumes: bool = False,
    threads: int | None = None,
) -> Outcome:
    """Do what a cell says, as `run_cell` does; one that opens programs is done in a process of its own.

    Raises:
        InputError: something that the study names is wrong: trying again changes nothing.
        Failed: the process died, or said what no cell says.
    """
    programs = sums_of_programs(_named(cell))
    if not programs:
        return run_cell(cell, folder, products=products, volumes=volumes, threads=threads)
    request = {"cell": asdict(cell), "folder": str(folder), "products": dict(products or {})}
    with _ONE_AT_A_TIME:
        return _processes().do(programs, cell, {**request, "volumes": volumes, "threads": threads})


def _named(cell: Cell) -> Iterator[Named]:
    """The networks that a cell opens; those that other cells make are none of a stranger's."""
    sources = [cell.work.get("model"), cell.work.get("surrogate")]
    while sources:
        source = sources.pop()
        sources += source.get("members", ()) if isinstance(source, Mapping) else ()
        yield from named_source(source)
    yield from named_in_attack(cell.settings)
    recipe = cell.settings.get("recipe")
    if isinstance(recipe, Mapping):
        yield from named_files(recipe.get("teacher"), recipe.get("network"))
        yield from named_in_attack(recipe.get("attack"))


class _Processes:
    """The processes of a worker, by the SHA-256 of the programs that they have opened."""

    def __init__(self) -> None:
        self._known: OrderedDict[frozenset[str], subprocess.Popen[bytes]] = OrderedDict()

    def do(self, programs: frozenset[str], cell: Cell, request: dict[str, Any]) -> Outcome:
        """Let the process of these programs do a cell."""
        try:
            return _outcome(_asked(self._of(programs), request), cell)
        except Failed:
            self._end(programs)  # whatever it is at
            raise

    def end(self) -> None:
        """End all of them."""
        for programs in list(self._known):
            self._end(programs)

    def _of(self, programs: frozenset[str]) -> subprocess.Popen[bytes]:
        if programs not in self._known:
            while len(self._known) >= _MOST_PROCESSES:
                self._end(next(iter(self._known)))
            self._known[programs] = _started()
        self._known.move_to_end(programs)
        return self._known[programs]

    def _end(self, programs: frozenset[str]) -> None:
        process = self._known.pop(programs, None)
        if process is None:
            return
        with suppress(OSError):  # it has ended already
            if os.name == "nt":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]


@cache
def _processes() -> _Processes:
    found = _Processes()
    atexit.register(found.end)
    return found


def _started() -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that what it starts ends with it, and Ctrl-C in a terminal is not meant for it."""
    groups: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        groups = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    # what can be imported here can be there, and nothing else: -P leaves the folder out in which the worker was started
    where = os.environ | {"PYTHONPATH": os.pathsep.join(x for x in sys.path if x)}
    command = [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"]
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=where, **groups)
    except OSError as error:
        raise Failed(f"no process could be started for it ({detail_of(error)})") from None


def _asked(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> Any:
    """What a process answers."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(OSError):  # it has died, which reading tells
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    line = process.stdout.readline(_LONGEST_ANSWER)
    if not line.endswith(b"\n"):
        raise Failed("its process died at it")
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Failed(_NONSENSE) from None


_NONSENSE = "its process said what no cell says"
_ROWS = ("structures", "channels", "thresholds", "trace", "audited", "checks")


def _outcome(said: Any, cell: Cell) -> Outcome:
    """An outcome from what a process says, which a program could have forged."""
    if not isinstance(said, dict) or len(said) != 1:
        raise Failed(_NONSENSE)
    (kind, told), *_ = said.items()
    if kind in ("refused", "failed") and isinstance(told, str):
        raise InputError(told) if kind == "refused" else Failed(told)
    if kind != "outcome" or not isinstance(told, dict):
        raise Failed(_NONSENSE)
    rows = {x: told.get(x) for x in _ROWS}
    texts = {x: tuple(y) if isinstance(y := told.get(x), list) else (None,) for x in ("kept", "notes")}
    product, seconds, versions = told.get("product"), told.get("seconds"), told.get("versions")
    right = (
        all(isinstance(x, list) and all(isinstance(y, dict) for y in x) for x in rows.values())
        and all(isinstance(y, str) for x in texts.values() for y in x)
        and texts["kept"] in ((), (volumes_folder(cell),))
        and product in ("", product_of(cell))
        and isinstance(seconds, (int, float))
        and isinstance(versions, dict)
    )
    if not right:
        raise Failed(_NONSENSE)
    return Outcome(**rows, **texts, product=product, seconds=seconds, versions=versions)  # type: ignore[arg-type]


def serve() -> NoReturn:
    """Do cells as they come in, until whoever asks is gone."""
    requests, answers = take_over_streams()
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    while True:
        said = _answer(json.loads(waiting.get()))
        answers.write(json.dumps(said, default=_as_number) + "\n")
        answers.flush()


def _listen(requests: BinaryIO, waiting: queue.SimpleQueue[bytes]) -> None:
    """Take in what is asked; when nobody can ask any more the process ends, also in the middle of a cell."""
    try:
        for line in requests:
            waiting.put(line)
    finally:
        os._exit(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    data = request["cell"]
    cell = Cell(**{**data, "needs": tuple(data["needs"])})
    how = {key: request[key] for key in ("products", "volumes", "threads")}
    try:
        return {"outcome": asdict(run_cell(cell, request["folder"], **how))}
    except InputError as error:
        return {"refused": str(error)}
    except (Exception, SystemExit) as error:  # whatever a stranger's network does
        return {"failed": f"{type(error).__name__}: {detail_of(error)}"}


def _as_number(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item() if hasattr(value, "item") else str(value)
