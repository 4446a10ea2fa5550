"""What is brought back are interpolated probabilities, exactly, also where they are too near 0 or 1 to be written down."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from SegAdversarialLib.model.probabilities import Places, interpolate_probabilities

Head = Literal["softmax", "sigmoid"]


def places_at(coordinates: np.ndarray, count: int) -> Places:
    inside = coordinates.clip(0, count - 1)
    low = np.floor(inside).astype(int)
    return low, np.minimum(low + 1, count - 1), inside - low


def probabilities(logits: torch.Tensor, head: Head) -> torch.Tensor:
    return logits.softmax(0) if head == "softmax" else logits.sigmoid()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    wanted=st.tuples(*[st.integers(1, 7)] * 3),
    kept=st.integers(-1, 2),
    head=st.sampled_from(["softmax", "sigmoid"]),
    seed=st.integers(0, 100),
)
def test_they_are_interpolated_linearly(
    shape: tuple[int, int, int], wanted: tuple[int, int, int], kept: int, head: Head, seed: int
) -> None:
    """As scipy interpolates the probabilities, whatever the grids, at the edges too."""
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(generator.normal(0, 3, (3, *shape)))
    lines = [
        np.arange(n, dtype=float) if axis == kept else generator.uniform(-1, n, m)
        for axis, (n, m) in enumerate(zip(shape, wanted))
    ]
    places = [None if axis == kept else places_at(x, n) for axis, (x, n) in enumerate(zip(lines, shape))]
    found = probabilities(interpolate_probabilities(logits, head, places), head).numpy()
    grid = np.meshgrid(*lines, indexing="ij")
    for channel, expected in zip(found, probabilities(logits, head).numpy()):
        np.testing.assert_allclose(channel, map_coordinates(expected, grid, order=1, mode="nearest"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_gradient(head: Head) -> None:
    """Against numerical differences, and against autograd through the probabilities themselves."""
    generator = np.random.default_rng(1)
    logits = torch.from_numpy(generator.normal(0, 2, (3, 3, 2, 4))).requires_grad_(True)
    places = [places_at(generator.uniform(-0.5, n, 5), n) if n != 2 else None for n in (3, 2, 4)]
    assert torch.autograd.gradcheck(lambda x: interpolate_probabilities(x, head, places), logits)
    weights = torch.from_numpy(generator.normal(0, 1, (3, 5, 2, 5)))
    (found,) = torch.autograd.grad(
        (probabilities(interpolate_probabilities(logits, head, places), head) * weights).sum(), logits
    )
    mixed = probabilities(logits, head)
    for axis, x in enumerate(places, 1):
        if x is not None:
            low, high, share = map(torch.from_numpy, x)
            share = share.reshape([-1 if n == axis else 1 for n in range(4)])
            mixed = mixed.index_select(axis, low) * (1 - share) + mixed.index_select(axis, high) * share
    (expected,) = torch.autograd.grad((mixed * weights).sum(), logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_certainty_keeps_its_gradient(head: Head) -> None:
    """A thousand above or below, where single precision knows no probability but 0 and 1."""
    logits = torch.tensor([[1000.0, 998.0], [-1000.0, -1003.0]]).reshape(2, 1, 1, 2).requires_grad_(True)
    found = interpolate_probabilities(logits, head, [None, None, places_at(np.array([0.5]), 2)])
    assert torch.isfinite(found).all()
    target = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    if head == "softmax":
        loss = -(target * found.log_softmax(0)).sum()
    else:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(found, target, reduction="sum")
    assert loss.item() == pytest.approx(2000 - 2 if head == "softmax" else 2000 - 1, rel=2e-3)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient.sum((1, 2, 3)).abs(), torch.ones(2))  # all that the loss asks for arrives
