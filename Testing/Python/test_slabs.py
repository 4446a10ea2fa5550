"""Work in slabs of slices: the same as on the whole volume at once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib.model.standardization import standardize
from SegAdversarialLib.objectives import SoftDice
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes import slabs as module
from SegAdversarialLib.volumes.slabs import flip_in_place, slabs

SHAPE = (7, 5, 6)


@pytest.fixture(params=[1, 60, 1 << 18], ids=["slice by slice", "two slices", "whole"])
def slab_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VOXELS", request.param)


@given(st.integers(1, 40), st.integers(1, 600), st.integers(1, 600))
def test_slabs_are_the_volume(slices: int, rows: int, columns: int) -> None:
    found = slabs(torch.empty(1).expand(2, slices, rows, columns))
    assert [k for piece in found for k in range(slices)[piece]] == list(range(slices))
    assert all((piece.stop - piece.start) * rows * columns <= max(module._VOXELS, rows * columns) for piece in found)


@pytest.mark.usefixtures("slab_size")
@pytest.mark.parametrize("background", [None, 0.0, -2.0])
@pytest.mark.parametrize("masked", [True, False])
def test_standardization(masked: bool, background: float | None) -> None:
    volume = np.random.default_rng(0).normal(100, 30, SHAPE)
    inside = volume > 90 if masked else np.ones(SHAPE, bool)
    wanted = (volume - volume[inside].mean()) / volume[inside].std()
    if masked and background is not None:
        wanted[~inside] = background
    leaf = torch.from_numpy(volume).requires_grad_(True)
    mask = (lambda some, piece: (some > 90).to(some.dtype)) if masked else None
    assert torch.autograd.gradcheck(lambda x: standardize(x, mask, background), (leaf,), fast_mode=True)
    seed = torch.from_numpy(np.random.default_rng(1).normal(size=SHAPE))
    memory = torch.empty(SHAPE[::-1], dtype=torch.float64).permute(2, 1, 0)
    gradients = []
    for out in (None, memory):
        found = standardize(leaf, mask, background, out)
        np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-12, atol=1e-12)
        if out is not None:
            np.testing.assert_array_equal(out.numpy(), found.detach().numpy())
        gradients += torch.autograd.grad(found, leaf, seed, retain_graph=True)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(memory, gradients[1], rtol=0, atol=0)  # where the scores were
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(found, leaf, seed)


@pytest.mark.usefixtures("slab_size")
@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1), (1, 2), (2, 0), (0, 1, 2)])
def test_flips_in_place(axes: tuple[int, ...]) -> None:
    for slices in (1, 6, 7):
        memory = torch.randn(2, 6, 5, slices + 2)
        volumes = memory.permute(0, 3, 2, 1)[:, 1:-1]  # a part of something turned
        wanted, around = volumes.flip([1 + axis for axis in axes]), memory[..., [0, -1]].clone()
        flip_in_place(volumes, axes)
        torch.testing.assert_close(volumes, wanted, rtol=0, atol=0)
        torch.testing.assert_close(memory[..., [0, -1]], around, rtol=0, atol=0)


@pytest.mark.usefixtures("slab_size")
@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_soft_dice_and_its_gradient_are_autograds(kind: Literal["softmax", "sigmoid"], limited: bool) -> None:
    source = np.random.default_rng(1)
    names = ["background", "core", "rim"] if kind == "softmax" else ["core", "rim"]
    head = OutputHead.of(names, kind)
    reference = source.integers(0, 3, SHAPE)
    region = source.random(SHAPE) > 0.3 if limited else None
    loss = SoftDice(reference, region=region, classes=["rim"] if limited else None).bind(head, "cpu", torch.float64)
    loss.targets.requires_grad_(True)  # as where the reference moves with the image
    leaf = torch.from_numpy(source.normal(0, 2, (len(names), *SHAPE))).requires_grad_(True)
    weight = torch.from_numpy(region).double() if region is not None else torch.ones(SHAPE)
    probabilities = leaf.softmax(0) if kind == "softmax" else leaf.sigmoid()
    scores = []
    for name in ["rim"] if limited else ["core", "rim"]:
        claimed, wanted = probabilities[names.index(name)] * weight, loss.targets[names.index(name)] * weight
        scores.append((2 * (claimed * wanted).sum() + 1e-5) / (claimed.sum() + wanted.sum() + 1e-5))
    expected = 1 - sum(scores) / (len(scores) + (kind == "softmax"))
    found = loss(leaf)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(3 * expected, (leaf, loss.targets))
    for keep in (True, False):  # asked a second time, the probabilities are no longer there
        torch.testing.assert_close(torch.autograd.grad(3 * found, (leaf, loss.targets), retain_graph=keep), gradients)
    with torch.no_grad():
        torch.testing.assert_close(loss(leaf), expected.detach())
