"""Getting a network of the catalogue: from its makers' server, another one, or a file that was carried here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel
from SegAdversarialLib.formats.fetching import store
from SegAdversarialLib.formats.fetching.catalogue import Entry
from SegAdversarialLib.formats.fetching.part import Origin, Part
from SegAdversarialLib.formats.fetching.store import Stored, Sums
from SegAdversarialLib.formats.fetching.transfer import Patience, Transfer
from SegAdversarialLib.volumes.archives import checked_zip
from SegAdversarialLib.volumes.files import check_writable

_MEGABYTE = 1_000_000
_AT_MOST = 4
"""So many times as large as the catalogue says an archive may be."""


def get(
    which: Entry,
    folder: Path | None = None,
    *,
    source: str = "",
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
    patience: Patience | None = None,
) -> Stored:
    """Get a network, unless it is there; what broke off before is gone on with.

    Args:
        which: the network.
        folder: where to; None: this user's folder for fetched networks.
        source: another address of the same file, or a file on this computer; "": the catalogue's.
        progress: called with the finished fraction and what is going on.
        cancel: asked between pieces; what has come is kept.
        patience: how much the server is put up with.

    Raises:
        InputError: it cannot be had, is another file than the catalogue means, or cannot be kept.
        Cancelled: the user has stopped it.
    """
    folder = folder or store.store_folder()
    say = progress or (lambda fraction, message: None)
    check_writable(folder)
    place = store.place_of(which, folder)
    say(0.0, f"{which.name}: looking for it")
    with store.locked(place, cancel=cancel):
        if place.is_file():
            with suppress(InputError):  # one that has changed is fetched anew
                return _stored(which, place, store.check_unchanged(which, place))
        try:
            part = _brought(which, place, source, say, cancel, patience)
            return _kept(which, place, part)
        except OSError as error:
            raise InputError(_unwritable(folder, error)) from error


def _brought(
    which: Entry,
    place: Path,
    source: str,
    say: ProgressCallback,
    cancel: CancelCheck | None,
    patience: Patience | None,
) -> Part:
    """The whole archive, under the name of a part."""
    part = Part(place.with_name(place.name + ".part"))

    def is_right(found: Sums) -> bool:
        return store.is_right(which, found)

    said = ""

    def report(there: int, total: int | None) -> None:
        nonlocal said
        whole = total or which.megabytes * _MEGABYTE
        shown = f"{which.name}: {there / _MEGABYTE:.1f} of {whole / _MEGABYTE:.1f} MB"
        if shown != said or there == total:  # else nobody could see it
            said = shown
            say(min(0.99, there / max(whole, 1)), shown)

    if source and "://" not in source:
        _copy(Path(source), part, is_right, report, cancel)
        return part
    _check_room(place.parent, which, part.size)
    url = source or which.url
    most = _AT_MOST * which.megabytes * _MEGABYTE
    try:
        Transfer(url, part, is_right, most, report, cancel, patience).run()
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; or {store.by_hand(which, place)}.") from error
    return part


def _copy(
    source: Path,
    part: Part,
    is_right: Callable[[Sums], bool],
    report: Callable[[int, int | None], None],
    cancel: CancelCheck | None,
) -> None:
    """Take a file on this computer, looked at before a byte of it is copied."""
    found = store.sums_of(source)
    if not is_right(found):
        raise InputError(f"{source} is another file than the one in the catalogue (SHA-1 {found.sha1}); get that one.")
    total = source.stat().st_size
    part.begin(Origin(source.name, total=total), goes_on=False)
    try:
        with source.open("rb") as stream:
            while block := stream.read(1 << 20):
                part.add(block)
                report(part.size, total)
                check_cancel(cancel)
    finally:
        part.close()
    if not is_right(part.sums):
        part.discard()
        raise InputError(f"{source} changed while it was copied; try again.")


def _kept(which: Entry, place: Path, part: Part) -> Stored:
    """Give a whole archive its name, after a look at what is in it."""
    sums = part.sums
    try:
        with checked_zip(part.path, place.name):
            pass
    except InputError:
        part.discard()
        raise
    store.record(place, sums.sha256)
    part.become(place)
    return _stored(which, place, sums)


def _stored(which: Entry, place: Path, sums: Sums) -> Stored:
    return Stored(which.name, which.version, place, place.stat().st_size, True, sums.sha256)


def _check_room(folder: Path, which: Entry, there: int) -> None:
    """Refuse to begin what will not fit.

    Raises:
        InputError: the disk has too little room.
    """
    needed = which.megabytes * _MEGABYTE - there
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"The disk of {folder} has {free / _MEGABYTE:.0f} MB left, and {which.name} needs {needed / _MEGABYTE:.0f} MB "
            f"more; make room, or choose another folder (--folder, or {store.FOLDER})."
        )


def _unwritable(folder: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return (
        f"Cannot write in {folder} ({reason}); make room on its disk, or choose another folder (--folder, or {store.FOLDER}). "
        "What has come is kept, from which the next download goes on."
    )
