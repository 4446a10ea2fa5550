"""Real volumes and really trained networks, from the files as they are; skipped where the data is missing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from SegAdversarialLib import Case, SegmentationModel, attacks, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.metrics import dice

BRAIN = ["--trust", "--model-channels", "T1", "--classes", "0=background,1=brain", "--size-multiple", "4"]
BRAIN += ["--preprocessing", json.dumps({"axes": "ijk", "normalization": {"kind": "zscore", "mask": "above_mean"}})]


@pytest.mark.parametrize(("subject", "reference", "expected"), [
    ("T1_A_4mm_48x60x48.nii.gz", "T1_A_brain_ref_meshnet.nii.gz", 0.909),
    ("T1_B_pddl_4mm_48x60x48.nii.gz", "T1_B_pddl_brain_ref_meshnet.nii.gz", 0.869),
])  # fmt: skip
def test_tiny_brain_network(real_data: Path, tmp_path: Path, subject: str, reference: str, expected: float) -> None:
    folder = real_data / "brain_t1_4mm"
    words = ["attack", "--model", str(folder / "ixi_tiny_unet.ts"), *BRAIN, "--channel", f"T1={folder / subject}"]
    words += ["--label", str(folder / reference), "--output", str(tmp_path / "out")]
    words += ["--attack", "fgsm", "--set", "epsilon=0.05"]
    assert main(words) == 0
    with (tmp_path / "out" / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["brain Dice before"]) == pytest.approx(expected, abs=0.001)
    assert float(row["brain Dice after"]) < float(row["brain Dice before"]) - 0.05


def glioma_network(real_data: Path, **settings: object) -> SegmentationModel:
    classes = [{"label": 0, "name": "background"}, {"label": 1, "name": "whole tumour", "stands_for": [1, 2, 4]}]
    path = real_data / "glioma_mr4" / "whole_tumour_axial.ts"
    return open_model(path, trust=True, device="cpu", channels=["FLAIR", "T1", "T1ce", "T2"], classes=classes, **settings)


def test_glioma_network_on_the_crop(real_data: Path) -> None:
    folder = real_data / "glioma_mr4" / "crop"
    image = {"FLAIR,T1,T1ce,T2": folder / "TCGA-DU-7294_input_zscored_4ch.nii.gz"}
    case = Case.read(image, folder / "TCGA-DU-7294_seg_consensus.nii.gz")
    model = glioma_network(real_data)
    assert dice(model.predict(case).masks[1], case.label > 0) == pytest.approx(0.946, abs=0.001)
    result = attacks.FGSM(epsilon=0.1, epsilon_units="absolute")(model, case)
    assert result.trace[-1]["dice whole tumour"] == pytest.approx(0.884, abs=0.005)


@pytest.mark.slow
def test_glioma_network_on_the_whole_brain(real_data: Path) -> None:
    folder = real_data / "glioma_mr4" / "TCGA-DU-7294"
    files = {name: folder / f"{name.lower()}.nii.gz" for name in ("T1", "T1ce", "T2", "FLAIR")}
    case = Case.read(files, folder / "seg_consensus.nii.gz")
    normalization = {"kind": "zscore", "mask": "positive", "background": 0}
    model = glioma_network(real_data, preprocessing={"orientation": "LPS", "normalization": normalization})
    claimed = model.predict(case).masks[1] & (case.image > 0).any(0)
    assert case.shape == (155, 240, 240) and case.dtypes == ("int16",) * 4
    assert dice(claimed, case.label > 0) == pytest.approx(0.947, abs=0.002)
    assert np.count_nonzero(claimed) > 0
