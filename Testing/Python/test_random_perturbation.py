"""Cheng and Ji's universal random perturbation against their equation 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import toy_case
from test_attacks import toy_model

from SegAdversarialLib import attacks


def test_it_is_universal() -> None:
    """One draw for a grid, a channel and a seed: whatever the subject, the network, and the other channels."""
    attack = attacks.UniversalRandomPerturbation(epsilon=15, radius=40)
    one, other = toy_case(seed=1), toy_case(seed=2)
    first = attack(None, one).perturbation.additive
    np.testing.assert_allclose(attack(toy_model(), other).perturbation.additive, first, atol=1e-4)
    alone = attacks.UniversalRandomPerturbation(epsilon=15, radius=40, channels="B")(None, one).perturbation.additive
    np.testing.assert_array_equal(alone[1], first[1])
    rest = first - 15 * np.sign(first)
    assert set(np.unique(np.sign(first))) == {-1, 1}
    assert (np.linalg.norm(rest.reshape(2, -1), axis=1) <= 40 * (1 + 1e-3)).all()
    assert np.linalg.norm(rest[0]) == pytest.approx(40, rel=0.01)  # in 4032 dimensions the ball is nearly all shell


@pytest.mark.parametrize(("epsilon", "radius"), [(15.0, 15.0), (3.0, 0.0), (0.0, 40.0), (1.0, 30.0)])
def test_it_is_the_papers_formula(epsilon: float, radius: float) -> None:
    """Equation 1 by NumPy from vec1 and vec2 as drawn: epsilon * sgn(vec1) + rad * vec2, vec2 inside the unit L2 ball."""
    case = toy_case((6, 7, 8)).with_image(np.zeros((2, 6, 7, 8), np.float32))
    found = attacks.UniversalRandomPerturbation(epsilon=epsilon, radius=radius, seed=3)(None, case).perturbation.additive
    attack = attacks.UniversalRandomPerturbation(epsilon=1, radius=0, seed=3)
    signs = attack(None, case).perturbation.additive
    ball = attack.model_copy(update={"epsilon": 0.0, "radius": 1.0})(None, case).perturbation.additive.astype(np.float64)
    assert set(np.unique(signs)) == {-1, 1} and (np.abs(signs.mean((1, 2, 3))) < 4 / math.sqrt(signs[0].size)).all()
    lengths = np.linalg.norm(ball.reshape(2, -1), axis=1)
    assert (lengths <= 1 + 1e-6).all() and (lengths > 0.9).all()
    np.testing.assert_allclose(found, epsilon * signs + radius * ball, rtol=1e-5, atol=1e-5 * (epsilon + radius))
    assert np.abs(found).max() <= epsilon + radius


def test_the_vector_fills_the_ball_evenly() -> None:
    """In n voxels a uniform vector's length to the n-th power is uniform, and its direction favours none (Kolmogorov)."""
    stats = pytest.importorskip("scipy.stats")
    case = toy_case((2, 2, 2)).with_image(np.zeros((2, 2, 2, 2), np.float32))
    drawn = np.stack(
        [
            attacks.UniversalRandomPerturbation(epsilon=0, radius=1, seed=seed)(None, case).perturbation.additive[0].ravel()
            for seed in range(300)
        ]
    ).astype(np.float64)
    lengths = np.linalg.norm(drawn, axis=1)
    assert stats.kstest(lengths**8, "uniform").pvalue > 0.01
    # of a uniform direction in n dimensions, (x + 1) / 2 is Beta((n - 1) / 2, (n - 1) / 2)
    assert stats.kstest((drawn[:, 0] / lengths + 1) / 2, "beta", args=(3.5, 3.5)).pvalue > 0.01
