"""`segadversarial info FILE`: what it is, what is missing, what in it could run code, and the one line that would open it."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT
from monai.networks.nets import UNet
from nnunet_helpers import DATASET, PLANS, plans_with, write_checkpoint, write_folder

from SegAdversarialLib import phantom
from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import nnunet_network, open_model
from SegAdversarialLib.formats.trust import digest
from SegAdversarialLib.formats.unopened import NotInstalled
from SegAdversarialLib.volumes.files import RESULT_MARKER

NETWORKS = ROOT / "Testing" / "networks"
ARGUMENTS: dict[str, Any] = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "channels": [2, 4], "strides": [2]}
SAID = ["--model-channels", "A,B", "--classes", "0=background,1=core,2=rim"]
ARCHITECTURE = json.dumps({"name": "UNet", "arguments": ARGUMENTS})
NEEDS_BOTH = ["channels", "classes"]
NEEDS_ALL = ["the architecture that its weights belong to", *NEEDS_BOTH]


def unet() -> torch.nn.Module:
    torch.manual_seed(0)
    return UNet(**ARGUMENTS).eval()


STATE = unet().state_dict()


def info(*words: str | Path, status: int = 0, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the command shows, as data."""
    capsys.readouterr()
    assert main(["info", *map(str, words), "--device", "cpu", "--events"]) == status
    found: dict[str, Any] = [json.loads(line) for line in capsys.readouterr().out.splitlines()][-1]
    return found


def write_results(path: Path) -> None:
    path.mkdir()
    for name in ("job.json", RESULT_MARKER, "results.csv"):
        (path / name).write_text("{}")


def bundle(path: Path, *without: str) -> None:
    shutil.copytree(NETWORKS / "monai-softmax", path, ignore=shutil.ignore_patterns("predicted", "model.ts", *without))


def alone(path: Path) -> None:
    shutil.copy(NETWORKS / "monai-softmax" / "configs" / "inference.json", path)


def plans_alone(path: Path) -> None:
    path.mkdir()
    (path / "plans.json").write_text(json.dumps(PLANS))
    (path / "dataset.json").write_text(json.dumps(DATASET))


def lightning(path: Path) -> None:
    entries = {"epoch": 3, "pytorch-lightning_version": "2.6.6", "hyper_parameters": {"lr": 1e-3}}
    torch.save({**entries, "state_dict": {f"net.{name}": x for name, x in STATE.items()}}, path)


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(unet(), (torch.zeros(1, 2, 8, 8, 8),)), path)


def first_version(path: Path) -> None:
    entries = {"epoch": 1, "state_dict": STATE, "optimizer_state_dict": {}, "lr_scheduler_state_dict": None}
    torch.save({**entries, "plot_stuff": ([], [], []), "best_stuff": (None, 1.0, 2.0)}, path)


KINDS: dict[str, tuple[Callable[[Path], Any], str, list[str]]] = {
    "plain.pt": (lambda p: torch.save(STATE, p), "a file that holds weights alone", NEEDS_ALL),
    "plain.safetensors": (lambda p: safetensors.torch.save_file(STATE, p), "weights alone (safetensors)", NEEDS_ALL),
    "last.ckpt": (lightning, "a checkpoint of PyTorch Lightning", NEEDS_ALL),
    "net.ts": (lambda p: torch.jit.trace(unet(), torch.zeros(1, 2, 8, 8, 8)).save(p), "a TorchScript file", NEEDS_BOTH),
    "net.pt2": (exported, "exported with torch.export (.pt2; it takes 2 channel(s) of 8 x 8 x 8 voxels)", NEEDS_BOTH),
    "inference.json": (alone, "a MONAI bundle's configuration", ["the rest of its bundle"]),
    "bundle": (lambda p: bundle(p, "model.pt"), "a MONAI bundle", ["its weights, models/model.pt"]),
    "metadata": (lambda p: bundle(p, "inference.json"), "a MONAI bundle", ["configs/inference.json, which says how"]),
    "plans": (plans_alone, "trained with nnU-Net, without its weights (plans for 3d_fullres)", ["its weights, fold_0/"]),
}
"""What lacks something: what it is, and what it lacks."""

OTHER: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "net.onnx": (lambda p: p.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x052.0.0"), "an ONNX network", "torch.jit.trace"),
    "net.h5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "as Keras writes", "torch.jit.trace"),
    "saved": (lambda p: (p.mkdir(), (p / "saved_model.pb").write_bytes(b"x")), "(SavedModel)", "torch.jit.trace"),
    "whole.pt": (lambda p: torch.save(unet(), p), "a whole pickled network", "torch.save(network.state_dict()"),
    "v1.model": (first_version, "nnU-Net's first version", "version 2"),
    "results": (write_results, "a folder of this software's results", "job.json"),
    "scan.nii.gz": (
        lambda p: shutil.copy(NETWORKS / "monai-cases" / "flat_FLAIR.nii.gz", p),
        "an image (NIfTI), compressed",
        "segment --channel NAME=",
    ),
    "slice.pt": (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "a picture (PNG)", "segment --channel NAME="),
    "slices": (
        lambda p: (p.mkdir(), (p / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))),
        "a folder of images (0.png is a picture (PNG))",
        "segment --channel NAME=",
    ),
    "scans": (lambda p: shutil.copytree(NETWORKS / "monai-cases", p), "a folder of images", "segment --channel "),
    "job.json": (lambda p: p.write_text('{"kind": "attack", "output": "x"}'), "a job of this software", "segadversarial run"),
    "study.yaml": (lambda p: p.write_text("study: x\ncohort: y\n"), "a study of this software", "segadversarial study plan"),
}
"""What does not open here: what it is, and what would help."""


def test_the_line_for_images_gives_each_file_its_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of files is no DICOM series, and a file of several channels has several names: the line works as it stands."""
    folder, several = tmp_path / "case Ü", tmp_path / "several.nii.gz"
    phantom.subject(seed=7, shape=(32, 32, 32)).write(folder)
    nibabel.save(nibabel.Nifti1Image(np.ones((16, 16, 16, 4), np.float32), np.eye(4)), several)
    for path, names in ((folder, {"T1", "T1ce", "T2", "FLAIR"}), (several, {"NAME1,NAME2,NAME3,NAME4"})):
        line = info(path, capsys=capsys)["open_with"]
        words = shlex.split(line)
        channels = dict(words[n + 1].split("=", 1) for n, word in enumerate(words) if word == "--channel")
        assert set(channels) == names and all(Path(x).is_file() for x in channels.values())
        assert ("--label" in words) == (path == folder)
    filled = line.replace("NAME1,NAME2,NAME3,NAME4", "T1,T1ce,T2,FLAIR").replace("NETWORK", "builtin:brain-tumour-phantom")
    assert main([*shlex.split(filled.replace("FOLDER", str(tmp_path / "results")))[1:], "--device", "cpu"]) == 0


@pytest.mark.parametrize("name", KINDS)
def test_what_lacks_something(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words, missing = KINDS[name]
    make(tmp_path / name)
    found = info(tmp_path / name, capsys=capsys)
    assert words in found["file"] and found["opens"] == "not yet" and found["files"] == [str(tmp_path / name)]
    assert len(found["missing"]) == len(missing)
    assert all(said.startswith(wanted) for said, wanted in zip(found["missing"], missing))
    assert bool(found["could_run"]) == (name in ("net.ts", "net.pt2")) == ("scan" in found)
    assert found["open_with"] and not found["open_with"].endswith(".")
    assert ("which MONAI would run" in found.get("not_run", "")) == (name in ("inference.json", "bundle"))


@pytest.mark.parametrize("name", [name for name, (_, _, missing) in KINDS.items() if missing[-1] == "classes"])
def test_the_line_opens_it_once_its_capitals_are_filled_in(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, _, missing = KINDS[name]
    make(tmp_path / name)
    line = info(tmp_path / name, capsys=capsys)["open_with"]
    words = shlex.split(line)
    assert words[:3] == ["segadversarial", "info", str(tmp_path / name)]
    given = {"--architecture": ARCHITECTURE, "--model-channels": "A,B", "--classes": SAID[3]}
    for option in given:
        if option in words:
            words[words.index(option) + 1] = given[option]
    opened = info(*words[2:], capsys=capsys)
    again = shlex.split(opened["open_with"])  # what was said of it stands in the next line, too
    assert set(words[3:]) <= set(again) and again[:4] == ["segadversarial", "segment", "--model", words[2]]
    assert opened["parameters"] > 0 and "opens" not in opened and opened["channels"] == ["A", "B"]
    if missing == NEEDS_ALL:  # which can be told from weights
        assert '"spatial_dims": 3' in line and "CHANNEL1,CHANNEL2 " in line and line.endswith("0=background,1=NAME1,2=NAME2")
    assert opened["open_with"].startswith("segadversarial segment --model ") and "--channel A=FILE" in opened["open_with"]
    assert ("--trust" in opened["open_with"]) == ("--trust" in line) == bool(opened["could_run"])


@pytest.mark.parametrize("name", OTHER)
def test_what_does_not_open_here(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, words, way_out = OTHER[name]
    make(tmp_path / name)
    found = info(tmp_path / name, capsys=capsys)
    assert words in found["file"] and found["opens"] == "no" and way_out in found["open_with"]
    assert bool(found["could_run"]) == (name == "whole.pt")
    if name == "whole.pt":
        assert "monai.networks.nets.unet.UNet" in found["could_run"] and "picklescan" in found["scan"]


def test_what_is_not_there_or_damaged_or_wrong_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(STATE, tmp_path / "net.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "net.pt").read_bytes()[:900])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "noise.pt").write_bytes(bytes(range(255, 0, -1)))
    for words in (["none.pt"], ["cut.pt"], ["empty.pt"], ["noise.pt"], ["net.pt", "--overlap", "7"]):
        assert "message" in info(tmp_path / words[0], *words[1:], status=2, capsys=capsys)


@pytest.mark.parametrize("columns", [200, 60])
@pytest.mark.parametrize("name", ["net.onnx", "plain.safetensors", "net.ts", "bundle", "whole"])
def test_people_are_told_the_same(
    name: str, columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thing under its name, in lines as wide as the terminal; the line to type can be copied."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(tmp_path)
    (KINDS | OTHER | {"whole": (bundle, "", [])})[name][0](Path(name))
    found = info(name, capsys=capsys)
    assert main(["info", name, "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    told: dict[str, list[str]] = {}
    for line in shown.splitlines():
        label, text = line[:17].strip(), line[17:]
        told.setdefault(label.removesuffix(":") or list(told)[-1], []).append(text)
    assert set(told) == set(found) - {"event"} and not re.search(r"[{}] *$|null|\\bNone", shown)
    assert all(len(x) <= columns for x in shown.splitlines() if " " in x[17:].strip() and "--" not in x)
    assert shlex.split(" ".join(x.removesuffix("\\") for x in told["open_with"])) == shlex.split(found["open_with"])
    assert " ".join(map(str.strip, told["could_run"])) == ("; ".join(found["could_run"]) or "nothing")
    assert told["files"] == found["files"]
    if name == "whole":
        assert [x.split(" ", 1)[0] for x in told["classes"]] == [str(x["label"]) for x in found["classes"]]
        assert told["parameters"] == [f"{found['parameters']:,}"] and told["window"] == [", ".join(map(str, found["window"]))]
        assert told["preprocessing"][0] == f"orientation: {found['preprocessing']['orientation']}"
        assert list(told).index("window") < list(told).index("parameters")  # what files say comes before it is opened


def test_a_program_is_described_without_torch(tmp_path: Path) -> None:
    """What a file is, its container tells; what takes seconds to import is not needed for that."""
    torch.jit.trace(unet(), torch.zeros(1, 2, 8, 8, 8)).save(tmp_path / "net.ts")
    words = ["info", str(tmp_path / "net.ts"), *SAID]
    code = f"import sys; from SegAdversarialLib.cli import main; main({words!r}); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "not opened here" in out
    loaded = set(ast.literal_eval(out.splitlines()[-1]))
    assert not loaded & {"torch", "monai", "scipy", "matplotlib", "SegAdversarialLib.attacks"}


def test_what_was_said_already_stays_in_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(STATE, tmp_path / "net.pt")
    words = ["--architecture", ARCHITECTURE, "--model-channels", "A,B"]
    line = shlex.split(info(tmp_path / "net.pt", *words, capsys=capsys)["open_with"])
    assert line[3:7] == words and line[7:] == ["--classes", "0=background,1=NAME1"]


def test_several_sets_of_weights_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"student": STATE, "teacher": {name: x + 1 for name, x in STATE.items()}}, tmp_path / "net.pt")
    found = info(tmp_path / "net.pt", capsys=capsys)
    assert [x.partition(":")[0] for x in found["holds"]] == ["in student", "in teacher"]
    words = ["--architecture", ARCHITECTURE, *SAID]
    assert "--weights-within student" in found["open_with"]
    assert "2 sets of weights" in info(tmp_path / "net.pt", *words, status=2, capsys=capsys)["message"]
    assert info(tmp_path / "net.pt", *words, "--weights-within", "teacher", capsys=capsys)["parameters"] > 0


def test_weights_of_another_kind_of_network_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["backbone.body.conv1.weight", "rpn.head.cls_logits.weight", "roi_heads.box_predictor.cls_score.weight"]
    torch.save({name: torch.zeros(2, 3, 1, 1) for name in names}, tmp_path / "boxes.pth")
    torch.save({"fc.weight": torch.zeros(2, 3)}, tmp_path / "layer.pth")
    found = info(tmp_path / "boxes.pth", capsys=capsys)
    assert "a network that finds boxes (rpn.head.cls_logits.weight); one that gives each voxel" in found["problem"]
    assert "No tensor in it is a convolution's" in info(tmp_path / "layer.pth", capsys=capsys)["problem"]
    torch.save(STATE, tmp_path / "net.pt")
    assert "problem" not in info(tmp_path / "net.pt", capsys=capsys)


def test_more_than_weights_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": STATE, "path": Path}, tmp_path / "net.pt")
    found = info(tmp_path / "net.pt", capsys=capsys)
    assert "holds more than weights (pathlib" in found["problem"] and "holds" not in found


def test_folders_of_several_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("2d", "3d_fullres"):
        write_folder(tmp_path / "results" / "Dataset001_A" / f"nnUNetTrainer__nnUNetPlans__{name}")
    found = info(tmp_path / "results", capsys=capsys)
    assert found["missing"] == ["which of them"] and "a folder of 2 networks of nnU-Net" in found["file"]
    lines = [shlex.split(x)[-1] for x in found["open_with"].split(" or ")]
    assert [Path(x).name for x in lines] == ["nnUNetTrainer__nnUNetPlans__2d", "nnUNetTrainer__nnUNetPlans__3d_fullres"]


def test_folders_of_programs_and_of_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a b.ts", "c.ts"):
        torch.jit.trace(unet(), torch.zeros(1, 2, 8, 8, 8)).save(tmp_path / name)
    found = info(tmp_path, capsys=capsys)
    assert found["could_run"] == ["the program in a b.ts", "the program in c.ts"] and "picklescan" in found["scan"]
    assert found["sha256"] == [digest(tmp_path / name) for name in ("a b.ts", "c.ts")]
    lines = found["open_with"].split(" or ")
    assert [shlex.split(x) for x in lines] == [["segadversarial", "info", str(tmp_path / x)] for x in ("a b.ts", "c.ts")]
    for file in tmp_path.iterdir():
        file.unlink()
    for name in ("a.ckpt", "b.ckpt"):
        lightning(tmp_path / name)
    found = info(tmp_path, capsys=capsys)
    assert found["file"] == "a folder of 2 networks (a.ckpt, b.ckpt)" and found["missing"] == ["which of them"]
    assert found["could_run"] == [] and "scan" not in found
    with pytest.raises(InputError, match=rf"holds 2 networks \(a.ckpt, b.ckpt\); give one of them, such as {tmp_path}/a.ckpt"):
        open_model(tmp_path)


def test_a_folder_of_networks_of_several_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None is taken silently, also where one is a file and the others are folders."""
    bundle(tmp_path / "bundle")
    (tmp_path / "notes").mkdir()
    assert info(tmp_path, capsys=capsys)["open_with"] == f"segadversarial info {tmp_path / 'bundle'}"
    lightning(tmp_path / "last.ckpt")
    assert info(tmp_path, capsys=capsys)["file"] == "a folder of 2 networks (last.ckpt, bundle)"
    write_folder(tmp_path / "trained")
    assert info(tmp_path, capsys=capsys)["file"] == "a folder of 3 networks (last.ckpt, bundle, trained)"
    said = {"channels": ["A", "B"], "classes": ["background", "core", "rim"], "network": json.loads(ARCHITECTURE)}
    (tmp_path / "last.json").write_text(json.dumps(said))  # which says that it is meant
    assert info(tmp_path, capsys=capsys)["files"] == [str(tmp_path / x) for x in ("last.ckpt", "last.json")]


def test_what_is_known_and_not_done_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second stage of a cascade, and a bundle with Python code of its own: what each is, and why it does not open."""
    plans = plans_with("3d_cascade_fullres", previous_stage="3d_lowres")
    write_folder(tmp_path / "cascade", plans, configuration="3d_cascade_fullres")
    found = info(tmp_path / "cascade", capsys=capsys)
    assert (found["file"], found["opens"]) == ("a network trained with nnU-Net (3d_cascade_fullres, fold 0)", "no")
    assert "the second stage of a cascade" in found["problem"]
    assert found["open_with"] == "networks that take images alone, such as 3d_fullres or 3d_lowres, open"
    bundle(tmp_path / "own")
    config = tmp_path / "own" / "configs" / "inference.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "network_def": {"_target_": "scripts.network.Net", "size": "$__import__('os')"}}))
    found = info(tmp_path / "own", capsys=capsys)
    assert (found["file"], found["opens"]) == ("a MONAI bundle", "no") and "is scripts.network.Net" in found["problem"]
    assert found["not_run"] == "10 expressions ($...) and scripts.network.Net, which MONAI would run"
    (tmp_path / "cascade" / "plans.json").write_text(json.dumps({**plans, "configurations": {}}))
    assert "damaged" in info(tmp_path / "cascade", status=2, capsys=capsys)["message"]


def test_a_package_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """What it is can be said all the same."""
    write_folder(tmp_path / "net")

    def missing(_: str) -> Any:
        raise NotInstalled("Networks of nnU-Net need the package x, which is not installed: pip install x.")

    monkeypatch.setattr(nnunet_network, "_class", missing)
    found = info(tmp_path / "net", capsys=capsys)
    assert "a network trained with nnU-Net" in found["file"] and "pip install x" in found["missing"][0]
    assert found["channels"] == ["T1"] and found["window"] == [12, 40, 32]


def test_a_bundle_says_what_monai_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = info(NETWORKS / "monai-softmax", capsys=capsys)
    assert found["could_run"] == [] and found["not_run"] == "10 expressions ($...), which MONAI would run"


def test_a_checkpoint_of_nnunet_without_its_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = info(write_checkpoint(tmp_path / "alone.pth", init_args=None), capsys=capsys)
    assert found["file"] == "a checkpoint of nnU-Net, which holds weights alone"
    assert found["open_with"].startswith("put it beside its plans.json and dataset.json")
