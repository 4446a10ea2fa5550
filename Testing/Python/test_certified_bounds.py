"""Holm's correction and the least Dice, against plain implementations and all that there could be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from SegAdversarialLib.defenses.multiple_tests import check_draws, enough_votes, fewest_draws, p_values
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.metrics import dice, iou
from SegAdversarialLib.metrics.certified import least_dice, least_iou


def holm(chances: np.ndarray, alpha: float) -> np.ndarray:
    """Holm 1979 as it is written: the smallest first, each against alpha by the number of those that are left."""
    rejected = np.zeros(len(chances), bool)
    for rank, place in enumerate(np.argsort(chances, kind="stable")):
        if chances[place] > alpha / (len(chances) - rank):
            break
        rejected[place] = True
    return rejected


@given(st.integers(1, 40), st.data(), st.floats(0.51, 0.95), st.floats(0.001, 0.5))
@settings(max_examples=150, deadline=None)
def test_enough_votes_reject_exactly_what_holm_rejects(n: int, data: st.DataObject, tau: float, alpha: float) -> None:
    counts = np.array(data.draw(st.lists(st.integers(0, n), min_size=1, max_size=60)))
    enough = enough_votes(np.bincount(counts, minlength=n + 1), tau, alpha)
    chances = np.array([binomtest(int(x), n, tau, alternative="greater").pvalue for x in counts])
    # p-values of both implementations may differ in their last digits, where thresholds are met exactly
    close = np.isclose(np.sort(chances), alpha / np.arange(len(counts), 0, -1), rtol=1e-9)
    if not close.any():
        np.testing.assert_array_equal(counts >= enough, holm(chances, alpha))


def test_p_values_are_those_of_the_exact_binomial_test() -> None:
    for n, tau in ((1, 0.6), (7, 0.75), (60, 0.9)):
        expected = [binomtest(k, n, tau, alternative="greater").pvalue for k in range(n + 1)]
        np.testing.assert_allclose(p_values(n, tau), expected, rtol=1e-10)


def test_millions_of_tests_are_one_histogram() -> None:
    histogram = np.zeros(301, np.int64)
    histogram[300], histogram[200] = 8_000_000, 928_000
    assert enough_votes(histogram, 0.75, 0.001) == 300
    histogram[200], histogram[299] = 0, 928_000
    assert enough_votes(histogram, 0.75, 0.001) == 299
    assert enough_votes(np.zeros(301, np.int64), 0.75, 0.001) == 301


@given(st.integers(1, 10**9), st.floats(0.51, 0.99), st.floats(1e-6, 0.5))
@settings(max_examples=100, deadline=None)
def test_fewest_draws_are_the_fewest_that_certify_anything(tests: int, tau: float, alpha: float) -> None:
    fewest = fewest_draws(tests, tau, alpha)
    for n, certifies in ((fewest, True), (fewest - 1, False)):
        if n < 1:
            continue
        agreed = np.zeros(n + 1, np.int64)
        agreed[n] = tests
        assert (enough_votes(agreed, tau, alpha) <= n) == certifies
    check_draws(fewest, tests, tau, alpha)


def test_too_few_draws_say_how_many_would_do() -> None:
    # 0.75^n <= 0.001 / 1e6 from n = ln(1e9) / ln(4/3) = 72.04 on
    with pytest.raises(InputError, match="give at least n = 73"):
        check_draws(72, 1_000_000, 0.75, 0.001)


voxels = st.lists(st.tuples(st.sampled_from(["inside", "outside", "undecided"]), st.booleans()), min_size=1, max_size=9)


@given(voxels)
@settings(max_examples=150, deadline=None)
def test_the_least_dice_is_that_of_the_worst_mask_that_there_can_be(drawn: list[tuple[str, bool]]) -> None:
    inside = np.array([x == "inside" for x, _ in drawn])
    outside = np.array([x == "outside" for x, _ in drawn])
    reference = np.array([x for _, x in drawn])
    free = np.flatnonzero(~(inside | outside))
    possible = []
    for chosen in itertools.product([False, True], repeat=len(free)):
        mask = inside.copy()
        mask[free] = chosen
        possible.append((dice(mask, reference), iou(mask, reference)))
    shape = (1, 1, len(drawn))
    masks = [x.reshape(shape) for x in (inside, outside, reference)]
    assert least_dice(*masks) == pytest.approx(min(x for x, _ in possible))
    assert least_iou(*masks) == pytest.approx(min(x for _, x in possible))


def test_a_voxel_inside_and_outside_and_other_grids_are_refused() -> None:
    some = np.ones((1, 1, 2), bool)
    with pytest.raises(InputError, match="certainly inside and certainly outside"):
        least_dice(some, some, some)
    with pytest.raises(InputError, match="one grid"):
        least_iou(some, np.zeros((1, 1, 3), bool), some)
