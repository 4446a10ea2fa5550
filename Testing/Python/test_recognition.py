"""What a file is, told from its content: by whom it was written, what would open it, and that nothing in it runs."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import safetensors.torch
import SimpleITK
import torch
from monai.networks.nets import UNet
from torch.package import PackageExporter

from SegAdversarialLib import InputError, open_model
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.formats.recognition import recognise

SETTINGS: dict[str, Any] = {"channels": ["CT"], "classes": ["background", "liver"]}
NAMED = {"name": "UNet", "arguments": {"spatial_dims": 3}}


def layer() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1)).eval()


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")


def packaged(path: Path) -> None:
    with PackageExporter(str(path)) as package:
        package.extern("**")
        package.save_pickle("network", "network.pkl", layer())


def image(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), path)


def archived(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("fold_0"))


def lightning(path: Path) -> None:
    state = {f"net.{name}": x for name, x in layer().state_dict().items()}
    torch.save({"epoch": 3, "pytorch-lightning_version": "2.6.6", "state_dict": state, "hyper_parameters": {}}, path)


def nnunet(path: Path) -> None:
    entries = {
        "network_weights": layer().state_dict(),
        "init_args": {},
        "trainer_name": "nnUNetTrainer",
        "_best_ema": np.float32(1),
    }
    torch.save(entries, path)


Maker = Callable[[Path], Any]
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 31415926\n"
WEIGHTS: dict[str, tuple[Maker, str]] = {
    "bare.pt": (lambda p: torch.save(layer().state_dict(), p), "holds weights alone"),
    "old.pth": (lambda p: torch.save(layer().state_dict(), p, _use_new_zipfile_serialization=False), "holds weights alone"),
    "nested.pth.tar": (lambda p: torch.save({"state_dict": layer().state_dict(), "epoch": 3}, p), "holds weights alone"),
    "x.safetensors": (lambda p: safetensors.torch.save_file(layer().state_dict(), p), "weights alone (safetensors)"),
    "renamed.ts": (lambda p: torch.save(layer().state_dict(), p), "holds weights alone"),
    "a.ckpt": (lightning, "a checkpoint of PyTorch Lightning, which holds weights alone"),
    "checkpoint_final.pth": (nnunet, "a checkpoint of nnU-Net"),
}
OTHER: dict[str, tuple[Maker, str]] = {
    "empty.pt": (lambda p: p.write_bytes(b""), "is empty; download or copy it again"),
    "whole.pt": (lambda p: torch.save(layer(), p), "whole pickled network (torch.nn.modules.container.Sequential)"),
    "old_whole.pt": (lambda p: torch.save(layer(), p, _use_new_zipfile_serialization=False), "a whole pickled network"),
    "monai.pt": (lambda p: torch.save({"net": UNet(3, 1, 2, [2, 4], [2])}, p), '"network": {"name": "UNet", ...}'),
    "plain.pkl": (lambda p: p.write_bytes(pickle.dumps({"w": np.zeros(3)})), "a Python pickle"),
    "module.pkl": (lambda p: p.write_bytes(pickle.dumps(layer(), protocol=4)), "a whole pickled network"),
    "lazy.pt": (lambda p: torch.save(torch.nn.LazyConv3d(2, 1).state_dict(), p), "weights that were never made"),
    "net.pt2": (
        lambda p: zipped(p, "n/archive_format", "n/models/model.json", "n/data/weights/weight_0"),
        "exported with torch.export",
    ),
    "package.pt": (packaged, "a torch.package archive"),
    "net.onnx": (lambda p: p.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x052.0.0:\x90\x01"), "an ONNX network"),
    "net.h5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file, as Keras"),
    "net.keras": (lambda p: zipped(p, "metadata.json", "config.json", "model.weights.h5"), "a Keras network"),
    "graph.pb": (lambda p: p.write_bytes(b"\x0a\x1b\x0a\x05input\x12\x0bPlaceholder\xff"), "a TensorFlow graph"),
    "net.tflite": (lambda p: p.write_bytes(b"\x1c\0\0\0TFL3" + bytes(40)), "a TensorFlow Lite network"),
    "image.nii": (image, "an image (NIfTI)"),
    "image.nii.gz": (image, "an image (NIfTI), compressed"),
    "image.nrrd": (lambda p: SimpleITK.WriteImage(SimpleITK.Image(3, 3, 3, SimpleITK.sitkUInt8), str(p)), "an image (NRRD)"),
    "image.dcm": (lambda p: p.write_bytes(bytes(128) + b"DICM" + bytes(40)), "an image (DICOM)"),
    "a.npy": (lambda p: np.save(p, np.zeros(3)), "a NumPy array"),
    "a.npz": (lambda p: np.savez(p, a=np.zeros(3)), "an archive of NumPy arrays"),
    "fold.tar": (archived, "a tar archive"),
    "weights.pt.gz": (lambda p: p.write_bytes(gzip.compress(bytes(range(256)))), "a compressed file (gzip)"),
    "bundle.zip": (
        lambda p: zipped(p, "configs/metadata.json", "models/model.pt"),
        "has no configs/inference.json or .yaml",
    ),
    "page.pt": (lambda p: p.write_text("\n<!DOCTYPE html><html><body>Sign in</body></html>"), "a web page (HTML)"),
    "pointer.pt": (
        lambda p: p.write_text(POINTER),
        "a Git LFS pointer, not the file itself; fetch the file (31,415,926 bytes)",
    ),
    "denied.pt": (lambda p: p.write_text("404: Not Found"), 'a text file (it begins with "404: Not Found")'),
    "noise.pt": (lambda p: p.write_bytes(bytes(range(255, 0, -1))), "no network file that this software knows"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_need_an_architecture_and_no_trust(name: str, tmp_path: Path) -> None:
    make, words = WEIGHTS[name]
    make(tmp_path / name)
    for call in (describe_file, open_model, lambda *a, **k: open_model(*a, trust=True, **k)):
        with pytest.raises(InputError) as caught:
            call(tmp_path / name, **SETTINGS)
        message = str(caught.value)
        assert words in message and "trust" not in message and "damaged" not in message and "\n" not in message
        assert "name the MONAI architecture" in message or "nnU-Net's own trainers" in message
    assert not describe_file(tmp_path / name, **SETTINGS, network=NAMED).needs_trust


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_network_for_us_is_named(name: str, tmp_path: Path) -> None:
    make, words = OTHER[name]
    make(tmp_path / name)
    for settings in (SETTINGS, {}, {**SETTINGS, "network": NAMED}):
        for call in (describe_file, open_model):
            with pytest.raises(InputError) as caught:
                call(tmp_path / name, **settings)
            message = str(caught.value)
            assert words in message and str(tmp_path / name) in message, message
            assert "trust" not in message and "\n" not in message and message.endswith(".")


@pytest.mark.parametrize("make", [torch.jit.script, lambda x: torch.jit.trace(x, torch.zeros(1, 1, 4, 4, 4))])
@pytest.mark.parametrize("name", ["net.ts", "net.pth", "net.bin"])
def test_programs_are_known_by_any_name(name: str, make: Any, tmp_path: Path) -> None:
    make(layer()).save(str(tmp_path / name))
    assert describe_file(tmp_path / name, **SETTINGS).needs_trust
    with pytest.raises(InputError, match="if you trust its source"):
        open_model(tmp_path / name, **SETTINGS)
    assert open_model(tmp_path / name, trust=True, **SETTINGS).name == "net"


def test_settings_may_name_a_program(tmp_path: Path) -> None:
    torch.jit.script(layer()).save(str(tmp_path / "net.ts"))
    (tmp_path / "liver.json").write_text(json.dumps({**SETTINGS, "weights": "net.ts"}))
    assert describe_file(tmp_path / "liver.json").needs_trust
    assert open_model(tmp_path / "liver.json", trust=True).name == "liver"


def test_safetensors_are_known_whatever_the_length_of_their_header(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"  # the length comes first: 0x0280 looks like the beginning of a pickle, 0x4b50 like a zip
    bare = len(safetensors.torch.save({"w": torch.zeros(1)}, {"note": ""})) - 4 - 8
    for length in (*range(bare, 0x300, 8), 0x4B50):
        safetensors.torch.save_file({"w": torch.zeros(1)}, path, {"note": "x" * (length - bare)})
        assert path.read_bytes()[:8] == length.to_bytes(8, "little") and recognise(path).kind == "weights"


class Exploit:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_recognising_runs_nothing(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(Exploit(marker), protocol=protocol))
        recognise(path)
        torch.save({"a": torch.zeros(1), "b": Exploit(marker)}, path, pickle_protocol=max(protocol, 2))
        recognise(path)
    assert not marker.exists()


def test_recognising_needs_no_torch(tmp_path: Path) -> None:
    for name, (make, _) in {**WEIGHTS, **OTHER}.items():
        make(tmp_path / name)
    torch.jit.script(layer()).save(str(tmp_path / "net.ts"))
    code = (
        "import sys\nfrom pathlib import Path\nfrom SegAdversarialLib.formats.describing import describe_file\n"
        "from SegAdversarialLib.formats.recognition import recognise\n"
        "kinds = [recognise(x).kind for x in sorted(Path(sys.argv[1]).iterdir())]\n"
        f"describe_file(sys.argv[1] + '/net.ts', **{SETTINGS!r})\n"
        "print(len(kinds), {x for x in ('torch', 'monai', 'nibabel', 'SimpleITK') if x in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(WEIGHTS) + len(OTHER) + 1} set()"


def program() -> bytes:
    made = io.BytesIO()
    torch.jit.save(torch.jit.script(layer()), made)
    return made.getvalue()


def saved(old: bool) -> bytes:
    made = io.BytesIO()
    torch.save({"state_dict": layer().state_dict()}, made, _use_new_zipfile_serialization=not old)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("net.ts", program),
        ("net.pt", lambda: saved(old=False)),
        ("old.pt", lambda: saved(old=True)),
        ("net.safetensors", lambda: safetensors.torch.save(layer().state_dict())),
    ],
)
def test_a_file_of_which_the_end_is_missing(name: str, content: Callable[[], bytes], tmp_path: Path) -> None:
    path, whole = tmp_path / name, content()
    path.write_bytes(whole)
    settings = {**SETTINGS, "network": NAMED}
    for length in range(len(whole) - 1, -1, -1):
        os.truncate(path, length)
        found = recognise(path)
        assert found.kind == "other" or name == "old.pt", length  # whose tensors have no end of their own
        if length % 97 == 0 or length < 20:
            with pytest.raises(InputError) as caught:
                open_model(path, trust=True, **settings)
            assert "\n" not in str(caught.value)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match="cut off or damaged|damaged or no weights file"):
        open_model(path, trust=True, **{**settings, "network": {"name": "UNet", "arguments": UNET}})


UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [2, 4], "strides": [2]}


def test_settings_of_which_the_end_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    text = json.dumps({**SETTINGS, "network": NAMED, "weights": "net.safetensors"})
    for length in range(len(text)):
        path.write_text(text[:length])
        with pytest.raises(InputError, match="no readable JSON"):
            describe_file(path)


def test_folders_of_other_software(tmp_path: Path) -> None:
    for names, words in (
        (("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"), "checkpoint_final.pth is no checkpoint of nnU-Net"),
        (("configs/metadata.json", "configs/inference.json", "models/model.pt"), "a MONAI bundle"),
        (("saved_model.pb", "variables/variables.index"), "a TensorFlow network"),
    ):
        folder = tmp_path / names[0].replace("/", "-")
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}")
        with pytest.raises(InputError, match=words):
            describe_file(folder)
    alone = tmp_path / "alone"
    alone.mkdir()
    torch.save(layer().state_dict(), alone / "model.pt")
    with pytest.raises(InputError, match="model.pt is a file that holds weights alone"):
        describe_file(alone)


FOREIGN = {
    "brainchop": {"format": "layers-model", "generatedBy": "keras", "modelTopology": {}, "weightsManifest": []},
    "a MONAI bundle's configuration": {
        "imports": [],
        "network_def": {"_target_": "SegResNet"},
        "network": "$@network_def.to(@d)",
    },
    "nnU-Net's plans": {"plans_name": "nnUNetPlans", "configurations": {}, "transpose_forward": [0, 1, 2]},
    "description of a data set": {"labels": {"background": 0}, "channel_names": {"0": "CT"}, "numTraining": 3},
    "JSON file of something else": {"input_dtype": "float32", "is_2d": False, "patch_size": [1, 2], "description": "cord"},
}


@pytest.mark.parametrize("words", FOREIGN)
def test_json_files_of_other_software_beside_a_network(words: str, tmp_path: Path) -> None:
    torch.jit.script(layer()).save(str(tmp_path / "model.pt"))
    (tmp_path / "model.json").write_text(json.dumps(FOREIGN[words]))
    found = describe_file(tmp_path / "model.pt", **SETTINGS)
    assert (
        found.files == (tmp_path / "model.pt",)
        and open_model(tmp_path / "model.pt", trust=True, **SETTINGS).name == tmp_path.name
    )
    with pytest.raises(InputError, match=r"not known which channels and classes .*model.json beside it is another software's"):
        describe_file(tmp_path / "model.pt")
    with pytest.raises(InputError, match=words):
        describe_file(tmp_path / "model.json")
    (tmp_path / "model.pt.json").write_text(json.dumps(SETTINGS))
    assert describe_file(tmp_path / "model.pt").channels == ("CT",)
    assert describe_file(tmp_path).file == tmp_path / "model.pt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"channels": ["CT"], "clases": ["a", "b"]}', "no setting clases; there are .*classes"),
        ('{"chanels": ["CT"]}', "no setting chanels"),
        ('{"channels": ["CT"], "classes": ["a", "b"}', "no readable JSON"),
    ],
)
def test_a_mistake_in_settings_of_ours_is_told(text: str, message: str, tmp_path: Path) -> None:
    torch.jit.script(layer()).save(str(tmp_path / "model.pt"))
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=message):
        describe_file(tmp_path / "model.pt")
