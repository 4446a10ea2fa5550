"""Attacks that a scanner or a body could have made: their budgets, their gradients, and that merely moving gains nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import oblique_affine, tiny_network, toy_case
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, evaluate
from SegAdversarialLib.attacks.engine.change_search import ChangeSearch
from SegAdversarialLib.attacks.engine.dice import DiceMeter
from SegAdversarialLib.attacks.engine.run import AttackRun
from SegAdversarialLib.attacks.engine.transforms import bias_limits
from SegAdversarialLib.attacks.transforming import TransformingAttack
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.evaluation import UNWARPED
from SegAdversarialLib.fields import warp
from SegAdversarialLib.jobs.results import read_attack, write_attack
from SegAdversarialLib.jobs.running import _varied
from SegAdversarialLib.metrics import dice

SHAPE = (12, 14, 16)
SMALL: dict[str, Any] = {"steps": 3, "first_draws": 2}
AFFINE = {"max_rotation": 8.0, "max_translation": 2.0, "max_scale": 5.0}
CHAIN = {"max_displacement": 2.0, "deformation_spacing_mm": 8, "bias_spacing_mm": 10, **AFFINE}
VARIANTS: dict[str, dict[str, Any]] = {
    "bias-field": {"spacing_mm": 8},
    "bias-by-channel": {"attack": "bias-field", "spacing_mm": 8, "per_channel": True},
    "deformation": {"spacing_mm": 8, "max_displacement": 2.0},
    "affine": AFFINE,
    "chain": CHAIN,
    "chain-backwards": {
        "attack": "chain",
        "order": ["noise", "bias", "deformation", "affine"],
        "bias_per_channel": True,
        **CHAIN,
    },
}
MOVING = [name for name in VARIANTS if not name.startswith("bias")]
LOSSES = ["soft_dice", "cross_entropy", "masked_cross_entropy", "balanced_masked_cross_entropy"]


def made(variant: str, **changes: Any) -> TransformingAttack:
    given = {**SMALL, **VARIANTS[variant], **changes}
    attack = attacks.make_attack(given.pop("attack", variant), given)
    assert isinstance(attack, TransformingAttack)
    return attack


def model_(scale: float = 1.0, dtype: torch.dtype = torch.float32, **settings_: Any) -> SegmentationModel:
    network = tiny_network(2).to(dtype)
    with torch.no_grad():
        network[0].weight *= scale
    return SegmentationModel.from_network(network, channels=("A", "B"), classes=["background", "core", "rim"], **settings_)


def case_(seed: int = 0) -> Case:
    """Smooth structures whose intensities depend on the label, in whole numbers, with empty air around them."""
    generator = np.random.default_rng(seed)
    smooth = gaussian_filter(generator.normal(size=(2, *SHAPE)), (0, 2, 2, 2))
    label = (smooth[0] > 0).astype(np.int16) + ((smooth[0] > 0) & (smooth[1] > 0)).astype(np.int16)
    image = np.rint(100 + 150 * label + generator.normal(0, 20, (2, *SHAPE))).clip(0).astype(np.float32)
    for array in (label[None], image):
        array[:, :2] = array[:, -2:] = array[..., :2] = array[..., -2:] = 0
    return Case(image, ("A", "B"), oblique_affine(), label, name="toy", dtypes=("int16", "int16"))


class Reader(torch.nn.Module):
    """Sees a structure wherever the first channel is above 50, and so follows whatever is moved."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        score = (batch[:, :1] - 50) / 10
        return torch.cat([-score, score], 1)


def ball_case() -> Case:
    """A ball of 100 on 0, on voxels of 1 mm; large, as labels are moved by nearest neighbour, which errs at the surface."""
    places = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij"))
    label = (np.sqrt((places**2).sum(0)) < 13).astype(np.int16)
    return Case(np.stack([100.0 * label] * 2).astype(np.float32), ("A", "B"), np.eye(4), label, name="ball")


@contextmanager
def searching(attack: TransformingAttack, model: SegmentationModel, case: Case) -> Iterator[tuple[ChangeSearch, AttackRun]]:
    with AttackRun.start(attack, model, case, None, None) as run:
        yield ChangeSearch(attack, run), run


def assert_parts_lead_there(result: Any) -> None:
    """What the perturbation says was done, done to the original, gives the adversarial case."""
    again = result.perturbation.apply(result.original, warp_label=True)
    span = result.original.image.max() - result.original.image.min()
    assert np.abs(again.image - result.adversarial.image).max() <= 1.1e-4 * span
    np.testing.assert_array_equal(again.label, result.adversarial.label)


# what every one of them keeps


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_parts_are_what_was_done(variant: str, steps: int) -> None:
    case = case_()
    result = made(variant, steps=steps)(model_(), case)
    parts = result.perturbation.parts()
    assert ("displacement" in parts) == (variant in MOVING)
    assert ("log_bias" in parts) == ("bias" in variant or "chain" in variant)
    assert (result.adversarial.image != case.image).any()
    if variant not in MOVING or not steps:  # a search may end with less than half a voxel
        assert (result.adversarial.label != case.label).any() == (variant in MOVING)
    assert_parts_lead_there(result)
    if "log_bias" in parts:
        assert len(parts["log_bias"]) == (2 if "by-channel" in variant or "backwards" in variant else 1)


@settings(max_examples=40, deadline=None)
@given(
    variant=st.sampled_from(list(VARIANTS)),
    seed=st.integers(0, 2**63 - 1),
    size=st.floats(0.01, 1),
    steps=st.sampled_from([0, 2]),
    clip=st.booleans(),
    quantize=st.booleans(),
    inside=st.booleans(),
)
def test_budgets_hold_exactly_for_every_draw(
    variant: str, seed: int, size: float, steps: int, clip: bool, quantize: bool, inside: bool
) -> None:
    case = case_(seed % 7)
    region = np.zeros(SHAPE, bool)
    region[2:9, 3:11, 4:13] = True
    budget = {"max_bias": 0.9 * size, "max_displacement": 6 * size, "max_rotation": 30 * size, "max_translation": 5 * size}
    budget |= {"max_scale": 30 * size, "epsilon": 0.1 * size}
    fields = type(made(variant)).model_fields
    budget = {key: x for key, x in budget.items() if key in fields}
    attack = made(
        variant,
        steps=steps,
        step_size=20.0,
        seed=seed,
        clip=clip,
        quantize=quantize,
        region=region if inside else None,
        **budget,
    )
    result = attack(model_(), case)
    found, image = result.perturbation, result.adversarial.image
    if "max_bias" in budget:
        assert found.max_bias().max() <= budget["max_bias"]
    if variant == "deformation":
        assert found.max_displacement() <= budget["max_displacement"]
    assert found.min_jacobian(case.affine) > 0
    if clip:
        assert (image.min((1, 2, 3)) >= case.image.min((1, 2, 3))).all()
        assert (image.max((1, 2, 3)) <= case.image.max((1, 2, 3))).all()
    if quantize:
        np.testing.assert_array_equal(image, np.rint(image))
    if inside:
        np.testing.assert_array_equal(image[:, ~region], case.image[:, ~region])
        np.testing.assert_array_equal(result.adversarial.label[~region], case.label[~region])
        for part in found.parts().values():
            assert not part[:, ~region].any()
    again = attack(model_(), case)
    np.testing.assert_array_equal(again.adversarial.image, image)
    assert again.trace == result.trace


@settings(max_examples=200, deadline=None)
@given(budget=st.floats(0, 0.9))
def test_bias_limits_are_the_largest_of_single_precision_within_the_budget(budget: float) -> None:
    for limit, outwards in zip(bias_limits(budget), (-np.inf, np.inf)):
        assert abs(np.expm1(np.float64(np.float32(limit)))) <= budget
        beyond = np.nextafter(np.float32(limit), np.float32(outwards))
        assert abs(np.expm1(np.float64(beyond))) > budget


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_budget_changes_no_bit(variant: str) -> None:
    case = case_()
    names = {"max_bias", "max_displacement", "max_rotation", "max_translation", "max_scale", "epsilon"}
    attack = made(variant, **dict.fromkeys(names & set(type(made(variant)).model_fields), 0.0))
    assert attack.does_nothing and not made(variant).does_nothing
    result = attack(model_(), case)
    np.testing.assert_array_equal(result.adversarial.image, case.image)
    np.testing.assert_array_equal(result.adversarial.label, case.label)


@pytest.mark.parametrize("variant", VARIANTS)
def test_another_seed_is_another_result(variant: str) -> None:
    first, second = (made(variant, seed=seed)(model_(), case_()).adversarial.image for seed in (1, 2))
    assert (first != second).any()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_results_survive_files(variant: str, ending: str, tmp_path: Path) -> None:
    case, model = case_(), model_()
    result = made(variant, quantize=True, snapshot_every=1)(model, case)
    evaluation = evaluate(result, model)
    write_attack(tmp_path / "run", result, evaluation, model, ending)
    found, _ = read_attack(tmp_path / "run", case)
    assert found.attack == result.attack and found.trace == result.trace and len(found.snapshots) == len(result.snapshots)
    np.testing.assert_array_equal(found.adversarial.image, result.adversarial.image)
    np.testing.assert_array_equal(found.adversarial.label, result.adversarial.label)
    assert set(found.perturbation.parts()) == set(result.perturbation.parts())
    np.testing.assert_array_equal(model.segment(found.adversarial), model.segment(result.adversarial))


def test_only_chosen_channels_get_a_bias_field_or_noise() -> None:
    case, model = case_(), model_()
    for variant in ("bias-field", "bias-by-channel"):
        result = made(variant, channels="B")(model, case)
        np.testing.assert_array_equal(result.adversarial.image[0], case.image[0])
        assert not result.perturbation.log_bias[0].any() and result.perturbation.log_bias[1].any()
    result = made("chain", channels="B", clip=False)(model, case)
    moved = warp(torch.from_numpy(case.image), torch.from_numpy(result.perturbation.displacement), case.affine).numpy()
    np.testing.assert_array_equal(result.adversarial.image[0], moved[0])
    assert np.abs(result.adversarial.image[1] - moved[1]).max() > 10


@pytest.mark.parametrize("attack", ["deformation", "affine", "chain"])
def test_the_anatomy_moves_in_all_channels_or_not_at_all(attack: str) -> None:
    given: dict[str, Any] = {"order": ["affine"]} if attack == "chain" else {}
    made_ = attacks.make_attack(attack, {"steps": 1, "channels": ["B"], **given})
    with pytest.raises(InputError, match="moves") as caught:
        made_(model_(), case_())
    assert "\n" not in str(caught.value)
    attacks.make_attack(attack, {"steps": 1, "channels": ["A", "B"], **({} if given else given)}).check(model_(), case_())
    alone = attacks.make_attack(attack, {"steps": 1})
    assert [x.channels for x in _varied([alone], ("A", "B"))].count(None) == 1
    assert (len(list(_varied([alone], ("A", "B")))) == 1) == (attack != "chain")


def test_channels_that_the_network_does_not_see_move_along() -> None:
    case = case_()
    three = replace(case, image=np.concatenate([case.image, case.image[:1]]), channels=("A", "B", "C"), dtypes=None)
    result = made("deformation")(model_(), three)
    np.testing.assert_array_equal(result.adversarial.image[2], result.adversarial.image[0])
    assert_parts_lead_there(result)


# the gradient


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
    assert [x for x, text in seen if "step" in text] == [n / 8 for n in range(8)]
    assert [x for x, text in seen if "draw" in text] == [0, 0, 0.5, 0.5]
    assert seen[1][1] == "Bias field: draw 2 of 2" and seen[-2][1] == "Bias field: step 3 of 4, restart 2 of 2"
    with pytest.raises(Cancelled):
        made("chain", steps=4)(model, case, cancel=lambda: len(seen) > 3)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("bias-field", {"max_bias": 1.0}, "max_bias"),
        ("bias-field", {"loss": "margin"}, "loss"),
        ("deformation", {"spacing_mm": 0}, "spacing_mm"),
        ("affine", {"max_rotation": 90}, "max_rotation"),
        ("chain", {"order": []}, "choose at least one part"),
        ("chain", {"order": ["bias", "bias"]}, "bias is named twice"),
        ("chain", {"order": ["blur"]}, "order"),
    ],
)
def test_wrong_settings_get_one_sentence(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        attacks.make_attack(name, given)
    assert "\n" not in str(caught.value)


def test_budgets_in_words() -> None:
    assert attacks.AdversarialBiasField().summary() == "Bias field, max bias 30 %, all channels"
    assert attacks.AdversarialDeformation(max_displacement=2.5).summary() == "Deformation, up to 2.5 mm, all channels"
    assert "10 degrees, 10 mm and 10 %" in attacks.AdversarialAffine().summary()
    assert attacks.AdversarialChain(order="noise").summary() == "Chain, noise 1 %, all channels"


def test_a_flat_channel_stays_as_it_is() -> None:
    case = toy_case(SHAPE)
    case = case.with_image(np.stack([case.image[0], np.zeros_like(case.image[1])]))
    result = made("chain", quantize=True)(model_(), case)
    assert not result.adversarial.image[1].any() and np.isfinite(result.adversarial.image).all()
