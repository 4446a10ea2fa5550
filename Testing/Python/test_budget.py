"""No rounding goes over a budget: bounds, projections and whole numbers, checked in double precision."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib import Case, SegmentationModel, attacks
from SegAdversarialLib.attacks.engine.budget import Budget
from SegAdversarialLib.attacks.engine.momentum import Momentum
from SegAdversarialLib.attacks.engine.run import AttackRun
from SegAdversarialLib.attacks.engine.stepping import mixed
from SegAdversarialLib.volumes import slabs as slabs_module
from SegAdversarialLib.volumes.intensity import IntensityRange


class Threshold(torch.nn.Module):
    """Two logits that follow the first channel."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        scores = (batch[:, :1] - batch[:, :1].mean()) / batch.std()
        return torch.cat([-scores, scores], 1)


def budget(radius: float, unit: float, **changes: object) -> Budget:
    whole = IntensityRange(-1e30, 1e30)
    given = {"norm": "linf", "units": (unit,), "ranges": (whole,), "positions": (0,), "region": None}
    return Budget(**{**given, "radius": radius, "clip": False, "whole_numbers": False, "seed": 0, **changes})  # type: ignore[arg-type]


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(st.floats(-1e8, 1e8, width=32, allow_subnormal=False), min_size=8, max_size=8),
    radius=st.floats(1e-6, 1.0),
    unit=st.floats(0.0, 1e7),
)
def test_bounds_lie_within_the_radius_and_are_the_outermost_that_do(values: list[float], radius: float, unit: float) -> None:
    original = torch.tensor(values, dtype=torch.float32).view(1, 2, 2, 2)
    least, greatest = budget(radius, unit).bounds(original)
    exact, limit = original.double(), radius * unit
    for bound, side in ((least, -torch.inf), (greatest, torch.inf)):
        # the differences of single precision numbers of one size are exact in double precision
        assert ((bound.double() - exact).abs() <= limit).all()
        further = torch.nextafter(bound, torch.full_like(bound, side)).double()
        assert ((further - exact).abs() >= limit * (1 - 2**-23)).all()


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 3e7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "attack",
    [
        attacks.FGSM(epsilon=0.4, epsilon_units="absolute"),
        attacks.PGD(epsilon=0.0007, steps=3),
        attacks.UniformNoise(epsilon=0.4, epsilon_units="absolute"),
        attacks.SquareAttack(epsilon=0.0007, queries=20),
        attacks.PGD(epsilon=30.0, epsilon_units="absolute", norm="l2", steps=3),
        attacks.PGD(epsilon=0.5, norm="l2", steps=3),
    ],
    ids=lambda attack: attack.summary(),
)
def test_no_attack_goes_over_its_budget(attack: attacks.Attack, scale: float, dtype: torch.dtype) -> None:
    image = np.random.default_rng(0).uniform(0, scale, (1, 6, 7, 8)).astype(np.float32)
    case = Case(image, ("I",), np.eye(4), (image[0] > scale / 2).astype(np.int16))
    network = Threshold()
    network.register_parameter("unused", torch.nn.Parameter(torch.zeros(1, dtype=dtype)))
    model = SegmentationModel.from_network(network, channels=("I",), classes=["background", "bright"])
    change = attack(model, case).adversarial.image.astype(np.float64) - image
    unit = float(image.max()) if attack.is_relative else 1.0
    size = np.abs(change).max() if attack.bounded_norm == "linf" else np.linalg.norm(change)
    assert size <= attack.budget * unit
    assert size > 0 or scale > 1e6  # beyond that, one step of single precision is more than epsilon


NOTHING = [attacks.FGSM(epsilon=0), attacks.PGD(epsilon=0, norm="l2"), attacks.UniformNoise(epsilon=0)]


@pytest.mark.parametrize("attack", NOTHING)
def test_no_budget_is_no_change(attack: attacks.Attack) -> None:
    image = np.random.default_rng(1).uniform(-3, 1e6, (1, 4, 5, 6)).astype(np.float32)
    case = Case(image, ("I",), np.eye(4), (image[0] > 5e5).astype(np.int16))
    model = SegmentationModel.from_network(Threshold(), channels=("I",), classes=["background", "bright"])
    np.testing.assert_array_equal(attack(model, case).adversarial.image, image)


@pytest.mark.parametrize(("epsilon", "largest", "steps"), [(0.29, 100, 29), (0.07, 100, 7), (0.015, 100, 1), (0.005, 100, 0)])
def test_whole_numbers_use_the_whole_budget_and_no_more(epsilon: float, largest: int, steps: int) -> None:
    image = np.random.default_rng(2).integers(10, 90, (1, 6, 6, 6)).astype(np.float32)
    image[0, 0, 0, :2] = largest, 0
    case = Case(image, ("I",), np.eye(4), (image[0] > 50).astype(np.int16), dtypes=("int16",))
    model = SegmentationModel.from_network(Threshold(), channels=("I",), classes=["background", "bright"])
    change = attacks.PGD(epsilon=epsilon, steps=5, quantize=True)(model, case).change()
    assert np.abs(change).max() == steps and np.array_equal(change, np.rint(change))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    seed=st.integers(0, 1000),
    clip=st.booleans(),
    region=st.sampled_from([None, 0.0, 0.3]),
    positions=st.sampled_from([(0, 1), (1,)]),
    radius=st.sampled_from([1.0, 1.5]),
    length=st.floats(-2.0, 2.0),
    voxels=st.integers(1, 200),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_step_in_one_pass_is_the_plain_formula_to_the_last_bit(
    shape: tuple[int, int, int],
    seed: int,
    clip: bool,
    region: float | None,
    positions: tuple[int, ...],
    radius: float,
    length: float,
    voxels: int,
    dtype: torch.dtype,
) -> None:
    """Sign step, APGD's mixed step and momentum, in slabs of any size, against whole volumes."""
    draw = np.random.default_rng(seed)
    original = draw.uniform(-100, 1000, (2, *shape)).astype(np.float32)
    mask = None if region is None else draw.random(shape) < region
    ranges = (IntensityRange(-50, 900), IntensityRange(-100, 1000))
    allowed = budget(0.1, 1.0, units=(300.0, 700.0), ranges=ranges, positions=positions, region=mask, clip=clip)
    run = AttackRun("", allowed, None, None, Case(original, ("A", "B"), np.eye(4)))
    run.original, run.unit = run.original.to(dtype), run.unit.to(dtype)
    image, before, gradient, last = (
        run.project(run.original + torch.from_numpy(draw.normal(0, 50, (2, *shape))).to(dtype), radius) for _ in range(4)
    )
    gradient = torch.where(torch.from_numpy(draw.random((2, *shape)) < 0.1), 0.0, gradient - last)
    least, greatest = run._bounds_of(radius)
    expected = torch.minimum(torch.maximum(image + gradient.sign() * (run.unit * length), least), greatest)
    mix = (expected - image) * 0.75
    mix = torch.add(mix, image - before, alpha=0.25) + image
    size = gradient.abs().mean().clamp_min(torch.finfo(dtype).tiny)
    kept = torch.from_numpy(draw.normal(0, 1, (2, *shape))).to(dtype)
    direction = kept / kept.abs().mean() * 0.9 + gradient / size
    kept_image = image.clone()
    with mock.patch.object(slabs_module, "_VOXELS", voxels):
        target = attacks.PGD()._step(run, image, gradient.clone(), length, radius)
        assert torch.equal(target, expected)
        assert torch.equal(mixed(target, image, before, 0.75, run.limits(radius)), mix.clamp(least, greatest))
        momentum = Momentum(0.9)
        momentum(kept.clone())
        assert torch.equal(momentum(gradient.clone()), direction)
    assert torch.equal(image, kept_image)


@pytest.mark.parametrize("attack", [attacks.UniformNoise, attacks.PGD])
def test_whole_numbers_stay_in_a_range_that_ends_between_them(attack: type[attacks.PGD]) -> None:
    image = np.random.default_rng(0).permutation(6 * 9 * 12).astype(np.float32).reshape(1, 6, 9, 12)
    case = Case(image, ("A",), np.eye(4), (image[0] > 300).astype(np.int16), dtypes=("int16",))
    model = SegmentationModel.from_network(Threshold(), channels=("A",), classes=["background", "bright"])
    result = attack(epsilon=0.2, quantize=True, intensity_range="robust")(model, case)
    low, high = (result.intensities["A"][x] for x in ("low", "high"))
    assert low % 1 < 0.5 < high % 1  # the nearest whole numbers lie outside
    changed = result.adversarial.image[0]
    inside = (image[0] >= low) & (image[0] <= high)
    assert np.array_equal(np.rint(changed), changed)
    assert changed[inside].max() == np.floor(high) and changed[inside].min() >= np.ceil(low)
