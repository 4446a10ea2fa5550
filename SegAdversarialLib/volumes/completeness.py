"""Whether a file holds all the voxels that its header promises: readers fill what is missing with zeros, or with anything."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.files import is_file

_PIECE = 1 << 20

MOST_SQUEEZED = 1032
"""Bytes that gzip and zlib make of one at most (RFC 1951: 258 bytes from two bits)."""

_LONGEST_NAME = 255
"""No disk has longer names; a header may say anything."""


def incomplete(path: Path, held: int | str, needed: int, unit: str = "bytes") -> InputError:
    """The refusal of a file that ends too early."""
    return InputError(
        f"{path} is incomplete: it holds {held} {unit}, but its header promises {needed}; fetch or save it again."
    )


def damaged(path: Path, error: Exception) -> InputError:
    """The refusal of a file whose compressed data cannot be unpacked."""
    what = "incomplete: its compressed data break off" if isinstance(error, EOFError) else f"damaged ({error})"
    return InputError(f"{path} is {what}; fetch or save it again.")


def is_gzip(path: Path) -> bool:
    """Whether a file's content, whatever its name is, begins as gzip's."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def check_present(header: Path, path: Path, field: str) -> None:
    """Check that the file of voxels is there that a header names in one of its fields.

    Raises:
        InputError: it is not.
    """
    if not is_file(path):
        name = str(path) if len(path.name) <= _LONGEST_NAME else f"{str(path.parent / path.name[:_LONGEST_NAME])}..."
        raise InputError(f"{header}: there is no file {name}, which is to hold its voxels ({field}); put it there.")


def check_plain(path: Path, start: int, needed: int) -> None:
    """Check that a file has that many bytes from byte `start` on.

    Raises:
        InputError: it has fewer.
    """
    if (held := path.stat().st_size - start) < needed:
        raise incomplete(path, held, needed, "bytes of voxels")


def _check_promise(path: Path, start: int, needed: int) -> None:
    """Refuse what no packed data of this length can hold, before a reader takes memory for it."""
    most = max(0, path.stat().st_size - start) * MOST_SQUEEZED
    if most < needed:
        raise incomplete(path, f"at most {most}", needed)


def check_gzip(path: Path, start: int, needed: int) -> None:
    """Check that the gzip data from byte `start` on give that many bytes, by the length at their end if that is right.

    Raises:
        InputError: they do not.
    """
    _check_promise(path, start, needed)
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - 4))
        if int.from_bytes(file.read(), "little") == needed % 2**32:  # RFC 1952: ISIZE
            return
        file.seek(start)  # several members, or something behind them
        held = 0
        try:
            with gzip.open(file) as unpacked:
                while held < needed and (piece := unpacked.read(_PIECE)):
                    held += len(piece)
        except (EOFError, OSError, zlib.error) as error:
            raise damaged(path, error) from error
    if held < needed:
        raise incomplete(path, held, needed)


def check_zlib(path: Path, start: int, needed: int) -> None:
    """Check that the zlib data from byte `start` on are whole and give that many bytes.

    Raises:
        InputError: they do not.
    """
    _check_promise(path, start, needed)
    unpacker, held = zlib.decompressobj(47), 0
    with path.open("rb") as file:
        file.seek(start)
        try:
            while not unpacker.eof and (piece := file.read(_PIECE)):
                held += len(unpacker.decompress(piece))
        except zlib.error as error:
            raise damaged(path, error) from error
    if not unpacker.eof:
        raise damaged(path, EOFError())
    if held < needed:
        raise incomplete(path, held, needed)
