"""What a process that was killed, or a machine that lost its power, leaves while it writes: finished, or taken away.

Names of what is being written tell whose it is, so that nothing is taken from a process that still writes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import uuid
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PARTIAL, REPLACED = ".partial-", ".replaced-"
"""What is being written, and what it takes the place of."""

PLAN = ".plan"
"""In a folder of what is replaced: the paths that go, as JSON; once it is there, what comes is whole."""

_MARK = re.compile(r"([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}")


def new_mark() -> str:
    """A part of a name that nobody else uses, and that says which process of which machine does."""
    return f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def recover(folder: Path, name: str = "") -> None:
    """Bring to an end what a process that is no more was writing in a folder.

    An exchange that had begun is finished, as what it brings was whole; what was not whole is removed.

    Args:
        folder: where it was writing.
        name: of the file or folder that it was writing; "": changes of the folder itself.
    """
    with suppress(OSError):
        left = [x for x in os.listdir(folder) if _is_left(x, name)]
        for partial in (folder / x for x in left if x.startswith(PARTIAL)):
            replaced = folder / partial.name.replace(PARTIAL, REPLACED, 1)
            if replaced.exists():
                _finish(folder, partial, replaced, name)
            _remove(partial)
        for replaced in (folder / x for x in left if x.startswith(REPLACED)):
            if name and not (folder / name).exists():
                os.replace(replaced, folder / name)
            _remove(replaced)


def remove_left(folder: Path, beginning: str) -> None:
    """Take away what processes that are no more left in a folder.

    Args:
        folder: such as that for temporary files.
        beginning: of its name, before a `new_mark`.
    """
    with suppress(OSError):
        for name in os.listdir(folder):
            mark = _MARK.match(name, len(beginning)) if name.startswith(beginning) else None
            if mark is not None and _is_nobodys(mark):
                _remove(folder / name)


def exchange(folder: Path, earlier: Iterable[str], partial: Path, replaced: Path, moved: list[tuple[Path, Path]]) -> None:
    """Put what lies in `partial` into `folder`; what it takes the place of, and what is `earlier`, goes into `replaced`.

    Begun by one process, it may be finished by another.

    Args:
        folder, partial, replaced: they exist.
        earlier: paths in `folder` that go.
        moved: gets each move, from where to where; empty once all is done.
    """
    arriving = {x: folder / x.name for x in partial.iterdir()}
    for path in dict.fromkeys([*(folder / x for x in earlier), *arriving.values()]):
        place = replaced / path.relative_to(folder)
        if path.exists() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
            moved.append((path, place))
    for path, place in arriving.items():
        os.replace(path, place)
        moved.append((path, place))
    moved.clear()


def _finish(folder: Path, partial: Path, replaced: Path, name: str) -> None:
    if name:
        if not (folder / name).exists():
            os.replace(partial, folder / name)
    elif partial.is_dir() and (plan := _plan(replaced / PLAN)) is not None:
        exchange(folder, plan, partial, replaced, [])


def _plan(path: Path) -> list[str] | None:
    """The paths that go; None: the exchange had not begun."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return [str(x) for x in found]


def _is_left(found: str, name: str) -> bool:
    """Whether an entry of a folder is being written by nobody any more, and is of that name."""
    kind = next((x for x in (PARTIAL, REPLACED) if found.startswith(x)), None)
    mark = None if kind is None else _MARK.match(found, len(kind))
    return mark is not None and found[mark.end() :].removeprefix("-") == name and _is_nobodys(mark)


def _is_nobodys(mark: re.Match[str]) -> bool:
    """Whether the process of a mark is no more; where that cannot be told, it is."""
    return mark[1] == _machine() and os.name == "posix" and not _lives(int(mark[2]))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _machine() -> str:
    """A short name of this machine."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
