"""Corrections for many tests, against statsmodels and their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.multiple_tests import corrected

chances = st.lists(st.floats(0, 1), min_size=1, max_size=15)


@given(chances)
@settings(max_examples=100, deadline=None)
def test_both_corrections_are_those_of_statsmodels(p_values: list[float]) -> None:
    for method in ("bonferroni", "holm"):
        expected = multipletests(p_values, method=method)[1]
        np.testing.assert_allclose(corrected(p_values, method), expected, rtol=1e-12)  # type: ignore[arg-type]


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, then 0.03 x 2 would fall below 0.06, and 0.04 x 1, too."""
    np.testing.assert_allclose(corrected([0.04, 0.01, 0.03, 0.02], "holm"), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(corrected([0.04, 0.01, 0.3], "bonferroni"), [0.12, 0.03, 0.9])


@given(chances)
@settings(max_examples=100, deadline=None)
def test_holm_lies_between_raw_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    raw, holm, bonferroni = (corrected(p_values, x) for x in ("none", "holm", "bonferroni"))  # type: ignore[arg-type]
    assert (raw <= holm).all() and (holm <= bonferroni).all() and (bonferroni <= 1).all()
    order = np.argsort(p_values)
    assert (np.diff(holm[order]) >= 0).all()
    turned = corrected(p_values[::-1], "holm")
    np.testing.assert_array_equal(turned[::-1], holm)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_counted_p_values_are_corrected_as_if_each_stood_there(counted: list[tuple[float, int]]) -> None:
    values, counts = zip(*dict(counted).items())
    spread = np.repeat(values, counts)
    for method in ("bonferroni", "holm"):
        found = corrected(values, method, counts)  # type: ignore[arg-type]
        np.testing.assert_allclose(np.repeat(found, counts), corrected(spread, method), rtol=1e-12)  # type: ignore[arg-type]


def test_what_was_not_tested_counts_as_no_test() -> None:
    """statsmodels counts the nan as a test: 0.02 would become 0.06."""
    found = corrected([0.02, math.nan, 0.5], "bonferroni")
    np.testing.assert_allclose(found, [0.04, math.nan, 1.0])
    np.testing.assert_allclose(corrected([0.02, math.nan, 0.5], "holm"), [0.04, math.nan, 0.5])
    assert corrected([], "holm").size == 0


def test_what_is_no_probability_is_refused() -> None:
    for wrong in ([1.2], [-0.1], [math.inf]):
        with pytest.raises(InputError, match="between 0 and 1"):
            corrected(wrong)
    with pytest.raises(InputError, match="there are bonferroni, holm and none"):
        corrected([0.1], "sidak")  # type: ignore[arg-type]
