"""Architectures by name, the papers' and MONAI's, and files that hold nothing but weights for them."""

from __future__ import annotations

import importlib
import logging
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.checkpoints import check_shapes, weights_for
from SegAdversarialLib.formats.recognition import is_safetensors
from SegAdversarialLib.formats.verdicts import verdict
from SegAdversarialLib.volumes.archives import begins_as_zip, checked_zip

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import ModelSettings, NetworkSettings

_log = logging.getLogger(__name__)

OWN = {
    "LiuUNet3D": "liu_unet",
    "LiuUNet2D": "liu_unet",
    "PervinUNet": "pervin_unet",
    "ChengCascadedUNet": "cascaded_unet",
}
"""The papers' networks, which come before MONAI's, and the file of `networks` that each is in."""


def load(path: Path, settings: ModelSettings) -> torch.nn.Module:
    """The network that the settings name, with the weights in a file, for which nobody has to be trusted.

    Raises:
        InputError: the architecture does not exist, or the weights are damaged or another network's.
    """
    assert settings.network is not None
    network = architecture(settings.network)
    expected = network.state_dict()
    found = weights_for(checkpoint(path), expected, settings.weights_within, str(path), settings.network.name)
    whose = f"The weights in {path} do not belong to this {settings.network.name}"
    check_shapes(found, expected, whose, "; check the network's arguments")
    network.load_state_dict(found.tensors)
    if found.said:
        _log.warning("%s: %s.", path.name, found.said)
    return network


def architecture(settings: NetworkSettings) -> torch.nn.Module:
    """The network that settings name, with random weights.

    Raises:
        InputError: the architecture does not exist, or its arguments do not fit.
    """
    found = architecture_class(settings.name)
    downloading = [key for key in settings.arguments if "pretrained" in key]
    if downloading:
        raise InputError(f"The argument {downloading[0]} of {settings.name} would load weights from elsewhere; leave it out.")
    try:
        made: torch.nn.Module = found(**settings.arguments)
    except Exception as error:  # anything, depending on the architecture
        kind = "network" if settings.name in OWN else "MONAI network"
        raise InputError(f"The arguments of the {kind} {settings.name} do not fit: {detail_of(error)}.") from error
    return made


def architecture_class(name: str) -> type[torch.nn.Module]:
    """The class of a network by its name: one of the papers', or of MONAI's.

    Raises:
        InputError: there is none.
    """
    import torch

    if name in OWN:
        found: Any = getattr(importlib.import_module(f"SegAdversarialLib.networks.{OWN[name]}"), name)
    else:
        import monai.networks.nets

        found = getattr(monai.networks.nets, name, None)
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        raise InputError(
            f'There is no network "{name}"; there are {", ".join(OWN)}, and those of MONAI, such as UNet, DynUNet, SegResNet '
            "and SwinUNETR."
        )
    return found


def checkpoint(path: Path) -> Any:
    """What a file of weights holds, read without running anything that might stand in it."""
    import safetensors.torch
    import torch

    if begins_as_zip(path):
        with checked_zip(path):  # torch's own reader takes sizes and names as they are said
            pass
    try:
        with path.open("rb") as stream:
            if is_safetensors(stream.read(9)):
                return safetensors.torch.load_file(str(path))
        with _numbers_of_numpy():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can break the reader anywhere
        if foreign := re.search(r"\bGLOBAL ([\w.]+)", str(error)):
            raise InputError(
                f"{path} holds more than weights ({foreign[1]}), and such a file could run programs when it is opened "
                f"({verdict(path)}); save its state_dict alone, best as safetensors."
            ) from error
        raise InputError(f"The weights file {path} is damaged or no weights file ({detail_of(error)}).") from error


def _numbers_of_numpy() -> AbstractContextManager[None]:
    """Let numbers of NumPy be read beside the weights, the best score of a training for example: they are data."""
    import numpy as np
    import torch

    if torch.__version__ < "2.6":  # which cannot be told of a function by another name
        return nullcontext()
    scalar = (np._core if hasattr(np, "_core") else np.core).multiarray.scalar
    named = [(scalar, f"numpy.{room}.multiarray.scalar") for room in ("core", "_core")]
    kinds = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    allowed: AbstractContextManager[None] = torch.serialization.safe_globals([*named, np.dtype, *dict.fromkeys(kinds)])
    return allowed
