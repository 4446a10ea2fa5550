"""Attacks on networks of nnU-Net, MONAI bundles and Auto3DSeg, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from foreign_helpers import EPSILON, FOREIGN, NETWORKS, files_for

from SegAdversarialLib import Case, open_model
from SegAdversarialLib.cli import main


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
    assert record["network"]["channels"] == list(model.channels) and record["network"]["preprocessing"]["axes"]


QUICK = ("nnunet-slices", "monai-softmax")


@pytest.mark.parametrize("name", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in FOREIGN])
def test_through_the_command_line(name: str, tmp_path: Path) -> None:
    if name.startswith("nnunet"):
        pytest.importorskip("dynamic_network_architectures")
    files = files_for(name, tmp_path / "case")
    images = [word for channel, path in files.items() for word in ("--channel", f"{channel}={path}")]
    attack = ["--attack", "fgsm", "--set", "against=prediction", "--set", f"epsilon={EPSILON}"]
    words = ["--model", str(NETWORKS / name), *FOREIGN[name][2], *images, *attack, "--device", "cpu"]
    assert main(["attack", *words, "--output", str(tmp_path / "results")]) == 0
    check_result(tmp_path / "results" / "fgsm", name, files)
