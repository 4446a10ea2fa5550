"""Zip archives from strangers: looked through before anything of them is read, and unpacked without leaving their folder.

An archive says itself what its members are called, how large they are and what kind of file they make. A network file of
torch's, a bundle and a scene are such archives; all that is opened here is looked at by `checked_zip` first.
"""

from __future__ import annotations

import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from SegAdversarialLib.errors import InputError, detail_of

MOST_MEMBERS = 50_000
"""Members of an archive: programs of large networks have some thousands."""

LARGEST_TOTAL = 1 << 36
"""Bytes of all that an archive unpacks to: networks for whole volumes have 0.1 to 4 GiB."""

_HARMLESS_TOTAL = 1 << 26
_STRONGEST = 100
"""So many times smaller than its content an archive may be, where that is more than 64 MiB: weights hardly get smaller."""

_LARGEST_DIRECTORY = 512 * MOST_MEMBERS
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)
"""What Python's reader raises where an archive is damaged, packed in a way that it does not know, or encrypted."""


def begins_as_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does; False also where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\3\4", b"PK\5\6")
    except OSError:
        return False


@contextmanager
def checked_zip(source: Path | IO[bytes], name: str | Path | None = None) -> Iterator[zipfile.ZipFile]:
    """A zip archive to read from, after a look at all of its members.

    Args:
        source: its file, or a stream of its bytes, which can be sought in.
        name: what it is called in messages; None: its file.

    Raises:
        InputError: it could do harm (`check_members` says what is looked at), or it, or what is read of it meanwhile, is
            damaged.
    """
    shown = name if name is not None else source if isinstance(source, Path) else "that is read"
    try:
        check_directory(source, shown)
        with zipfile.ZipFile(source) as archive:
            check_members(archive, shown)
            yield archive
    except InputError:
        raise
    except (*_DAMAGED, OSError) as error:
        raise InputError(f"The archive {shown} is damaged ({detail_of(error)}); download or copy it again.") from error


def check_directory(source: Path | IO[bytes], shown: str | Path) -> None:
    """Refuse an archive whose table of contents alone would fill the memory: Python's reader takes all of it in.

    Raises:
        InputError: it is one.
        OSError: the file cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            size = _directory_size(stream)
    else:
        size = _directory_size(source)
        source.seek(0)
    if size > _LARGEST_DIRECTORY:
        raise _refusal(shown, f"its table of contents has {size:,} bytes, as of millions of files")


def check_members(archive: zipfile.ZipFile, shown: str | Path) -> None:
    """Refuse an archive with names outside its folder, links, two members of one name, absurd sizes or a bomb, or one cut off.

    Raises:
        InputError: it is one; the message names the member, and why.
    """
    check_beginning(archive, shown)
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise _refusal(shown, f"it holds {len(members):,} files, more than {MOST_MEMBERS:,}")
    known: set[str] = set()
    for member in members:
        if wrong := _wrong(member):
            raise _refusal(shown, f'its member "{_printable(member.orig_filename)}" {wrong}')
        name = _plain(member.filename)
        if name in known:
            raise _refusal(shown, f'it holds "{_printable(name)}" twice, so that what is looked at need not be what is opened')
        known.add(name)
    _check_sizes(members, shown)


def check_beginning(archive: zipfile.ZipFile, shown: str | Path) -> None:
    """Refuse an archive whose first file is none of its members: cut off, it passes for an archive that was packed in it.

    Raises:
        InputError: it is one.
    """
    members, stream = archive.infolist(), archive.fp
    if stream is None or not members or not min(x.header_offset for x in members):
        return
    stream.seek(0)
    head = stream.read(30)
    if len(head) == 30 and head.startswith(b"PK\3\4"):
        name = stream.read(struct.unpack_from("<H", head, 26)[0]).decode("utf-8", "replace")
        raise InputError(
            f'The archive {shown} is cut off or damaged: it begins with "{_printable(name)}", which its table of contents '
            "does not hold; download or copy it again."
        )


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """All bytes of a member of an archive that `checked_zip` gave.

    Args:
        archive: the archive.
        name: the member's.
        most: bytes that it may have.

    Raises:
        InputError: there is no such member, or it has more.
    """
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise InputError(f'The archive {archive.filename} holds no "{name}"; download or copy it again.') from None
    if member.file_size > most:
        raise _refusal(str(archive.filename), f'"{name}" in it has {member.file_size:,} bytes, more than {most:,}')
    with archive.open(member) as stream:
        return stream.read(most)


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive into a folder, which is made; `whole_folder` gives one that disappears if this goes wrong.

    Raises:
        InputError: it could do harm, or is damaged; or two of its names are one on disks that know no capitals.
        OSError: the folder cannot be written to.
    """
    with checked_zip(path) as archive:
        _check_on_any_disk(archive, path)
        for member in archive.infolist():
            place = folder.joinpath(*PurePosixPath(_plain(member.filename)).parts)
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            copy_member(archive, member.filename, place)


def copy_member(archive: zipfile.ZipFile, name: str, place: Path) -> None:
    """Write a member of an archive that `checked_zip` gave to a file, which must not be there yet.

    Raises:
        OSError: the file is there, or cannot be written.
    """
    with archive.open(name) as packed, place.open("xb") as stream:
        while block := packed.read(1 << 20):
            stream.write(block)


def _directory_size(stream: IO[bytes]) -> int:
    length = stream.seek(0, 2)
    stream.seek(max(0, length - (1 << 16) - 100))
    tail = stream.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        return 0  # no archive, as its reader will say
    size: int = struct.unpack_from("<L", tail, end + 12)[0]
    # a large archive has a second record at its end, to which a locator of 20 bytes leads; else the bytes are a member's
    wide = tail.rfind(b"PK\6\6", 0, end) if tail[max(0, end - 20) : end].startswith(b"PK\6\7") else -1
    if wide >= 0 and len(tail) >= wide + 48:
        size = max(size if size < 0xFFFFFFFF else 0, struct.unpack_from("<Q", tail, wide + 40)[0])
    return size


def _wrong(member: zipfile.ZipInfo) -> str:
    """What is wrong with a member's name or kind, as the end of a sentence; "": nothing."""
    name = member.orig_filename.replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or ":" in name:
        return "is a place on a disk, outside of the archive's folder"
    if ".." in parts:
        return "leads out of the archive's folder"
    if not name.strip("/. ") or any(x < " " or x == "\x7f" for x in name):
        return "has a name that no file has"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link to somewhere else"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if member.flag_bits & 1:
        return "is encrypted, so that nobody can look at it before it is opened"
    return ""


def _check_sizes(members: list[zipfile.ZipInfo], shown: str | Path) -> None:
    """Refuse what unpacks to absurd sizes, and members that share their bytes, by which small archives become huge."""
    total = sum(x.file_size for x in members)
    packed = sum(x.compress_size for x in members)
    if total > LARGEST_TOTAL:
        raise _refusal(shown, f"it says that it unpacks to {total:,} bytes, more than {LARGEST_TOTAL:,}")
    for member in members:
        if _is_bomb(member.file_size, member.compress_size):
            said = f"{member.file_size:,} bytes packed into {member.compress_size:,}"
            raise _refusal(shown, f'its member "{_printable(member.filename)}" is a bomb ({said})')
    if _is_bomb(total, packed):
        raise _refusal(shown, f"it is a bomb ({total:,} bytes packed into {packed:,})")
    ordered = sorted(members, key=lambda x: x.header_offset)
    for one, other in zip(ordered, ordered[1:]):
        if one.header_offset + 30 + one.compress_size > other.header_offset:
            names = f'"{_printable(one.filename)}" and "{_printable(other.filename)}"'
            raise _refusal(shown, f"its members {names} lie over one another, as in a bomb")


def _is_bomb(size: int, packed: int) -> bool:
    return size > _HARMLESS_TOTAL and size > _STRONGEST * packed


def _check_on_any_disk(archive: zipfile.ZipFile, shown: Path) -> None:
    """Refuse names that become one on disks that know no capitals, or a file that is another one's folder."""
    files: dict[str, str] = {}
    for member in archive.infolist():
        name = _plain(member.filename)
        if not member.is_dir():
            folded = _folded(name)
            if folded in files:
                raise _refusal(shown, f'"{files[folded]}" and "{name}" in it are one name on many disks')
            files[folded] = name
    for name in files.values():
        for parent in PurePosixPath(name).parents:
            if _folded(str(parent)) in files:
                raise _refusal(shown, f'"{parent}" in it is a file and a folder at once')


def _folded(name: str) -> str:
    return "/".join(part.rstrip(" .") for part in unicodedata.normalize("NFC", name).casefold().split("/"))


def _plain(name: str) -> str:
    """A member's name with slashes, without empty parts and "."."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _printable(name: str) -> str:
    return ascii(name[:80])[1:-1] if not name[:80].isprintable() else name[:80]


def _refusal(shown: str | Path, why: str) -> InputError:
    return InputError(f"The archive {shown} is not opened: {why}; get it from its makers again.")
