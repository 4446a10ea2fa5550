"""The gradient through crops, splines, clipped overshoots and filled masks, by finite differences and in both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import oblique_affine, tiny_network
from test_preprocessing_order import NNUNET, head_in_air

from SegAdversarialLib import Preprocessing, SegmentationModel, objectives

FOREGROUND = {"kind": "foreground", "above": 100, "margin": (1, 0, 2), "multiple": 4}
CASES: dict[str, dict[str, Any]] = {
    "nnunet": {**NNUNET, "spacing": (1.1, 1.3, 1.7)},
    "nnunet, apart": {**NNUNET, "spacing": (0.9, 1.2, 4.5)},
    "nnunet, turned": {**NNUNET, "spacing": (0.9, 1.2, 4.5), "orientation": "RAS", "axes": "ijk"},
    "nnunet, slices": {**NNUNET, "spacing": (1.1, None, 0.9), "axes": "ki"},
    "monai": {
        "order": ("resample", "crop", "normalize"),
        "orientation": "RAS",
        "spacing": (1.2, 1.0, 1.6),
        "grid": "centers",
        "crop": FOREGROUND,
        "normalization": {"kind": "zscore", "mask": "nonzero", "background": 0},
        "axes": "ijk",
    },
    "centre, chain": {
        "crop": {"kind": "center", "size": (12, 14, 17)},
        "orientation": "SAR",
        "normalization": {
            "kind": "chain",
            "steps": [
                {"kind": "window", "lower": 150, "upper": 400},
                {"kind": "rescale", "low": 1, "clip": True},
                {"kind": "zscore"},
            ],
        },
        "axes": "jki",
    },
    "splines by centres": {"spacing": (1.2, None, 1.6), "grid": "centers", "resampling": {"order": 3, "clip": True}},
    "chain before crop": {
        "order": ("normalize", "crop", "resample"),
        "crop": {"kind": "nonzero"},
        "spacing": (1.3, 1.0, 2.0),
        "output_resampling": {"order": 3},
        "normalization": ({"kind": "zscore", "mask": "filled"}, {"kind": "chain", "steps": [{"kind": "window", "std": 50}]}),
    },
}


def model_for(settings: dict[str, Any], window: bool) -> SegmentationModel:
    dimensions = len(settings.get("axes", "kji"))
    return SegmentationModel.from_network(
        tiny_network(dimensions=dimensions),
        channels=("B", "A"),
        classes=["background", "core", "rim"],
        preprocessing=Preprocessing(**settings),
        window=(7,) * dimensions if window else None,
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("window", [True, False])
def test_gradient_follows_finite_differences(name: str, window: bool) -> None:
    case = head_in_air()
    affine = oblique_affine()
    affine[:3, :3] = affine[:3, :3] / np.array([0.9, 1.1, 2.5]) * np.array([1.0, 1.1, 1.5])
    case = type(case)(case.image, case.channels, affine, case.label, name="turned")
    model = model_for(CASES[name], window)
    objective = objectives.SoftDice(case.label)
    value, gradient = model.value_and_gradient(case, objective)
    # zeros stay zeros: there, what counts and what is cropped changes by leaps
    direction = np.random.default_rng(0).normal(size=case.image.shape) * (case.image != 0)
    with model.on(case) as bound:
        loss = objective.bind(model.head, "cpu", torch.float64)
        along, step = torch.from_numpy(direction), 1e-4
        ahead, behind = (float(loss(bound.logits(bound.image + sign * step * along))) for sign in (1, -1))
        assert float(loss(bound.logits(bound.image))) == pytest.approx(value, rel=1e-12)
    assert np.abs(gradient).max() > 0
    assert (ahead - behind) / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-5, abs=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_in_windows_as_at_once(name: str) -> None:
    """Channels prepared and pulled back one by one give what a single graph gives, and the same each time."""
    case = head_in_air()
    case = type(case)(case.image, case.channels, oblique_affine(), case.label, name="turned")
    with model_for(CASES[name], window=True).on(case) as bound:
        first, again = (bound.differentiate(bound.image, lambda x: x.square().mean()) for _ in range(2))
        leaf = bound.image.clone().requires_grad_(True)
        prepared = bound._prepare(leaf)
        seed = torch.randn(prepared.shape, dtype=prepared.dtype, generator=torch.Generator().manual_seed(0))
        (expected,) = torch.autograd.grad(prepared, leaf, seed)
        one_by_one, graphs = bound._prepare_by_channels(bound.image)
        flips = [1 + axis for axis in bound._flips]
        torch.testing.assert_close(one_by_one.flip(flips), prepared.detach())
        pulled = bound._pull_back_preparation(bound.image, seed.flip(flips), graphs)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1]) and torch.equal(first[2], again[2])
    torch.testing.assert_close(pulled, expected)


@pytest.mark.parametrize("name", CASES)
def test_nothing_reaches_what_is_cut_off(name: str) -> None:
    case = head_in_air()
    model = model_for(CASES[name], window=False)
    _, gradient = model.value_and_gradient(case, objectives.CrossEntropy(case.label))
    if "crop" in CASES[name] and CASES[name]["crop"]["kind"] == "nonzero":
        inside = np.zeros(case.shape, dtype=bool)
        inside[tuple(slice(int(x.min()), int(x.max()) + 1) for x in (case.image != 0).any(0).nonzero())] = True
        assert not gradient[:, ~inside].any() and gradient[:, inside].any()
