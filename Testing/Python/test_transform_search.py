"""The search for the worst bias field or deformation: its gradients, its steps, and that merely moving gains nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transform_helpers import (
    LOSSES,
    MOVING,
    VARIANTS,
    Reader,
    assert_parts_lead_there,
    ball_case,
    case_,
    made,
    model_,
    searching,
)

from SegAdversarialLib import InputError, SegmentationModel, attacks, evaluate
from SegAdversarialLib.attacks.engine.change_search import ChangeSearch
from SegAdversarialLib.attacks.engine.dice import DiceMeter
from SegAdversarialLib.attacks.engine.run import AttackRun
from SegAdversarialLib.changes.fields import warp
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.evaluation.evaluation import UNWARPED
from SegAdversarialLib.metrics import dice


def value_of(search: ChangeSearch, run: AttackRun, controls: list[torch.Tensor], loss: str) -> float:
    """The loss of some controls, worked out without boxes: images and masks warped whole, the loss written out."""
    with torch.no_grad():
        change = search._joined(controls)
        case = run.case
        image, targets = run.original, run.label_masks.to(run.original)
        if change.displacement is not None:
            image, targets = (warp(x, change.displacement, case.affine) for x in (image, targets))
        if change.log_bias is not None:
            image = image * change.log_bias.exp()
        if change.added is not None:
            image = image + change.added
        logits = run.ask(image)
        if loss == "soft_dice":
            claimed = logits.softmax(0)
            overlaps = [
                (2 * (claimed[n] * targets[n]).sum() + 1e-5) / (claimed[n].sum() + targets[n].sum() + 1e-5) for n in (1, 2)
            ]
            return float(1 - sum(overlaps) / 3)
        lost = -(targets * logits.log_softmax(0)).sum(0)
        if loss == "cross_entropy":
            return float(lost.mean())
        foreground = targets[1] + targets[2]
        return float((lost * foreground).sum() / foreground.sum())


@pytest.mark.parametrize("window", [None, (8, 8, 8)])
@pytest.mark.parametrize("loss", ["soft_dice", "cross_entropy", "masked_cross_entropy"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_those_of_finite_differences(variant: str, loss: str, window: Any) -> None:
    """By the controls, in double precision; of the image and of the targets that move with it."""
    case = case_()
    case = case.with_image(case.image / 100)
    attack = made(variant, loss=loss, clip=False)
    with searching(attack, model_(dtype=torch.float64, window=window), case) as (search, run):
        controls = [x.double() for x in search.start(0, 0.5)]
        search._watch.begin(0)
        gradients = search._see_and_differentiate(1, controls)
        generator, step = np.random.default_rng(0), 1e-6
        for n, gradient in enumerate(gradients):
            direction = torch.from_numpy(generator.normal(size=tuple(gradient.shape)))
            values = []
            for sign in (-1, 1):
                moved = [x + sign * step * direction if m == n else x for m, x in enumerate(controls)]
                values.append(value_of(search, run, moved, loss))
            slope = (values[1] - values[0]) / (2 * step)
            assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-10)
            assert abs(slope) > 1e-7


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_rises(variant: str, loss: str) -> None:
    trace = made(variant, loss=loss, steps=6, step_size=1.0)(model_(), case_()).trace
    if loss == "balanced_masked_cross_entropy":  # counts what is still right: the less there is of it
        assert min(row["dice mean"] for row in trace[1:]) < trace[0]["dice mean"]
    else:
        assert max(row["loss"] for row in trace[1:]) > trace[0]["loss"] * (1 + 1e-4)


def test_merely_moving_the_anatomy_gains_nothing() -> None:
    """A network that reads each voxel by itself follows every deformation, while the place itself is no longer right."""
    case = ball_case()
    network = SegmentationModel.from_network(Reader(), channels=("A", "B"), classes=["background", "ball"])
    attack = attacks.AdversarialDeformation(max_displacement=8, spacing_mm=20, steps=15)
    result = attack(network, case)
    evaluation = evaluate(result, network)
    assert evaluation.get("ball", "Dice")["before"] == 1
    assert evaluation.get("ball", "Dice")["after"] > 0.93
    moved = attacks.AdversarialDeformation(max_displacement=8, spacing_mm=60, steps=0)(network, case)
    row, unwarped = (evaluate(moved, network).get("ball", x)["after"] for x in ("Dice", UNWARPED))
    assert unwarped < 0.8 < 0.93 < row


# what the search says of itself


@pytest.mark.parametrize("against", ["label", "prediction"])
@pytest.mark.parametrize("variant", MOVING)
def test_the_trace_measures_against_the_moved_reference(variant: str, against: str) -> None:
    case, model = case_(), model_()
    result = made(variant, against=against)(model, case)
    evaluation = evaluate(result, model, regions={})
    for name in ("core", "rim"):
        assert result.kept_row[f"dice {name}"] == pytest.approx(evaluation.get(name, "Dice")["after"])
    said, clean = model.predict(result.adversarial).masks, model.predict(case).masks
    moved = warp(torch.from_numpy(clean), torch.from_numpy(result.perturbation.displacement), case.affine, "nearest").numpy()
    kept = [np.mean([dice(said[n], moved[n]) for n in (1, 2)])]
    if against == "label":
        kept = [row["dice mean"] for row in result.trace]
    assert result.kept_row["dice mean"] == min(kept) or against == "prediction"
    assert result.gradient_evaluations == 3 and result.forward_evaluations == (
        3 if against == "label" else 4
    )  # two draws, the end
    assert [row["iteration"] for row in result.trace] == [0, 1, 2, 3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_a_reference_the_networks_own_answer_moves(variant: str) -> None:
    labelled, model = case_(), model_()
    case = replace(labelled, label=None)
    with pytest.raises(InputError, match="no label map"):
        made(variant)(model, case)
    result = made(variant, against="prediction")(model, case)
    assert result.adversarial.label is None
    evaluation = evaluate(result, model, regions={})
    for name in ("core", "rim"):
        assert result.kept_row[f"dice {name}"] == pytest.approx(evaluation.get(name, "Dice")["after"])
    assert result.kept_row["dice mean"] == min(row["dice mean"] for row in result.trace) < 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_steps_are_random_draws_of_the_whole_budget(variant: str) -> None:
    case, model = case_(), model_()
    attack = made(variant, steps=0, restarts=5, snapshot_every=1)
    result = attack(model, case)
    assert (result.gradient_evaluations, result.forward_evaluations) == (0, 5)
    assert [row["restart"] for row in result.trace] == [0, 1, 2, 3, 4]
    assert result.kept_row["dice mean"] == min(row["dice mean"] for row in result.trace)
    assert "5 random draws" in attack.summary()
    sizes = result.perturbation.describe(case)
    if "max_bias_percent" in sizes:
        assert max(sizes["max_bias_percent"].values()) > 27
    if variant == "deformation":
        assert sizes["max_displacement_mm"] > 1.3


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_begin_at_the_worst_of_the_draws(variant: str) -> None:
    """So that no search ends with less harm than its own random draws do."""
    case, model = case_(), model_()
    attack = made(variant, first_draws=4, steps=1)
    with searching(attack, model, case) as (search, run):
        values = []
        for draw in range(4):
            logits = run.ask(run.finish(search._image(change := search._changed(search.start(f"0 {draw}", 1.0)))))
            values.append(
                DiceMeter(search._wanted.hard(change.displacement), {1: "core", 2: "rim"}).mean(run.head.predicted(logits))
            )
    result = attack(model, case)
    assert len(set(values)) == 4
    assert result.trace[0]["dice mean"] == pytest.approx(min(values)) and result.kept_row["dice mean"] <= min(values)
    assert made(variant, first_draws=0)(model, case).forward_evaluations == result.forward_evaluations - 4


def test_a_chain_is_stronger_than_its_parts() -> None:
    case, model = case_(), model_(0.02)
    chain = made("chain", steps=10)
    parts = [chain.model_copy(update={"order": (link,)})(model, case).kept_row["dice mean"] for link in chain.order]
    together = chain(model, case).kept_row["dice mean"]
    assert together < min(parts) and len(parts) == 4


def test_every_order_is_a_warp_a_factor_and_a_sum() -> None:
    """Nothing of it is approximate, and noise that comes last keeps to its own budget in the sum."""
    case, model = case_(), model_()
    images = []
    for order in itertools.permutations(("noise", "bias", "deformation", "affine")):
        result = made("chain", order=list(order), steps=1, clip=False)(model, case)
        assert_parts_lead_there(result)
        images.append(result.adversarial.image)
        share = np.abs(result.perturbation.additive).max((1, 2, 3)) / case.image.max((1, 2, 3))
        assert (share <= 0.01 * (1 if order[-1] == "noise" else 1.3) + 1e-6).all()
    assert len({image.tobytes() for image in images}) == 24


def test_stopping_snapshots_and_classes() -> None:
    case, model = case_(), model_(0.02)
    whole = made("chain", steps=8)(model, case)
    drop = 1 - whole.trace[2]["dice mean"] / np.mean([dice(model.predict(case).masks[n], case.label == n) for n in (1, 2)])
    stopped = made("chain", steps=8, stop_at_drop=float(drop) / 2)(model, case)
    assert len(stopped.trace) < len(whole.trace)
    rim = made("chain", steps=4, classes="rim", snapshot_every=2)(model, case)
    assert rim.kept_row["dice rim"] == min(row["dice rim"] for row in rim.trace)
    assert {x.iteration for x in rim.snapshots} == {0, 2, 4, rim.iteration} & set(range(rim.iteration + 1))
    np.testing.assert_array_equal(rim.snapshots[-1].image, rim.adversarial.image)


def test_progress_and_cancel() -> None:
    case, model, seen = case_(), model_(), []
    made("bias-field", steps=4, restarts=2)(model, case, progress=lambda fraction, text: seen.append((fraction, text)))
    fractions = [x for x, _ in seen]
    assert fractions == sorted(fractions) and 0 <= fractions[0] < 0.1 and fractions[-1] == 1
    said = list(dict.fromkeys(text for _, text in seen))
    steps = [f"Bias field: step {step} of 4" for step in range(1, 5)]
    assert [x for x in said if "restart 2" not in x and "step" in x] == [f"{x}, restart 1 of 2" for x in steps]
    assert said[-1] == "Bias field: step 4 of 4, restart 2 of 2" and "Bias field: draw 2 of 2" in said
    # the second restart begins in the middle
    assert 0.4 < next(x for x, text in seen if "step 1 of 4, restart 2" in text) < 0.65
    with pytest.raises(Cancelled):
        made("chain", steps=4)(model, case, cancel=lambda: len(seen) > 3)
