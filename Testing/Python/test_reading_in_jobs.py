"""Where volumes are, from the files through a job and the command line to its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conftest import tiny_network
from nifti_helpers import affine_at, write_nifti

from SegAdversarialLib import InputError, SegmentationModel, phantom
from SegAdversarialLib.cli import main
from SegAdversarialLib.formats.source import describe_source
from SegAdversarialLib.jobs import AttackJob, results, run
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.running import AttackOutcome
from SegAdversarialLib.jobs.specification import CaseSource, make_job

HERE, BESIDE = affine_at(10, 20, -30), affine_at(18, 20, -30)
IMAGE = np.random.default_rng(0).integers(200, 400, (8, 12, 10)).astype(np.int16)


def model() -> SegmentationModel:
    return SegmentationModel.from_network(tiny_network(1, 2), channels=("A",), classes={0: "background", 1: "core"})


def attacked(path: Path, output: Path, ending: str, **case: Any) -> AttackOutcome:
    """What an attack job on one file writes, and what it has seen."""
    attack = {"attack": "deformation", "steps": 1, "against": "prediction"}
    case |= {"channels": {"A": str(path)}}
    job = AttackJob(case=case, attacks=(attack,), output=str(output), ending=ending)
    seen: list[AttackOutcome] = []
    run(job, observe=seen.append, open_model=lambda source: model())
    return seen[0]


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize(
    "forms",
    [
        {"sform": (HERE, 1), "qform": (HERE, 1)},
        {"sform": (BESIDE, 4), "qform": (HERE, 1)},
        {"sform": (HERE, 2)},
        {"pixdim_1": 1, "pixdim_2": 1.5, "pixdim_3": 2},
    ],
)
def test_results_lie_where_the_case_lies_and_are_read_back(forms: dict[str, Any], ending: str, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "A.nii", IMAGE, **forms)
    outcome = attacked(path, tmp_path / "out", ending)
    folder = tmp_path / "out" / outcome.name
    for written in folder.glob("*.nii.gz"):
        before, after = nibabel.load(path), nibabel.load(written)
        np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
        for form in ("sform", "qform"):
            if before.header[f"{form}_code"]:
                assert after.header[f"{form}_code"] == before.header[f"{form}_code"]
                np.testing.assert_allclose(
                    getattr(after.header, f"get_{form}")(), getattr(before.header, f"get_{form}")(), atol=1e-5
                )
    read, _ = results.read_attack(folder, outcome.result.original)
    np.testing.assert_array_equal(read.adversarial.image, outcome.result.adversarial.image)
    np.testing.assert_array_equal(read.perturbation.displacement, outcome.result.perturbation.displacement)


def test_a_preferred_position_goes_through_a_job(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "A.nii", IMAGE, sform=(BESIDE, 1), qform=(HERE, 1))
    with pytest.raises(InputError, match="--prefer"):
        open_case(CaseSource(channels={"A": str(path)}))
    outcome = attacked(path, tmp_path / "out", ".nii.gz", prefer="qform")
    written = nibabel.load(tmp_path / "out" / outcome.name / "A.nii.gz")
    np.testing.assert_allclose(written.affine, HERE, atol=1e-5)
    with pytest.raises(ValueError, match="prefer"):
        CaseSource(phantom={"seed": 1}, prefer="sform")


def test_the_command_line_chooses_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_nifti(tmp_path / "A.nii", IMAGE, sform=(BESIDE, 1), qform=(HERE, 1))
    torch.jit.script(tiny_network(1, 2).float()).save(str(tmp_path / "net.ts"))
    words = ["segment", "--model", str(tmp_path / "net.ts"), "--trust", "--device", "cpu", "--model-channels", "A"]
    words += ["--classes", "0=background,1=core", "--channel", f"A={path}", "--output", str(tmp_path / "out")]
    assert main(words) == 2
    assert "lies at two places" in capsys.readouterr().err
    assert main([*words, "--prefer", "qform"]) == 0
    assert "its qform (code 1, scanner) was taken, as asked" in capsys.readouterr().err
    np.testing.assert_allclose(nibabel.load(tmp_path / "out" / "segmentation-clean.nii.gz").affine, HERE, atol=1e-5)


def never(source: object) -> SegmentationModel:
    raise AssertionError("the network was opened")


def test_a_sheared_grid_is_refused_before_the_network_is_opened(tmp_path: Path) -> None:
    sheared = HERE.copy()
    sheared[1, 2] = 0.5
    path = write_nifti(tmp_path / "tilt.nii", IMAGE, sform=(sheared, 1))
    job = AttackJob(case={"channels": {"A": str(path)}}, attacks=({"attack": "fgsm"},), output=str(tmp_path / "out"))
    with pytest.raises(InputError, match="sheared axes"):
        run(job, open_model=never)


SMALL = {"phantom": {"seed": 7, "shape": [32, 32, 32]}}
ATTACKED, OTHER, ODD = "attack", "evaluate", {"odd": [99]}
WRONG = {
    "channel": (ATTACKED, {"attacks": [{"attack": "fgsm", "channels": ["T3"]}]}, "no channel T3"),
    "channel within": (
        ATTACKED,
        {"attacks": [{"attack": "least-budget", "method": {"attack": "pgd", "channels": ["T3"]}}]},
        "no channel T3",
    ),
    "channel of a transfer": (
        ATTACKED,
        {"attacks": [{"attack": "transfer", "source": "x.ts", "method": {"attack": "pgd", "channels": ["T3"]}}]},
        "no channel T3",
    ),
    "idle channel": (
        ATTACKED,
        {"attacks": [{"attack": "fgsm", "channels": ["T2"]}], "model": {"changes": {"channels": ["T1", "FLAIR"]}}},
        "does not take the channel",
    ),
    "region file": (ATTACKED, {"attacks": [{"attack": "fgsm", "region": "none.nii.gz"}]}, "none.nii.gz"),
    "network's channels": (
        "segment",
        {"model": {"changes": {"channels": ["T1", "T1ce", "T2", "PD"]}}},
        "takes 4 channel.*PD; .* has 4",
    ),
    "regions": (ATTACKED, {"attacks": [{"attack": "fgsm"}], "regions": ODD}, "region odd needs label values"),
    "other regions": (OTHER, {"adversarial": {"T1": "FILE"}, "regions": ODD}, "region odd needs label values"),
    "certified regions": ("certify", {"regions": ODD}, "region odd needs label values"),
    "changed channel": (OTHER, {"adversarial": {"T3": "FILE"}}, "no channel T3"),
    "changed file": (OTHER, {"adversarial": {"T1": "none.nii.gz"}}, "none.nii.gz"),
    "reference": (
        "segment",
        {"model": {"changes": {"classes": ["background", "tumour"]}}},
        "reference leaves open which class",
    ),
    "segment's folder": ("segment", {"output": "FILE/out"}, "Cannot write"),
    "attack's folder": (ATTACKED, {"attacks": [{"attack": "fgsm"}], "output": "FILE/out"}, "Cannot write"),
    "evaluate's folder": (OTHER, {"adversarial": {"T1": "FILE"}, "output": "FILE/out"}, "Cannot write"),
    "certify's folder": ("certify", {"output": "FILE/out"}, "Cannot write"),
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of one of the subject's channels."""
    written = phantom.subject(seed=7, shape=(32, 32, 32)).write(tmp_path_factory.mktemp("case"), ".nrrd")
    return written["T1"].as_posix()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_before_the_network_is_opened(name: str, changed: str, tmp_path: Path) -> None:
    """What the built-in network takes and gives stands in its settings, so a wrong word costs no seconds."""
    kind, words, sentence = WRONG[name]
    said = json.loads(json.dumps({"case": SMALL, "output": str(tmp_path / "out"), **words}).replace("FILE", changed))
    with pytest.raises(InputError, match=sentence):
        run(make_job({"kind": kind, **said}), open_model=never, describe=describe_source)
    assert not list((tmp_path / "out").glob("*"))
