"""Files as an attacker would make them, made by the tests while they run: what in them would run only touches a canary file.

Every maker is plain: scanners know what it uses. The tests aim at this software's own guards.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunet_helpers import plans_with, write_checkpoint, write_folder

ARGUMENTS: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [2, 4], "strides": [2]}
SETTINGS: dict[str, Any] = {"channels": ["CT"], "classes": ["background", "liver"]}
NETWORK: dict[str, Any] = {"name": "UNet", "arguments": ARGUMENTS}


class Canary:
    """What, when it is unpickled, writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return eval, (self.code,)

    @property
    def code(self) -> str:
        """A Python expression that does the same."""
        return f"open({str(self.path)!r}, 'w')"


class Hostile(NamedTuple):
    """One kind of file: how it is made in a folder (giving what is opened), what of the sentence names why it is refused
    (empty: it opens as data), and whether it is refused also by those who trust it."""

    make: Callable[[Path, Canary], Path]
    why: str
    even_trusted: bool = True


def unet() -> torch.nn.Module:
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(**ARGUMENTS).eval()


def described(path: Path, **settings: Any) -> Path:
    """The file, with its settings beside it."""
    path.with_suffix(".json").write_text(json.dumps({**SETTINGS, **settings}))
    return path


def saved(name: str, content: Callable[[Canary], Any], **how: Any) -> Callable[[Path, Canary], Path]:
    """A file that torch.save writes, for an architecture that its settings name."""

    def make(folder: Path, canary: Canary) -> Path:
        torch.save(content(canary), folder / name, **how)
        return described(folder / name, network=NETWORK)

    return make


def plain_pickle(folder: Path, canary: Canary) -> Path:
    (folder / "net.pkl").write_bytes(pickle.dumps({"state_dict": canary}))
    return described(folder / "net.pkl", network=NETWORK)


class Whole(torch.nn.Module):
    """A network that is pickled as it is, with something else in it."""

    def __init__(self, canary: Canary) -> None:
        super().__init__()
        self.inner, self.canary = torch.nn.Conv3d(1, 2, 1), canary


def array(name: str) -> Callable[[Path, Canary], Path]:
    """An array of objects, as numpy pickles it."""

    def make(folder: Path, canary: Canary) -> Path:
        objects = np.array([canary], dtype=object)
        if name.endswith(".npz"):
            np.savez(folder / name, weights=objects)
        else:
            np.save(folder / name, objects)
        return described(folder / name, network=NETWORK)

    return make


def torchscript(member: str) -> Callable[[Path, Canary], Path]:
    """A TorchScript file one of whose pickles is the canary's."""

    def make(folder: Path, canary: Canary) -> Path:
        torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(folder / "good.ts"))
        return described(exchanged(folder / "good.ts", folder / "net.ts", member, pickle.dumps(canary)))

    return make


def exported(member: str) -> Callable[[Path, Canary], Path]:
    """A program of torch.export into which the canary's pickle was put."""

    def make(folder: Path, canary: Canary) -> Path:
        network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1))
        torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 4, 4, 4),)), folder / "good.pt2")
        torch.save({"sample": canary}, folder / "canary.pt")
        return described(exchanged(folder / "good.pt2", folder / "net.pt2", member, (folder / "canary.pt").read_bytes()))

    return make


def exchanged(path: Path, other: Path, member: str, content: bytes) -> Path:
    """A copy of an archive in which the members whose names have this in them hold something else."""
    found = 0
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as copy:
        for name in archive.namelist():
            found += member in name
            copy.writestr(name, content if member in name else archive.read(name))
    assert found, (member, zipfile.ZipFile(path).namelist())
    path.unlink()
    return other


def nnunet_checkpoint(folder: Path, canary: Canary) -> Path:
    return write_checkpoint(folder / "fold_0" / "checkpoint_final.pth", optimizer_state={"state": canary})


def nnunet_folder(folder: Path, canary: Canary) -> Path:
    nnunet_checkpoint(folder, canary)
    (folder / "plans.json").write_text(json.dumps(plans_with()))
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1"}, "labels": {"background": 0, "liver": 1}}))
    return folder


def nnunet_archive(folder: Path, canary: Canary) -> Path:
    return packed(nnunet_folder(folder / "nnUNetTrainer__nnUNetPlans__3d_fullres", canary), folder / "exported.zip")


def nnunet_archive_with_member(name: str, kind: int = 0) -> Callable[[Path, Canary], Path]:
    """nnU-Net's archive with one more member, under this name and of this kind of file."""

    def make(folder: Path, canary: Canary) -> Path:
        trained = write_folder(folder / "nnUNetTrainer__nnUNetPlans__3d_fullres")
        return with_member(packed(trained, folder / "exported.zip"), name, kind, canary)

    return make


def packed(folder: Path, archive: Path) -> Path:
    """A trained folder as nnUNetv2_export_model_to_zip names its members."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(x for x in folder.rglob("*") if x.is_file()):
            opened.write(path, f"Dataset011_Liver/{path.relative_to(folder.parent).as_posix()}")
    return archive


def with_member(path: Path, name: str, kind: int, canary: Canary) -> Path:
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename, info.external_attr = name.replace("CANARY", str(canary.path)), kind << 16
        archive.writestr(info, str(canary.path))
    return path


def nnunet_class(name: str, arguments: Any = None) -> Callable[[Path, Canary], Path]:
    """nnU-Net's plans that name something else than a network, or than a layer, to be imported."""

    def make(folder: Path, canary: Canary) -> Path:
        plans = plans_with()
        architecture = plans["configurations"]["3d_fullres"]["architecture"]
        if arguments is None:
            architecture |= {"network_class_name": name, "arch_kwargs": {"file": str(canary.path), "mode": "w"}}
        else:
            architecture["arch_kwargs"] |= {arguments: name}
        return write_checkpoint(folder / "fold_0" / "checkpoint_final.pth", plans)

    return make


def lightning(folder: Path, canary: Canary) -> Path:
    state = {f"model.{name}": x for name, x in unet().state_dict().items()}
    content = {"pytorch-lightning_version": "2.6.6", "state_dict": state, "hyper_parameters": {"loss": canary}}
    torch.save(content, folder / "net.ckpt")
    return described(folder / "net.ckpt", network=NETWORK)


def auto3dseg(folder: Path, canary: Canary) -> Path:
    config = {"modality": "ct", "input_channels": 1, "output_classes": 2, "roi_size": [8, 8, 8], "class_names": ["liver"]}
    config["network"] = {"_target_": "SegResNetDS", "in_channels": 1, "out_channels": 2}
    torch.save({"state_dict": {}, "config": config, "epoch": 1, "best": canary}, folder / "model.pt")
    return folder / "model.pt"


def safetensors(folder: Path, canary: Canary) -> Path:
    """Weights whose metadata look like a pickle and like an expression: they are texts."""
    from safetensors.torch import save_file

    said = {"format": "pt", "pickled": pickle.dumps(canary, 0).decode(), "said": f"${canary.code}"}
    said["_target_"] = "builtins.open"
    save_file(unet().state_dict(), folder / "net.safetensors", said)
    return described(folder / "net.safetensors", network=NETWORK)


def sidecar(**network: Any) -> Callable[[Path, Canary], Path]:
    """Settings that name something else than a network's architecture."""

    def make(folder: Path, canary: Canary) -> Path:
        torch.save(unet().state_dict(), folder / "net.pt")
        arguments = {key: canary.code if x == "code" else x for key, x in network["arguments"].items()}
        return described(folder / "net.pt", network={**network, "arguments": arguments})

    return make


def bundle(packed: bool = False, yaml: str = "", **entries: Callable[[Canary], Any]) -> Callable[[Path, Canary], Path]:
    """A MONAI bundle, as a folder or a zip archive, with these entries in its configuration, or this before it as YAML."""

    def make(folder: Path, canary: Canary) -> Path:
        (folder / "configs").mkdir()
        (folder / "models").mkdir()
        torch.save(unet().state_dict(), folder / "models" / "model.pt")
        config = {
            "network_def": {"_target_": "UNet", **ARGUMENTS},
            "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]},
            **{key: entry(canary) for key, entry in entries.items()},
        }
        text = json.dumps(config)
        if yaml:
            text = f"{yaml.replace('CANARY', str(canary.path))}\n" + "\n".join(
                f"{k}: {json.dumps(x)}" for k, x in config.items()
            )
        (folder / "configs" / ("inference.yaml" if yaml else "inference.json")).write_text(text)
        forms = {"inputs": {"image": {"channel_def": {"0": "CT"}}}, "outputs": {"pred": {"channel_def": {"0": "a", "1": "b"}}}}
        (folder / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": forms}))
        if not packed:
            return folder
        with zipfile.ZipFile(folder / "net.zip", "w") as archive:
            for path in (*folder.glob("configs/*"), *folder.glob("models/*")):
                archive.write(path, path.relative_to(folder).as_posix())
        return folder / "net.zip"

    return make


def bundle_with_member(name: str, kind: int = 0) -> Callable[[Path, Canary], Path]:
    """A bundle's archive with one more member, under this name and of this kind of file."""

    def make(folder: Path, canary: Canary) -> Path:
        return with_member(bundle(packed=True)(folder, canary), name, kind, canary)

    return make


def bundle_of_pickle(folder: Path, canary: Canary) -> Path:
    bundle()(folder, canary)
    torch.save({**unet().state_dict(), "canary": canary}, folder / "models" / "model.pt")
    return folder


YAML_TAG = "canary: !!python/object/apply:builtins.open ['CANARY', 'w']"
LINK = 0o120777
RUNS = r"calls it dangerous \((?:builtins|__builtin__)\.eval\)"
MORE_THAN_WEIGHTS = rf"holds more than weights \((?:\w+\.)?eval\), and such a file could run programs.*{RUNS}"
PROGRAM = "a program that could do anything with your files"

NETWORKS: dict[str, Hostile] = {
    "zip checkpoint": Hostile(saved("net.pt", lambda x: {"weights": x}), MORE_THAN_WEIGHTS),
    "zip checkpoint among weights": Hostile(saved("net.pth", lambda x: {**unet().state_dict(), "x": x}), MORE_THAN_WEIGHTS),
    "legacy checkpoint": Hostile(
        saved("net.pt", lambda x: {"weights": x}, _use_new_zipfile_serialization=False), MORE_THAN_WEIGHTS
    ),
    "plain pickle": Hostile(plain_pickle, f"a Python pickle, which could run programs when it is opened.*{RUNS}"),
    "whole network": Hostile(saved("net.pt", Whole), r"a whole pickled network \(hostile_helpers\.Whole\)"),
    "npy": Hostile(array("net.npy"), "a NumPy array"),
    "npz": Hostile(array("net.npz"), r"an archive of NumPy arrays \(\.npz\)"),
    "TorchScript data.pkl": Hostile(torchscript("data.pkl"), PROGRAM),
    "TorchScript constants.pkl": Hostile(torchscript("constants.pkl"), PROGRAM),
    "pt2 sample": Hostile(exported("data/sample_inputs/"), "could run texts in it", even_trusted=False),
    "nnU-Net checkpoint": Hostile(nnunet_checkpoint, MORE_THAN_WEIGHTS),
    "nnU-Net folder": Hostile(nnunet_folder, MORE_THAN_WEIGHTS),
    "nnU-Net archive": Hostile(nnunet_archive, MORE_THAN_WEIGHTS),
    "nnU-Net archive, outside": Hostile(nnunet_archive_with_member("../canary"), "leads out of the archive's folder"),
    "nnU-Net archive, absolute": Hostile(nnunet_archive_with_member("CANARY"), "is a place on a disk"),
    "nnU-Net archive, a link": Hostile(nnunet_archive_with_member("fold_0/link", LINK), "is a link to somewhere else"),
    "nnU-Net network class": Hostile(nnunet_class("builtins.open"), "builtins.open"),
    "nnU-Net layer": Hostile(nnunet_class("os.system", "nonlin"), "os.system"),
    "Lightning": Hostile(lightning, MORE_THAN_WEIGHTS),
    "Auto3DSeg": Hostile(auto3dseg, MORE_THAN_WEIGHTS),
    "safetensors' metadata": Hostile(safetensors, ""),
    "sidecar names a function": Hostile(sidecar(name="os.system", arguments={"command": "code"}), 'no network "os.system"'),
    "sidecar names MONAI's": Hostile(sidecar(name="__builtins__", arguments={}), 'no network "__builtins__"'),
    "sidecar fetches": Hostile(
        sidecar(name="Transchex", arguments={"path_or_repo_id": "x"}), "would load weights from elsewhere"
    ),
    "sidecar fetches by itself": Hostile(sidecar(name="MILModel", arguments={"num_classes": 2}), "from elsewhere by itself"),
    "sidecar names nnU-Net's": Hostile(
        sidecar(name="dynamic_network_architectures.os.system", arguments={"command": "code"}), "os.system to be imported"
    ),
    "sidecar names a layer": Hostile(
        sidecar(
            name="dynamic_network_architectures.architectures.unet.PlainConvUNet",
            arguments={"nonlin": "builtins.open"},
            imported=["nonlin"],
        ),
        "name builtins.open to be imported",
    ),
    "sidecar names no layer": Hostile(
        sidecar(
            name="dynamic_network_architectures.architectures.unet.PlainConvUNet",
            arguments={"nonlin": "torch.nn.parallel.distributed.Enum"},
            imported=["nonlin"],
        ),
        "is no network or layer",
    ),
    "sidecar's expression": Hostile(sidecar(name="UNet", arguments={**ARGUMENTS, "act": "code"}), "arguments .* do not fit"),
    "bundle's weights": Hostile(bundle_of_pickle, MORE_THAN_WEIGHTS),
    "bundle's network expression": Hostile(bundle(network_def=lambda x: f"${x.code}"), "a program that could do anything"),
    "bundle's argument expression": Hostile(
        bundle(network_def=lambda x: {"_target_": "UNet", **ARGUMENTS, "act": f"${x.code}"}),
        "a program that could do anything",
    ),
    "bundle's network target": Hostile(
        bundle(network_def=lambda x: {"_target_": "builtins.open", "file": str(x.path), "mode": "w"}), "builtins.open"
    ),
    "bundle's inferer target": Hostile(
        bundle(inferer=lambda x: {"_target_": "builtins.open", "file": str(x.path), "mode": "w"}), "builtins.open"
    ),
    "bundle's argument target": Hostile(
        bundle(network_def=lambda x: {"_target_": "UNet", **ARGUMENTS, "act": {"_target_": "os.system", "command": "x"}}),
        "made by os.system",
    ),
    "bundle's step": Hostile(
        bundle(preprocessing=lambda x: {"_target_": "Compose", "transforms": [{"_target_": "Lambdad", "func": f"${x.code}"}]}),
        "Lambdad, cannot be said here",
    ),
    "bundle's step of its own": Hostile(
        bundle(preprocessing=lambda x: {"_target_": "Compose", "transforms": [{"_target_": "scripts.own.Step"}]}),
        "scripts.own.Step",
    ),
    "bundle's checkpoint path": Hostile(
        bundle(load=lambda x: {"_target_": "CheckpointLoader", "load_path": "../../other.pt"}), "outside of its folder"
    ),
    "bundle's unasked entries": Hostile(
        bundle(imports=lambda x: [f"${x.code}"], handlers=lambda x: [f"${x.code}"], run=lambda x: [f"${x.code}"]), ""
    ),
    "bundle in YAML with a tag": Hostile(bundle(yaml=YAML_TAG), "no readable YAML"),
    "bundle's archive, outside": Hostile(bundle_with_member("../canary"), "leads out of the archive's folder"),
    "bundle's archive, absolute": Hostile(bundle_with_member("CANARY"), "is a place on a disk"),
    "bundle's archive, a link": Hostile(bundle_with_member("models/link", LINK), "is a link to somewhere else"),
    "bundle's archive, an expression": Hostile(
        bundle(packed=True, network_def=lambda x: f"${x.code}"), "a program that could do anything"
    ),
}
"""Everything that may be given as a network."""
