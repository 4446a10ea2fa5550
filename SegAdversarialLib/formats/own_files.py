"""Our own form of a network on disk: weights as safetensors, and a JSON file with which `open_model` opens them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from SegAdversarialLib.formats.settings import ModelSettings
from SegAdversarialLib.volumes.files import whole_file
from SegAdversarialLib.volumes.json_data import write_json

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE, SETTINGS_FILE = "model.safetensors", "model.json"


def write_network(folder: Path, weights: Mapping[str, torch.Tensor], settings: ModelSettings) -> None:
    """Write weights and description into a folder, each of them whole; what the settings leave at its default is not written.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    from safetensors.torch import save_file

    with whole_file(folder / WEIGHTS_FILE) as temporary:
        save_file({name: x.detach().cpu().contiguous().clone() for name, x in weights.items()}, temporary)
    write_settings(folder, settings)


def write_settings(folder: Path, settings: ModelSettings) -> None:
    """Write the description alone, as that of an ensemble, whose members lie elsewhere.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """
    unsaid = ModelSettings()
    said = {name for name in ModelSettings.model_fields if getattr(settings, name) != getattr(unsaid, name)}
    write_json(folder / SETTINGS_FILE, settings.model_dump(mode="json", include=said))
