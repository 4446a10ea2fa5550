"""The frequency attack: what it hands out is a lossy compression within its budget, and it follows the exact gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, toy_case
from hypothesis import given, settings
from hypothesis import strategies as st
from transform_helpers import SHAPE, case_, model_, searching

from SegAdversarialLib import Case, InputError, attacks, evaluate
from SegAdversarialLib.attacks.engine import frequencies
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.changes.quantisation import BlockCosines, nearest_quantised, quantised, table_for
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs.results import read_attack
from SegAdversarialLib.metrics import ssim


def made(**changes: Any) -> attacks.Attack:
    return attacks.make_attack("frequency", {"steps": 3, "block_mm": 6.0, **changes})


def coefficients_of(case: Case, image: np.ndarray, block_mm: float = 6.0) -> torch.Tensor:
    like = torch.zeros((), dtype=torch.float64)
    return BlockCosines.of_mm(block_mm, case.affine, case.shape, like).coefficients(torch.from_numpy(image).double())


def q_max_of(case: Case, q_max: float) -> torch.Tensor:
    spans = case.image.max((1, 2, 3)).astype(float) - case.image.min((1, 2, 3))
    return torch.from_numpy(q_max / 255 * spans).view(-1, 1, 1, 1)


@pytest.mark.parametrize("steps", [0, 3])
def test_the_result_is_the_image_divided_by_bounded_tables_and_rounded(steps: int) -> None:
    """Nothing was cut off here, so that the tables can be read off the adversarial image."""
    case = case_()
    result = made(steps=steps, clip=False, q_max=30.0)(model_(), case)
    before, after = (coefficients_of(case, x) for x in (case.image, result.adversarial.image))
    limit = q_max_of(case, 30.0)
    assert bool(((after - before).abs() <= limit / 2 + 1e-3).all())
    near = nearest_quantised(before, after, limit)
    np.testing.assert_allclose(near, after, atol=1e-3)
    table = table_for(before, near, limit)
    assert bool((table <= limit).all()) and bool((table > 0).any())
    again = BlockCosines.of_mm(6.0, case.affine, case.shape, before).voxels(quantised(before, table))
    np.testing.assert_allclose(again, result.adversarial.image, atol=2e-3)
    assert (result.adversarial.image != case.image).any()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    q_max=st.floats(0.5, 255),
    block_mm=st.floats(0.5, 60),
    least=st.one_of(st.none(), st.floats(0.5, 0.9999)),
    steps=st.sampled_from([0, 2]),
    quantize=st.booleans(),
    inside=st.booleans(),
)
def test_what_must_hold_holds_for_every_setting(
    seed: int, q_max: float, block_mm: float, least: float | None, steps: int, quantize: bool, inside: bool
) -> None:
    case = case_(seed % 7)
    region = np.zeros(SHAPE, bool)
    region[2:9, 3:11, 4:13] = True
    attack = made(
        q_max=q_max,
        block_mm=block_mm,
        least_ssim=least,
        steps=steps,
        seed=seed,
        quantize=quantize,
        region=region if inside else None,
    )
    result = attack(model_(), case)
    image = result.adversarial.image
    assert (image.min((1, 2, 3)) >= case.image.min((1, 2, 3))).all()
    assert (image.max((1, 2, 3)) <= case.image.max((1, 2, 3))).all()
    if quantize:
        np.testing.assert_array_equal(image, np.rint(image))
    if inside:
        np.testing.assert_array_equal(image[:, ~region], case.image[:, ~region])
    if least is not None:
        assert min(ssim(x, y) for x, y in zip(case.image, image)) >= least
    again = attack(model_(), case)
    np.testing.assert_array_equal(again.adversarial.image, image)
    assert again.trace == result.trace


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_gradient_is_that_of_finite_differences(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the loss and the similarity of the whole volume, seen in overlapping windows, where nothing is rounded."""
    monkeypatch.setattr(frequencies.Quantise, "apply", lambda control, coefficients, q_max: control * q_max / 2)
    case = case_()
    region = np.zeros(SHAPE, bool)
    region[1:10, 2:12, 3:15] = True
    model = model_(0.02, torch.float64, window=(8, 8, 8), overlap=0.5)
    attack = made(ssim_weight=weight, clip=False, region=region)
    with searching(attack, model, case) as (search, run):  # type: ignore[arg-type]
        (transform,) = search.transforms
        controls = search.start(1, 0.3)
        (gradient,) = search._see_and_differentiate(0, controls)

        def value(control: torch.Tensor) -> float:
            with torch.no_grad():
                image = search._image(search._changed([control]))
                own = sum(transform._similarities[n].value(image[n]) for n in (0, 1)) / 2 if weight else 0.0
                return float(search._bound(run.ask(image))) + weight * own

        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            direction = torch.randn(gradient.shape, generator=generator, dtype=gradient.dtype)
            numeric = (value(controls[0] + 1e-4 * direction) - value(controls[0] - 1e-4 * direction)) / 2e-4
            assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-4)


def test_the_search_lowers_dice_more_than_random_tables_do() -> None:
    case, model = case_(), model_(0.02)
    found = made(steps=10, q_max=40.0)(model, case)
    drawn = made(steps=0, restarts=10, q_max=40.0)(model, case)
    assert found.kept_row["dice mean"] < drawn.kept_row["dice mean"]
    assert found.kept_row["dice mean"] == min(row["dice mean"] for row in found.trace)
    other = made(steps=0, restarts=10, q_max=40.0, seed=1)(model, case)
    assert (other.adversarial.image != drawn.adversarial.image).any()


def test_a_larger_similarity_costs_strength_and_the_weight_keeps_it() -> None:
    case, model = case_(), model_(0.02)
    results = [made(steps=6, q_max=60.0, least_ssim=x)(model, case) for x in (None, 0.9, 0.99)]
    losses = [result.kept_row["dice mean"] for result in results]
    assert losses == sorted(losses) and losses[0] < losses[2]
    free, held = (made(steps=6, q_max=60.0, ssim_weight=x)(model, case).adversarial.image for x in (0.0, 20.0))
    assert np.mean([ssim(x, y) for x, y in zip(case.image, held)]) > np.mean([ssim(x, y) for x, y in zip(case.image, free)])


def test_only_chosen_channels_change_and_padding_never() -> None:
    case = case_()
    image = np.random.default_rng(0).normal(100, 30, case.image.shape).astype(np.float32)
    image[:, :, :3] = image[:, :, -3:] = image[:, :, :, :3] = image[:, :, :, -3:] = -2000
    case = Case(image, case.channels, case.affine, case.label, name="padded")
    result = made(channels="B", q_max=60.0)(model_(), case)
    np.testing.assert_array_equal(result.adversarial.image[0], image[0])
    padded = image[1] == -2000
    np.testing.assert_array_equal(result.adversarial.image[1][padded], image[1][padded])
    assert (result.adversarial.image[1] != image[1]).any()
    # the scale is that of the tissue: 60 / 255 of its range, half of it for each of a block's coefficients
    tissue = image[1][~padded]
    blocks = BlockCosines.of_mm(6.0, case.affine, case.shape, torch.zeros(()))
    largest = 30 / 255 * float(tissue.max() - tissue.min()) * np.sqrt(np.prod(blocks.block))
    assert np.abs(result.adversarial.image[1] - image[1]).max() <= largest


def test_intensities_are_counted_in_each_channels_own_range() -> None:
    """What is stored in other units is changed by the same share of its range, as far as the network sees the same."""
    case, network = case_(), model_()
    with searching(made(), network, case) as (search, _):  # type: ignore[arg-type]
        controls = search.start(1, 0.7)
        first = search._changed(controls).added
    scaled = case.with_image(3 * case.image + 50)
    with searching(made(), network, scaled) as (search, _):  # type: ignore[arg-type]
        second = search._changed(controls).added
    np.testing.assert_allclose(second, 3 * first, atol=2e-4 * float(first.abs().max()))


def test_nothing_allowed_changes_no_bit_and_air_stays_air() -> None:
    case = case_()
    result = made(q_max=0.0)(model_(), case)
    assert made(q_max=0.0).does_nothing
    np.testing.assert_array_equal(result.adversarial.image, case.image)
    image = np.stack([case.image[0], np.full_like(case.image[0], 7.0)])
    image[0, :, :, 10:] = 0
    still = made(block_mm=1.0, steps=0, seed=3)(model_(), Case(image, case.channels, np.eye(4), case.label)).adversarial.image
    np.testing.assert_array_equal(still[1], image[1])
    assert not still[0, :, :, 10:].any()
    mixed = Case(np.stack([image[0], image[0]]), case.channels, np.eye(4), case.label)
    for region, changes in ((None, True), ("foreground", False)):  # blocks of 6 mm reach from what is not air into it
        changed = made(block_mm=6.0, steps=0, seed=3, channels=("A",), region=region)(model_(), mixed).adversarial.image[0]
        assert bool((changed != image[0])[:, :, 10:12].any()) == changes and not changed[:, :, 12:].any()


def test_progress_cost_snapshots_and_cancelling() -> None:
    case, model, seen = case_(), model_(), []
    attack = made(steps=4, restarts=2, snapshot_every=2)
    result = attack(model, case, progress=lambda fraction, text: seen.append((fraction, text)))
    assert (result.gradient_evaluations, result.forward_evaluations) == (attack.cost.gradients, attack.cost.answers) == (8, 2)
    assert seen[0][1] == "Frequency: step 1 of 4, restart 1 of 2" and seen[-1][0] == 1
    assert result.trace[0]["dice mean"] > result.kept_row["dice mean"] and result.trace[0]["restart"] == 0
    assert [x.iteration for x in result.snapshots][0] == 0
    np.testing.assert_array_equal(result.snapshots[-1].image, result.adversarial.image)
    with pytest.raises(Cancelled):
        made(steps=4)(model, case, cancel=lambda: len(seen) > 3)


def test_least_budget_and_worst_of_k_take_it() -> None:
    case, model = case_(), model_(0.02)
    inner = {"attack": "frequency", "q_max": 80.0, "block_mm": 6.0, "steps": 4}
    found, *_ = attacks.LeastBudget(method=inner, drop=0.1, probes=4)(model, case).thresholds
    assert found.setting == "q_max" and found.unit == "255ths of the range" and found.upper is not None
    assert 0 <= found.lower < found.upper < 80
    drawn = attacks.WorstOfK(method={"attack": "frequency", "block_mm": 6.0}, draws=3)
    assert drawn.cost.gradients == 0 and drawn(model, case).gradient_evaluations == 0


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_results_survive_files(ending: str, tmp_path: Path) -> None:
    case, model = case_(), model_()
    result = made(quantize=True, least_ssim=0.95)(model, case)
    write_attack(tmp_path / "run", result, evaluate(result, model), model, ending)
    found, _ = read_attack(tmp_path / "run", case)
    assert found.attack == result.attack and found.trace == result.trace
    np.testing.assert_array_equal(found.adversarial.image, result.adversarial.image)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"q_max": -1}, "q_max"),
        ({"block_mm": 0}, "block_mm"),
        ({"least_ssim": 1}, "least_ssim"),
        ({"ssim_weight": -1}, "ssim"),
    ],
)
def test_bad_settings_are_one_sentence(changes: dict[str, float], named: str) -> None:
    with pytest.raises(InputError, match=named):
        made(**changes)


def test_budget_in_words() -> None:
    assert attacks.FrequencyAttack().summary() == "Frequency, q_max 20, all channels"
    assert attacks.FrequencyAttack(least_ssim=0.98).summary() == "Frequency, q_max 20, SSIM 0.98 or more, all channels"
    assert attacks.FrequencyAttack(steps=0, restarts=3).summary() == "Frequency, q_max 20, 3 random draws, all channels"


def test_slices_and_thick_slices() -> None:
    for shape, spacing in (((1, 20, 24), 1.0), ((5, 20, 24), 6.0)):
        case = toy_case(shape, affine=np.diag([1, 1, spacing, 1]))
        result = made(least_ssim=0.9)(model_(), replace(case, image=np.abs(case.image)))
        assert (result.adversarial.image != result.original.image).any()
        assert min(ssim(x, y) for x, y in zip(result.original.image, result.adversarial.image)) >= 0.9


def test_what_the_ablation_compares_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one window holds the volume, its own gradient is the whole volume's; one step for all keeps the similarity."""
    monkeypatch.syspath_prepend(str(ROOT / "Testing" / "Benchmarks"))
    import frequency_ablation as ablation

    case, model = case_(), model_(0.02, window=SHAPE)
    settings = {"steps": 3, "block_mm": 6.0, "least_ssim": 0.95}
    whole, single = (kind(**settings)(model, case) for kind in (attacks.FrequencyAttack, ablation.WindowByWindow))
    np.testing.assert_allclose(single.adversarial.image, whole.adversarial.image, atol=1e-3)
    parts = model_(0.02, window=(8, 8, 8))
    images = [kind(**settings)(parts, case).adversarial.image for kind in (attacks.FrequencyAttack, ablation.WindowByWindow)]
    assert np.abs(images[0] - images[1]).max() > 1
    rounded = ablation.fixed(case, 0.95, 4)
    for before, after in zip(case.image, rounded):
        assert 0.95 <= ssim(before, after) < 0.97
