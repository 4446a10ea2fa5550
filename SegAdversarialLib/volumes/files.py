"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.interrupted import PARTIAL, PLAN, REPLACED, exchange, new_mark, recover

RESULT_MARKER = "result.json"
"""The file that tells a folder of results made by this software from anybody else's folder."""

_UNFINISHED: list[Callable[[], None]] = []
"""What makes the files and folders that are being written disappear."""


def remove_unfinished() -> None:
    """Remove what is being written, for a process that ends at once."""
    for remove in reversed(_UNFINISHED):
        remove()


@contextmanager
def _removed_if_unfinished(remove: Callable[[], None]) -> Iterator[None]:
    """Call `remove` when the block ends, however it ends, the end of the process included."""
    _UNFINISHED.append(remove)
    try:
        yield
    finally:
        remove()
        _UNFINISHED.remove(remove)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it takes the place of `path`, else it is removed.

    The temporary name keeps the suffix, so that writers that choose a format by it (SimpleITK, matplotlib) still do.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f"{PARTIAL}{new_mark()}-{path.name}")

    def remove() -> None:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

    with _removed_if_unfinished(remove):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            recover(path.parent, path.name)
            yield temporary
            os.replace(temporary, path)
        except OSError as error:
            raise InputError(_unwritable(path, error)) from error


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; when the block ends well it takes the place of `path`, else it is removed.

    An earlier result of this software (a folder with `result.json`) is replaced; any other folder that already exists
    and is not empty is refused, so that nothing of the user's is lost.

    Raises:
        InputError: the folder exists and is not ours, cannot be written to, or the disk is full.
    """
    path = Path(path)
    recover(path.parent, path.name)
    check_replaceable(path)
    mark = new_mark()
    temporary, retired = (path.with_name(f"{kind}{mark}-{path.name}") for kind in (PARTIAL, REPLACED))

    def remove() -> None:
        with suppress(OSError):
            if retired.exists() and not path.exists():  # it was on the way out, and nothing has taken its place
                os.replace(retired, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)

    with _removed_if_unfinished(remove):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():
                os.replace(path, retired)
            os.replace(temporary, path)
        except OSError as error:
            raise InputError(_unwritable(path, error)) from error


@contextmanager
def whole_change(folder: str | Path, earlier: Sequence[Path]) -> Iterator[Path]:
    """Give a temporary folder inside `folder`; when the block ends well, what lies in it takes the place of `earlier`.

    Whole or not at all: until then, and if anything goes wrong, everything is as it was.

    Args:
        folder: it is made if it is missing.
        earlier: files and folders inside `folder` that go, as far as they are there; others that the new ones are called
            like go, too.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    folder = Path(folder)
    recover(folder)
    mark = new_mark()
    temporary, retired = folder / f"{PARTIAL}{mark}", folder / f"{REPLACED}{mark}"
    moved: list[tuple[Path, Path]] = []

    def remove() -> None:
        with suppress(OSError):
            while moved:  # it has gone wrong in the middle: everything goes back to where it was
                os.replace(*reversed(moved[-1]))
                moved.pop()
        shutil.rmtree(temporary, ignore_errors=True)
        if not moved:  # else it holds the only copy
            shutil.rmtree(retired, ignore_errors=True)

    with _removed_if_unfinished(remove):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            going = [x.relative_to(folder).as_posix() for x in earlier]
            retired.mkdir()
            (retired / PLAN).write_text(json.dumps(going), encoding="utf-8")
            exchange(folder, going, temporary, retired, moved)
        except OSError as error:
            raise InputError(_unwritable(folder, error)) from error


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also where the name is impossible or the folder may not be entered."""
    try:
        return path.is_file()
    except OSError:
        return False


def split_choice(path: str | Path) -> tuple[Path, str]:
    """A path and what is chosen in it, "" if nothing is: "study#301" as (study, "301"); what exists as it stands is a path."""
    text = str(path)
    if not os.path.exists(text):
        for place in (n for n in reversed(range(len(text))) if text[n] == "#"):
            if os.path.exists(text[:place]):
                return Path(text[:place]), text[place + 1 :].strip()
    return Path(text), ""


def check_replaceable(path: Path) -> None:
    """Refuse a result folder that would hide something which this software did not write.

    Raises:
        InputError: `path` is a file, or a folder with content but without our `result.json`.
    """
    if path.is_file():
        raise InputError(f"{path} is a file; give a folder for the results.")
    if path.is_dir() and any(not x.name.startswith(PARTIAL) for x in path.iterdir()) and not (path / RESULT_MARKER).is_file():
        raise InputError(
            f"The folder {path} already holds files that are not SegAdversarial results; give another output folder."
        )


def check_writable(folder: str | Path, *, make: bool = True) -> None:
    """Find out before hours of work whether results can be written to `folder`.

    Args:
        folder: is made if it is missing, with the folders that it lies in.
        make: it stays; otherwise nothing is left of what was missing.

    Raises:
        InputError: it cannot be made, is a file, or cannot be written to.
    """
    folder = Path(folder)
    missing = [x for x in (folder, *folder.parents) if not x.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".partial-"):
            pass
    except OSError as error:
        raise InputError(_unwritable(folder, error)) from error
    if not make:
        with suppress(OSError):  # another program may have written into it
            for made in missing:
                made.rmdir()


def file_name(text: str) -> str:
    """Turn a channel or attack name into a file name: letters, digits, dot, dash and underscore are kept."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in text) or "_"


def _unwritable(path: Path, error: OSError) -> str:
    return f"Cannot write {path}: {error.strerror or error}; choose a folder that you may write to, on a disk with room."
