"""Means, intervals and tests over patients, against SciPy, statsmodels and hand computation."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, bootstrap, wilcoxon

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.statistics import by_patient, interval, intervals, paired, summary

numbers = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 6))
some = st.lists(numbers, min_size=2, max_size=12)


def named(values: list[float]) -> dict[str, float]:
    return {f"p{n}": x for n, x in enumerate(values)}


def test_summary_of_a_hand_computed_cohort() -> None:
    found = summary([0.2, 0.4, 0.9, math.nan])
    assert (found.n, found.missing, found.infinite) == (3, 1, 0)
    assert found.mean == pytest.approx(0.5)
    assert found.sd == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2))
    assert found.median == pytest.approx(0.4)
    assert summary([]).n == 0 and math.isnan(summary([]).mean)
    assert math.isnan(summary([0.3]).sd)


def test_a_missed_structure_is_never_averaged_away() -> None:
    """MONAI's mean of the HD95 of a perfect and a missed structure is 0.0, as if both were perfect."""
    from monai.metrics import HausdorffDistanceMetric

    reference = torch.zeros(2, 1, 8, 8, 8)
    reference[:, :, 2:5, 2:5, 2:5] = 1
    answer = reference.clone()
    answer[1] = 0
    metric = HausdorffDistanceMetric(include_background=True, percentile=95)
    metric(answer, reference)
    assert float(metric.aggregate()) == 0.0
    ours = summary([0.0, math.inf])
    assert (ours.mean, ours.median, ours.n, ours.infinite) == (math.inf, math.inf, 2, 1)
    assert ours.finite_mean == 0.0 and math.isnan(ours.sd)


def test_the_median_takes_a_missed_structure_for_the_largest() -> None:
    assert summary([3.0, math.inf, 1.0]).median == 3.0
    assert summary([math.inf, math.inf, 1.0]).median == math.inf


def test_a_patient_counts_once_however_many_cases_and_repeats_there_are() -> None:
    found = by_patient(["a", "a", "a", "b"], ["a1", "a1", "a2", "b1"], [0.0, 1.0, 0.9, 0.3])
    assert found == {"a": pytest.approx(0.7), "b": pytest.approx(0.3)}  # repeats first, then cases
    lost = by_patient("aabbcc", ["1", "2"] * 3, [1.0, math.inf, 1.0, math.nan, math.inf, math.nan])
    assert lost["a"] == lost["c"] == math.inf and math.isnan(lost["b"])
    assert math.isnan(by_patient(["a"], ["1"], [None])["a"])  # type: ignore[list-item]


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("of", ["mean", "median"])
def test_intervals_are_scipys(method: str, of: str) -> None:
    values = np.sort(np.random.default_rng(1).random(15))
    expected = bootstrap(
        (values,), getattr(np, of), method=method, n_resamples=500, rng=np.random.default_rng(7)
    ).confidence_interval
    found = interval(values[::-1], of=of, method=method, resamples=500, seed=7)  # type: ignore[arg-type]
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.method == method


@given(some, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_an_interval_holds_the_mean_and_does_not_know_the_order(values: list[float], random: object) -> None:
    found = interval(named(values), resamples=300)
    mean = summary(values).mean
    assert found.low <= mean + 1e-9 and mean <= found.high + 1e-9
    assert min(values) - 1e-9 <= found.low and found.high <= max(values) + 1e-9
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert interval(shuffled, resamples=300) == found


def test_many_intervals_at_once_are_the_same_as_one_by_one() -> None:
    drawn = np.random.default_rng(0)
    many = [list(drawn.random(n)) for n in (2, 5, 5, 9, 5)] + [[0.5], [0.1, math.inf], [0.2, 0.2], [0.3, math.nan, 0.5]]
    together = intervals(many, resamples=200)
    for values, found in zip(many, together):
        np.testing.assert_allclose([found.low, found.high], [*_ends(values)], rtol=1e-12)
    assert math.isnan(together[5].low) and math.isnan(together[6].high)
    assert (together[7].low, together[7].high) == (0.2, 0.2)


def _ends(values: list[float]) -> tuple[float, float]:
    found = interval(values, resamples=200)
    return found.low, found.high


def test_an_undefined_bca_interval_says_that_it_is_a_percentile_interval() -> None:
    found = interval([0.0, 0.0, 0.0, 0.0, 1.0], of="median")
    assert found.method == "percentile" and (found.low, found.high) == (0.0, 1.0)


def test_levels_and_resamples_that_make_no_sense_are_refused() -> None:
    for wrong in ({"level": 1.0}, {"level": 0.0}, {"resamples": 0}):
        with pytest.raises(InputError, match="level in"):
            interval([0.1, 0.2], **wrong)  # type: ignore[arg-type]


def test_wilcoxon_of_a_hand_computed_cohort() -> None:
    """Differences -1, -2, -3, 4 and 0: rank 4 rises; 7 of the 16 choices of signs have rises that add up to 4 or less."""
    found = paired(named([5, 5, 5, 5, 5]), named([4, 3, 2, 9, 5]))
    assert (found.n, found.unchanged, found.statistic, found.method) == (5, 1, 4.0, "exact")
    assert found.p == pytest.approx(14 / 16)
    assert found.effect == pytest.approx((4 - 6) / 10)
    assert found.difference == pytest.approx(-0.4) and found.median_difference == -1
    deviation = np.std([-1, -2, -3, 4, 0], ddof=1)
    assert found.cohens_d == pytest.approx(-0.4 / deviation)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_p_values_are_those_of_scipy(pairs: list[tuple[float, float]]) -> None:
    before, after = (named(list(x)) for x in zip(*pairs))
    differences = np.round([after[x] - before[x] for x in before], 12)
    assume((differences != 0).any())
    found = paired(before, after)
    sizes = np.abs(differences[differences != 0])
    tied = len(set(sizes)) < len(sizes)
    method = PermutationMethod(n_resamples=np.inf) if tied else "exact"  # type: ignore[arg-type]
    expected = wilcoxon(differences[differences != 0], zero_method="wilcox", method=method)
    assert found.p == pytest.approx(expected.pvalue) and found.statistic == pytest.approx(expected.statistic)
    assert found.method == ("permutations" if tied else "exact")


def test_large_cohorts_take_the_normal_approximation() -> None:
    drawn = np.random.default_rng(3)
    for before, after in (
        (drawn.random(60), drawn.random(60)),  # no ties, more than 50
        (drawn.integers(0, 4, 20) / 4, drawn.integers(0, 4, 20) / 4),  # ties, more than 13
    ):
        found = paired(named(list(before)), named(list(after)))
        expected = wilcoxon(after - before, zero_method="wilcox", correction=False, method="approx")
        assert found.method == "normal approximation" and found.p == pytest.approx(expected.pvalue)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_other_way_round_is_the_same_test_with_the_other_sign(pairs: list[tuple[float, float]], random: object) -> None:
    before, after = (named(list(x)) for x in zip(*pairs))
    there, back = paired(before, after), paired(after, before)
    assert there.p == back.p and 0 < there.p <= 1
    assert there.effect == pytest.approx(-back.effect) and abs(there.effect) <= 1 + 1e-12
    names = list(before)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert paired({x: before[x] for x in names}, after) == there


def test_patients_who_lack_a_value_are_counted_and_left_out() -> None:
    found = paired({"a": 1.0, "b": 2.0, "c": math.nan, "d": 4.0}, {"a": 0.5, "b": 1.0, "c": 1.0, "e": 1.0})
    assert (found.n, found.missing) == (2, 3)
    nobody = paired({}, {})
    assert nobody.n == 0 and math.isnan(nobody.p)
    same = paired({"a": 1.0}, {"a": 1.0})
    assert (same.p, same.effect, same.unchanged) == (1.0, 0.0, 1)


def test_a_structure_that_is_lost_is_the_largest_change_of_a_distance() -> None:
    found = paired(named([1, 1, 1, math.inf, 1]), named([2, 3, 4, math.inf, math.inf]))
    assert (found.unchanged, found.effect, found.difference) == (1, 1.0, math.inf)
    assert found.p == wilcoxon([1, 2, 3, 99]).pvalue and math.isnan(found.cohens_d)


def test_the_page_says_what_is_so(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "docs/statistics.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0.525 Interval(low=") and lines[1:] == ["0.03125", "[0.03 0.04 0.04]", "inf"]
