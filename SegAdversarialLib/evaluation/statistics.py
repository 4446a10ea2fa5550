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
    given = _array(values)
    known = given[~np.isnan(given)]
    finite = known[np.isfinite(known)]
    mean, sd = _mean(finite), float(np.std(finite, ddof=1)) if finite.size > 1 else math.nan
    all_finite = finite.size == known.size
    return Summary(
        n=int(known.size),
        mean=mean if all_finite else _mean(known),
        sd=sd if all_finite else math.nan,
        median=_median(known),
        missing=int(given.size - known.size),
        infinite=int(known.size - finite.size),
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
    from scipy.stats import bootstrap

    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"An interval needs a level in (0, 1) and at least 1 resample; they are {level} and {resamples}.")
    known = _array(values)
    known = np.sort(known[~np.isnan(known)])
    if known.size < 2 or not np.isfinite(known).all():
        return Interval(math.nan, math.nan, level, method)
    if known[0] == known[-1]:
        return Interval(float(known[0]), float(known[0]), level, method)
    statistic = np.mean if of == "mean" else np.median
    batch = max(1, _BATCH // known.size)
    for chosen in dict.fromkeys((method, "percentile")):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an interval that is undefined is seen in its ends
            found = bootstrap(
                (known,), statistic, n_resamples=resamples, batch=batch, vectorized=True, confidence_level=level,
                method=chosen, random_state=np.random.default_rng(seed),
            ).confidence_interval  # fmt: skip
        if np.isfinite(found).all():
            break
    return Interval(float(found.low), float(found.high), level, chosen)


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
    changed = differences[differences != 0]
    statistic, p, method = _signed_rank(changed) if changed.size else (0.0, 1.0 if len(known) else math.nan, "exact")
    return Comparison(
        n=len(known),
        missing=len(names) - len(known),
        difference=_mean(differences),
        median_difference=_median(differences),
        statistic=statistic,
        p=p,
        effect=_rank_biserial(changed) if len(known) else math.nan,
        cohens_d=_cohens_d(differences),
        method=method,
        unchanged=len(known) - len(changed),
    )


_BATCH = 2_000_000
"""Numbers that a bootstrap holds at a time."""

_DECIMALS = 12
_MOST_EXACT, _MOST_PERMUTED = 50, 13


def _signed_rank(differences: np.ndarray) -> tuple[float, float, str]:
    """Statistic, two-sided p-value, and how it was found; no difference is zero."""
    from scipy.stats import permutation_test, wilcoxon

    tied = len(np.unique(np.abs(differences))) < len(differences)
    if tied and len(differences) <= _MOST_PERMUTED:
        ranks = _ranks(differences)

        def rises(signs: np.ndarray, axis: int) -> np.ndarray:
            total: np.ndarray = np.sum(np.where(signs > 0, np.abs(signs), 0), axis=axis)
            return total

        signed = np.sign(differences) * ranks
        p = permutation_test((signed,), rises, permutation_type="samples", vectorized=True, n_resamples=math.inf).pvalue
        return _smaller_sum(differences), float(p), "permutations"
    exact = not tied and len(differences) <= _MOST_EXACT
    # infinite differences have the largest ranks; only the ranks count
    signed = np.sign(differences) * _ranks(differences)
    found = wilcoxon(
        signed, zero_method="wilcox", correction=False, alternative="two-sided", method="exact" if exact else "approx"
    )
    return float(found.statistic), float(found.pvalue), "exact" if exact else "normal approximation"


def _ranks(differences: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(np.abs(differences))
    return ranks


def _smaller_sum(differences: np.ndarray) -> float:
    ranks = _ranks(differences)
    return float(min(ranks[differences > 0].sum(), ranks[differences < 0].sum()))


def _rank_biserial(differences: np.ndarray) -> float:
    """Kerby 2014: the share of ranks that rose minus that which fell; 0 where nothing changed."""
    if not differences.size:
        return 0.0
    ranks = _ranks(differences)
    return float((np.sign(differences) * ranks).sum() / ranks.sum())


def _cohens_d(differences: np.ndarray) -> float:
    if differences.size < 2 or not np.isfinite(differences).all():
        return math.nan
    mean, deviation = np.mean(differences), np.std(differences, ddof=1)
    if deviation <= 1e-12 * abs(mean) or deviation == 0:
        return 0.0 if mean == 0 else math.nan
    return float(mean / deviation)


def _array(values: Values) -> np.ndarray:
    given = list(values.values()) if isinstance(values, Mapping) else values
    return np.asarray(given, dtype=np.float64).ravel()


def _average(values: Sequence[float]) -> float:
    if any(math.isinf(x) for x in values):
        return math.inf if math.inf in values else -math.inf
    return math.fsum(values) / len(values)


def _mean(values: np.ndarray) -> float:
    """Exact to the last digit whatever the order; nan of nothing."""
    if not values.size:
        return math.nan
    return math.fsum(values) / values.size if np.isfinite(values).all() else float(np.sum(values))


def _median(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.median(values)) if values.size else math.nan
