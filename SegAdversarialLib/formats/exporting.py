"""Writing an opened network in our own form, from whatever form it came in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import open_found
from SegAdversarialLib.formats.describing import NetworkFile, check_complete, resolve
from SegAdversarialLib.formats.monai_network import load, memory_of
from SegAdversarialLib.formats.own_files import SETTINGS_FILE, WEIGHTS_FILE, write_network, write_settings
from SegAdversarialLib.formats.settings import ModelSettings
from SegAdversarialLib.model.devices import choose_device
from SegAdversarialLib.volumes.files import whole_folder

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import NetworkSettings

_FOUND = ("outputs", "output", "in_place", "window_batch")
"""What a network was asked when it was opened, and need not be asked again."""


@checked(path="a network's file or folder, or the name of a built-in one", folder="a folder for the network's files")
def export_network(path: str | Path, folder: str | Path, *, settings: str | Path | None = None, **changes: Any) -> Path:
    """Write a network as safetensors and model.json, which `open_model` opens to the same bits; nothing in them can run.

    Takes whatever names an architecture and holds weights: MONAI bundles, nnU-Net's folders and checkpoints with all their
    folds, Auto3DSeg's SegResNet, checkpoints of Lightning and other training programs, our own networks; and ensembles of
    these, each member in a folder of its own.

    Args:
        path: as `open_model` takes it.
        folder: where; it is made, and must not be there yet, or be empty.
        settings: the JSON file with the network's settings; None: the one beside it.
        changes: settings that take the place of the file's, by the names of `ModelSettings`.

    Returns:
        The JSON file, in the folder.

    Raises:
        InputError: the network cannot be opened, it or a member is a program, or the folder cannot be written to or holds
            something; then nothing is written.
    """
    found, folder = resolve(path, settings, changes), Path(folder)
    check_complete(found)
    for part in found.parts:
        _architecture(part)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and nothing of it is overwritten; give another folder.")
    with whole_folder(folder) as temporary:
        _write(found, found.name(path), temporary)
    return folder / SETTINGS_FILE


def _write(found: NetworkFile, name: str, folder: Path) -> None:
    """Write a network into a folder; of an ensemble the members into folders in it.

    What an ensemble says for all of its members stands with each of them, so that nothing is left to be said by its own file.
    """
    if not found.members:
        _write_one(found, name, folder)
        return
    members = []
    for number, (member, part) in enumerate(found.members, 1):
        inner = folder / f"member-{number}"
        inner.mkdir()
        _write(part, member, inner)
        members.append(f"{inner.name}/{SETTINGS_FILE}")
    write_settings(folder, ModelSettings(members=tuple(members), description=found.settings.description))


def _write_one(found: NetworkFile, name: str, folder: Path) -> None:
    model = open_found(found, name, False, choose_device("cpu"))
    described = model.describe()
    said = found.settings.model_copy(
        update={
            **{key: described[key] for key in _FOUND},
            "network": _architecture(found),
            "weights": WEIGHTS_FILE,
            "weights_within": None,
            "format": None,
            "description": " ".join([found.settings.description, *(found.foreign.warnings if found.foreign else ())]).strip(),
        }
    )
    weights: dict[Any, tuple[str, torch.Tensor]] = {}
    for key, tensor in model.network.state_dict().items():
        weights.setdefault(memory_of(key, tensor), (key, tensor))
    write_network(folder, dict(weights.values()), said)
    _check_same(folder, said, model.network.state_dict(), found.file)


def _architecture(found: NetworkFile) -> NetworkSettings:
    """The network by its name.

    Raises:
        InputError: it has none.
    """
    if found.foreign is not None and found.foreign.architecture is not None:
        return found.foreign.architecture()
    if found.foreign is not None or found.content.kind == "torchscript" or found.settings.network is None:
        raise InputError(
            f"{found.file} is {found.content.what}, a program whose architecture has no name to be written; keep it as it is, "
            "with its settings in a JSON file beside it, or export the network that it was made from."
        )
    return found.settings.network


def _check_same(folder: Path, said: ModelSettings, state: dict[str, Any], path: Path) -> None:
    """Read what was written, before it counts.

    Raises:
        InputError: it is not the network that it was made from.
    """
    import torch

    again = load(folder / WEIGHTS_FILE, said).state_dict()
    if again.keys() != state.keys() or not all(torch.equal(x, state[name].cpu()) for name, x in again.items()):
        raise InputError(f"{path} cannot be written so that it opens as it was: its weights do not come back as they are.")
