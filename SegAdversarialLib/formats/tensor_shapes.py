"""Shapes of the tensors in a file of weights, told by its own words: no tensor is read, nothing runs, torch is not needed."""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from SegAdversarialLib.formats.recognition import is_safetensors
from SegAdversarialLib.volumes.archives import begins_as_zip, checked_zip, read_member

_LARGEST = 1 << 26
"""Bytes of the words about tensors that are read: those of checkpoints have some 100 kB."""

_STORAGE = re.compile(r"torch\.(?:\w+Storage|storage\.\w+Storage)")
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F16": 16, "BF16": 16, "I16": 16, "I32": 32, "F32": 32, "I64": 64, "F64": 64}


@dataclass(frozen=True)
class Shape:
    """A tensor without its numbers."""

    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def shapes(path: Path) -> Any:
    """What a file of weights holds, with a `Shape` for each tensor; None: torch has to say it.

    That is so for the older form of torch.save, for what is damaged, and for all that is more than tensors, numbers and texts.

    Raises:
        InputError: it is an archive that could do harm, or a damaged one.
    """
    if begins_as_zip(path):
        return _of_torch(path)
    try:
        with path.open("rb") as stream:
            return _of_safetensors(stream, path.stat().st_size) if is_safetensors(stream.read(9)) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error):
        return None


def _of_torch(path: Path) -> Any:
    with checked_zip(path) as archive:
        sizes = {x.filename: x.file_size for x in archive.infolist()}
        words = [x for x in sizes if x.rpartition("/")[2] == "data.pkl"]
        if len(words) != 1 or sizes[words[0]] > _LARGEST:
            return None
        content = read_member(archive, words[0], _LARGEST)
    root = words[0].rpartition("/")[0]
    try:
        return _Reader(content, {x.removeprefix(f"{root}/data/"): n for x, n in sizes.items()}).load()
    except Exception:  # anything may stand in a damaged pickle, and what torch says of it is said then
        return None


class _Storage:
    """What a file names as the place of a tensor's numbers."""


class _Reader(pickle._Unpickler):
    """Python's own reader and not the faster one in C, as in `plain_pickle`: it knows tensors and nothing else by name."""

    def __init__(self, content: bytes, sizes: dict[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self._sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        if _STORAGE.fullmatch(dotted):
            return _Storage
        return {
            "collections.OrderedDict": _Table,
            "torch.Size": tuple,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": _parameter,
        }[dotted]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, _, key, _, count = pid
        if kind != "storage" or self._sizes[key] < count:  # of the smallest numbers one has a byte
            raise ValueError(pid)
        return _Storage()


class _Table(OrderedDict[Any, Any]):
    """An ordered dictionary, without what is said of it beside its content."""

    def __setstate__(self, _: Any) -> None:
        """Leave it out."""


def _tensor(_storage: _Storage, _offset: int, size: Any, *_: Any) -> Shape:
    return Shape(tuple(int(n) for n in size))


def _parameter(tensor: Shape, *_: Any) -> Shape:
    return tensor


def _of_safetensors(stream: IO[bytes], size: int) -> dict[str, Shape] | None:
    """By their places in the file, as safetensors reads them."""
    stream.seek(0)
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > min(_LARGEST, size - 8):
        return None
    header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, said in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
        start, end = said["data_offsets"]
        found[name] = Shape(tuple(said["shape"]))
        if found[name].numel() * _BITS[said["dtype"]] != 8 * (end - start) or end > size - 8 - length:
            return None
    return found
