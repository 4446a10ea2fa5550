"""MONAI Auto3DSeg's SegResNet: its model.pt holds the weights and the configuration that it was trained with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.bundle_config import Component, Config
from SegAdversarialLib.formats.described import Described
from SegAdversarialLib.formats.plain_pickle import plain_checkpoint
from SegAdversarialLib.formats.recognition import Content, recognise
from SegAdversarialLib.volumes.files import is_file

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import ModelSettings, NetworkSettings

_MARKS = {"state_dict", "config"}
_TELLING = {"network", "roi_size", "output_classes"}
_SPACING_KEPT = (0.75, 1.25)
_MARGIN = 10
_OVERLAP = 0.625


def describe(path: Path) -> Described | None:
    """What Auto3DSeg says of its SegResNet; None: the path is none, neither the model.pt nor its folder.

    Raises:
        InputError: it is one, but has steps that cannot be said here.
    """
    file = path / "model" / "model.pt" if os.path.isdir(path) else path
    if not is_file(file) or file.suffix.lower() not in (".pt", ".pth", ".ckpt") or recognise(file).kind != "weights":
        return None
    held = plain_checkpoint(file)
    if held is None or not set(held) >= _MARKS or not isinstance(held["config"], dict):
        return None
    if not set(held["config"]) >= _TELLING:
        return None
    config = Config(held["config"], str(file))
    network = _network(config)
    settings, warnings = settings_of(config)
    channels, outputs = config.get("input_channels"), config.get("output_classes")
    what = f"a network of MONAI Auto3DSeg ({network.name}, {channels} channel(s), {outputs} outputs)"
    content, load = Content("foreign", what), network.load
    return Described(content, settings, file, (file,), load, warnings=tuple(warnings), architecture=network.settings)


def settings_of(config: Config) -> tuple[dict[str, Any], list[str]]:
    """The settings that a configuration of Auto3DSeg means, by the names of `ModelSettings`, and what is not as there.

    Raises:
        InputError: a step cannot be said here.
    """
    for name in ("custom_data_transforms", "sliding_inferrer"):
        if config.get(name):
            raise InputError(
                f"{config.source} has {name}, steps of its own that cannot be said here; wrap the network in Python "
                "(SegmentationModel.from_network)."
            )
    sigmoid, extra = bool(config.get("sigmoid", False)), config.get("extra_modalities") or {}
    steps: dict[str, Any] = {"axes": "ijk"}
    if config.get("orientation_ras", False):
        steps["orientation"] = "RAS"
    if config.get("crop_foreground", True) and not extra:
        steps["crop"] = {"kind": "foreground", "margin": [_MARGIN] * 3}
    if config.get("resample", False):
        spacing = [float(x) for x in config.get("resample_resolution", [1.0, 1.0, 1.0])]
        steps |= {"spacing": spacing, "grid": "centers", "spacing_kept": list(_SPACING_KEPT), "restores": "probabilities"}
    if (intensities := _intensities(config, extra)) is not None:
        steps["normalization"] = intensities
    settings: dict[str, Any] = {
        "preprocessing": steps,
        "window": [int(x) for x in config.get("roi_size")],
        "overlap": _OVERLAP,
        "head": "sigmoid" if sigmoid else "softmax",
    }
    return settings | _named(config, sigmoid, extra), []


def _intensities(config: Config, extra: Mapping[str, Any]) -> Any:
    """What is done to the intensities of each channel."""
    modality = str(config.get("modality", "mri")).lower()
    mode = config.get("normalize_mode", "range" if modality == "ct" else "meanstd")
    bounds = config.get("intensity_bounds") or [-250, 250]
    if not extra:
        return _normalization(str(mode), bounds, config)
    own = int(config.get("input_channels")) - len(extra)
    modes = [str(mode)] * own + [str(x) for x in extra.values()]
    found = [_normalization(x, bounds, config) for x in modes]
    return [{"kind": "window"} if x is None else x for x in found]


def _normalization(mode: str, bounds: Any, config: Config) -> dict[str, Any] | None:
    standardized = {"kind": "zscore", "mask": "nonzero", "background": 0.0}
    if mode == "none":
        return None
    if mode in ("range", "ct"):
        low, high = float(bounds[0]), float(bounds[1])
        if not low < high:
            raise InputError(f"{config.source} has the intensity_bounds {bounds}; the lower one must come first.")
        between = {"kind": "window", "mean": (low + high) / 2, "std": (high - low) / 2}
        return {"kind": "chain", "steps": [between, {"kind": "squash", "function": "sigmoid"}]}
    if mode in ("meanstd", "mri"):
        return standardized
    if mode == "meanstdtanh":
        return {"kind": "chain", "steps": [standardized, {"kind": "squash", "function": "tanh", "scale": 3.0}]}
    raise InputError(f'{config.source} has the normalize_mode "{mode}", which cannot be said here; range and meanstd can.')


def _named(config: Config, sigmoid: bool, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Channels and classes, as far as they have names."""
    found: dict[str, Any] = {}
    count = int(config.get("input_channels"))
    if extra and count == len(extra) + 1:
        found["channels"] = ["image", *extra]
    elif count == 1:
        found["channels"] = [str(config.get("modality", "image")).upper()]
    names, covers = config.get("class_names"), config.get("class_index")
    outputs = int(config.get("output_classes"))
    named = (
        isinstance(names, list) and len(names) == outputs - (not sigmoid) and not all(str(x).startswith("acc_") for x in names)
    )
    if not named:
        return found
    if not sigmoid:
        found["classes"] = [{"label": n, "name": str(x)} for n, x in enumerate(["background", *names])]
        return found
    known = isinstance(covers, list) and len(covers) == len(names)
    regions = [{"stands_for": [int(x) for x in covers[n]]} if known else {} for n in range(len(names))]
    found["classes"] = [{"label": n, "name": str(x), **regions[n - 1]} for n, x in enumerate(names, 1)]
    return found


@dataclass(frozen=True)
class _Network:
    """The network that a configuration names, and the file with its weights."""

    name: str
    arguments: dict[str, Any]
    source: str

    def load(self, settings: ModelSettings, device: torch.device) -> torch.nn.Module:
        """The network with its weights.

        Raises:
            InputError: the weights are damaged or another network's.
        """
        from SegAdversarialLib.formats import monai_network

        return monai_network.load(Path(self.source), settings.model_copy(update={"network": self.settings()}))

    def settings(self) -> NetworkSettings:
        """The same in the words of our settings."""
        from SegAdversarialLib.formats.settings import NetworkSettings

        return NetworkSettings(name=self.name, arguments=self.arguments)


def _network(config: Config) -> _Network:
    """The network of a configuration; the normalisation that only some GPUs have is the usual one."""
    found = config.get("network")
    name = found.target.rpartition(".")[2] if isinstance(found, Component) else ""
    if not isinstance(found, Component) or name not in ("SegResNetDS", "SegResNetDS2", "SegResNet"):
        raise InputError(f"{config.source} is a network of MONAI Auto3DSeg, but no SegResNet; it must name one (network).")
    arguments = found.arguments()
    if arguments.get("spatial_dims", 3) != 3:
        raise InputError(f"{config.source} is Auto3DSeg's SegResNet for slices, which is not read; the one for volumes is.")
    if str(arguments.get("norm", "")).upper() == "INSTANCE_NVFUSER":
        arguments["norm"] = "INSTANCE"
    if config.get("anisotropic_scales", False) and name == "SegResNetDS" and not arguments.get("resolution"):
        arguments["resolution"] = [float(x) for x in config.get("resample_resolution", [1.0, 1.0, 1.0])]
    return _Network(name, arguments, config.source)
