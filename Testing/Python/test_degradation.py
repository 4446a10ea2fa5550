"""Mean degradation by artefacts, by hand, and the line of the normal QQ plot, against SciPy and known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, probplot

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.degradation import degradation, mean_degradation
from SegAdversarialLib.metrics import quantile_line

CLEAN = {"a": 0.9, "b": 0.8}
BLUR = {1.0: {"a": 0.8, "b": 0.8}, 2.0: {"a": 0.6, "b": 0.5}}
GAMMA = {3.0: {"a": 0.9, "b": 0.9}}


def test_mean_degradation_by_hand() -> None:
    found = mean_degradation(CLEAN, {"blur": BLUR, "gamma": GAMMA}, weight=1.0)
    assert found["a"] == pytest.approx(((0.1 + 0.3) / 2 + 0.0) / 2)
    assert found["b"] == pytest.approx(((0.0 + 0.3) / 2 - 0.1) / 2)


def test_severe_artefacts_weigh_less_as_in_rood_mri() -> None:
    """Its software weighs a severity s with (2/3)^s, and divides by the sum of the weights."""
    w = [2 / 3, 4 / 9]
    found = degradation(CLEAN, BLUR)
    assert found["a"] == pytest.approx((w[0] * 0.1 + w[1] * 0.3) / sum(w))
    assert found["b"] == pytest.approx(w[1] * 0.3 / sum(w))


@given(st.floats(0.1, 1), st.floats(0, 0.5))
def test_the_same_loss_everywhere_is_the_mean_degradation(weight: float, loss: float) -> None:
    severities = {s: {p: x - loss for p, x in CLEAN.items()} for s in (0.5, 1.0, 4.0)}
    found = mean_degradation(CLEAN, {"one": severities, "other": severities}, weight)
    assert found == {p: pytest.approx(loss, abs=1e-12) for p in CLEAN}


def test_a_patient_without_a_severity_has_no_degradation() -> None:
    found = degradation(CLEAN, {1.0: {"a": 0.8}})
    assert found["a"] == pytest.approx(0.1) and math.isnan(found["b"])


def test_what_makes_no_degradation_is_refused() -> None:
    for wrong in ({}, {0.0: CLEAN}):
        with pytest.raises(InputError, match="above 0"):
            degradation(CLEAN, wrong)
    with pytest.raises(InputError, match="above 0"):
        degradation(CLEAN, BLUR, weight=0.0)
    with pytest.raises(InputError, match="at least one artefact"):
        mean_degradation(CLEAN, {})


def test_the_line_of_the_normal_plot_is_scipys() -> None:
    values = np.random.default_rng(0).gamma(2.0, 100.0, (5, 6, 7))
    slope, intercept, correlation = probplot(values.ravel())[1]
    found = quantile_line(values)
    assert (found.slope, found.intercept, found.correlation) == pytest.approx((slope, intercept, correlation))


def test_slope_and_intercept_are_deviation_and_mean_of_a_normal_sample() -> None:
    """Cheng & Ji 2020: "the slope represents the standard deviation of the intensity, and the intercept the mean"."""
    values = norm.ppf((np.arange(20_000) + 0.5) / 20_000, loc=379.927, scale=203.136)
    found = quantile_line(values)
    assert (found.slope, found.intercept) == pytest.approx((203.136, 379.927), rel=1e-3)
    assert found.correlation == pytest.approx(1.0, abs=1e-5)


@given(st.lists(st.floats(0, 1000), min_size=3, max_size=30, unique=True), st.floats(0.01, 100), st.floats(-500, 500))
@settings(max_examples=60, deadline=None)
def test_normalisation_moves_the_line_and_leaves_the_correlation(values: list[float], scale: float, shift: float) -> None:
    before, after = quantile_line(values), quantile_line(np.array(values) * scale + shift)
    assert after.slope == pytest.approx(before.slope * scale, rel=1e-6, abs=1e-6)
    assert after.intercept == pytest.approx(before.intercept * scale + shift, rel=1e-6, abs=1e-6)
    if np.std(values) > 1e-3:  # else rounding of the shifted values decides
        assert after.correlation == pytest.approx(before.correlation, abs=1e-4)


def test_images_without_a_distribution() -> None:
    constant = quantile_line(np.full(9, 4.0))
    assert (constant.slope, constant.intercept) == (0.0, 4.0) and math.isnan(constant.correlation)
    assert math.isnan(quantile_line([1.0]).slope) and math.isnan(quantile_line([]).intercept)
    assert quantile_line([1.0, 2.0, 3.0, math.nan, math.inf]) == quantile_line([1.0, 2.0, 3.0])
