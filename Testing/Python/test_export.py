"""`segadversarial export`: networks in our own form open to the same bits, whatever form they came in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from monai.networks.nets import UNet

from SegAdversarialLib import Case, InputError, export_network, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.formats import describe_file, exporting
from SegAdversarialLib.volumes.files import PARTIAL

NETWORKS = ROOT / "Testing" / "networks"
ARGUMENTS: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [2, 4], "strides": [2]}
SETTINGS: dict[str, Any] = {"channels": ["CT"], "classes": ["background", "liver"]}
NAMED = {**SETTINGS, "network": {"name": "UNet", "arguments": ARGUMENTS}}


def unet(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return UNet(**ARGUMENTS).eval()


def case_for(channels: tuple[str, ...]) -> Case:
    image = np.random.default_rng(0).uniform(1, 300, (len(channels), 12, 14, 10)).astype(np.float32)
    image[:, :2] = 0
    return Case(image, channels, np.diag([2.0, 1.5, 3.0, 1.0]))


def check_same(original: Path | str, folder: Path, **settings: Any) -> dict[str, Any]:
    """The same answer to the last bit, the same description, and what was written."""
    before, after = open_model(original, device="cpu", **settings), open_model(folder, device="cpu")
    case = case_for(before.channels)
    np.testing.assert_array_equal(after.logits(case), before.logits(case))
    differing = {"name", "found"}
    assert {**before.describe(), **dict.fromkeys(differing)} == {**after.describe(), **dict.fromkeys(differing)}
    assert sorted(x.name for x in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert not describe_file(folder).needs_trust
    return json.loads((folder / "model.json").read_text())  # type: ignore[no-any-return]


FORMS: dict[str, dict[str, Any]] = {
    "monai-softmax": {},
    "monai-slices": {},
    "monai-regions": {},
    "auto3dseg": {"channels": ["FLAIR"]},
    "nnunet-sagittal": {"mirror": ""},  # two folds
    "nnunet-sagittal/fold_1": {"mirror": "i"},
    "nnunet-slices": {"mirror": ""},
    "nnunet-regions": {"mirror": ""},
}


SLOWER = ("monai-regions", "nnunet-sagittal/fold_1", "nnunet-regions")


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) if x in SLOWER else x for x in FORMS])
def test_other_tools_networks(name: str, tmp_path: Path) -> None:
    if name.startswith("nnunet"):
        pytest.importorskip("dynamic_network_architectures")
    written = export_network(NETWORKS / name, tmp_path / "own", **FORMS[name])
    assert written == tmp_path / "own" / "model.json"
    said = check_same(NETWORKS / name, tmp_path / "own", **FORMS[name])
    assert said["network"].get("copies", 1) == (2 if name == "nnunet-sagittal" else 1)
    if name == "nnunet-slices":  # nnU-Net writes its encoder's weights three times
        trained = (NETWORKS / name / "fold_0" / "checkpoint_final.pth").stat().st_size
        assert (tmp_path / "own" / "model.safetensors").stat().st_size < trained / 2


@pytest.mark.parametrize("prefix", ["net.", "module."])
def test_a_checkpoint_of_a_training_program(prefix: str, tmp_path: Path) -> None:
    state = {prefix + name: x for name, x in unet().state_dict().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.6.6", "epoch": 3}, tmp_path / "last.ckpt")
    export_network(tmp_path / "last.ckpt", tmp_path / "own", **NAMED)
    said = check_same(tmp_path / "last.ckpt", tmp_path / "own", **NAMED)
    assert said["outputs"] == "logits" and said["weights"] == "model.safetensors" and "weights_within" not in said


def test_what_our_own_training_wrote_and_what_was_exported_before(tmp_path: Path) -> None:
    export_network("builtin:brain-tumour-phantom", tmp_path / "own")
    said = check_same("builtin:brain-tumour-phantom", tmp_path / "own")
    assert said["description"] == json.loads((ROOT / "Resources" / "brain-tumour-phantom.json").read_text())["description"]
    export_network(tmp_path / "own", tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "own" / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "again" / "model.json").read_text()) == said


def test_which_of_several_sets_is_settled(tmp_path: Path) -> None:
    torch.save({"student": unet(0).state_dict(), "teacher": unet(1).state_dict()}, tmp_path / "net.pt")
    export_network(tmp_path / "net.pt", tmp_path / "own", weights_within="teacher", **NAMED)
    check_same(tmp_path / "net.pt", tmp_path / "own", weights_within="teacher", **NAMED)


def programs(folder: Path) -> list[tuple[Path, str]]:
    torch.jit.trace(unet(), torch.zeros(1, 1, 8, 8, 8)).save(str(folder / "net.ts"))
    torch.export.save(torch.export.export(unet(), (torch.zeros(1, 1, 8, 8, 8),)), folder / "net.pt2")
    (folder / "net.json").write_text(json.dumps(SETTINGS))
    (folder / "both.json").write_text(json.dumps({"members": ["net.ts", "net.ts"]}))
    bundled = NETWORKS / "monai-softmax" / "models" / "model.ts"
    return [
        (folder / "net.ts", "a program whose architecture has no name"),
        (folder / "net.pt2", "a program whose architecture has no name"),
        (bundled, "a program whose architecture has no name"),
        (folder / "both.json", "net.ts is a TorchScript file, a program whose architecture has no name"),
    ]


def test_ensembles(tmp_path: Path) -> None:
    """Each member as what it says itself and what the ensemble says for all, an ensemble in it, too."""
    for n in range(3):
        torch.save(unet(n).state_dict(), tmp_path / f"net{n}.pt")
        (tmp_path / f"net{n}.json").write_text(json.dumps({**NAMED, "classes": ["background", f"liver{n}"]}))
    inner = {"members": ["net0.pt", "net1.pt"], "overlap": 0.25}
    whole = {"members": ["inner.json", "net2.pt"], "description": "Three", "window": [8, 8, 8]}
    for name, said in (("inner", inner), ("whole", whole)):
        classes = {"classes": ["background", "liver"]} if name == "whole" else {}
        (tmp_path / f"{name}.json").write_text(json.dumps({**said, **classes, "overlap": 0.25}))
    written = export_network(tmp_path / "whole.json", tmp_path / "own", blending="constant")
    assert json.loads(written.read_text()) == {
        "members": ["member-1/model.json", "member-2/model.json"],
        "description": "Three",
    }
    before = open_model(tmp_path / "whole.json", device="cpu", blending="constant")
    (tmp_path / "own").rename(tmp_path / "moved")  # nothing in it depends on where it lies, or on what it was made from
    for n in range(3):
        (tmp_path / f"net{n}.pt").unlink()
    after = open_model(tmp_path / "moved", device="cpu")
    assert (after.windows.overlap, after.windows.blending, after.window) == (0.25, "constant", (8, 8, 8))
    case = case_for(("CT",))
    np.testing.assert_array_equal(after.logits(case), before.logits(case))
    assert after.head == before.head and len(list((tmp_path / "moved").rglob("*.safetensors"))) == 3
    assert not describe_file(tmp_path / "moved").needs_trust
    again = export_network(tmp_path / "moved", tmp_path / "again")
    assert again.read_text() == (tmp_path / "moved" / "model.json").read_text()


def test_programs_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for path, message in programs(tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            export_network(path, tmp_path / "own", **({} if path.name == "both.json" else SETTINGS))
        assert "\n" not in str(caught.value) and not (tmp_path / "own").exists()


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = NETWORKS / "monai-slices"
    for full in (tmp_path / "full", tmp_path / "file"):
        (full.mkdir() or (full / "x").touch()) if full.name == "full" else full.touch()
        with pytest.raises(InputError, match="is there already and nothing of it is overwritten"):
            export_network(source, full)
    (tmp_path / "empty").mkdir()
    export_network(source, tmp_path / "empty")
    with pytest.raises(InputError, match="nothing of it is overwritten"):
        export_network(source, tmp_path / "empty")

    def broken(*_: Any) -> None:
        raise InputError("The disk is full.")

    monkeypatch.setattr(exporting, "_check_same", broken)
    with pytest.raises(InputError, match="disk is full"):
        export_network(source, tmp_path / "deep" / "own")
    assert not any(x.name.startswith(PARTIAL) or x.name == "own" for x in (tmp_path / "deep").iterdir())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(NETWORKS / "monai-slices", tmp_path / "bundle")
    words = ["export", str(tmp_path / "bundle"), str(tmp_path / "own")]
    assert main([*words, "--overlap", "0.25"]) == 0
    assert "Written: " in capsys.readouterr().out
    assert open_model(tmp_path / "own", device="cpu").windows.overlap == 0.25
    assert main(words) == 2 and "nothing of it is overwritten" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "own"), "--device", "cpu"]) == 0
    assert "safetensors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "dynamic_network_architectures.architectures.unet.PlainConvUNet.__init__"}, "could run programs"),
        ({"name": "dynamic_network_architectures.os.system"}, "could run programs"),
        ({"imported": ["conv_op"], "arguments": {"conv_op": "os.system"}}, "os.system to be imported, which could run"),
        ({"arguments": {}, "imported": []}, "cannot be made"),
        ({"name": "UNet"}, "takes no classes by name"),
    ],
)
def test_a_hostile_description_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("dynamic_network_architectures")
    export_network(NETWORKS / "nnunet-slices", tmp_path / "own")
    file = tmp_path / "own" / "model.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "network": {**said["network"], **change}}))
    with pytest.raises(InputError, match=message):
        open_model(tmp_path / "own", device="cpu")
