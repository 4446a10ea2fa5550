"""What comes out of a training: weights, and a description with which `open_model` opens them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.formats.settings import ClassSettings, ModelSettings, NetworkSettings
from SegAdversarialLib.volumes.files import whole_file
from SegAdversarialLib.volumes.json_data import write_json

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.segmentation_model import SegmentationModel

WEIGHTS_FILE, SETTINGS_FILE = "model.safetensors", "model.json"

_UNSAID = ModelSettings()


def write_model(
    folder: Path,
    weights: dict[str, torch.Tensor],
    model: SegmentationModel,
    network: NetworkSettings | None,
    record: dict[str, Any],
) -> None:
    """Write weights and description, each whole; the weights last, so that a description without them is never older.

    Args:
        folder: where.
        weights: the network's state.
        model: what they are part of.
        network: the architecture by name; None: it is known in Python alone, and `open_model` cannot open it.
        record: how it was trained.
    """
    from safetensors.torch import save_file

    head = model.head
    settings = ModelSettings(
        format=None if network is None else "monai",
        network=network,
        weights=WEIGHTS_FILE,
        channels=model.channels,
        classes=tuple(
            ClassSettings(label=label, name=name, stands_for=() if region == (label,) else region)
            for label, name, region in zip(head.labels, head.names, head.regions)
        ),
        head=head.kind,
        preprocessing=model.preprocessing,
        window=model.window,
        overlap=model.overlap,
        size_multiple=model.size_multiple,
        training=record,
    )
    with whole_file(folder / WEIGHTS_FILE) as temporary:
        save_file({name: x.detach().cpu().contiguous().clone() for name, x in weights.items()}, temporary)
    said = {name for name in type(settings).model_fields if getattr(settings, name) != getattr(_UNSAID, name)}
    write_json(folder / SETTINGS_FILE, settings.model_dump(mode="json", include=said))
