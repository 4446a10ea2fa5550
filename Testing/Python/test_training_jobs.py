"""Training as a job and as a command, from folders of subjects and from phantoms."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import SimpleITK
import torch
from conftest import tiny_network
from training_helpers import CLASSES, block

from SegAdversarialLib import Case, InputError, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.running import run
from SegAdversarialLib.jobs.sources import CaseSource
from SegAdversarialLib.jobs.specification import make_job
from SegAdversarialLib.volumes.bias_correction import without_bias

QUICK = ["--set", "network.channels=[4,8]", "--set", "network.strides=[2]", "--set", "tensorboard=false", "--device", "cpu"]


def subjects(folder: Path, count: int = 3) -> Path:
    for n in range(count):
        block(n).write(folder / f"subject-{n}")
    return folder


def test_trained_from_folders_by_a_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cases, output = subjects(tmp_path / "cases"), tmp_path / "trained"
    classes = ",".join(f"{value}={name}" for value, name in CLASSES.items())
    words = ["train", "--cohort", f"folders:{cases}", "--classes", classes, "--epochs", "2", *QUICK, "--output", str(output)]
    assert main(words) == 0 and "is measured on" not in caplog.text
    record = json.loads((output / "model.json").read_text())["training"]
    assert sorted(record["cases"] + record["validation"]) == ["subject-0", "subject-1", "subject-2"]
    assert len(record["validation"]) == 1
    model = open_model(output, device="cpu")
    assert model.channels == ("A", "B") and model.head.names == tuple(CLASSES.values())
    before = (output / "model.safetensors").read_bytes()
    assert main(["run", str(output / "job.json")]) == 0  # which is finished already
    assert (output / "model.safetensors").read_bytes() == before
    assert main(words[:3] + ["--epochs", "1", *QUICK, "--output", str(tmp_path / "x")]) == 2  # nobody names the classes


def test_which_case_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = ",".join(f"{value}={name}" for value, name in CLASSES.items())
    common = ["--epochs", "1", *QUICK, "--output", str(tmp_path / "x")]
    bare = subjects(tmp_path / "bare", 2)
    for n in range(2):
        (bare / f"subject-{n}" / "label.nii.gz").unlink()
    assert main(["train", "--cohort", f"folders:{bare}", *common]) == 2
    assert re.search(r"subject-\d has no reference labels; give it some", capsys.readouterr().err)
    odd = subjects(tmp_path / "odd")
    label = block(1).label.copy()
    label[0, 0, 0] = 9
    block(1, label=label).write(odd / "subject-1")
    assert main(["train", "--cohort", f"folders:{odd}", "--validation-share", "0", "--classes", classes, *common]) == 2
    said = capsys.readouterr().err
    assert "subject-1: The reference holds the label value(s) 9" in said and '--stands-for "left=1,9"' in said


def test_events_of_a_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events: list[dict] = []
    case = {"phantom": {"seed": 1000, "shape": (32, 32, 32)}}
    network = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}}
    job = make_job(
        {
            "kind": "train",
            "network": network,
            "cases": [case],
            "validation": [case],
            "settings": {"epochs": 2},
            "device": "cpu",
            "recipe": {"recipe": "noise-augmentation"},
            "output": str(tmp_path),
        }
    )
    rows = run(job, events.append)
    assert "learns from 1 of the 1 case(s) that it is measured on" in caplog.text
    trace = [x for x in events if x["event"] == "trace"]
    assert [x["epoch"] for x in trace] == [0, 1] and {"loss", "Dice", "Dice oedema", "IoU oedema"} <= set(trace[0])
    fractions = [x["fraction"] for x in events if x["event"] == "progress"]
    assert fractions == sorted(fractions) and any("left" in x.get("message", "") for x in events)
    assert events[-1]["event"] == "result" and open_model(events[-1]["file"], device="cpu").channels == (
        "T1",
        "T1ce",
        "T2",
        "FLAIR",
    )
    assert len(rows) == 2
    for wrong, message in (
        ({"recipe": {"recipe": "standart"}}, "nearest name is standard"),
        ({"settings": {"epoch": 1}}, "no setting epoch"),
        ({"network": "UNett"}, 'no network "UNett"'),
        ({"network": {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2], "in_channels": 3}}}, "takes no 3D"),
    ):
        with pytest.raises(InputError, match=message):
            run(make_job({**job.model_dump(), "output": str(tmp_path / "wrong"), **wrong}))
        assert not list(tmp_path.glob("wrong/*"))
    before = (tmp_path / "job.json").read_bytes()
    with pytest.raises(InputError, match="another learning rate"):
        run(make_job({**job.model_dump(), "settings": {"epochs": 2, "learning_rate": 0.5}}))
    assert (tmp_path / "job.json").read_bytes() == before


def train_job(folder: Path, cases: list[Path], **more: Any) -> Any:
    """A training of one epoch, which keeps its cases."""
    sources = [
        {
            "channels": {name: str(x / f"{name}.nii.gz") for name in ("A", "B")},
            "label": str(x / "label.nii.gz"),
            "name": x.name,
        }
        for x in cases
    ]
    network = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}}
    classes = {str(value): name for value, name in CLASSES.items()}
    settings = {"epochs": 1, "tensorboard": False}
    data = {"kind": "train", "network": network, "cases": sources, "validation": sources[:1], "settings": settings}
    return make_job(
        {**data, "described": {"classes": classes}, "device": "cpu", "keep_cases": True, "output": str(folder), **more}
    )


def test_kept_cases_are_trained_on_again_when_their_files_are_gone(tmp_path: Path) -> None:
    """To the same weights, in the folder itself and in another one."""
    subjects(tmp_path / "cases", 2)
    originals = [Case.read({x: tmp_path / "cases" / f"subject-{n}" / f"{x}.nii.gz" for x in ("A", "B")}) for n in range(2)]
    run(train_job(first := tmp_path / "first", sorted((tmp_path / "cases").iterdir())))
    weights = (first / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "cases")
    job = json.loads((first / "job.json").read_text())
    assert job["validation"] == job["cases"][:1] and len(list((first / "cases").iterdir())) == 2
    for original, kept in zip(originals, job["cases"]):
        np.testing.assert_array_equal(Case.read(kept["channels"]).image, original.image)
    for name in ("checkpoint.pt", "model.safetensors"):
        (first / name).unlink()
    assert main(["run", str(first / "job.json")]) == 0 and (first / "model.safetensors").read_bytes() == weights
    job["output"] = str(tmp_path / "second")
    (tmp_path / "second.json").write_text(json.dumps(job))
    assert main(["run", str(tmp_path / "second.json")]) == 0
    again = json.loads((tmp_path / "second" / "job.json").read_text())
    assert (tmp_path / "second" / "model.safetensors").read_bytes() == weights
    assert all("second" in path for case in again["cases"] for path in case["channels"].values())


def test_keeping_cases_overwrites_nobodys_folder(tmp_path: Path) -> None:
    """Neither a strange folder of that name, nor the cohort of an earlier training that lies there."""
    output = tmp_path / "trained"
    inside = sorted(subjects(output / "cases", 2).iterdir())
    outside = sorted(subjects(tmp_path / "elsewhere", 2).iterdir())
    before = sorted(x for x in output.rglob("*") if x.is_file())
    with pytest.raises(InputError, match="is not from this software"):
        run(train_job(output, outside))
    assert sorted(x for x in output.rglob("*") if x.is_file()) == before
    run(train_job(output, inside, keep_cases=False))
    with pytest.raises(InputError, match="is not from this software"):
        run(train_job(output, outside))
    with pytest.raises(InputError, match="is not from this software"):
        run(train_job(output, [inside[0], outside[1]]))
    assert all(x.is_file() for x in before)


def test_n4_takes_a_slow_change_of_brightness_away() -> None:
    """Against SimpleITK's own result, which on so small a volume is fitted on the same grid."""
    case = block(2, shape=(12, 16, 16))
    inside = np.zeros(case.shape)
    inside[2:-2, 2:-2, 2:-2] = 100
    slow = np.exp(np.linspace(-0.4, 0.4, 16))[None, None]
    noise = np.random.default_rng(0).normal(size=case.shape)
    image = np.stack([inside * slow + noise + 10, np.full(case.shape, 3.0)]).astype(np.float32)
    corrected = without_bias(case.with_image(image)).image
    whole = SimpleITK.GetImageFromArray(image[0])
    whole.SetSpacing(case.spacing)
    expected = SimpleITK.N4BiasFieldCorrection(whole, SimpleITK.OtsuThreshold(whole, 0, 1, 200))
    np.testing.assert_allclose(corrected[0], SimpleITK.GetArrayFromImage(expected), rtol=1e-3)
    there = inside > 0
    assert np.std(corrected[0][there]) < 0.5 * np.std(image[0][there])
    np.testing.assert_array_equal(corrected[1], image[1])  # nothing to go by


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_n4_corrects_a_single_slice_within_its_plane(flat: int) -> None:
    noise = np.random.default_rng(0).normal(size=(24, 32))
    inside = np.zeros((24, 32))
    inside[4:-4, 4:-4] = 100
    plane = (inside * np.exp(np.linspace(-0.4, 0.4, 32)) + noise + 10).astype(np.float32)
    case = Case(np.expand_dims(plane, flat)[None], ("T1",), np.diag([0.8, 1.2, 5.0, 1.0]))
    corrected = without_bias(case).image
    assert corrected.shape == case.image.shape
    whole = SimpleITK.GetImageFromArray(plane)
    whole.SetSpacing([size for n, size in enumerate(case.spacing) if n != 2 - flat])
    expected = SimpleITK.N4BiasFieldCorrection(whole, SimpleITK.OtsuThreshold(whole, 0, 1, 200))
    np.testing.assert_allclose(corrected.squeeze(), SimpleITK.GetArrayFromImage(expected), rtol=1e-3)


@pytest.fixture(name="shaded")
def _shaded(tmp_path: Path) -> Case:
    """A subject in files that is brighter on one side than on the other, and a network for it."""
    source = np.random.default_rng(1)
    inside = np.zeros((12, 16, 16))
    inside[2:-2, 2:-2, 2:-2] = 100
    slow = np.exp(np.linspace(-0.5, 0.5, 16))[None, None]
    image = np.stack([inside * slow + source.normal(size=inside.shape) + 10] * 2).astype(np.float32)
    case = block(0, shape=inside.shape).with_image(image)
    case.write(tmp_path / "subject")
    return case


def test_jobs_see_what_n4_leaves(shaded: Case, tmp_path: Path) -> None:
    """A source that asks for it gives the corrected volume; an attack's original is that, and epsilon is a share of it."""
    channels = {name: str(tmp_path / "subject" / f"{name}.nii.gz") for name in ("A", "B")}
    source = {"channels": channels, "n4": True}
    expected = without_bias(shaded)
    assert np.abs(expected.image - shaded.image).max() > 5
    np.testing.assert_allclose(open_case(CaseSource(**source)).image, expected.image, rtol=1e-4)
    np.testing.assert_allclose(open_case(CaseSource(channels=channels)).image, shaded.image, rtol=1e-6)
    torch.jit.script(tiny_network().float()).save(str(tmp_path / "network.ts"))
    settings = {"channels": ["A", "B"], "classes": {0: "background", 1: "left", 2: "right"}}
    (tmp_path / "network.json").write_text(json.dumps(settings))
    output = tmp_path / "results"
    words = [f"{name}={path}" for name, path in channels.items()]
    command = ["attack", "--channel", words[0], "--channel", words[1], "--n4", "--model", str(tmp_path / "network.ts")]
    command += ["--trust", "--device", "cpu", "--attack", "fgsm", "--set", "epsilon=0.1", "--set", "against=prediction"]
    assert main([*command, "--output", str(output)]) == 0
    attacked = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(output / "fgsm" / "A.nii.gz")))
    apart = np.abs(attacked - expected.image[0])
    assert apart.max() == pytest.approx(0.1 * np.abs(expected.image[0]).max(), rel=1e-3)


def test_training_with_n4_learns_from_what_it_leaves(shaded: Case, tmp_path: Path) -> None:
    """The same weights as from files that were corrected before."""
    without_bias(shaded).write(tmp_path / "corrected" / "subject")
    (tmp_path / "raw").mkdir()
    (tmp_path / "subject").rename(tmp_path / "raw" / "subject")
    classes = ",".join(f"{value}={name}" for value, name in CLASSES.items())
    weights = {}
    for name, words in {"raw": ["--n4"], "corrected": []}.items():
        command = ["train", "--cohort", f"folders:{tmp_path / name}", "--classes", classes, "--epochs", "1", *words, *QUICK]
        assert main([*command, "--output", str(tmp_path / f"from-{name}")]) == 0
        weights[name] = safetensors.torch.load_file(tmp_path / f"from-{name}" / "model.safetensors")
    for key, expected in weights["corrected"].items():
        torch.testing.assert_close(weights["raw"][key], expected, rtol=1e-4, atol=1e-6)
