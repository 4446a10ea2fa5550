"""Attacks that a scanner or a body could have made: their budgets, what they hand out, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import toy_case
from hypothesis import given, settings
from hypothesis import strategies as st
from transform_helpers import (
    MOVING,
    SHAPE,
    VARIANTS,
    assert_parts_lead_there,
    case_,
    made,
    model_,
)

from SegAdversarialLib import InputError, attacks, evaluate
from SegAdversarialLib.attacks.engine.transforms import bias_limits
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.changes.fields import warp
from SegAdversarialLib.jobs.planning import Planned, varied
from SegAdversarialLib.jobs.results import read_attack


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
    alone = Planned(attacks.make_attack(attack, {"steps": 1}), {"attack": attack})
    assert [x.attack.channels for x in varied([alone], ("A", "B"))].count(None) == 1
    assert (len(list(varied([alone], ("A", "B")))) == 1) == (attack != "chain")


def test_channels_that_the_network_does_not_see_move_along() -> None:
    case = case_()
    three = replace(case, image=np.concatenate([case.image, case.image[:1]]), channels=("A", "B", "C"), dtypes=None)
    result = made("deformation")(model_(), three)
    np.testing.assert_array_equal(result.adversarial.image[2], result.adversarial.image[0])
    assert_parts_lead_there(result)


# the gradient


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
