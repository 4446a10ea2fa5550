"""The range of a channel, and what in it is padding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib import Case, attacks, metrics
from SegAdversarialLib.volumes.intensity import IntensityRange, find_padding

AIR, BONE = -1024.0, 1600.0


def scan(padding: float | None, seed: int = 0) -> np.ndarray:
    """A CT (12, 48, 48) of air, tissue and bone in a round field of view, and what lies outside it."""
    generator = np.random.default_rng(seed)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (12, 48, 48)), indexing="ij")
    radius = np.hypot(j, i)
    values = np.where(radius < 0.7, generator.normal(40, 30, k.shape), generator.uniform(AIR, AIR + 40, k.shape))
    values[(np.hypot(j - 0.2, i) < 0.1)] = BONE
    values[0, 24, 24] = AIR
    if padding is not None:
        values[radius > 1] = padding
    return np.rint(values).astype(np.float32)


@pytest.mark.parametrize("padding", [-2000.0, -2048.0, -3024.0, -32768.0, 32767.0])
def test_what_lies_outside_the_field_of_view_counts_for_no_range(padding: float) -> None:
    found = IntensityRange.of(scan(padding))
    assert (found.low, found.high, found.padding) == (AIR, BONE, padding)
    assert found.largest == BONE


@pytest.mark.parametrize(
    "values",
    [
        scan(None),
        np.abs(scan(None)) * (scan(None) > -500),  # a skull-stripped head: 0 is what nothing measures
        np.maximum(scan(None), AIR + 20),  # air that a scanner cuts off at its least number
        np.full((4, 5, 6), -7.0, dtype=np.float32),
        np.where(np.arange(64).reshape(4, 4, 4) % 16 < 4, 5.0, 10.0).astype(np.float32),  # two values: neither stands out
    ],
    ids=["air to the edge", "skull-stripped", "air cut off", "constant", "two values"],
)
def test_what_is_no_padding(values: np.ndarray) -> None:
    assert find_padding(values) is None
    assert IntensityRange.of(values) == IntensityRange(float(values.min()), float(values.max()))


def test_one_bright_voxel_inside_is_no_padding() -> None:
    values = scan(None)
    values[6, 24, 24] = 30000
    assert find_padding(values) is None and IntensityRange.of(values).high == 30000
    robust = IntensityRange.of(values, "robust")
    assert (robust.low, robust.high) == pytest.approx(tuple(np.percentile(values, (0.5, 99.5))))


def case_of(values: np.ndarray) -> Case:
    return Case(values[None], ("CT",), np.eye(4), (values > 1000).astype(np.int16), dtypes=("int16",))


@pytest.mark.parametrize("attack", ["uniform-noise", "universal-random-perturbation", "physics-artefact"])
def test_padding_is_left_alone_and_said(attack: str) -> None:
    case = case_of(scan(-3024.0))
    result = attacks.make_attack(attack, {"clip": True})(None, case)
    outside = case.image == -3024
    np.testing.assert_array_equal(result.adversarial.image[outside], case.image[outside])
    assert (result.adversarial.image != case.image).any()
    assert result.adversarial.image[~outside].min() >= AIR and result.adversarial.image.max() <= BONE
    unit = BONE if result.attack.is_relative else 1.0
    assert result.describe()["intensities"]["CT"] == {"unit": unit, "low": AIR, "high": BONE, "padding": -3024.0}


def test_epsilon_is_a_share_of_what_counts() -> None:
    case = case_of(scan(-3024.0))
    change = attacks.UniformNoise(epsilon=0.01)(None, case).change()
    assert 0.9 * 16 < np.abs(change).max() <= 0.01 * BONE


def test_a_robust_range_bounds_epsilon_and_moves_no_voxel_into_it() -> None:
    values = scan(None)
    values[6, 24, 24] = 30000
    case = case_of(values)
    full, robust = (attacks.UniformNoise(epsilon=0.01, intensity_range=x)(None, case) for x in ("full", "robust"))
    assert full.intensities["CT"]["unit"] == 30000 and np.abs(full.change()).max() > 200
    high = float(np.percentile(values, 99.5))
    assert robust.intensities["CT"]["unit"] == max(high, -float(np.percentile(values, 0.5)))
    assert np.abs(robust.change()).max() <= 0.01 * robust.intensities["CT"]["unit"]
    assert robust.adversarial.image[0, 6, 24, 24] <= 30000  # it may come down by epsilon, and is not cut off


def test_padding_is_no_part_of_psnr_rmse_and_perceptibility() -> None:
    padded, changed = scan(-3024.0), scan(-3024.0)
    inside = padded != -3024
    changed[inside] += 10
    span, error = BONE - AIR, 10.0
    assert metrics.rmse(padded, changed) == pytest.approx(error / span)
    assert metrics.psnr(padded, changed) == pytest.approx(20 * math.log10(span / error))
    assert metrics.perceptibility(padded, changed) == pytest.approx(error / padded[inside].astype(float).std())


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1000, 1000, width=32), min_size=27, max_size=27),
    padding=st.sampled_from([-3024.0, -2048.0, 5000.0]),
    seed=st.integers(0, 1000),
)
def test_a_range_holds_every_voxel_that_is_no_padding(values: list[float], padding: float, seed: int) -> None:
    volume = np.random.default_rng(seed).choice(np.array(values, dtype=np.float32), (10, 10, 10))
    volume[:, 0] = padding
    found = IntensityRange.of(volume)
    counted = volume if found.padding is None else volume[volume != found.padding]
    assert found.low == counted.min() and found.high == counted.max()
