"""Opening networks that others trained, and deciding whether to trust the file.

A format is one file in this folder: it says which paths are its own and turns one into a torch network. `open_model` adds the
settings (channels, classes, preprocessing, window) from a JSON file beside the network and from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.files import is_file
from SegAdversarialLib.formats import builtin, monai_network, torchscript
from SegAdversarialLib.formats.settings import ModelSettings, read_settings
from SegAdversarialLib.model import SegmentationModel

__all__ = ["ModelSettings", "open_model"]

_FORMATS = (torchscript, monai_network)


def open_model(
    path: str | Path,
    *,
    trust: bool = False,
    device: str = "auto",
    settings: str | Path | None = None,
    **changes: Any,
) -> SegmentationModel:
    """Open a network file, or a built-in network by its name.

    Args:
        path: "builtin:brain-tumour-phantom"; a TorchScript file; a JSON file that names a MONAI network and its weights; or
            such a weights file (safetensors, or a checkpoint that holds nothing but tensors).
        trust: the file's source is trusted: TorchScript files, which are programs, open only then.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        settings: the JSON file that says what the network takes and gives; None: the one beside the file, named like it.
        changes: settings that take the place of the file's, by the names of `ModelSettings`.

    Raises:
        InputError: there is no such file, it is damaged or not trusted, or settings are missing or wrong.
    """
    wanted = builtin.settings_file(str(path)) if builtin.is_builtin(str(path)) else Path(path)
    name = str(path) if builtin.is_builtin(str(path)) else wanted.stem
    if not is_file(wanted):
        raise InputError(f"There is no network file {wanted}; give a file, or {' or '.join(builtin.names())}.")
    chosen = read_settings(wanted, settings, changes)
    for candidate in _FORMATS:
        if candidate.opens(wanted, chosen):
            network = candidate.load(wanted, chosen, trust)
            return _model(network, chosen, device, name)
    raise InputError(
        f"{wanted} is no network file that this software opens; TorchScript (.ts, .pt, .pth, .torchscript) and MONAI networks "
        "(.json with .safetensors or .pt) are right."
    )


def _model(network: Any, chosen: ModelSettings, device: str, name: str) -> SegmentationModel:
    missing = [field for field in ("channels", "classes") if getattr(chosen, field) is None]
    if missing:
        raise InputError(
            f"It is not known which {' and '.join(missing)} the network {name} has; say so in a JSON file beside it, or in "
            "the call."
        )
    assert chosen.channels is not None and chosen.classes is not None
    stands_for: Mapping[int, tuple[int, ...]] = {x.label: x.stands_for for x in chosen.classes if x.stands_for}
    return SegmentationModel.from_network(
        network,
        channels=chosen.channels,
        classes={x.label: x.name for x in chosen.classes},
        regions=stands_for,
        head=chosen.head,
        preprocessing=chosen.preprocessing,
        window=chosen.window,
        overlap=chosen.overlap,
        size_multiple=chosen.size_multiple,
        window_batch=chosen.window_batch,
        device=device,
        name=name,
    )
