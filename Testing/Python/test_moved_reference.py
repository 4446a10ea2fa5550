"""A reference has moved where something was displaced, and nowhere else: in figures, files, scenes and pictures alike."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_network, toy_case

from SegAdversarialLib import SegmentationModel, attacks, evaluate
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.evaluation.evaluation import UNWARPED
from SegAdversarialLib.evaluation.measuring import evaluate_pair
from SegAdversarialLib.jobs import results
from SegAdversarialLib.volumes.case import Case


def merging_model() -> SegmentationModel:
    """One structure, which stands for the reference's labels 1 and 2."""
    network = tiny_network()
    classes = {0: "background", 7: "tumour", 8: "other"}
    return SegmentationModel.from_network(network, channels=("A", "B"), classes=classes, regions={7: (1, 2)})


def result_of(case: Case, displacement: np.ndarray | None) -> AttackResult:
    perturbation = Perturbation(additive=np.ones_like(case.image), displacement=displacement)
    attack = attacks.FGSM()
    return AttackResult(case, perturbation.apply(case, warp_label=True), perturbation, attack, "network")


def shift(case: Case) -> np.ndarray:
    moved = np.zeros((3, *case.shape), np.float32)
    moved[0] = 2 * case.affine[0, 0]
    return moved


@pytest.mark.parametrize("moves", [False, True])
def test_merged_labels_move_only_with_the_anatomy(moves: bool, tmp_path: Path) -> None:
    case, model = toy_case(), merging_model()
    assert case.label is not None
    result = result_of(case, shift(case) if moves else None)
    shown = result.in_classes_of(model.head)
    assert (shown.moved_label is not None) == moves
    assert set(np.unique(shown.original.label)) == set(np.unique(shown.adversarial.label)) == {0, 7}
    np.testing.assert_array_equal(shown.adversarial.label != 0, result.adversarial.label != 0)
    # one side alone in other values, as a caller may have it, is no movement
    half = replace(result, original=replace(case, label=model.head.merged(case.label)))
    assert (half.moved_label is not None) == moves
    found = evaluate(result, model)
    assert (UNWARPED in {row["metric"] for row in found.rows}) == moves
    write_attack(tmp_path / "out", result, found, model)
    assert (tmp_path / "out" / "label-moved.nii.gz").exists() == moves
    read, again = results.read_attack(tmp_path / "out", case)
    assert (read.moved_label is not None) == moves and repr(again.rows) == repr(found.rows)


def test_a_pair_in_other_words_has_not_moved() -> None:
    """Labels that the network does not tell apart may differ."""
    case, model = toy_case(), merging_model()
    assert case.label is not None
    other = replace(case, label=np.where(case.label == 2, 1, case.label).astype(np.int16))
    assert UNWARPED not in {row["metric"] for row in evaluate_pair(case, other, model).rows}
    moved = replace(case, label=np.roll(case.label, 1, 2))
    assert UNWARPED in {row["metric"] for row in evaluate_pair(case, moved, model).rows}


def test_without_labels_nothing_has_moved_but_the_networks_own_answer() -> None:
    case, model = replace(toy_case(), label=None), merging_model()
    result = result_of(case, shift(case))
    assert result.moved_label is None and result.in_classes_of(model.head) is result
    assert UNWARPED in {row["metric"] for row in evaluate(result, model).rows}


@pytest.mark.parametrize("moves", [False, True])
def test_scene_and_pictures_say_so(moves: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helpers = pytest.importorskip("scene_helpers")
    from SegAdversarialLib import scene
    from SegAdversarialLib.errors import InputError
    from SegAdversarialLib.scene import pictures, view

    case, model = toy_case(), merging_model()
    found = result_of(case, shift(case) if moves else None)
    evaluation, result = evaluate(found, model, warn=False), found.in_classes_of(model.head)
    with helpers.clean_scene() as place:
        assert (scene.add_result(result, evaluation, scene=place).moved_reference is not None) == moves
    try:
        view.check_drawing()
    except InputError as problem:
        pytest.skip(str(problem))
    said: dict[str, Any] = {}

    def montage(tiles: Any, title: str, subtitle: str, classes: Any, outlines: str) -> Any:
        said["outlines"] = outlines
        return types.SimpleNamespace(savefig=lambda path, dpi: Path(path).touch())

    monkeypatch.setattr(pictures, "montage", montage)
    scene.picture(result, evaluation, tmp_path / "x.png")
    assert bool(said["outlines"]) == moves
