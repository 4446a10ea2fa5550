"""Corrections for many tests at once: how small a p-value is once it is known how many others were looked at."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from SegAdversarialLib.errors import InputError

Correction = Literal["bonferroni", "holm", "none"]


def corrected(p_values: ArrayLike, method: Correction = "bonferroni", counts: ArrayLike | None = None) -> np.ndarray:
    """Corrected p-values: those not above alpha are significant, with a chance of at most alpha that any is so by chance.

    Both hold however the tests depend on each other. Holm's are never larger than Bonferroni's.

    Args:
        p_values: in [0, 1]; nan: not tested, which stays nan and counts as no test.
        method: "bonferroni": each is multiplied by the number of tests; "holm": the k-th smallest of m by m - k + 1, and no
            one falls below a smaller one (Holm 1979); "none": as they are.
        counts: how many tests have each of the p-values; one each unless given.

    Raises:
        InputError: a p-value is not in [0, 1], or there is no such method.
    """
    given = np.asarray(p_values, dtype=np.float64)
    tested = np.isfinite(given)
    if np.isinf(given).any() or ((given < 0) | (given > 1)).any():
        raise InputError("A p-value must lie between 0 and 1.")
    if method not in ("bonferroni", "holm", "none"):
        raise InputError(f'There is no correction "{method}"; there are bonferroni, holm and none.')
    times = np.ones(given.shape, np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
    result = given.copy()
    if method == "bonferroni":
        result[tested] = given[tested] * times[tested].sum()
    elif method == "holm":
        result[tested] = _holm(given[tested], times[tested])
    return np.minimum(result, 1.0)


def _holm(p_values: np.ndarray, times: np.ndarray) -> np.ndarray:
    order = np.argsort(p_values, kind="stable")
    # of equal p-values the first meets the strictest threshold, and the others follow it
    left = times.sum() - np.concatenate([[0], np.cumsum(times[order])[:-1]]) if order.size else times
    result = np.empty_like(p_values)
    # a p-value that no test has asks for nothing
    result[order] = np.maximum.accumulate(np.where(times[order] > 0, p_values[order] * left, 0.0))
    return result
