"""Architectures by name, the papers' and MONAI's, and files that hold nothing but weights for them."""

from __future__ import annotations

import importlib
import inspect
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.checkpoints import check_shapes, weights_for
from SegAdversarialLib.formats.nnunet_network import PACKAGE, made_of
from SegAdversarialLib.formats.weights_file import checkpoint

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

_ELSEWHERE = re.compile(r"pretrained|^(?:weights|checkpoint|path_or_repo_id|filename|cache_dir)$")
"""Arguments of MONAI's networks by which they load weights of their own, from the internet or from any file."""


def load(path: Path, settings: ModelSettings) -> torch.nn.Module:
    """The network that the settings name, with the weights in a file, for which nobody has to be trusted.

    Raises:
        InputError: the architecture does not exist, or the weights are damaged or another network's.
    """
    assert settings.network is not None
    network = architecture(settings.network)
    expected = network.state_dict()
    held = _with_shared(checkpoint(path), expected)
    found = weights_for(held, expected, settings.weights_within, str(path), settings.network.name)
    whose = f"The weights in {path} do not belong to this {settings.network.name}"
    check_shapes(found, expected, whose, "; check the network's arguments")
    network.load_state_dict(found.tensors)
    if found.said:
        _log.warning("%s: %s.", path.name, found.said)
    return network


def architecture(settings: NetworkSettings) -> torch.nn.Module:
    """The network that settings name, with random weights; of several copies, one that gives the mean of their logits.

    Raises:
        InputError: the architecture does not exist, or its arguments do not fit.
    """
    if settings.copies > 1:
        from SegAdversarialLib.model.averaging import MeanLogits

        return MeanLogits([_one(settings) for _ in range(settings.copies)])
    return _one(settings)


def _one(settings: NetworkSettings) -> torch.nn.Module:
    if settings.name.partition(".")[0] == PACKAGE:
        return made_of(settings.name, settings.arguments, settings.imported)
    if settings.imported:
        raise InputError(f"The network {settings.name} takes no classes by name; leave imported out.")
    found = architecture_class(settings.name)
    downloading = [key for key in settings.arguments if _ELSEWHERE.search(key)]
    if downloading:
        raise InputError(f"The argument {downloading[0]} of {settings.name} would load weights from elsewhere; leave it out.")
    usual = inspect.signature(found).parameters
    if by_itself := [key for key, x in usual.items() if _ELSEWHERE.search(key) and x.default and x.default is not x.empty]:
        raise InputError(
            f"The network {settings.name} loads weights from elsewhere by itself ({by_itself[0]}), which is not done here; "
            "export it as TorchScript."
        )
    whose = f"The arguments of the {'network' if settings.name in OWN else 'MONAI network'} {settings.name} do not fit"
    if problem := _misfit(usual, settings.arguments):
        raise InputError(f"{whose}: {problem}")
    try:
        made: torch.nn.Module = found(**settings.arguments)
    except Exception as error:  # anything, depending on the architecture
        raise InputError(f"{whose}: {detail_of(error)}.") from error
    return made


def _misfit(takes: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> str:
    """Which arguments are missing, or which one does not exist, as the rest of a sentence; nothing if the names fit."""
    kinds = {x.kind for x in takes.values()}
    unknown = next((x for x in arguments if x not in takes), None)
    if unknown is not None and inspect.Parameter.VAR_KEYWORD not in kinds:
        return f"there is no {unknown}{nearest(unknown, takes)}"
    single = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [name for name, x in takes.items() if x.kind in single and x.default is x.empty and name not in arguments]
    return f"{', '.join(missing)} must be given." if missing else ""


def _with_shared(held: Any, expected: Mapping[str, torch.Tensor]) -> Any:
    """What a file holds, with the names that share their memory with others, of which files of ours hold the first alone."""
    if not isinstance(held, dict) or not set(held) < set(expected):
        return held
    first: dict[Any, str] = {}
    for name, tensor in expected.items():
        first.setdefault(memory_of(name, tensor), name)
    whole = {name: first[memory_of(name, tensor)] for name, tensor in expected.items()}
    return {name: held[x] for name, x in whole.items()} if set(whole.values()) <= set(held) else held


def memory_of(name: str, tensor: torch.Tensor) -> Any:
    """What two tensors have in common that are one; an empty one is none but itself."""
    return (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name


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
        names = [x for x, y in vars(monai.networks.nets).items() if isinstance(y, type) and y.__name__ == x]
        near = nearest(name.rpartition(".")[2], [*OWN, *names])
        if "nearest" not in near:
            near = f"; there are {', '.join(OWN)}, and those of MONAI, such as UNet, DynUNet, SegResNet and SwinUNETR."
        raise InputError(f'There is no network "{name}"{near}')
    return found
