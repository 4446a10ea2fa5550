"""What a cohort says: means, intervals and tests in which the patient is the unit.

A value belongs to a patient, never to a slice or to one of several scans: what a patient has more than one of is averaged
first (`by_patient`). A value may be missing (nan: a distance between structures of which neither is there) or infinite (the
distance to a structure that was missed); both are counted, and neither is averaged away.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from SegAdversarialLib.errors import InputError

Values = Mapping[str, float] | ArrayLike
"""One value for each patient: by name, or in any order."""


@dataclass(frozen=True)
class Summary:
    """Values of patients in a few numbers.

    Attributes:
        n: patients with a value, infinite ones included.
        mean: arithmetic mean; infinite as soon as one value is.
        sd: sample standard deviation (n - 1); nan with fewer than two values, or an infinite one.
        median: infinite values count as larger than all others.
        missing: patients without a value (nan).
        infinite: patients with an infinite value: of a distance, those in whom the structure was missed.
        finite_mean, finite_sd: of the finite values only; to be shown with `infinite` beside them.
    """

    n: int
    mean: float
    sd: float
    median: float
    missing: int
    infinite: int
    finite_mean: float
    finite_sd: float


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval over patients; nan where there is none (fewer than two patients, infinite values)."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True)
class Comparison:
    """The same patients under two conditions; differences are after - before.

    Attributes:
        n: patients with a value under both.
        missing: patients without a value under one of them; left out.
        difference: mean of the differences; infinite, or nan, where a value is.
        median_difference: their median.
        statistic: Wilcoxon's: the smaller of the sums of ranks of rises and falls.
        p: two-sided; 1 where no patient changed; nan without patients.
        effect: matched-pairs rank-biserial correlation in [-1, 1]: -1 where all fell.
        cohens_d: mean difference in standard deviations of the differences (d_z); nan where it is undefined.
        method: how p was found: "exact", "permutations" or "normal approximation".
        unchanged: patients whose value did not change; they have no sign, and take no part in the test.
    """

    n: int
    missing: int
    difference: float
    median_difference: float
    statistic: float
    p: float
    effect: float
    cohens_d: float
    method: str
    unchanged: int


def by_patient(patients: Iterable[str], cases: Iterable[str], values: Iterable[float]) -> dict[str, float]:
    """One value for each patient: repeats of a case are averaged first, then a patient's cases.

    An infinite value makes the patient's infinite; else a missing one (nan or None) makes it missing.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for patient, case, value in zip(patients, cases, values):
        found.setdefault(patient, {}).setdefault(case, []).append(math.nan if value is None else float(value))
    return {patient: _average([_average(x) for x in inside.values()]) for patient, inside in found.items()}


def summary(values: Values) -> Summary:
    """Mean, standard deviation and median over patients, and how many values are missing or infinite."""
    given = _array(values).tolist()  # of a few patients plain numbers are faster than arrays
    known = [x for x in given if not math.isnan(x)]
    finite = [x for x in known if not math.isinf(x)]
    mean, sd = _mean(finite), _deviation(finite)
    all_finite = len(finite) == len(known)
    return Summary(
        n=len(known),
        mean=mean if all_finite else _mean(known),
        sd=sd if all_finite else math.nan,
        median=_median(known),
        missing=len(given) - len(known),
        infinite=len(known) - len(finite),
        finite_mean=mean,
        finite_sd=sd,
    )


def interval(
    values: Values,
    *,
    of: Literal["mean", "median"] = "mean",
    level: float = 0.95,
    method: Literal["BCa", "percentile"] = "BCa",
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A bootstrap confidence interval of the mean or median: patients are drawn with replacement (Efron & Tibshirani 1993).

    The order of the patients does not matter. Missing values are left out.

    Args:
        of: what the interval is of.
        level: its coverage, in (0, 1).
        method: "BCa": bias-corrected and accelerated; where that is undefined (a median whose jackknife does not move) the
            percentile interval, as the result's `method` says.
        resamples: how often the cohort is drawn.
        seed: of the draws.

    Raises:
        InputError: the level is not in (0, 1), or there are no resamples.
    """
    return intervals([values], of=of, level=level, method=method, resamples=resamples, seed=seed)[0]


def intervals(
    many: Iterable[Values],
    *,
    of: Literal["mean", "median"] = "mean",
    level: float = 0.95,
    method: Literal["BCa", "percentile"] = "BCa",
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """`interval` of each of many conditions, in a fraction of the time: those with as many patients are drawn together."""
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"An interval needs a level in (0, 1) and at least 1 resample; they are {level} and {resamples}.")
    given = [np.sort(x[~np.isnan(x)]) for x in map(_array, many)]
    found: list[Interval] = [Interval(math.nan, math.nan, level, method)] * len(given)
    sizes: dict[int, list[int]] = {}
    for place, values in enumerate(given):
        if values.size < 2 or not np.isfinite(values).all():
            continue
        if values[0] == values[-1]:
            found[place] = Interval(float(values[0]), float(values[0]), level, method)
        else:
            sizes.setdefault(values.size, []).append(place)
    for places in (x[n : n + _TOGETHER] for x in sizes.values() for n in range(0, len(x), _TOGETHER)):
        left = places
        for chosen in dict.fromkeys((method, "percentile")):
            ends = _bootstrap(np.stack([given[x] for x in left]), of, level, chosen, resamples, seed)
            for place, (low, high) in zip(left, ends):
                found[place] = Interval(float(low), float(high), level, chosen)
            left = [x for x in left if math.isnan(found[x].low + found[x].high)]
            if not left:
                break
    return found


def _bootstrap(values: np.ndarray, of: str, level: float, method: str, resamples: int, seed: int) -> np.ndarray:
    """The ends (conditions, 2) of the intervals of values (conditions, patients); nan where they are undefined."""
    from scipy.stats import bootstrap

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an interval that is undefined is seen in its ends
        ends = bootstrap(
            (values,), np.mean if of == "mean" else np.median, axis=-1, n_resamples=resamples, vectorized=True,
            batch=max(1, _BATCH // values.size), confidence_level=level, method=method,
            random_state=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return np.stack([np.atleast_1d(ends.low), np.atleast_1d(ends.high)], 1)


def paired(before: Mapping[str, float], after: Mapping[str, float]) -> Comparison:
    """Compare two conditions on the same patients: Wilcoxon's signed-rank test, two-sided, with effect sizes.

    Patients whose value does not change are discarded, as Wilcoxon did (`zero_method="wilcox"`). The p-value is exact up to
    50 changed patients without ties, by all permutations of signs up to 13 with ties, and else the normal approximation with
    correction for ties and none for continuity.

    Args:
        before, after: one value for each patient, by name.
    """
    names = sorted(set(before) | set(after))
    pairs = np.array([(before.get(x, math.nan), after.get(x, math.nan)) for x in names], dtype=np.float64).reshape(-1, 2)
    known = pairs[~np.isnan(pairs).any(1)]
    with np.errstate(invalid="ignore"):
        differences = np.where(known[:, 0] == known[:, 1], 0.0, known[:, 1] - known[:, 0])
    # what rounding leaves of equal differences must not decide their ranks
    differences = np.round(differences, _DECIMALS)
    ranks = _ranks(differences[differences != 0])
    rises, falls = ranks[ranks > 0].sum(), -ranks[ranks < 0].sum()
    p, method = _signed_rank(ranks) if ranks.size else (1.0 if len(known) else math.nan, "exact")
    changes = differences.tolist()
    return Comparison(
        n=len(known),
        missing=len(names) - len(known),
        difference=_mean(changes),
        median_difference=_median(changes),
        statistic=float(min(rises, falls)),
        p=p,
        effect=float((rises - falls) / (rises + falls)) if ranks.size else 0.0 if len(known) else math.nan,
        cohens_d=_cohens_d(changes),
        method=method,
        unchanged=len(known) - len(ranks),
    )


_BATCH = 2_000_000
"""Numbers that a bootstrap draws at a time."""

_TOGETHER = 200
"""Conditions whose resampled means are held at a time."""

_DECIMALS = 12
_MOST_EXACT, _MOST_PERMUTED = 50, 13


def _ranks(differences: np.ndarray) -> np.ndarray:
    """The ranks of the sizes of differences other than 0, with their signs; an infinite one has the largest."""
    from scipy.stats import rankdata

    ranks: np.ndarray = np.sign(differences) * rankdata(np.abs(differences))
    return ranks


def _signed_rank(ranks: np.ndarray) -> tuple[float, str]:
    """Two-sided p-value of signed ranks, and how it was found."""
    from scipy.stats import permutation_test, wilcoxon

    if len(np.unique(np.abs(ranks))) == len(ranks):
        return _untied(len(ranks), int(ranks[ranks > 0].sum()))
    if len(ranks) > _MOST_PERMUTED:
        found = wilcoxon(ranks, zero_method="wilcox", correction=False, alternative="two-sided", method="approx")
        return float(found.pvalue), "normal approximation"

    def rises(signed: np.ndarray, axis: int) -> np.ndarray:
        total: np.ndarray = np.sum(np.maximum(signed, 0), axis=axis)
        return total

    permuted = permutation_test((ranks,), rises, permutation_type="samples", vectorized=True, n_resamples=math.inf)
    return float(permuted.pvalue), "permutations"


@lru_cache(maxsize=4096)
def _untied(count: int, rises: int) -> tuple[float, str]:
    """The p-value of the ranks 1 to `count` of which those that rose add up to `rises`: it depends on nothing else."""
    from scipy.stats import wilcoxon

    ranks, left = -np.arange(1.0, count + 1), rises
    for rank in range(count, 0, -1):
        if rank <= left:
            ranks[rank - 1], left = rank, left - rank
    exact = count <= _MOST_EXACT
    method = "exact" if exact else "approx"
    found = wilcoxon(ranks, zero_method="wilcox", correction=False, alternative="two-sided", method=method)
    return float(found.pvalue), "exact" if exact else "normal approximation"


def _cohens_d(differences: list[float]) -> float:
    mean, deviation = _mean(differences), _deviation(differences)
    if not deviation > 1e-12 * abs(mean):  # nan, too
        return 0.0 if mean == deviation == 0 else math.nan
    return mean / deviation


def _array(values: Values) -> np.ndarray:
    given = list(values.values()) if isinstance(values, Mapping) else values
    return np.asarray(given, dtype=np.float64).ravel()


def _average(values: Sequence[float]) -> float:
    if any(math.isinf(x) for x in values):
        return math.inf if math.inf in values else -math.inf
    return math.fsum(values) / len(values)


def _mean(values: Sequence[float]) -> float:
    """The same whatever the order; nan of nothing, and of infinities of both signs."""
    if any(map(math.isinf, values)):
        return sum(values)
    return math.fsum(values) / len(values) if values else math.nan


def _deviation(values: Sequence[float]) -> float:
    """Of a sample; nan of fewer than two values, or an infinite one."""
    mean = _mean(values)
    if len(values) < 2 or math.isinf(mean):
        return math.nan
    return math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1))


def _median(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    if not ordered:
        return math.nan
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
