"""The plain data in a pickle: dictionaries, lists, texts and numbers. All else, tensors too, becomes a mark; nothing runs."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

_LARGEST = 1 << 26
"""Bytes of the pickle in a checkpoint: tensors lie beside it."""


class Left:
    """Something that is no plain data, left where it is."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **named: Any) -> Left:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Take what a pickled list would."""

    def extend(self, items: Any) -> None:
        """Take what a pickled list would."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _Dictionary(dict[Any, Any]):
    """A dictionary that may have attributes, as those of torch's weights do."""

    def __setstate__(self, state: Any) -> None:
        pass


class _PlainUnpickler(pickle.Unpickler):
    """Imports nothing: every class and function that a pickle names is `Left`, ordered dictionaries aside."""

    def find_class(self, module: str, name: str) -> Any:
        return _Dictionary if (module, name) == ("collections", "OrderedDict") else Left

    def persistent_load(self, found: Any) -> Left:
        return Left()


def plain_data(path: Path) -> dict[str, Any] | None:
    """What a checkpoint of torch.save holds beside its tensors; None: it is none, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = next((x for x in archive.infolist() if x.filename.rpartition("/")[2] == "data.pkl"), None)
            if member is None or member.file_size > _LARGEST:
                return None
            with archive.open(member) as stream:
                found = _PlainUnpickler(_limited(stream)).load()
    except Exception:  # whatever stands in a file of somebody else's
        return None
    return dict(found) if isinstance(found, dict) else None


def _limited(stream: IO[bytes]) -> IO[bytes]:
    return io.BytesIO(stream.read(_LARGEST))
