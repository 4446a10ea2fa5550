"""Files of weights, read without running anything that might stand in them."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.recognition import is_safetensors
from SegAdversarialLib.formats.verdicts import verdict
from SegAdversarialLib.volumes.archives import begins_as_zip, checked_zip


def checkpoint(path: Path, shown: Path | None = None) -> Any:
    """What a file of weights holds, read without running anything that might stand in it.

    Args:
        path: the file.
        shown: what it is called in messages; None: its path.

    Raises:
        InputError: it is damaged, or holds more than weights.
    """
    import safetensors.torch
    import torch

    shown = shown or path
    if begins_as_zip(path):
        with checked_zip(path, shown):  # torch's own reader takes sizes and names as they are said
            pass
    try:
        with path.open("rb") as stream:
            if is_safetensors(stream.read(9)):
                return safetensors.torch.load_file(str(path))
        with _plain_data(), path.open("rb") as stream:  # a path would be judged by its ending
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can break the reader anywhere
        if foreign := re.search(r"\bGLOBAL ([\w.]+)", str(error)):
            raise InputError(
                f"{shown} holds more than weights ({foreign[1]}), and such a file could run programs when it is opened "
                f"({verdict(path)}); save its state_dict alone, best as safetensors."
            ) from error
        raise InputError(f"The weights file {shown} is damaged or no weights file ({detail_of(error)}).") from error


def _plain_data() -> AbstractContextManager[None]:
    """Let data be read that training programs keep beside the weights, and that runs nothing: numbers of NumPy (a score), the
    words of a command line (argparse's Namespace, as timm has them), and paths."""
    import argparse
    import pathlib

    import numpy as np
    import torch

    if torch.__version__ < "2.6":  # which cannot be told of a function by another name
        return nullcontext()
    scalar = (np._core if hasattr(np, "_core") else np.core).multiarray.scalar
    named = [(scalar, f"numpy.{room}.multiarray.scalar") for room in ("core", "_core")]
    kinds = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    for kind, pure in (("Posix", pathlib.PurePosixPath), ("Windows", pathlib.PureWindowsPath)):
        named += [(pure, f"{room}.{word}{kind}Path") for room in ("pathlib", "pathlib._local") for word in ("", "Pure")]
    data: list[Any] = [*named, np.dtype, *dict.fromkeys(kinds), argparse.Namespace]
    allowed: AbstractContextManager[None] = torch.serialization.safe_globals(data)
    return allowed
