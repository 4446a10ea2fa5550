"""TorchScript files: whole networks as programs, opened only when their source is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from SegAdversarialLib.errors import InputError, detail_of

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import ModelSettings


NEEDS_TRUST = True
"""Such a file is a program."""

ENDINGS = (".ts", ".torchscript", ".pt", ".pth")


def opens(path: Path, settings: ModelSettings) -> bool:
    """Whether the file is TorchScript: it says so, or ends like one and has no architecture named for it."""
    if settings.format is not None:
        return settings.format == "torchscript"
    return settings.network is None and path.suffix.lower() in ENDINGS


def content_file(path: Path, settings: ModelSettings) -> Path:
    """The file that holds the network."""
    return path


def load(path: Path, settings: ModelSettings, trust: bool) -> torch.nn.Module:
    """The network in the file.

    Raises:
        InputError: its source is not trusted, or it is damaged.
    """
    import torch

    if not trust:
        raise InputError(
            f"{path} is a TorchScript file, a program that could do anything with your files; if you trust its source, say so "
            "(--trust, or trust=True)."
        )
    try:
        return torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path} is no TorchScript network, or it is damaged ({detail_of(error)}).") from error
