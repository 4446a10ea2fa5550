"""MONAI networks: an architecture by name, and a file that holds nothing but weights."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.files import is_file

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import ModelSettings, NetworkSettings

NEEDS_TRUST = False
"""Weights are data, never programs."""

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Under which name training programs keep the weights in a checkpoint."""


def opens(path: Path, settings: ModelSettings) -> bool:
    """Whether the settings name a MONAI architecture for the file."""
    return settings.format == "monai" or settings.network is not None


def content_file(path: Path, settings: ModelSettings) -> Path:
    """The file that holds the weights.

    Raises:
        InputError: no architecture is named, or there are no weights.
    """
    if settings.network is None:
        raise InputError(
            f"{path.name} holds weights alone; name the MONAI architecture they belong to (network) in its settings."
        )
    weights = path.parent / settings.weights if path.suffix == ".json" and settings.weights else path
    if weights.suffix == ".json" or not is_file(weights):
        raise InputError(f"There is no weights file {weights}; name it (weights) in {path.name}, relative to that file.")
    return weights


def load(path: Path, settings: ModelSettings, trust: bool) -> torch.nn.Module:
    """The network with its weights, for which nobody has to be trusted.

    Raises:
        InputError: no architecture is named, it does not exist, or the weights are missing, damaged or another network's.
    """
    weights = content_file(path, settings)
    assert settings.network is not None
    network = _architecture(settings.network)
    _fill(network, _state(weights), weights, settings.network.name)
    return network


def _architecture(settings: NetworkSettings) -> torch.nn.Module:
    import monai.networks.nets
    import torch

    architecture = getattr(monai.networks.nets, settings.name, None)
    if not (isinstance(architecture, type) and issubclass(architecture, torch.nn.Module)):
        raise InputError(f'MONAI has no network "{settings.name}"; UNet, DynUNet, SegResNet and SwinUNETR are examples.')
    downloading = [key for key in settings.arguments if "pretrained" in key]
    if downloading:
        raise InputError(f"The argument {downloading[0]} of {settings.name} would load weights from elsewhere; leave it out.")
    try:
        return architecture(**settings.arguments)
    except Exception as error:  # anything, depending on the architecture
        raise InputError(f"The arguments of the MONAI network {settings.name} do not fit: {detail_of(error)}.") from error


def _state(path: Path) -> dict[str, Any]:
    """The weights by name, read without running anything that the file might hold."""
    import safetensors.torch
    import torch

    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(str(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path) and path.read_bytes()[:1] != b"\x80":
            raise InputError(f"The weights file {path} is damaged or no weights file.") from error
        raise InputError(
            f"{path} holds more than weights, and such a file could run programs when it is opened; save its state_dict "
            "alone, best as safetensors."
        ) from error
    except Exception as error:  # a damaged file can break the reader anywhere
        raise InputError(f"The weights file {path} is damaged or no weights file ({detail_of(error)}).") from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(key, str) for key in state):
        raise InputError(f"{path} holds no weights by name (a state_dict).")
    return state


def _fill(network: torch.nn.Module, state: dict[str, Any], path: Path, name: str) -> None:
    prefix = "module."  # what torch's parallel wrappers put before every name
    state = {key.removeprefix(prefix): value for key, value in state.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = lines[1][:160] if len(lines) > 1 else lines[0][:160]
        raise InputError(f"The weights in {path} do not belong to this {name}: {detail}") from error
