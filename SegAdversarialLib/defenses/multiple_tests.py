"""Binomial tests for millions of voxels at once, with Holm's correction.

A test is answered by a count: how many of n noisy copies say what was guessed. There are only n + 1 counts, so that the tests
are a histogram, and which of them hold is a single number: the least count that is enough.
"""

from __future__ import annotations

import math

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.multiple_tests import corrected


def p_values(n: int, tau: float) -> np.ndarray:
    """The chance of at least k of n votes where each copy votes so with the probability tau: (n + 1), for k from 0 to n.

    They are the p-values of the one-sided exact binomial test of "the probability is at most tau".
    """
    from scipy.stats import binom

    found: np.ndarray = binom.sf(np.arange(n + 1) - 1, n, tau)
    return found


def enough_votes(histogram: np.ndarray, tau: float, alpha: float) -> int:
    """The least count of votes at which a test is rejected, that is, at which the guess is certified.

    Holm's step-down procedure over all tests: with a probability of at least 1 - alpha not one of those that are certified is
    wrong, however the tests depend on each other (Holm 1979; Fischer et al. 2021, section 5).

    Args:
        histogram: (n + 1), how many tests have each count from 0 to n.
        tau: what the probability must be above, in (0, 1).
        alpha: chance of any wrong certificate, in (0, 1).

    Returns:
        The count; n + 1 where no test is rejected.
    """
    rejected = corrected(p_values(len(histogram) - 1, tau), "holm", histogram) <= alpha
    certified = np.flatnonzero(rejected & (np.asarray(histogram) > 0))
    return int(certified[0]) if certified.size else len(histogram)


def fewest_draws(tests: int, tau: float, alpha: float) -> int:
    """The least n with which anything can be certified: all n copies agree by chance with tau^n, which must not be above
    alpha / tests."""
    n = max(1, math.ceil(math.log(alpha / tests) / math.log(tau)))
    # the quotient of two logarithms may lie on either side of a whole number
    while n > 1 and tests * p_values(n - 1, tau)[-1] <= alpha:
        n -= 1
    while tests * p_values(n, tau)[-1] > alpha:
        n += 1
    return n


def check_tests(n: int, n0: int, tau: float, alpha: float) -> None:
    """Refuse numbers with which there is no certificate, whatever the case.

    Raises:
        InputError: they are.
    """
    if n < 1 or n0 < 1:
        raise InputError(f"There must be at least 1 draw to guess (n0) and 1 to count (n); they are {n0} and {n}.")
    if not 0 < alpha < 1:
        raise InputError(f"Alpha, the chance of a wrong certificate, must be above 0 and below 1; it is {alpha}.")
    if not 0.5 < tau < 1:
        raise InputError(
            f"Tau must be above 0.5, where the radius is 0, and below 1, which no number of draws can show; it is {tau}."
        )


def check_draws(n: int, tests: int, tau: float, alpha: float) -> None:
    """Refuse so few draws that nothing could be certified even if all of them agreed everywhere.

    Raises:
        InputError: they are too few; it says how many are needed.
    """
    fewest = fewest_draws(tests, tau, alpha)
    if n < fewest:
        raise InputError(
            f"With n = {n} draws nothing can be certified: even if all agree, {tau}^{n} is above alpha / {tests} tests "
            f"({alpha / tests:.2g}); give at least n = {fewest}."
        )
