"""Interpolation as matrices: laws that hold for all sizes, scikit-image's numbers, and the exact gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from SegAdversarialLib import Preprocessing
from SegAdversarialLib.model.resampling import Axis, Interpolation, Order

COUNTS = st.integers(1, 24)
ORDERS = st.sampled_from([0, 1, 3])
AXES = st.builds(Axis, COUNTS, COUNTS, st.floats(0.2, 5), st.booleans(), ORDERS, st.booleans())


def over_the_same_extent(have: int, want: int, order: Order) -> Axis | None:
    return None if have == want else Axis(have, want, have / want, False, order)


@given(AXES)
@settings(deadline=None, max_examples=100)
def test_each_wanted_voxel_is_a_mean(axis: Axis) -> None:
    assert axis.matrix.shape == (axis.wanted, axis.count)
    np.testing.assert_allclose(axis.matrix.sum(1), 1, atol=1e-9)


@given(AXES)
@settings(deadline=None, max_examples=100)
def test_places_are_the_matrix_in_other_words(axis: Axis) -> None:
    """Of linear interpolation two voxels and a share; of the nearest voxel one, unless it lies in the middle of two."""
    straight = Axis(axis.count, axis.wanted, axis.step, axis.centers, 1, axis.is_reversed)
    low, high, share = straight.linear_places()
    matrix = np.zeros((axis.wanted, axis.count))
    np.add.at(matrix, (np.arange(axis.wanted), low), 1 - share)
    np.add.at(matrix, (np.arange(axis.wanted), high), share)
    np.testing.assert_allclose(matrix, straight.matrix, atol=1e-9)
    nearest = Axis(axis.count, axis.wanted, axis.step, axis.centers, 0, axis.is_reversed)
    found = nearest.nearest().clip(0, axis.count - 1)
    clear = abs(share - 0.5) > 1e-6
    np.testing.assert_array_equal(found[clear], nearest.matrix.argmax(1)[clear])


@given(AXES)
@settings(deadline=None, max_examples=50)
def test_counting_from_the_other_end(axis: Axis) -> None:
    there = Axis(axis.count, axis.wanted, axis.step, axis.centers, axis.order)
    back = Axis(axis.count, axis.wanted, axis.step, axis.centers, axis.order, True)
    np.testing.assert_array_equal(there.matrix[::-1, ::-1], back.matrix)


@given(st.tuples(COUNTS, COUNTS, COUNTS), st.tuples(COUNTS, COUNTS, COUNTS), st.sampled_from([0, 1, 3]), st.booleans())
@settings(deadline=None, max_examples=60)
def test_it_is_scikit_images(have: tuple[int, int, int], want: tuple[int, int, int], order: Order, clip: bool) -> None:
    volume = np.random.default_rng(0).normal(size=have)
    expected = resize(volume, want, order, mode="edge", anti_aliasing=False, clip=clip)
    k, j, i = (over_the_same_extent(a, b, order) for a, b in zip(have, want))
    found = Interpolation(want, (k, j, i), None, clip)(torch.from_numpy(volume)[None])[0].numpy()
    # which voxel is the nearest to a place in the middle of two hangs on the last bit
    agree = np.isclose(found, expected, atol=1e-9)
    assert agree.all() if order else agree.mean() > 0.5


@pytest.mark.parametrize("apart", [None, 0, 1, 2])
@pytest.mark.parametrize("clip", [True, False])
def test_the_gradient_is_exact(apart: int | None, clip: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn((2, 5, 6, 4), dtype=torch.float64, generator=generator)
    volume = (volume.sign() + 0.1 * volume).requires_grad_(True)  # edges, beside which a spline overshoots
    axes = tuple(Axis(a, b, a / b, False, 0 if n == apart else 3) for n, (a, b) in enumerate(zip((5, 6, 4), (7, 4, 6))))
    interpolation = Interpolation((7, 4, 6), (axes[0], axes[1], axes[2]), apart, clip)
    if clip:
        loose = Interpolation((7, 4, 6), (axes[0], axes[1], axes[2]), apart, False)
        assert not torch.equal(loose(volume), interpolation(volume))  # something is cut off
    assert torch.autograd.gradcheck(interpolation, (volume,))


def test_a_coarse_grid_is_resampled_along_its_coarsest_axis_last() -> None:
    """The slices' range is what overshoots are cut to, not the volume's."""
    volume = np.random.default_rng(0).normal(size=(4, 9, 9))
    volume[1] *= 100
    rule = {"order": 3, "order_through": 0, "clip": True}
    affine = np.diag([1.0, 1.0, 6.0, 1.0])
    steps = Preprocessing(spacing=(0.8, 0.7, 3.0), resampling=rule).on_grid((4, 9, 9), affine)
    found = steps.forward_channel(torch.from_numpy(volume), 0).numpy()
    assert found.shape == (8, 13, 11)
    for n, plane in enumerate(found):
        assert volume[n // 2].min() - 1e-12 <= plane.min() and plane.max() <= volume[n // 2].max() + 1e-12
        np.testing.assert_array_equal(plane, found[n - n % 2])
