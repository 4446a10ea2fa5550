"""Where fetched networks lie, and whether they are still what was fetched.

A network is one archive, which is opened as it is. Beside it lies its SHA-256, in the form of `sha256sum`; what broke off in
the middle has ".part" at its end.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from SegAdversarialLib.errors import CancelCheck, InputError, check_cancel
from SegAdversarialLib.formats.fetching.catalogue import CATALOGUE, Entry, entry, is_catalogued
from SegAdversarialLib.formats.users_folders import users_folder
from SegAdversarialLib.volumes.files import is_file, whole_file

FOLDER = "SEGADVERSARIAL_MODELS"
"""The environment variable that names another folder than the user's own for fetched networks."""

_SUM = re.compile(r"[0-9a-f]{64}\b")
_ENDINGS = ("", ".sha256", ".part", ".part.json")
_LOOK_EVERY = 0.2
"""Seconds between two looks whether another process is done."""


@dataclass(frozen=True)
class Sums:
    """What a file's content is known by."""

    sha1: str
    sha256: str


@dataclass(frozen=True)
class Stored:
    """What of a network is there.

    Attributes:
        name: the network's.
        version: its makers' count.
        path: its archive.
        size: bytes of the archive, or of what has come of it.
        whole: whether the archive is there; else it broke off.
        sha256: the sum of what was fetched; "": it is not known yet.
    """

    name: str
    version: str
    path: Path
    size: int
    whole: bool
    sha256: str


def store_folder() -> Path:
    """Where this user's fetched networks lie; it need not be there."""
    if given := os.environ.get(FOLDER):
        return Path(given)
    return users_folder("cache") / "networks"


def place_of(which: Entry, folder: Path | None = None) -> Path:
    """Where a network's archive lies, or would lie."""
    return (folder or store_folder()) / which.file


def located(path: str | Path) -> str | Path:
    """The file that a network's path or name means: of a name in the catalogue its archive, else the path itself.

    Raises:
        InputError: the network is not there yet, or its archive is not what was fetched.
    """
    if not is_catalogued(path):
        return path
    chosen = entry(str(path))
    place = place_of(chosen)
    if not is_file(place):
        here = f'; the folder of that name here is "./{path}"' if os.path.isdir(path) else ""
        raise InputError(
            f'The network {path} is not downloaded yet: "segadversarial models get {path}" does it ({chosen.megabytes} MB, '
            f"{chosen.licence}); without internet {by_hand(chosen, place)}{here}."
        )
    check_unchanged(chosen, place)
    return place


def by_hand(which: Entry, place: Path) -> str:
    """What to do where there is no internet, as a part of a sentence."""
    return f"download {which.url} elsewhere (SHA-1 {which.sha1}) and put it there: {place}"


def check_unchanged(which: Entry, place: Path) -> Sums:
    """The sums of an archive that is what was fetched, or, where it was put there by hand, what the catalogue means.

    Raises:
        InputError: it is another one, or cannot be read.
    """
    known = recorded(place)
    found = sums_of(place)
    again = f'take it away and get it again ("segadversarial models remove {which.name}", then "get")'
    if known and found.sha256 != known:
        raise InputError(f"{place} has changed since it was downloaded (SHA-256 {found.sha256}, then {known}); {again}.")
    if not known:
        if not is_right(which, found):
            meant = f"{which.name} {which.version} of the catalogue"
            raise InputError(f"{place} is not {meant} ({differs(which, found)}); {again}.")
        with suppress(InputError):  # a folder that may be read alone will do
            record(place, found.sha256)
    return found


def is_right(which: Entry, found: Sums) -> bool:
    """Whether a content is the one that the catalogue means."""
    return found.sha1 == which.sha1 and which.sha256 in ("", found.sha256)


def differs(which: Entry, found: Sums) -> str:
    """In which sum a content is another one, in words."""
    if found.sha1 != which.sha1:
        return f"SHA-1 {found.sha1}, not {which.sha1}"
    return f"SHA-256 {found.sha256}, not {which.sha256}"


def recorded(place: Path) -> str:
    """The SHA-256 of what was fetched; "": none is remembered."""
    try:
        found = _SUM.match(_beside(place, ".sha256").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ""
    return found[0] if found else ""


def record(place: Path, sha256: str) -> None:
    """Remember the SHA-256 of what was fetched.

    Raises:
        InputError: it cannot be written.
    """
    with whole_file(_beside(place, ".sha256")) as temporary:
        temporary.write_text(f"{sha256}  {place.name}\n", encoding="ascii")


def sums_of(path: Path) -> Sums:
    """The sums of a file; read once as long as neither its size nor its time changes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        state = path.stat()
        return _sums(str(path), state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give a file that you may read.") from error


@lru_cache(maxsize=32)
def _sums(path: str, _time: int, _size: int) -> Sums:
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            sha1.update(block)
            sha256.update(block)
    return Sums(sha1.hexdigest(), sha256.hexdigest())


def stored(folder: Path | None = None) -> list[Stored]:
    """All that is there: whole archives of any version, and what broke off.

    Raises:
        InputError: the folder cannot be read.
    """
    folder = folder or store_folder()
    found = []
    for name, version, path in _archives(folder):
        part = _beside(path, ".part")
        whole = is_file(path)
        if whole or is_file(part):
            size = (path if whole else part).stat().st_size
            found.append(Stored(name, version, path, size, whole, recorded(path) if whole else ""))
    return found


def remove(names: list[str], folder: Path | None = None) -> list[Stored]:
    """Take networks away, all their versions, and what broke off of them; other files stay.

    Raises:
        InputError: there is nothing of a name, one is being downloaded, or a file cannot be taken away.
    """
    folder = folder or store_folder()
    there = stored(folder)
    for name in names:
        if not any(x.name == name for x in there):
            names_there = ", ".join(dict.fromkeys(x.name for x in there)) or "nothing"
            raise InputError(f"There is nothing of {name} in {folder}; there is {names_there}.")
    going = [x for x in there if x.name in names]
    for one in going:
        with locked(one.path, wait=False):
            for ending in _ENDINGS:
                _unlink(_beside(one.path, ending))
    return going


@contextmanager
def locked(place: Path, wait: bool = True, cancel: CancelCheck | None = None) -> Iterator[None]:
    """Be the only process that fetches a network, or takes it away; locks of processes that have ended count no more.

    Raises:
        InputError: another process does and `wait` is False; or the folder's disk knows no locks.
        Cancelled: the user has stopped the wait.
    """
    import filelock

    # it stays when it is not held any more: to take it away would part those who wait from those who come
    lock = filelock.FileLock(place.with_name(f".{place.name}.lock"))
    while True:
        check_cancel(cancel)
        try:
            lock.acquire(timeout=_LOOK_EVERY if wait else 0)
            break
        except filelock.Timeout:
            if not wait:
                raise InputError(f"{place.name} is being downloaded by another process; wait for it, or stop it.") from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"No lock can be made in {place.parent} ({reason}); choose a folder that you may write to, on a local disk."
            ) from error
    try:
        yield
    finally:
        lock.release()


def _archives(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, version and archive of all that has a file in a folder."""
    try:
        files = os.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror or error}); choose another one.") from error
    for name in CATALOGUE:
        kind = re.compile(rf"{re.escape(name)}_v(\d[\w.]*)\.zip(?:\.part)?")
        versions = {found[1] for x in files if (found := kind.fullmatch(x))}
        yield from ((name, x, folder / f"{name}_v{x}.zip") for x in sorted(versions))


def _beside(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be taken away ({error.strerror or error}); remove it yourself.") from error
