"""The plain data in a pickle (dictionaries, lists, texts, numbers): whatever else it would make or call is left out.

A pickle is a program: it imports what it names, and calls it. Here every name stands for one and the same class, which does
nothing and keeps nothing; so nothing of the pickle's own runs, and no tensor is read.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.archives import check_beginning, check_directory

_LARGEST = 1 << 26
"""Bytes of a pickle that are read: tensors lie beside it, so that those of checkpoints have some 100 kB."""


class LeftOut:
    """Whatever a pickle holds that is no plain data."""

    def __new__(cls, *_: Any, **__: Any) -> LeftOut:
        return super().__new__(cls)

    def _nothing(self, *_: Any, **__: Any) -> LeftOut:
        return self

    __call__ = __setstate__ = __setitem__ = append = extend = add = _nothing


class _Table(dict[Any, Any]):
    """An ordered dictionary, without what is said of it beside its content."""

    def __setstate__(self, _: Any) -> None:
        """Leave it out."""


class _Reader(pickle._Unpickler):
    """Python's own reader and not the faster one in C, which takes memory for as many marks as a pickle says it has."""

    def find_class(self, module: str, name: str) -> Any:
        return _Table if (module, name) == ("collections", "OrderedDict") else LeftOut

    def persistent_load(self, _: Any) -> LeftOut:
        return LeftOut()


def member_of_zip(path: Path, name: str = "data.pkl") -> bytes | None:
    """The pickle in an archive that torch.save wrote; None: there is none, or the file is no such archive.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"PK":
                return None
            check_directory(stream, path)
            with zipfile.ZipFile(stream) as archive:
                check_beginning(archive, path)
                found = [x for x in archive.infolist() if x.filename.rpartition("/")[2] == name]
                if len(found) != 1 or not 0 < found[0].file_size <= _LARGEST:
                    return None
                with archive.open(found[0]) as member:
                    return member.read(_LARGEST)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give a file that you may read.") from error
    except Exception:  # a damaged archive can break its reader anywhere; what the file is, its recognition says
        return None


def plain_data(content: bytes, source: str) -> Any:
    """The plain data of a pickle.

    Args:
        content: the pickle.
        source: what it is called in messages.

    Raises:
        InputError: it is damaged.
    """
    try:
        return _Reader(io.BytesIO(content)).load()
    except Exception as error:
        raise InputError(f"{source} is damaged ({detail_of(error)}); download or copy it again.") from error


def plain_checkpoint(path: Path) -> dict[str, Any] | None:
    """What a checkpoint of torch.save holds beside its tensors; None: the file is none.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    content = member_of_zip(path)
    found = None if content is None else plain_data(content, str(path))
    return found if isinstance(found, dict) else None
