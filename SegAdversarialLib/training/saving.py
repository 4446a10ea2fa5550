"""What comes out of a training: weights, and a description with which `open_model` opens them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.formats.own_files import WEIGHTS_FILE, write_network
from SegAdversarialLib.formats.settings import NetworkSettings

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.task import Task


def write_model(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    task: Task,
    architecture: NetworkSettings | None,
    size_multiple: int,
    record: Mapping[str, Any],
) -> None:
    """Write weights and description, each of them whole.

    Args:
        folder: where.
        weights: the network's state.
        task: what it has learned.
        architecture: the network by its name; None: it is known in Python alone, and `open_model` cannot open it.
        size_multiple: sizes that it takes are multiples of this.
        record: how it was trained.
    """
    changes = {
        "format": None if architecture is None else "monai",
        "network": architecture,
        "weights": WEIGHTS_FILE,
        "channels": task.channels,
        "classes": task.classes(),
        "stands_for": None,
        "size_multiple": size_multiple,
        "training": dict(record),
    }
    write_network(folder, weights, task.settings.model_copy(update=changes))
