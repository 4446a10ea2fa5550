"""Opening networks that others trained, and deciding whether to trust the file.

What a file is, its content says (`recognition`). A format that is opened is one file in this folder, which turns such a file
into a torch network. `open_model` adds the settings (channels, classes, preprocessing, window) from a JSON file beside the
network and from the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import monai_network, torchscript
from SegAdversarialLib.formats.describing import NetworkDescription, NetworkFile, check_complete, describe_file, resolve
from SegAdversarialLib.formats.settings import ModelSettings
from SegAdversarialLib.formats.trust import Trust, digest, trusts
from SegAdversarialLib.formats.verdicts import verdict
from SegAdversarialLib.model.devices import choose_device
from SegAdversarialLib.model.segmentation_model import SegmentationModel

if TYPE_CHECKING:
    import torch

__all__ = ["ModelSettings", "NetworkDescription", "describe_file", "open_model"]


@checked(path="a network's file or folder, or the name of a built-in one", trust="True or False")
def open_model(
    path: str | Path,
    *,
    trust: bool | Sequence[str] = False,
    device: str = "auto",
    settings: str | Path | None = None,
    **changes: Any,
) -> SegmentationModel:
    """Open a network file, or a built-in network by its name.

    Args:
        path: "builtin:brain-tumour-phantom"; a name of the catalogue ("brats_mri_segmentation"); a TorchScript file; a JSON
            file that names an architecture and its weights; such a weights file (safetensors, or a checkpoint of tensors and
            numbers); a JSON file that names the members of an ensemble; or a folder with one of these.
        trust: the file's source is trusted: TorchScript files, which are programs, open only then; or the SHA-256 of the files
            that are trusted. What the user has told to be remembered (`segadversarial trust`) opens without.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        settings: the JSON file that says what the network takes and gives; None: the one beside the file, named like it.
        changes: settings that take the place of the file's, by the names of `ModelSettings`.

    Raises:
        InputError: there is no such file, it is damaged or not trusted, settings are missing or wrong, or the network cannot
            be used (see `SegmentationModel.examine`).
    """
    found = resolve(path, settings, changes)
    check_complete(found)
    return open_found(found, found.name(path), trust, choose_device(device))


def open_found(found: NetworkFile, name: str, trust: Trust, place: torch.device) -> SegmentationModel:
    """The network of files that are known; of an ensemble, all its members as one."""
    if found.members:
        from SegAdversarialLib.model.ensemble import ensemble

        whole = ensemble([open_found(x, member, trust, place) for member, x in found.members], name=name)
        whole.examine()
        return whole
    chosen = found.settings
    assert chosen.channels is not None
    classes = chosen.covering_classes
    model = SegmentationModel.from_network(
        _network(found, trust, place),
        channels=chosen.channels,
        classes={x.label: x.name for x in classes},
        regions={x.label: x.stands_for for x in classes if x.stands_for},
        head=chosen.head,
        threshold=chosen.threshold,
        preprocessing=chosen.preprocessing,
        window=chosen.window,
        overlap=chosen.overlap,
        blending=chosen.blending,
        size_multiple=chosen.size_multiple,
        window_batch=chosen.window_batch,
        window_places=chosen.window_places,
        mirror=chosen.mirror,
        painting=chosen.painting,
        outputs=chosen.outputs,
        output=chosen.output,
        in_place=chosen.in_place,
        allow_random=chosen.allow_random,
        device=str(place),
        name=name,
        acceleration=chosen.acceleration,
    )
    files = (found.data,) if found.foreign is None else found.foreign.files
    model.examine(_hash_of(files, chosen, found.within))
    return model


def _network(found: NetworkFile, trust: Trust, place: torch.device) -> torch.nn.Module:
    """The torch network in a file.

    Raises:
        InputError: it is not trusted, or damaged.
    """
    if found.foreign is not None:
        sums = [digest(x) for x in found.programs]
        if not trusts(trust, sums):
            could = f"{found.file} is {found.content.what}, and could run {', '.join(found.runs)}"
            raise InputError(
                f"{could} ({verdict(*found.programs)}); if you trust its source, say so (--trust, or trust=True)."
            )
        from SegAdversarialLib.model.treatment import say

        say(found.foreign.warnings)
        network = found.foreign.load(found.settings, place, *([sums] if found.runs else []))
        if sums != [digest(x) for x in found.programs]:
            raise InputError(f"The files of {found.file} changed while they were opened; open it again.")
        return network
    from SegAdversarialLib.model.treatment import say

    say(found.notes)
    if found.content.kind == "torchscript":
        return torchscript.load(found.data, trust, place)
    return monai_network.load(found.data, found.settings)


def _hash_of(files: tuple[Path, ...], settings: ModelSettings, within: str) -> str:
    """What identifies a network: the contents of its files, where in them it stands, and the architecture where they hold
    weights alone."""
    contents = "".join(digest(x) for x in files)
    named = "" if settings.network is None else settings.network.model_dump_json()
    return f"{contents}{named}{within}"
