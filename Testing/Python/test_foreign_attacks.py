"""Attacks on networks of nnU-Net, MONAI bundles and Auto3DSeg, through the command line and through the panel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from gui_helpers import click, messages, openModule

from SegAdversarialLib import Case, open_model
from SegAdversarialLib.cli import main

NETWORKS = ROOT / "Testing" / "networks"
EPSILON = 0.1

Foreign = tuple[str, dict[str, Any], list[str]]
FOREIGN: dict[str, Foreign] = {
    "nnunet-slices": ("case-500", {"mirror": ""}, ["--mirror", ""]),
    "nnunet-regions": ("case-500", {}, []),
    "nnunet-sagittal": ("case-500", {"mirror": ""}, ["--mirror", ""]),
    "monai-softmax": ("flat", {}, []),
    "monai-regions": ("flat", {}, []),
    "auto3dseg": ("flat", {"channels": ["FLAIR"]}, ["--model-channels", "FLAIR"]),
}


def files_for(name: str, folder: Path) -> dict[str, Path]:
    """A part of a case that the network's own tool has segmented, as files, by channel."""
    case_name, settings, _ = FOREIGN[name]
    channels = open_model(NETWORKS / name, device="cpu", **settings).channels
    if name.startswith("nnunet"):
        paths = {x: NETWORKS / name / "cases" / f"{case_name}_{n:04d}.nii.gz" for n, x in enumerate(channels)}
    else:
        paths = {x: NETWORKS / "monai-cases" / f"{case_name}_{x}.nii.gz" for x in channels}
    whole = Case.read(paths)
    some = slice(None) if name != "nnunet-slices" else slice(14, 22)
    part = Case(whole.image[:, some], channels, whole.affine, name=name)
    return {channel: path for channel, path in part.write(folder).items() if channel in channels}


def check_result(folder: Path, name: str, files: dict[str, Path]) -> None:
    """The change keeps to its budget on the image as it lies in the file, and what was saved is segmented in another way."""
    record = json.loads((folder / "result.json").read_text())
    before = Case.read(files)
    after = Case.read({channel: folder / f"{channel}.nii.gz" for channel in files})
    changes = np.abs(after.image - before.image).reshape(len(files), -1).max(1)
    limits = EPSILON * np.abs(before.image).reshape(len(files), -1).max(1)
    assert (changes > limits / 2).all() and (changes <= limits * (1 + 1e-5)).all()
    model = open_model(NETWORKS / name, device="cpu", **FOREIGN[name][1])
    clean, attacked = model.predict(before).masks, model.predict(after).masks
    inside = list(model.head.foreground)
    both = (clean & attacked)[inside].sum((1, 2, 3))
    dice = np.mean(2 * both / (clean[inside].sum((1, 2, 3)) + attacked[inside].sum((1, 2, 3))))
    assert record["attack"]["attack"] == "fgsm" and dice < 0.97
    assert record["model"]["channels"] == list(model.channels) and record["model"]["preprocessing"]["axes"]


@pytest.mark.parametrize("name", FOREIGN)
def test_through_the_command_line(name: str, tmp_path: Path) -> None:
    if name.startswith("nnunet"):
        pytest.importorskip("dynamic_network_architectures")
    files = files_for(name, tmp_path / "case")
    images = [word for channel, path in files.items() for word in ("--channel", f"{channel}={path}")]
    attack = ["--attack", "fgsm", "--set", "against=prediction", "--set", f"epsilon={EPSILON}"]
    words = ["--model", str(NETWORKS / name), *FOREIGN[name][2], *images, *attack, "--device", "cpu"]
    assert main(["attack", *words, "--output", str(tmp_path / "results")]) == 0
    check_result(tmp_path / "results" / "fgsm", name, files)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nnunet-regions", "monai-softmax"])
def test_through_the_panel(name: str, slicerHost: Any, clean: Any, tmp_path: Path) -> None:
    """A user loads images and a folder, and presses Attack; the result is on the image's own grid, within its budget."""
    import slicer

    files = files_for(name, tmp_path / "case")
    panel = openModule()
    panel.state.change(network=str(NETWORKS / name))
    for channel, path in files.items():
        panel.images._selectors[channel].setCurrentNode(slicer.util.loadVolume(str(path)))
    panel.state.change(attack="fgsm")
    panel.state.changeAttack("fgsm", {"against": "prediction", "epsilon": EPSILON})
    slicerHost.processEvents(0.2)
    click(slicerHost, panel, panel.run.attackButton)
    assert not messages(), messages()
    from SegAdversarialLib.scene import find_results

    nodes = find_results()[-1]
    before = {channel: slicer.util.arrayFromVolume(x) for channel, x in panel.images.volumes().items()}
    for channel, volume in nodes.adversarial.items():
        change = np.abs(slicer.util.arrayFromVolume(volume) - before[channel]).max()
        assert 0 < change <= EPSILON * np.abs(before[channel]).max() * (1 + 1e-5)
    (expected,) = {x.shape for x in before.values()}
    said = slicer.util.arrayFromVolume(next(iter(nodes.adversarial.values())))
    assert said.shape == expected and len(nodes.clean.GetSegmentation().GetSegmentIDs()) >= 1
