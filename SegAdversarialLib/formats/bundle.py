"""MONAI bundles: the network, its preprocessing and what becomes of its outputs, read from the configuration for inference.

Only what says how the network is asked is looked at, and nothing in it is run: see `bundle_config` and `bundle_expressions`.
"""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.bundle_config import Component, Config, parsed
from SegAdversarialLib.formats.bundle_files import METADATA, BundleFiles, find
from SegAdversarialLib.formats.bundle_names import base_name
from SegAdversarialLib.formats.bundle_outputs import Asked, Outputs, asked, outputs
from SegAdversarialLib.formats.bundle_transforms import Prepared, prepared
from SegAdversarialLib.formats.described import Described
from SegAdversarialLib.formats.recognition import Content, recognise
from SegAdversarialLib.formats.torchscript import settings_within
from SegAdversarialLib.formats.trust import digest
from SegAdversarialLib.formats.unopened import NotOpened, described_as
from SegAdversarialLib.structures.brats import nested_regions

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import ModelSettings, NetworkSettings

_log = logging.getLogger(__name__)

NETWORKS = (
    *("AHNet", "AttentionUnet", "BasicUNet", "BasicUnet", "Basicunet", "BasicUNetPlusPlus", "BasicUnetPlusPlus", "DynUNet"),
    *("DynUnet", "Dynunet", "FlexibleUNet", "FlexUNet", "HighResNet", "MedNeXt", "MedNeXtS", "MedNeXtM", "MedNeXtB"),
    *("MedNeXtL", "SegResNet", "SegResNetDS", "SegResNetVAE", "SwinUNETR", "UNETR", "UNet", "Unet", "VNet"),
)
"""MONAI's networks for segmentation, which are made of numbers and words alone."""


_PROGRAM = "the program in it (TorchScript)"
_STAYS = "It does not bring its answer back onto the case's grid (no Invertd); here the nearest voxel's is taken."


@dataclass(frozen=True)
class _Network:
    """What a configuration says of its network."""

    name: str
    arguments: dict[str, Any]

    @property
    def channels(self) -> int | None:
        return _count(self.arguments.get("in_channels"))

    @property
    def outputs(self) -> int | None:
        return _count(self.arguments.get("out_channels"))

    @property
    def dimensions(self) -> int:
        return 2 if self.arguments.get("spatial_dims") == 2 else 3


def describe(path: Path) -> Described | None:
    """What a MONAI bundle says of its network; None: the path is none.

    Raises:
        InputError: something is missing in it, damaged, a program, or cannot be said here.
    """
    if (files := find(path)) is None:
        return None
    if files.is_program:
        return None if not files.config and settings_within(path) else _program(files)
    config = _config(files)
    with described_as(path, "a MONAI bundle", config.programs(), of=InputError):
        network = _network(config)
        settings, warnings = settings_of(config, network, _metadata(files))
    name = files.weights or _weights_name(config)
    _check_there(files, name, config)
    what = _Weights(files, name, network)
    content = Content("foreign", f"a MONAI bundle ({_in_words(network)})", spared=config.programs())
    on_disk = (*(files.path / x for x in (files.config, METADATA) if files.has(x)), files.path / name)
    return Described(
        content=content,
        settings=settings,
        data=files.path / name if files.prefix is None else files.path,
        files=on_disk if files.prefix is None else (files.path,),
        load=what.load,
        runs=(runs := what.runs),
        warnings=tuple(warnings),
        architecture=None if runs or network is None else lambda: _settings_of(network),
        name=files.name_for(path),
    )


def _config(files: BundleFiles) -> Config:
    """A bundle's configuration for inference.

    Raises:
        InputError: it is missing, or no such thing.
    """
    if not files.config:
        message = f"The MONAI bundle {files.path} has no configs/inference.json or .yaml, which says how its network is asked."
        missing = ["configs/inference.json, which says how its network is asked"]
        raise NotOpened(message, files.path, "a MONAI bundle", missing, "get the whole bundle from its makers")
    source = str(files.path / files.config)
    config = parsed(files.text(files.config) or "", source)
    if config is None or not any(name in config for name in ("network_def", "network", "inferer")):
        raise InputError(f"{source} is no configuration of a MONAI bundle for inference: it has no network_def.")
    return config


def _program(files: BundleFiles) -> Described:
    """A TorchScript file that holds what its bundle said (monai.bundle ckpt_export)."""
    network, config = None, Config({}, str(files.path))
    if files.config:
        config = _config(files)
        network = _network(config)
    settings, warnings = settings_of(config, network, _metadata(files))
    if not files.config:
        warnings.append("It does not say how it is asked (no inference.json in it): name its preprocessing and window.")
    what = f"a TorchScript file with its MONAI bundle's settings ({_in_words(network)})"
    load = _Weights(files, "", network).load
    return Described(Content("foreign", what), settings, files.path, (files.path,), load, (_PROGRAM,), tuple(warnings))


def settings_of(config: Config, network: _Network | None, metadata: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings that a configuration and its metadata mean, by the names of `ModelSettings`, and what is not as in MONAI.

    Raises:
        InputError: something is a program, or cannot be said here.
    """
    ways = metadata.get("network_data_format")
    ways = ways if isinstance(ways, dict) else {}
    channels = _named(ways.get("inputs"), "image")
    classes = _named(ways.get("outputs"), "pred")
    count = network.channels if network is not None else len(channels) or None
    steps = prepared(_transforms(config, "preprocessing", "dataset::transform"), count)
    manner = asked(_inferer(config))
    meant = outputs(_transforms(config, "postprocessing", "evaluator::postprocessing"))
    settings = {"preprocessing": _preprocessing(steps, manner, meant, network), **manner.settings}
    settings |= _sizes(steps, manner, ways)
    if meant.head is not None:
        settings["head"] = meant.head
    if meant.head == "sigmoid" and meant.threshold != 0.5:
        settings["threshold"] = meant.threshold
    names = list(steps.names) if steps.names else channels
    if names and count in (None, len(names)):
        settings["channels"] = names
    if classes and (network is None or network.outputs in (None, len(classes))):
        settings["classes"] = _classes(classes, meant)
    texts = [str(metadata[x]) for x in ("task", "description", "version") if metadata.get(x)]
    if texts:
        settings["description"] = "; ".join(texts)
    moved = {"orientation", "crop", "spacing", "size"} & set(steps.settings)
    stays = [] if meant.inverts is not False or not moved else [_STAYS]
    return settings, [*steps.warnings, *manner.warnings, *meant.warnings, *stays]


def _preprocessing(steps: Prepared, manner: Asked, meant: Outputs, network: _Network | None) -> dict[str, Any]:
    """The settings of `Preprocessing`, with what is said of the way back."""
    axes = manner.axes
    if len(axes) == 3 and network is not None and network.dimensions == 2:
        axes = "ij"
    found = {**steps.settings, "axes": axes}
    if "spacing" in found or "size" in found:
        order = 0 if meant.nearest else steps.order
        if order != 1:
            found["output_resampling"] = {"order": order}
        elif meant.restores == "probabilities":
            found["restores"] = "probabilities"
    return found


def _sizes(steps: Prepared, manner: Asked, ways: Mapping[str, Any]) -> dict[str, Any]:
    """What sizes the network takes where it sees all at once, by the metadata and what pads to multiples."""
    if "window" in manner.settings:
        return {}
    inputs = ways.get("inputs")
    shapes = [x.get("spatial_shape") for x in inputs.values() if isinstance(x, dict)] if isinstance(inputs, dict) else []
    multiples = [steps.multiple]
    for size in (y for x in shapes if isinstance(x, list) for y in x):
        head, _, tail = str(size).replace(" ", "").partition("*")
        if head.isdigit() and tail == "n" and int(head) > 0:
            multiples.append(int(head))
    return {"size_multiple": max(multiples)} if max(multiples) > 1 else {}


def _network(config: Config) -> _Network | None:
    """The network of a configuration; None: it is a program in a file of its own (TorchScript).

    Raises:
        InputError: it is no network of MONAI's.
    """
    entry = "network_def" if "network_def" in config else "network"
    written = config.raw(entry)
    if written is None or (isinstance(written, str) and "torch.jit.load" in written):
        return None
    found = config.get(entry)
    if not isinstance(found, Component):
        raise InputError(f"In {config.source} {entry} is no component with a _target_; it must name a network of MONAI's.")
    name = base_name_of_network(found)
    arguments = found.arguments()
    for key, value in arguments.items():
        inner = next((x for x in _parts(value) if isinstance(x, Component)), None)
        if inner is not None:
            raise InputError(
                f"In {config.source} the network's argument {key} is made by {inner.target}; it must be numbers and words."
            )
    return _Network(name, arguments)


def base_name_of_network(found: Component) -> str:
    """The name of a network that may be made.

    Raises:
        InputError: it is not among those.
    """
    room, _, name = found.target.rpartition(".")
    if room.partition(".")[0] in ("", "monai") and name in NETWORKS:
        return name
    if room and room.partition(".")[0] != "monai":
        raise InputError(
            f"The bundle's network is {found.target}, Python code of the bundle's own or another package's; such a program is "
            "not run here: make the network in Python and give it to SegmentationModel.from_network, or export it as "
            "TorchScript (monai.bundle ckpt_export)."
        )
    raise InputError(
        f"The bundle's network is {found.target}, which is none of MONAI's networks for segmentation that are made here: "
        "UNet, DynUNet, SegResNet, SwinUNETR and others of their kind."
    )


def _parts(value: Any) -> list[Any]:
    """A value and all that is in it."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [value, *(y for x in inside for y in _parts(x))]


def _transforms(config: Config, entry: str, otherwise: str) -> list[Any]:
    """The list of transforms in an entry, or in the component that uses it."""
    found = config.get(entry)
    if found is None and isinstance(user := config.get(otherwise.partition("::")[0]), Component):
        found = user.get(otherwise.partition("::")[2])
    return _flat(found)


def _flat(found: Any) -> list[Any]:
    """A list of transforms from one, several, or several put together."""
    if found is None:
        return []
    if isinstance(found, Component) and base_name(found.target, found.entry) == "Compose":
        return _flat(found.get("transforms"))
    if isinstance(found, (list, tuple)):
        return [y for x in found for y in _flat(x)]
    return [found]


def _inferer(config: Config) -> Any:
    found = config.get("inferer")
    if found is None and isinstance(user := config.get("evaluator"), Component):
        found = user.get("inferer")
    return found


def _weights_name(config: Config) -> str:
    """The name of the file with the weights, relative to the bundle's root.

    Raises:
        InputError: it lies outside of the bundle.
    """
    named = _checkpoint_loader(config)
    said = named.get("load_path") if named is not None else None
    if said is None:
        return "models/model.pt"
    name = posixpath.normpath(str(said).replace("\\", "/"))
    if name.startswith(("../", "/")) or ":" in name or name == "..":
        raise InputError(
            f"The bundle's weights are said to be in {said}, outside of its folder; write a path inside it (@bundle_root)."
        )
    return name


def _checkpoint_loader(config: Config) -> Component | None:
    for entry in config:
        raw = config.raw(entry)
        for n, x in enumerate(raw if isinstance(raw, list) else [raw]):
            target = x.get("_target_") if isinstance(x, dict) else None
            if isinstance(target, str) and target.rpartition(".")[2] == "CheckpointLoader":
                found = config.value(x, f"{entry}::{n}" if isinstance(raw, list) else entry)
                return found if isinstance(found, Component) else None
    return None


def _check_there(files: BundleFiles, name: str, config: Config) -> None:
    if not files.has(name):
        where = next((x for x in ("large_files.yml", "large_files.yaml", "large_files.json") if files.has(x)), None)
        hint = f"download it as its {where} says, and put it there" if where else "put the file with its weights there"
        message, spared = f"The MONAI bundle {files.path} has no {name}; {hint}.", config.programs()
        raise NotOpened(message, files.path, "a MONAI bundle", [f"its weights, {name}"], hint, spared=spared)
    if files.prefix is None and (content := recognise(files.path / name)).kind == "other":
        raise content.refusal(files.path / name)


def _metadata(files: BundleFiles) -> dict[str, Any]:
    text = files.text(files.metadata)
    try:
        found = json.loads(text) if text is not None else {}
    except (ValueError, RecursionError):
        raise InputError(f"{files.path / files.metadata} is no readable JSON; check the file.") from None
    return found if isinstance(found, dict) else {}


def _named(formats: Any, usual: str) -> list[str]:
    """The names of channels in their order, from a part of the metadata; none where some are missing, or two the same."""
    if not isinstance(formats, dict) or not formats:
        return []
    chosen = formats.get(usual, next(iter(formats.values())))
    given = chosen.get("channel_def") if isinstance(chosen, dict) else None
    if not isinstance(given, dict):
        return []
    names = [given.get(str(n)) for n in range(len(given))]
    different = len({str(x).lower() for x in names}) == len(names)
    return [str(x) for x in names] if different and all(isinstance(x, (str, int)) for x in names) else []


def _classes(names: list[str], meant: Outputs) -> list[dict[str, Any]]:
    if meant.head != "sigmoid":
        return [{"label": n, "name": name} for n, name in enumerate(names)]
    values = meant.values if meant.values is not None and len(meant.values) == len(names) else nested_regions(names)
    if values is None:
        return [{"label": n, "name": name} for n, name in enumerate(names, 1)]
    return [{"label": label, "name": name, "stands_for": region} for name, (label, region) in zip(names, values)]


def _in_words(network: _Network | None) -> str:
    if network is None:
        return "its network a TorchScript file"
    counts = [f"{network.channels} channel(s)"] if network.channels else []
    counts += [f"{network.outputs} outputs"] if network.outputs else []
    return ", ".join([network.name, *counts])


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class _Weights:
    """A file with the weights, or the program, of a network that is known."""

    files: BundleFiles
    name: str
    network: _Network | None

    @property
    def _is_program(self) -> bool:
        with self.files.file(self.name) as file:
            return recognise(file).kind == "torchscript"

    @property
    def runs(self) -> tuple[str, ...]:
        """What in it could run code."""
        return (_PROGRAM,) if self.name.endswith(".ts") or self._is_program else ()

    def load(self, settings: ModelSettings, device: torch.device, sums: Sequence[str] = ()) -> torch.nn.Module:
        """The network with its weights; of programs those alone whose file has one of these sums (SHA-256).

        Raises:
            InputError: the weights are damaged or another network's, or it is a program of other bytes.
        """
        from SegAdversarialLib.formats import monai_network, torchscript

        if self.files.is_program:
            return torchscript.load(self.files.path, sums, device)
        with self.files.unchanged(sums) as files, files.file(self.name) as file:
            if self.runs:
                return torchscript.load(file, sums if files is self.files else [digest(file)], device)
            if self.network is None:
                raise InputError(
                    f"{self.name} in {self.files.path} holds weights alone, and its configuration names no network."
                )
            return monai_network.load(file, settings.model_copy(update={"network": _settings_of(self.network)}))


def _settings_of(network: _Network) -> NetworkSettings:
    """The network in our words, without the argument that MONAI has taken away since."""
    import inspect

    from SegAdversarialLib.formats import monai_network
    from SegAdversarialLib.formats.settings import NetworkSettings

    known = inspect.signature(monai_network.architecture_class(network.name).__init__).parameters
    arguments = {key: x for key, x in network.arguments.items() if key != "img_size" or key in known}
    return NetworkSettings(name=network.name, arguments=arguments)
