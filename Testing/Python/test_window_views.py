"""Windows that are spread evenly, and windows that a network is also shown flipped."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case
from gradient_helpers import wrapped
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from SegAdversarialLib import InputError, Preprocessing, SegmentationModel, objectives
from SegAdversarialLib.model.sliding_window import SlidingWindow
from SegAdversarialLib.model.window_grid import WindowGrid


def starts(whole: int, window: int, overlap: float) -> list[int]:
    """Where evenly spread windows begin along one axis."""
    grid = WindowGrid((whole, window, window), (window,) * 3, overlap, spread="even")
    return [place[0].start for place in grid.places]


def test_three_windows_of_64_over_110() -> None:
    """The example in nnU-Net's own source."""
    assert starts(110, 64, 0.5) == [0, 23, 46]


@given(whole=st.integers(1, 200), window=st.integers(2, 80), overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8]))
def test_evenly_spread_windows_cover_all_and_overlap_enough(whole: int, window: int, overlap: float) -> None:
    padded = max(whole, window)
    found = starts(whole, window, overlap)
    assert (found[0], found[-1]) == (0, padded - window)
    steps = np.diff(found)
    assert all(steps > 0)
    assert all(steps <= math.ceil(max(1.0, window * (1 - overlap))))
    assert not len(steps) or steps.max() - steps.min() <= 1
    if len(steps) > 1:  # one window less would not overlap enough
        assert (padded - window) / (len(steps) - 1) > window * (1 - overlap)


def test_a_2d_network_sees_every_slice_in_evenly_spread_windows() -> None:
    grid = WindowGrid((3, 12, 8), (8, 8), 0.5, dimensions=2, spread="even")
    assert [(place[0].start, place[1].start) for place in grid.places] == list(itertools.product(range(3), (0, 4)))


@pytest.mark.parametrize("window", [(12, 40, 9), (7, 8, 8)])
def test_windows_count_as_much_as_in_nnunet(window: tuple[int, int, int]) -> None:
    """Its importance is SciPy's Gaussian filter of one voxel, times 10, in half precision."""
    delta = np.zeros(window)
    delta[tuple(n // 2 for n in window)] = 1
    filtered = gaussian_filter(delta, [n / 8 for n in window], mode="constant")
    importance = (10 * filtered / filtered.max()).astype(np.float16)
    importance[importance == 0] = importance[importance > 0].min()
    grid = WindowGrid(tuple(n + 5 for n in window), window, 0.5, blending="voxel-gaussian", spread="even")
    total = np.zeros(grid.padded)
    for place in grid.places:
        total[place] += importance
    for place in grid.places:
        share = grid.share(place, torch.empty(window, dtype=torch.float64)).numpy()
        np.testing.assert_allclose(share, importance / total[place], rtol=2e-3, atol=1e-12)


def mirrored(network: torch.nn.Module, batch: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """The mean of a network's answers to all flips, flipped back, the plain way."""
    flips = [x for n in range(len(axes) + 1) for x in itertools.combinations(axes, n)]
    return torch.stack([network(batch.flip(x)).flip(x) for x in flips]).mean(0)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(4, 11)] * 3),
    window=st.tuples(*[st.integers(3, 7)] * 3),
    axes=st.sampled_from([(), (0,), (1, 2), (0, 2), (0, 1, 2)]),
    spread=st.sampled_from(["dense", "even"]),
    batch=st.integers(1, 5),
    kept=st.booleans(),
)
def test_mirrored_logits_and_pull_back(shape, window, axes, spread, batch, kept) -> None:
    """They are those of the network that takes the mean over flips itself, and so is the gradient."""
    network = tiny_network()
    grid = WindowGrid(shape, window, 0.5, spread=spread, mirror=axes)
    plain = WindowGrid(shape, window, 0.5, spread=spread)
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, *shape, dtype=torch.float64, generator=generator, requires_grad=True)
    upstream = torch.randn(3, *shape, dtype=torch.float64, generator=generator)
    padded = plain.pad(volume)
    blended = torch.zeros(3, *plain.padded, dtype=torch.float64)
    for place in plain.places:
        answer = mirrored(network, padded[(slice(None), *place)][None], tuple(2 + x for x in axes))[0]
        share = plain.share(place, torch.empty(plain.window, dtype=torch.float64))
        whole = torch.zeros_like(blended)
        whole[(slice(None), *place)] = answer * share
        blended = blended + whole
    expected = plain.unpad(blended)
    (pulled,) = torch.autograd.grad(expected, volume, upstream)
    windows = SlidingWindow(network, grid, 3, batch_size=batch)
    with torch.no_grad():
        found = windows(volume, before_gradient=kept)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(windows.pull_back(volume.detach(), upstream), pulled, rtol=1e-9, atol=1e-9)


class Mirrored(torch.nn.Module):
    """A network that takes the mean over flips itself."""

    def __init__(self, network: torch.nn.Module, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.axes = network, axes

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return mirrored(self.network, batch, self.axes)


@pytest.mark.parametrize("window", [None, (8, 8, 8)])
def test_letters_name_the_networks_axes(window) -> None:
    """In a model whose tensor has the axes i, k, j the letter k is its second axis; whole volumes are mirrored as well."""
    case, how = toy_case(), Preprocessing(axes="ikj")
    objective = objectives.SoftDice(case.label)
    model = wrapped(tiny_network(), preprocessing=how, window=window, mirror="k", window_places="even")
    expected = wrapped(Mirrored(tiny_network(), (3,)), preprocessing=how, window=window, window_places="even")
    np.testing.assert_allclose(model.logits(case), expected.logits(case), rtol=1e-9, atol=1e-9)
    value, gradient = model.value_and_gradient(case, objective)
    other, by_autograd = expected.value_and_gradient(case, objective)
    assert value == pytest.approx(other, rel=1e-12)
    np.testing.assert_allclose(gradient, by_autograd, rtol=1e-7, atol=1e-15)
    assert (model.describe()["mirror"], model.describe()["window_places"]) == ("k", "even")


def test_slices_are_mirrored() -> None:
    case, how = toy_case(), Preprocessing(axes="ji")
    network = tiny_network(dimensions=2)
    model = wrapped(network, preprocessing=how, mirror="ji")
    expected = wrapped(Mirrored(network, (2, 3)), preprocessing=how)
    np.testing.assert_allclose(model.logits(case), expected.logits(case), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mirror", ["x", "kk", "kjij"])
def test_no_other_axes_are_mirrored(mirror: str) -> None:
    with pytest.raises(InputError, match=r"mirror must name axes of the network, each once, by letters of \"kji\", or"):
        SegmentationModel.from_network(torch.nn.Conv3d(1, 2, 1), channels=["t1"], classes=["a", "b"], mirror=mirror)
