"""What was done to an image as data: parts, their order, sizes and files, and what the evaluation says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import oblique_affine, tiny_network, toy_case
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from SegAdversarialLib import SegmentationModel, attacks, evaluate
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.perturbation import ALL_CHANNELS, Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.evaluation import UNWARPED
from SegAdversarialLib.jobs.results import read_attack
from SegAdversarialLib.metrics import dice
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import RESULT_MARKER

SHAPE = (14, 16, 18)


def smooth(components: int, largest: float, seed: int = 0) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(components, *SHAPE)), (0, 2, 4, 4))
    return (field * largest / np.sqrt((field**2).sum(0)).max()).astype(np.float32)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, (2, *SHAPE)).astype(np.float32)


def case_() -> Case:
    return toy_case(SHAPE, affine=oblique_affine())


def even_case() -> Case:
    """An image that rises evenly, which may be interpolated twice without loss."""
    k, j, i = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return replace(case_(), image=np.stack([100 + 20 * i - 5 * k, 500 - 15 * j + 3 * i]), dtypes=None)


def all_parts(fields: int = 2) -> Perturbation:
    return Perturbation(noise(), smooth(2, 0.2, seed=1)[:fields], smooth(3, 3.0, seed=2))


# carrying it out


def test_parts_are_carried_out_in_their_order() -> None:
    case, every = case_(), all_parts(1)
    step = Perturbation(displacement=every.displacement).apply(case)
    step = Perturbation(log_bias=every.log_bias).apply(step)
    step = Perturbation(additive=every.additive).apply(step)
    np.testing.assert_array_equal(every.apply(case).image, step.image)
    assert list(every.parts()) == ["displacement", "log_bias", "additive"]


def test_parts_of_zeros_change_no_bit() -> None:
    case = case_()
    nothing = Perturbation(np.zeros((2, *SHAPE)), np.zeros((1, *SHAPE)), np.zeros((3, *SHAPE)))
    changed = nothing.apply(case, warp_label=True, allowed_range=(case.image.min(), case.image.max()))
    assert np.array_equal(changed.image, case.image) and np.array_equal(changed.label, case.label)
    assert Perturbation().apply(case) is case


def test_labels_move_only_if_told() -> None:
    case = case_()
    shift = Perturbation(displacement=np.broadcast_to(oblique_affine()[:3, 0].reshape(3, 1, 1, 1), (3, *SHAPE)))
    assert shift.apply(case).label is not None and np.array_equal(shift.apply(case).label, case.label)
    moved = shift.apply(case, warp_label=True)
    np.testing.assert_array_equal(moved.label[..., :-1], case.label[..., 1:])  # type: ignore[index]
    np.testing.assert_allclose(moved.image[..., :-1], case.image[..., 1:], atol=0.05)
    assert moved.label.dtype == np.int16  # type: ignore[union-attr]


def test_the_result_stays_in_the_allowed_range() -> None:
    case = case_()
    low, high = case.image.min(axis=(1, 2, 3)), np.array([400, 350])
    changed = all_parts().apply(case, allowed_range=(low, high)).image
    for n in range(2):
        assert changed[n].min() >= low[n] and changed[n].max() == high[n]


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"additive": np.zeros(SHAPE)}, "additive must have the shape"),
        ({"displacement": np.zeros((2, *SHAPE))}, "displacement must have the shape"),
        ({"log_bias": np.full((1, *SHAPE), np.nan)}, "log_bias holds NaN"),
        ({"additive": np.zeros((2, *SHAPE)), "log_bias": np.zeros((1, 3, 3, 3))}, "on one grid"),
    ],
)
def test_wrong_parts_are_refused(parts: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Perturbation(**parts)


@pytest.mark.parametrize("parts", [{"additive": np.zeros((3, *SHAPE))}, {"log_bias": np.zeros((1, 14, 16, 17))}])
def test_cases_that_do_not_fit_are_refused(parts: Any) -> None:
    with pytest.raises(InputError, match="does not fit toy"):
        Perturbation(**parts).apply(case_())


# joining two


def joined_apart(first: Perturbation, second: Perturbation, case: Case) -> float:
    """How far one after the other is from both at once, inside the volume."""
    one_by_one = second.apply(first.apply(case)).image
    at_once = first.compose(second, case.affine).apply(case).image
    inside = (slice(None), *[slice(3, -3)] * 3)
    return float(np.abs(one_by_one - at_once)[inside].max())


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_joining_is_exact_where_the_second_does_not_warp(seed: int) -> None:
    still = Perturbation(noise(seed), smooth(1, 0.2, seed))
    assert joined_apart(all_parts(), still, case_()) < 1e-3
    assert joined_apart(still, Perturbation(log_bias=smooth(2, 0.1, seed + 1)), case_()) < 1e-3


def test_joining_is_exact_where_the_first_only_adds() -> None:
    assert joined_apart(Perturbation(additive=noise()), all_parts(), case_()) < 1e-3


def test_joining_two_warps_is_near_to_one_after_the_other() -> None:
    case = even_case()
    first, second = all_parts(), Perturbation(noise(5), smooth(1, 0.2, seed=5), smooth(3, 2.0, seed=6))
    first = replace(first, additive=30 * smooth(2, 1.0, seed=7))
    apart = joined_apart(first, second, case)
    assert apart < 0.02 * np.abs(second.apply(first.apply(case)).image - case.image).max()
    # the order matters
    other_way = second.compose(first, case.affine).apply(case).image
    assert np.abs(other_way - second.apply(first.apply(case)).image).max() > 5 * apart


def test_nothing_joined_is_the_other() -> None:
    every, case = all_parts(), case_()
    for joined in (every.compose(Perturbation(), case.affine), Perturbation().compose(every, case.affine)):
        assert all(np.array_equal(every.parts()[name], values) for name, values in joined.parts().items())
    with pytest.raises(InputError, match="same channels and grid"):
        every.compose(Perturbation(log_bias=np.zeros((3, *SHAPE))), case.affine)


# between two images


def test_what_lies_between_two_images_is_added() -> None:
    case = case_()
    changed = case.with_image(case.image + noise())
    between = Perturbation.between(case, changed)
    np.testing.assert_array_equal(between.additive, changed.image - case.image)
    assert list(between.parts()) == ["additive"]


def test_the_remainder_beyond_given_parts_is_added_where_it_is_more_than_rounding() -> None:
    case, every = case_(), all_parts()
    parts = {"log_bias": every.log_bias, "displacement": every.displacement}
    warped = Perturbation(**parts).apply(case)
    assert list(Perturbation.between(case, warped, **parts).parts()) == ["displacement", "log_bias"]
    slightly = warped.with_image(warped.image * np.float32(1 + 1e-6))
    assert Perturbation.between(case, slightly, **parts).additive is None
    clipped = warped.with_image(np.clip(warped.image, 200, 400))
    between = Perturbation.between(case, clipped, **parts)
    np.testing.assert_allclose(between.apply(case).image, clipped.image, atol=1e-3)


# sizes


def test_sizes() -> None:
    case = case_()
    additive, bias, displacement = np.zeros((2, *SHAPE)), np.zeros((2, *SHAPE)), np.zeros((3, *SHAPE))
    additive[1, 3, 4, 5], additive[1, 0, 0, 0] = -4, 3
    bias[0, 1, 1, 1], bias[1, 2, 2, 2] = np.log(0.8), np.log(1.1)
    displacement[:, 7, 8, 9] = (1, 2, 2)
    every = Perturbation(additive, bias, displacement)
    np.testing.assert_array_equal(every.linf(), [0, 4])
    np.testing.assert_allclose(every.l2(), [0, 5])
    np.testing.assert_allclose(every.max_bias(), [0.2, 0.1], rtol=1e-5)
    assert every.max_displacement() == 3
    assert every.min_jacobian(case.affine) < 1
    sizes = every.describe(case)
    assert json.loads(json.dumps(sizes)) == sizes
    assert sizes["largest_addition"] == {"A": 0, "B": 4} and sizes["max_displacement_mm"] == 3
    assert sizes["max_bias_percent"] == pytest.approx({"A": 20, "B": 10}, rel=1e-5)
    assert Perturbation(log_bias=bias[:1]).describe(case)["max_bias_percent"].keys() == {ALL_CHANNELS}
    nothing = Perturbation()
    assert (nothing.max_displacement(), nothing.min_jacobian(case.affine), nothing.describe(case)) == (0, 1, {})
    assert nothing.linf().size == nothing.l2().size == nothing.max_bias().size == 0


def test_perceptibility_is_of_all_parts_together() -> None:
    case, every = case_(), all_parts()
    change = np.abs(every.apply(case).image - case.image).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(every.perceptibility(case), change / case.image.std(axis=(1, 2, 3)), rtol=1e-4)


# files and figures


def model_() -> SegmentationModel:
    return SegmentationModel.from_network(
        tiny_network(), channels=("A", "B"), classes={0: "background", 1: "one", 2: "two"}, window=SHAPE
    )


def result_(perturbation: Perturbation, case: Case) -> AttackResult:
    adversarial = perturbation.apply(case, warp_label=True)
    return AttackResult(case, adversarial, perturbation, attacks.FGSM(seed=4), "stand-in")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize(
    "perturbation", [all_parts(), all_parts(1), Perturbation(displacement=smooth(3, 3.0)), Perturbation(additive=noise())]
)
def test_results_come_back_from_their_files(tmp_path: Path, perturbation: Perturbation, ending: str) -> None:
    case, model = case_(), model_()
    result = result_(perturbation, case)
    evaluation = evaluate(result, model)
    write_attack(tmp_path / "run", result, evaluation, model, ending)
    found, again = read_attack(tmp_path / "run", case)
    assert list(found.perturbation.parts()) == list(perturbation.parts())
    for name, values in perturbation.parts().items():
        np.testing.assert_allclose(found.perturbation.parts()[name], values, rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(found.adversarial.image, result.adversarial.image)
    np.testing.assert_array_equal(found.adversarial.label, result.adversarial.label)
    assert again.rows == evaluation.rows
    record = json.loads((tmp_path / "run" / RESULT_MARKER).read_text(encoding="utf-8"))
    assert record["sizes"] == perturbation.describe(case)
    assert record["largest_change"] == dict(zip("AB", np.abs(result.change()).max(axis=(1, 2, 3)).tolist()))


def test_a_displacement_of_another_case_is_refused(tmp_path: Path) -> None:
    case, model = case_(), model_()
    result = result_(Perturbation(displacement=smooth(3, 3.0)), case)
    write_attack(tmp_path / "run", result, evaluate(result, model), model, ".nrrd")
    elsewhere = replace(case, affine=np.diag([1.0, 1, 1, 1]))
    for path in (tmp_path / "run").glob("*.nrrd"):
        if path.stem != "displacement":
            path.unlink()
    with pytest.raises(InputError, match="another grid|no file"):
        read_attack(tmp_path / "run", elsewhere)


def test_the_evaluation_says_how_strong_the_parts_are() -> None:
    case, every = case_(), all_parts(1)
    evaluation = evaluate(result_(every, case), model_())
    wanted = {
        ("Max bias", "%"): 100 * every.max_bias()[0],
        ("Max displacement", "mm"): 3.0,
        ("Mean displacement", "mm"): every.displacement_lengths().mean(),
        ("Min Jacobian", ""): every.min_jacobian(case.affine),
    }
    for (metric, unit), value in wanted.items():
        row = evaluation.get(ALL_CHANNELS, metric)
        assert row["unit"] == unit and row["value"] == pytest.approx(value)
    only_added = evaluate(result_(Perturbation(additive=noise()), case), model_())
    assert not {row["metric"] for row in only_added.rows} & {metric for metric, _ in wanted} | {UNWARPED} & {
        row["metric"] for row in only_added.rows
    }
    assert "Max displacement" in evaluation.table()


@pytest.mark.parametrize("labelled", [True, False])
def test_answers_are_measured_against_the_moved_reference_and_the_one_in_place(labelled: bool) -> None:
    case, model = case_(), model_()
    case = case if labelled else replace(case, label=None)
    shift = Perturbation(displacement=np.broadcast_to(oblique_affine()[:3, 0].reshape(3, 1, 1, 1), (3, *SHAPE)))
    result = result_(shift, case)
    evaluation = evaluate(result, model)
    clean, attacked = evaluation.clean == 1, evaluation.attacked == 1
    reference = clean if case.label is None else case.label == 1
    moved = np.concatenate([reference[..., 1:], reference[..., -1:]], axis=-1)
    row, unwarped = evaluation.get("one", "Dice"), evaluation.get("one", UNWARPED)
    assert row["before"] == unwarped["before"] == dice(clean, reference)
    assert row["after"] == dice(attacked, moved) and unwarped["after"] == dice(attacked, reference)
    assert row["after"] != unwarped["after"]
    assert (
        "success" in row
        and "success" not in unwarped
        and unwarped["drop"] == pytest.approx((unwarped["before"] - unwarped["after"]) / unwarped["before"])
    )
    assert evaluation.reference == ("label" if labelled else "prediction")
