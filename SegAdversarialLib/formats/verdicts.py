"""What a scanner says of a file that could run code: shown before it opens, and never taken for the decision."""

from __future__ import annotations

import io
import logging
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.pickles import read_pickle
from SegAdversarialLib.volumes.archives import begins_as_zip, checked_zip

_LARGEST_PICKLE = 1 << 26
"""Bytes of pickles that are scanned: the scanner keeps all instructions in memory; those of checkpoints have some 100 kB."""

_SHOWN = 3
_OWN = "__torch__."
"""How TorchScript calls the classes of a program itself: they say nothing but its structure."""

_NO_CODE = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.\w+Storage|torch\.storage\.\w+|torch\.(?:Size|dtype|device)"
)
"""What every file of weights imports."""


def verdict(*paths: Path) -> str:
    """What a scanner for dangerous pickles (picklescan) says of files, in one sentence without its full stop.

    Nothing in the files runs. A TorchScript program's own instructions are none that such a scanner reads.
    """
    scanner = _scanner()
    if scanner is None:
        return "not scanned: picklescan is not installed (pip install picklescan)"
    name = f"picklescan {version('picklescan')}"
    dangerous: dict[str, None] = {}
    unknown: dict[str, None] = {}
    pickles = 0
    for path in paths:
        try:
            for content, shown in _pickles(path):
                pickles += 1
                found = scanner.scan_pickle_bytes(content, shown)
                for x in found.globals:
                    kinds = {"dangerous": dangerous, "suspicious": unknown}
                    kinds.get(x.safety.value, {})[f"{x.module}.{x.name}"] = None
        except InputError as error:
            return f"not scanned: {str(error).rstrip('.')}"
        except Exception as error:  # it reads what others made to break readers
            return f"{name} could not read it ({type(error).__name__})"
    return _in_words(name, pickles, sorted(dangerous), sorted(unknown))


def imports(*paths: Path) -> list[str]:
    """The classes and functions that pickles in files would import, but for those that every file of weights has.

    Raises:
        InputError: a file cannot be read, or is an archive that could do harm.
    """
    found: dict[str, None] = {}
    for path in paths:
        for content, _ in _pickles(path):
            found |= dict.fromkeys(x for x in read_pickle(content).imports if not _NO_CODE.fullmatch(x))
    return list(found)


def _scanner() -> Any:
    """picklescan's module; None: it is not installed. It tells its log what is returned here."""
    try:
        from picklescan import scanner

        version("picklescan")
    except (ImportError, PackageNotFoundError):
        return None
    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    return scanner


def _pickles(path: Path) -> list[tuple[IO[bytes], str]]:
    """The pickles in a file: the file itself, or an archive's members that begin as pickles or are called so.

    Raises:
        InputError: the file cannot be read or is an archive that could do harm, or there is more of pickles than is scanned.
    """
    try:
        if begins_as_zip(path):
            return _in_archive(path, str(path))
        with path.open("rb") as stream:
            if not _begins_as_pickle(stream.read(2)):
                return []
            stream.seek(0)
            content = stream.read(_LARGEST_PICKLE + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give a file that you may read.") from error
    # torch.save's older form goes on with the tensors' bytes, where instructions end by themselves
    return [(io.BytesIO(content), str(path))]


def _in_archive(source: Path | IO[bytes], shown: str, outer: bool = True) -> list[tuple[IO[bytes], str]]:
    """The pickles in an archive, and in the archives that lie in it, as torch.export's hold some of torch.save's."""
    found: list[tuple[IO[bytes], str]] = []
    left = _LARGEST_PICKLE
    with checked_zip(source, shown) as archive:
        for member in archive.infolist():
            name = f"{shown}:{member.filename}"
            with archive.open(member) as stream:
                head = stream.read(2)
                if outer and head == b"PK":
                    stream.seek(0)
                    found += _in_archive(stream, name, outer=False)
                elif _begins_as_pickle(head) or member.filename.endswith((".pkl", ".pickle")):
                    left -= member.file_size
                    if left < 0:
                        raise InputError(f"{shown} holds more than {_LARGEST_PICKLE:,} bytes of pickles.")
                    found.append((io.BytesIO(head + stream.read()), name))
    return found


def _begins_as_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\1", b"\2", b"\3", b"\4", b"\5")


def _in_words(name: str, pickles: int, dangerous: list[str], unknown: list[str]) -> str:
    if dangerous:
        return f"{name} calls it dangerous ({_few(dangerous)})"
    if unknown:
        others = [x for x in unknown if not x.startswith(_OWN)]
        count = f"{len(unknown)} name{'s' if len(unknown) > 1 else ''} that it does not know"
        return f"{name} finds nothing that it knows as dangerous, and {count}" + (f" ({_few(others)})" if others else "")
    return f"{name} finds nothing dangerous" if pickles else f"{name} finds no pickle in it, and reads nothing else"


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
