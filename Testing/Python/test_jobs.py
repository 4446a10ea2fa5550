"""Jobs and their files: what is read back equals what the run has seen, whatever the format and the names."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, oblique_affine, tiny_network, toy_case

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, evaluate
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.formats.model_cache import ModelCache
from SegAdversarialLib.jobs import AttackJob, EvaluateJob, ModelSource, SegmentJob, results, run
from SegAdversarialLib.jobs.running import AttackOutcome

CLASSES = {0: "background", 1: "core", 2: "rim"}


def toy_model(channels: tuple[str, ...] = ("A", "B"), **changes: Any) -> SegmentationModel:
    return SegmentationModel.from_network(tiny_network(len(channels)), channels=channels, classes=CLASSES, **changes)


def toy_job(folder: Path, case: Case | None = None, **more: Any) -> dict[str, Any]:
    """A job's input files and where its results go; the network comes from `open_model`."""
    written = (case or toy_case(affine=oblique_affine())).write(folder / "case", ".nrrd")
    label = str(written.pop("label")) if "label" in written else None
    files = {name: str(path) for name, path in written.items()}
    return {"case": {"channels": files, "label": label, "name": "toy"}, "output": str(folder / "out"), **more}


def assert_same(read: tuple[Any, Any], seen: tuple[Any, Any]) -> None:
    """Result and evaluation are equal, bit for bit."""
    (result, evaluation), (expected, measured) = read, seen
    for name in ("image", "affine", "label"):
        np.testing.assert_array_equal(getattr(result.adversarial, name), getattr(expected.adversarial, name))
    np.testing.assert_array_equal(result.perturbation.additive, expected.perturbation.additive)
    for field in ("model", "restart", "gradient_evaluations", "forward_evaluations", "seconds", "device"):
        assert getattr(result, field) == getattr(expected, field)
    assert repr(result.trace) == repr(expected.trace)  # as text, since nan is not equal to itself
    assert [x.iteration for x in result.snapshots] == [x.iteration for x in expected.snapshots]
    for one, other in zip(result.snapshots, expected.snapshots):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.segmentation, other.segmentation)
        assert one.segmentation.dtype == np.int16
    assert_same_evaluation(evaluation, measured)


def assert_same_evaluation(evaluation: Any, measured: Any) -> None:
    assert repr(evaluation.rows) == repr(measured.rows) and evaluation.reference == measured.reference
    for name in ("clean", "attacked"):
        np.testing.assert_array_equal(getattr(evaluation, name), getattr(measured, name))
        assert getattr(evaluation, name).dtype == np.int16


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize(
    "attack",
    [
        {"attack": "pgd", "steps": 3, "snapshot_every": 1, "restarts": 2, "channels": ["B"], "random_start": True},
        {"attack": "ifgsm", "steps": 2, "snapshot_every": 1, "quantize": True},
        {"attack": "fgsm", "region": "reference"},
        {"attack": "universal-random-perturbation"},
        {"attack": "fgsm", "epsilon": 0},
    ],
)
def test_an_attack_is_read_back_as_it_was_seen(attack: dict[str, Any], ending: str, tmp_path: Path) -> None:
    seen: list[AttackOutcome] = []
    job = AttackJob(**toy_job(tmp_path, attacks=[attack], ending=ending))
    run(job, observe=seen.append, open_model=lambda source: toy_model())
    (outcome,) = seen
    case = Case.read(job.case.channels, job.case.label, name="toy")
    read = results.read_attack(outcome.folder, case)
    assert read[0].attack == outcome.result.attack
    assert_same(read, (outcome.result, outcome.evaluation))
    volumes = [x for x in (tmp_path / "out").rglob("*") if x.is_file() and x.suffix not in (".csv", ".json")]
    assert volumes and all(x.name.endswith(ending) for x in volumes)
    if "channels" in attack:
        assert not [x for x in volumes if x.name.endswith(f"A{ending}")]
        assert (outcome.folder / "iterations" / f"0003-B{ending}").is_file()
    if attack.get("epsilon") == 0:
        assert outcome.evaluation.get("A", "PSNR")["value"] == math.inf


def test_awkward_names_and_a_region_as_an_array(tmp_path: Path) -> None:
    names = ("T1 a", "t1_A", "segmentation", "perturbation-segmentation", "region")
    case, model = toy_case(channels=names), toy_model(names)
    mask = np.zeros(case.shape)
    mask[3:9, 4:9, 5:9] = 1
    result = attacks.make_attack("pgd", {"steps": 2, "snapshot_every": 1, "region": mask})(model, case)
    evaluation = evaluate(result, model)
    write_attack(tmp_path / "run", result, evaluation, model, ".nrrd")
    read = results.read_attack(tmp_path / "run", case)
    np.testing.assert_array_equal(read[0].attack.region, mask)
    assert_same(read, (result, evaluation))


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    run(AttackJob(**toy_job(tmp_path, attacks=[{"attack": "fgsm"}])), open_model=lambda source: toy_model())
    folder, case = tmp_path / "out" / "fgsm", toy_case(affine=oblique_affine())
    with pytest.raises(InputError, match="no readable result"):
        results.read_attack(tmp_path / "out", case)
    with pytest.raises(InputError, match="belongs to another case"):
        results.read_attack(folder, toy_case(channels=("A", "C")))
    with pytest.raises(InputError, match="another grid"):
        results.read_attack(folder, toy_case())
    with pytest.raises(InputError, match="no file"):
        results.read_segmentation(tmp_path / "case")
    (folder / "A.nii.gz").unlink()
    with pytest.raises(InputError, match=r"no file .*A\.nii\.gz"):
        results.read_attack(folder, case)
    record = json.loads((folder / "result.json").read_text())
    del record["changed"]
    (folder / "result.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="damaged or of another version"):
        results.read_attack(folder, case)


@pytest.mark.parametrize("with_label", [True, False])
def test_segmentation_job(with_label: bool, tmp_path: Path) -> None:
    case = toy_case(affine=oblique_affine())
    case = case if with_label else dataclasses.replace(case, label=None)
    model, events = toy_model(window=(8, 8, 8)), []
    for ending in (".nii.gz", ".nrrd"):  # the second leaves nothing of the first behind
        job = SegmentJob(**toy_job(tmp_path, case, ending=ending))
        rows = run(job, events.append, open_model=lambda source: model)
    labels, read = results.read_segmentation(tmp_path / "out")
    np.testing.assert_array_equal(labels, model.segment(case))
    assert labels.dtype == np.int16 and read == rows and ("Dice" in rows[0]) == with_label
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == ["job.json", "results.csv", "segmentation-clean.nrrd"]
    fractions = {x["fraction"] for x in events if x["event"] == "progress"}
    assert len(fractions) > 10 and max(fractions) < 1


def test_evaluation_job_measures_any_pair(tmp_path: Path) -> None:
    """An attack's files, measured again as a pair, give the attack's own figures."""
    seen: list[AttackOutcome] = []
    attack = {"attack": "fgsm", "channels": ["B"]}
    words = toy_job(tmp_path, attacks=[attack], ending=".nrrd")
    run(AttackJob(**words), observe=seen.append, open_model=lambda source: toy_model())
    changed = {"adversarial": {"b": str(seen[0].folder / "B.nrrd")}, "output": str(tmp_path / "measured")}
    job = EvaluateJob(case=words["case"], regions={"both": (1, 2)}, **changed)
    (row,) = run(job, open_model=lambda source: toy_model())
    case = Case.read(words["case"]["channels"], words["case"]["label"])
    evaluation = results.read_evaluation(tmp_path / "measured", case)
    expected = evaluate(seen[0].result, toy_model(), regions={"both": (1, 2)})
    assert_same_evaluation(evaluation, expected)
    assert row["both Dice after"] == expected.get("both", "Dice")["after"]
    found = sorted(str(x.relative_to(tmp_path / "measured")) for x in (tmp_path / "measured").rglob("*") if x.is_file())
    assert found == [
        "evaluation/metrics.csv",
        "evaluation/result.json",
        "evaluation/segmentation-attacked.nii.gz",
        "evaluation/segmentation-clean.nii.gz",
        "job.json",
        "results.csv",
        "segmentation-clean.nii.gz",
    ]
    for files, message in (
        ({"C": changed["adversarial"]["b"]}, "no channel C"),
        ({"A": str(tmp_path / "none.nrrd")}, "no file"),
        ({"A": str(tmp_path / "small.nrrd")}, "another grid"),
    ):
        toy_case((8, 8, 8), ("small",)).write(tmp_path, ".nrrd")
        with pytest.raises(InputError, match=message):
            run(job.model_copy(update={"adversarial": files}), open_model=lambda source: toy_model())


def test_stopping_between_windows(tmp_path: Path) -> None:
    """A long segmentation, and a long step of an attack, stop at the next window."""
    case, network = toy_case(), tiny_network()
    asked: list[int] = []
    network.register_forward_hook(lambda *details: asked.append(1))
    model = SegmentationModel.from_network(network, channels=("A", "B"), classes=CLASSES, window=(6, 6, 6))
    for work in (
        lambda: model.predict(case, cancel=lambda: len(asked) >= 3),
        lambda: attacks.make_attack("fgsm")(model, case, cancel=lambda: len(asked) >= 3),
    ):
        asked.clear()
        with pytest.raises(Cancelled):
            work()
        assert len(asked) == 3
    asked.clear()
    told: list[float] = []
    model.predict(case, progress=lambda fraction, text: told.append(fraction))
    assert told == sorted(told) and len(told) == len(asked) + 1 and told[-1] < 1
    job = SegmentJob(**toy_job(tmp_path))
    asked.clear()
    with pytest.raises(Cancelled):
        run(job, cancel=lambda: len(asked) >= 3, open_model=lambda source: model)
    assert not (tmp_path / "out").exists()


def test_results_are_read_without_the_networks_libraries(tmp_path: Path) -> None:
    """In Slicer, which has neither torch nor nibabel."""
    attack = {"attack": "pgd", "steps": 2, "snapshot_every": 1}
    words = toy_job(tmp_path, attacks=[attack], ending=".nrrd")
    run(AttackJob(**words), open_model=lambda source: toy_model())
    segment = {"case": words["case"], "output": str(tmp_path / "segmented"), "ending": ".nrrd"}
    run(SegmentJob(**segment), open_model=lambda source: toy_model())
    code = f"""
import sys
for name in ("torch", "monai", "nibabel", "scipy", "skimage", "safetensors", "pandas"):
    sys.modules[name] = None
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.jobs import results
case = Case.read({words["case"]["channels"]!r}, {words["case"]["label"]!r})
result, evaluation = results.read_attack({str(tmp_path / "out" / "pgd")!r}, case)
assert len(result.snapshots) == 3 and result.attack.steps == 2 and evaluation.rows
results.read_segmentation({str(tmp_path / "segmented")!r})
describe_file("builtin:brain-tumour-phantom").output_head()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_networks_stay_open(tmp_path: Path) -> None:
    opened: list[str] = []

    def source(name: str, **more: Any) -> ModelSource:
        return ModelSource(path=str(tmp_path / name), **more)

    def opener(wanted: ModelSource) -> Any:
        if not wanted.trust:
            raise InputError("not trusted")
        opened.append(Path(wanted.path).name)
        return object()

    for name in ("a.ts", "b.ts", "c.ts", "d.ts"):
        torch.jit.script(tiny_network()).save(str(tmp_path / name))
        (tmp_path / name).with_suffix(".json").write_text('{"channels": ["A", "B"], "classes": ["x", "y", "z"]}')
    cache = ModelCache(3, opener)
    first = cache.get(source("a.ts", trust=True))
    for name in ("b.ts", "a.ts", "c.ts", "a.ts"):
        cache.get(source(name, trust=True))
    assert cache.get(source("a.ts", trust=True)) is first and opened == ["a.ts", "b.ts", "c.ts"]
    cache.get(source("d.ts", trust=True))
    cache.get(source("a.ts", trust=True))
    cache.get(source("b.ts", trust=True))  # the least recently used one had to go
    assert opened == ["a.ts", "b.ts", "c.ts", "d.ts", "b.ts"]
    with pytest.raises(InputError, match="not trusted"):
        cache.get(source("a.ts"))
    for touched in ("a.json", "a.ts"):
        os.utime(tmp_path / touched, ns=(1, len(opened)))
        cache.get(source("a.ts", trust=True))
    assert opened[5:] == ["a.ts", "a.ts"]
    cache.get(source("a.ts", trust=True, changes={"overlap": 0.1}))
    cache.get(source("a.ts", trust=True, device="cpu"))
    assert len(opened) == 9
    (tmp_path / "a.ts").unlink()
    with pytest.raises(InputError, match="no network file"):
        cache.get(source("a.ts", trust=True))


def test_job_files_of_all_kinds_run_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = EvaluateJob(case={"channels": {"A": "a.nii.gz"}}, adversarial={"A": "b.nii.gz"}, output="out")
    assert job.anywhere().adversarial == {"A": str(tmp_path / "b.nii.gz")}
