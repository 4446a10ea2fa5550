"""What results call a network: by what says something, where its file's name says nothing."""

from __future__ import annotations

import os
from pathlib import Path

from SegAdversarialLib.formats import builtin

_SAY_NOTHING = frozenset(
    ("best", "best_metric_model", "best_model", "checkpoint", "checkpoints", "ckpt", "configs", "final", "inference", "last")
    + ("metadata", "model", "model_best", "model_final", "models", "network", "pytorch_model", "weights")
)
"""Names of files and folders that any network's may have."""


def name_of(path: str | Path, file: Path, said: str = "") -> str:
    """What results call a network.

    Args:
        path: as it was given.
        file: the file or folder that this means.
        said: what another tool's files call it; "": nothing.

    Returns:
        The built-in network's name; what its tool calls it; else the file's name without its ending, or, where that says
        nothing (`model.pt`), the name of the folder that it lies in.
    """
    if builtin.is_builtin(str(path)):
        return str(path)
    return said or telling_name(file)


def telling_name(file: Path) -> str:
    """The name of a file or folder, or of the first folder above it whose name says something."""
    own = file.name if os.path.isdir(file) else file.stem
    names = [own, *(x.name for x in file.absolute().parents)]
    return next((x for x in names if x and x.lower() not in _SAY_NOTHING), own)
