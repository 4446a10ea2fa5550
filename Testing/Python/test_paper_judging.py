"""The rule by which papers' claims are judged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_helpers import patients
from scipy.stats import wilcoxon

from SegAdversarialLib.studies.papers import judging
from SegAdversarialLib.studies.papers.judging import Clause, Comparison, above_zero, claim, greater, guarded, rising, same

ABOVE = Clause("A is", ("above", "below"), "B")


def by(values: list[float]) -> dict[str, float]:
    return dict(zip(patients(len(values)), values))


def test_a_difference_beyond_chance_is_shown_and_the_other_way_round_is_not() -> None:
    values = [0.10, 0.12, 0.08, 0.2, 0.11, 0.09]
    assert above_zero(by(values), ABOVE).shown is True
    turned = above_zero(by([-x for x in values]), ABOVE)
    assert turned.shown is False and "the other way round" in turned.evidence


def test_a_difference_within_chance_is_not_shown() -> None:
    found = above_zero(by([0.3, -0.1, 0.2, -0.25, 0.1, -0.05, 0.15, -0.2]), ABOVE)
    assert found.shown is False and "within chance" in found.evidence


def test_no_difference_at_all_is_within_chance() -> None:
    assert above_zero(by([0.0] * 8), ABOVE).shown is False


def test_too_few_patients_can_show_nothing_whatever_comes_out() -> None:
    least = 2 * 0.5 ** (judging.FEWEST - 1)
    assert least > judging.LEVEL >= least / 2
    found = above_zero(by([0.9] * (judging.FEWEST - 1)), ABOVE)
    assert found.shown is None and "n = 5" in found.evidence


def test_what_is_behind_each_clause_alike_is_said_once() -> None:
    few, many = by([0.2] * 3), by([0.2, 0.1, 0.3, 0.4, 0.15, 0.25])
    other = Clause("C is", ("above", "below"), "D")
    assert claim("c", "s", [above_zero(few, ABOVE), above_zero(few, other)]).evidence == (
        "A is above B by 0.2; C is above D by 0.2 (each: n = 3, fewer than 6)"
    )
    assert claim("c", "s", [above_zero(few, ABOVE)]).evidence == "A is above B by 0.2 (n = 3, fewer than 6)"
    unlike = claim("c", "s", [above_zero(many, ABOVE), above_zero({x: -y for x, y in many.items()}, other)])
    assert unlike.evidence.count("(n = 6") == 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-3), min_size=1, max_size=9))
def test_the_word_says_the_direction_and_the_number_the_size(values: list[float]) -> None:
    one, mean = by(values), float(np.mean(values))
    other, expected = dict.fromkeys(one, 0.0), f"A is {'below' if mean < 0 else 'above'} B by {abs(mean):.3g} ("
    for found in (above_zero(one, ABOVE), greater(one, other, ABOVE), same(one, other, ABOVE)):
        assert found.evidence.startswith(expected), found.evidence


def test_a_trend_is_told_by_its_word_and_its_size() -> None:
    falling = [(level, {x: 1 - level / 10 - n / 100 for n, x in enumerate(patients(7))}) for level in (1.0, 2.0, 3.0)]
    found = rising(falling, Clause("Dice", ("rises", "falls"), "with T"))
    assert found.evidence.startswith("Dice falls with T, |mean tau| = 1 (n = 7, p = 0.016: the other way round")


def test_missing_values_are_no_patients() -> None:
    assert above_zero(by([0.1, 0.2, 0.3, 0.4, 0.5, math.nan]), ABOVE).shown is None
    assert above_zero({}, ABOVE).shown is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=6, max_size=12, unique_by=abs).filter(lambda x: 0 not in x))
def test_the_rule_is_wilcoxon_s_two_sided_and_the_sign_of_the_mean(numbers: list[int]) -> None:
    p = wilcoxon(numbers, method="exact").pvalue
    assert above_zero(by([x / 1000 for x in numbers]), ABOVE).shown is bool(p <= 0.05 and np.mean(numbers) > 0)


def test_only_patients_with_both_are_compared() -> None:
    more, less = by([0.9, 0.8, 0.85, 0.7, 0.75, 0.95, 0.6]), by([0.5, 0.5, 0.4, 0.3, 0.2, 0.6])
    found = greater(more, less, ABOVE)
    assert found.shown is True and "n = 6" in found.evidence


def test_two_are_the_same_only_where_the_margin_is_kept_beyond_chance() -> None:
    one = by([0.80, 0.82, 0.78, 0.85, 0.81, 0.79, 0.83, 0.80])
    near = {x: value + shift for (x, value), shift in zip(one.items(), [0.01, -0.01, 0.02, -0.02, 0.005, 0.0, 0.015, -0.01])}
    far = {x: value - 0.2 for x, value in one.items()}
    wild = {x: value + shift for (x, value), shift in zip(one.items(), [0.3, -0.3, 0.2, -0.2, 0.25, -0.25, 0.1, -0.1])}
    assert same(one, near, ABOVE).shown is True
    assert same(one, far, ABOVE).shown is False
    assert same(one, wild, ABOVE).shown is False, "a mean difference of 0 is no proof that they are the same"
    few = patients(5)
    assert same({x: one[x] for x in few}, {x: near[x] for x in few}, ABOVE).shown is None


def test_a_trend_is_each_patient_s_own() -> None:
    rise = [(level, {x: 0.1 * n + level / 10 for n, x in enumerate(patients(7))}) for level in (1.0, 2.0, 3.0)]
    assert rising(rise, ABOVE).shown is True
    assert rising([(-level, values) for level, values in rise], ABOVE).shown is False
    assert rising(rise[:1], ABOVE).shown is None
    flat = [(level, dict.fromkeys(patients(7), 0.5)) for level in (1.0, 2.0)]
    assert rising(flat, ABOVE).shown is False


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        ([True, True], "holds"),
        ([True, False], "does not hold"),
        ([True, None], "not testable"),
        ([False, None], "does not hold"),
        ([None], "not testable"),
        ([], "not testable"),
    ],
)
def test_a_claim_holds_if_all_its_comparisons_are_shown(shown: list[bool | None], verdict: str) -> None:
    made = [Comparison(x, f"clause {n}") for n, x in enumerate(shown)]
    assert claim("It is so.", "Table 1", made).verdict == verdict


def test_nothing_is_said_of_a_network_that_does_not_do_its_task() -> None:
    (reason,) = guarded(by([0.1] * 8), "Dice of the network", lambda: [Comparison(True, "it fell")])
    assert reason.shown is None and "0.10" in reason.evidence
    assert guarded(by([0.7] * 8), "Dice", lambda: [Comparison(True, "it fell")]) == [Comparison(True, "it fell")]
