"""A cell in a worker: the same as the attack, the training and the audit by themselves, with what is kept between cells."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from generator_helpers import QUICK, SMALL
from scipy.stats import probplot
from study_helpers import NETWORK, attack_cell, write_cases, write_network

from SegAdversarialLib import evaluate, open_model
from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.ensemble import ensemble
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.studies import work
from SegAdversarialLib.studies.records import CHANNEL_COLUMNS, STRUCTURE_COLUMNS, Cell
from SegAdversarialLib.studies.work import product_of, run_cell, volumes_folder


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    work._memory.cache_clear()
    yield
    work._memory.cache_clear()


@pytest.fixture(scope="module", name="given")
def _given(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A network and three cases, in files."""
    folder = tmp_path_factory.mktemp("given")
    return write_network(folder / "network"), write_cases(folder / "cases", 3)


def test_rows_are_what_an_evaluation_says(given: Any, tmp_path: Path) -> None:
    model, entries = given
    outcome = run_cell(attack_cell(model, entries[0], work={"regions": {"both": [1, 2]}}), tmp_path, threads=1)
    network = open_model(model["path"], device="cpu")
    case = Entry(**entries[0]).read(network.head)
    result = make_attack("fgsm", {"epsilon": 0.1})(network, case)
    found = evaluate(result, network, {"both": [1, 2]})
    assert [row["structure"] for row in outcome.structures] == ["left", "right", "both"]
    for row in outcome.structures:
        assert set(row) == set(STRUCTURE_COLUMNS)
        for name, metric in (("dice", "Dice"), ("iou", "IoU"), ("hd95", "HD95"), ("volume", "Volume")):
            told = found.get(row["structure"], metric)
            assert np.array_equal(
                [row[f"{name}_before"], row[f"{name}_after"]], [told["before"], told["after"]], equal_nan=True
            )
        dice = found.get(row["structure"], "Dice")
        assert row["success"] == dice["success"] and np.array_equal(row["drop"], dice["drop"], equal_nan=True)
        assert math.isnan(row["dice_unwarped"])
    inside = (case.image > 0).any(0)
    for n, row in enumerate(outcome.channels):
        assert set(row) == set(CHANNEL_COLUMNS) and row["channel"] == case.channels[n]
        assert row["psnr"] == found.get(row["channel"], "PSNR")["value"]
        assert row["largest_change"] == found.get(row["channel"], "Largest change")["value"]
        for when, image in (("before", case.image), ("after", result.adversarial.image)):
            slope, intercept, _ = probplot(image[n][inside].astype(float))[1]
            assert row[f"qq_slope_{when}"] == pytest.approx(slope, rel=1e-6)
            assert row[f"qq_intercept_{when}"] == pytest.approx(intercept, rel=1e-6)
    assert outcome.trace == [dict(row) for row in result.trace]
    assert outcome.versions["torch"] and outcome.seconds > 0 and not outcome.kept and not list(tmp_path.iterdir())


def test_what_moves_the_anatomy_has_dice_unwarped(given: Any, tmp_path: Path) -> None:
    model, entries = given
    settings = {"attack": "deformation", "max_displacement": 2.0, "steps": 1}
    outcome = run_cell(replace(attack_cell(model, entries[0]), settings=settings), tmp_path)
    assert not any(math.isnan(row["dice_unwarped"]) for row in outcome.structures)


def test_a_case_is_read_and_answered_once(given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, entries = given
    read, asked = [], []
    reads, predicts = Entry.read, SegmentationModel.predict
    monkeypatch.setattr(Entry, "read", lambda self, head=None: (read.append(self.name), reads(self, head))[1])
    monkeypatch.setattr(
        SegmentationModel, "predict", lambda self, case, *rest: (asked.append(case.name), predicts(self, case, *rest))[1]
    )
    for entry in (entries[0], entries[1], entries[0]):
        for epsilon in (0.0, 0.1):
            run_cell(attack_cell(model, entry, settings={"epsilon": epsilon}), tmp_path)
    assert read == ["case-0", "case-1"]
    assert len(asked) == 2 + 6  # the two clean answers, and each attack's own
    with open(entries[0]["label"], "ab"):
        os.utime(entries[0]["label"])
    run_cell(attack_cell(model, entries[0]), tmp_path)
    assert read == ["case-0", "case-1", "case-0"]


def test_volumes_are_written_where_they_belong(given: Any, tmp_path: Path) -> None:
    model, entries = given
    cell = attack_cell(model, entries[1], attack="FGSM, strong", network="my net")
    outcome = run_cell(cell, tmp_path, volumes=True)
    assert outcome.kept == (volumes_folder(cell),) == (f"volumes/my_net/FGSM__strong/case-1-{cell.key[:8]}",)
    image = SimpleITK.ReadImage(str(tmp_path / outcome.kept[0] / "A.nii.gz"))
    clean = SimpleITK.ReadImage(entries[1]["channels"]["A"])
    apart = SimpleITK.GetArrayFromImage(image) - SimpleITK.GetArrayFromImage(clean)
    assert np.abs(apart).max() == pytest.approx(
        next(row["largest_change"] for row in outcome.channels if row["channel"] == "A"), rel=1e-5
    )


def test_a_network_that_the_study_trains_is_attacked(given: Any, tmp_path: Path) -> None:
    _, entries = given
    settings = {"network": NETWORK, "settings": {"epochs": 2, "tensorboard": False}, "recipe": {"recipe": "standard"}}
    training = Cell(
        kind="train",
        network="mine",
        settings=settings,
        work={"cohort": entries[:2], "validation": entries[2:], "folder": "networks/mine"},
    )
    cell = attack_cell({"product": training.key}, entries[0], needs=(training.key,))
    products = {training.key: product_of(training)}
    with pytest.raises(InputError, match="networks/mine-.*model.json is needed here and not there"):
        run_cell(cell, tmp_path, products=products)
    outcome = run_cell(training, tmp_path)
    assert outcome.product == f"networks/mine-{training.key[:8]}/model.json" and (tmp_path / outcome.product).is_file()
    assert [row["epoch"] for row in outcome.trace] == [0, 1]
    alone = attack_cell({"path": str(tmp_path / outcome.product), "device": "cpu"}, entries[0])
    assert run_cell(cell, tmp_path, products=products).structures == run_cell(alone, tmp_path).structures
    assert run_cell(training, tmp_path).trace == outcome.trace  # done already: nothing is trained again


def test_several_networks_as_one(given: Any, tmp_path: Path) -> None:
    model, entries = given
    other = write_network(tmp_path / "other", seed=1)
    outcome = run_cell(attack_cell({"members": [model, other]}, entries[0]), tmp_path)
    network = ensemble([open_model(x["path"], device="cpu") for x in (model, other)])
    found = evaluate(make_attack("fgsm", {"epsilon": 0.1})(network, Entry(**entries[0]).read(network.head)), network)
    assert [x["dice_after"] for x in outcome.structures] == [found.get(x, "Dice")["after"] for x in ("left", "right")]


def test_a_generator_is_trained_and_attacks(given: Any, tmp_path: Path) -> None:
    model, entries = given
    training = Cell(
        kind="generator",
        network="unet",
        attack="xi",
        settings={"settings": {"epochs": 1, **QUICK}, "generator": SMALL},
        work={"model": model, "cohort": entries[:1], "folder": "generators/xi"},
    )
    outcome = run_cell(training, tmp_path)
    assert (tmp_path / outcome.product).name == "generator.safetensors" and len(outcome.trace) == 1
    settings = {"attack": "generative", "generator": {"product": training.key}, "xi": None, "samples": 1}
    cell = replace(attack_cell(model, entries[0]), settings=settings, needs=(training.key,))
    assert run_cell(cell, tmp_path, products={training.key: product_of(training)}).structures


def test_an_audit(given: Any, tmp_path: Path) -> None:
    model, entries = given
    settings = {"effort": "quick", "epsilons": [0.05], "steps": 2, "restarts": 1, "queries": 5, "directions": 1}
    outcome = run_cell(
        Cell(kind="audit", network="unet", settings=settings, work={"model": model, "cases": entries[:2], "surrogate": model}),
        tmp_path,
    )
    assert {(row["epsilon"], row["structure"]) for row in outcome.audited} >= {(0.05, "mean"), (0.05, "left"), (0, "right")}
    assert all(row["audited"] <= row["plain"] + 1e-9 for row in outcome.audited if row["structure"] == "mean")
    assert {"verdict", "number", "sentence", "check"} == set(outcome.checks[0]) and len(outcome.checks) > 10


def test_a_file_that_has_changed_or_gone_is_refused(given: Any, tmp_path: Path) -> None:
    model, entries = given
    path = tmp_path / "file"
    path.write_bytes(b"12")
    state = path.stat()
    for size, time, there in ((3, state.st_mtime_ns, True), (2, state.st_mtime_ns - 10**10, True), (2, 0, False)):
        if not there:
            path.unlink()
        cell = attack_cell(model, entries[0], work={"files": [[str(path), size, time]]})
        with pytest.raises(InputError, match="has changed since the study was planned" if there else "cannot be read here"):
            run_cell(cell, tmp_path)


def test_what_the_library_warns_of_is_noted(given: Any, tmp_path: Path) -> None:
    model, entries = given
    outcome = run_cell(attack_cell(model, entries[0], settings={"epsilon": 1e-12}), tmp_path)
    assert any("changed nothing" in note for note in outcome.notes)
