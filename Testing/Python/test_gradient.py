"""The gradient of a whole volume against plain autograd through everything at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import oblique_affine, tiny_network, toy_case
from gradient_helpers import wrapped
from monai.inferers import sliding_window_inference

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel, attacks, objectives
from SegAdversarialLib.objectives import Objective

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}


def plain_autograd(network: torch.nn.Module, case: Case, objective: str, window: int, dtype: torch.dtype) -> np.ndarray:
    """Everything in one graph, in other words than the library's: MONAI's sliding window over a z-scored, resampled image.

    Fits a case whose axes point to L, P, S and a network that wants R, A, S and half as many slices.
    """
    leaf = torch.tensor(case.image, dtype=dtype, requires_grad=True)
    volume = torch.stack([leaf[1], leaf[0]]).flip(2).flip(3)  # the network takes B, A
    slices, rows, columns = case.shape
    volume = torch.nn.functional.interpolate(volume[None], size=(slices * 2, rows, columns), mode="trilinear")[0]
    inside = (volume > volume.mean((1, 2, 3), keepdim=True)).to(dtype)
    count = inside.sum((1, 2, 3), keepdim=True)
    mean = (volume * inside).sum((1, 2, 3), keepdim=True) / count
    variance = ((volume - mean) ** 2 * inside).sum((1, 2, 3), keepdim=True) / count
    scores = (volume - mean) / variance.sqrt()
    logits = sliding_window_inference(scores[None], (window,) * 3, 1, network, overlap=0.5, mode="gaussian", sigma_scale=0.125)
    logits = torch.nn.functional.interpolate(logits, size=case.shape, mode="trilinear")[0].flip(2).flip(3)
    target = torch.as_tensor(case.label).long()
    if objective == "cross_entropy":
        value = torch.nn.functional.cross_entropy(logits[None], target[None])
    else:
        one_hot = torch.nn.functional.one_hot(target, 3).movedim(-1, 0)[1:].to(dtype)
        claimed = logits.softmax(0)[1:]
        overlap = (2 * (claimed * one_hot).sum((1, 2, 3)) + 1e-5) / (claimed.sum((1, 2, 3)) + one_hot.sum((1, 2, 3)) + 1e-5)
        value = 1 - overlap.sum() / 3
    value.backward()
    assert leaf.grad is not None
    return leaf.grad.numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("objective", ["soft_dice", "cross_entropy"])
@pytest.mark.parametrize("window", [10, 30])
def test_gradient_is_autograds(dtype: torch.dtype, objective: str, window: int) -> None:
    network = tiny_network().to(dtype)
    case = toy_case(affine=oblique_affine())
    i, j, k = case.spacing
    preprocessing = Preprocessing(
        orientation="RAS", spacing=(i, j, k / 2), normalization={"kind": "zscore", "mask": "above_mean"}
    )
    model = wrapped(network, preprocessing=preprocessing, window=(window,) * 3)
    kind: type[Objective] = objectives.OBJECTIVES[objective]
    _, gradient = model.value_and_gradient(case, kind(case.label))
    expected = plain_autograd(network, case, objective, window, dtype)
    error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    assert gradient.shape == case.image.shape
    assert error < TOLERANCE[dtype]


@pytest.mark.parametrize("axes", ["kji", "ijk", "jki", "ji", "ki", "ij"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_gradient_follows_finite_differences(axes: str, head: str) -> None:
    """Any order of axes, slices as well as volumes, with and without overlapping windows."""
    network = tiny_network(dimensions=len(axes))
    case = toy_case((9, 12, 11), labels=3)
    classes = {0: "background", 1: "core", 2: "rim"} if head == "softmax" else {2: "whole", 1: "core", 4: "rim"}
    regions = None if head == "softmax" else {2: (1, 2), 1: (1,), 4: (2,)}
    preprocessing = Preprocessing(axes=axes, size=(10, 13, 8), normalization={"kind": "rescale", "low": 2.5, "high": 97})
    for window in (None, (5,) * len(axes)):
        model = SegmentationModel.from_network(
            network,
            channels=("A", "B"),
            classes=classes,
            head=head,
            regions=regions,
            preprocessing=preprocessing,
            window=window,
        )
        objective = objectives.SoftDice(case.label)
        _, gradient = model.value_and_gradient(case, objective)
        direction = np.random.default_rng(0).normal(size=case.image.shape)
        with model.on(case) as bound:
            loss = objective.bind(model.head, "cpu", torch.float64)
            along = torch.from_numpy(direction)
            step = 1e-3
            values = [float(loss(bound.logits(bound.image + sign * step * along))) for sign in (1, -1)]
        assert (values[0] - values[1]) / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-5, abs=1e-11)


def test_parameters_are_left_as_they_were() -> None:
    network = tiny_network().train()
    network[0].weight.requires_grad_(False)
    model = wrapped(network, window=(8, 8, 8))
    case = toy_case()
    model.value_and_gradient(case, objectives.SoftDice(case.label))
    assert network.training and network[2].training
    assert [x.requires_grad for x in network.parameters()] == [False, True, True, True]
    assert all(x.grad is None for x in network.parameters())


def test_channels_go_by_name() -> None:
    network, case = tiny_network(), toy_case()
    more = Case(np.stack([case.image[1], case.image[0] * 7, case.image[0]]), ("B", "C", "a"), case.affine, case.label)
    model = wrapped(network)
    objective = objectives.CrossEntropy(case.label)
    value, gradient = model.value_and_gradient(case, objective)
    again, other = model.value_and_gradient(more, objective)
    assert again == value
    np.testing.assert_array_equal(other[[2, 0]], gradient)
    assert not other[1].any()
    with pytest.raises(InputError, match="takes 2 channel"):
        model.segment(Case(case.image[:1], ("A",), case.affine))


@pytest.mark.parametrize("sizes", [(15, 9), (9, 15), (12, 12)])
def test_what_is_attacked_is_what_is_evaluated(sizes: tuple[int, int]) -> None:
    """Flips, resampling and a mask that a voxel enters by the last bit: logits with and without a gradient are the same."""
    have, want = sizes
    generator = np.random.default_rng(0)
    image = generator.integers(0, 2, (2, have, 8, 8)) * generator.uniform(50, 100, (2, have, 8, 8))
    case = Case(image.astype(np.float32), ("A", "B"), np.diag([-1.0, -1.0, 1.0, 1.0]))
    preprocessing = Preprocessing(
        orientation="RAI", size=(8, 8, want), normalization={"kind": "zscore", "mask": "nonzero", "background": 0.0}
    )
    for window in ((6, 6, 6), None):
        model = wrapped(tiny_network().float(), preprocessing=preprocessing, window=window)
        with model.on(case) as bound:
            _, _, logits = bound.differentiate(bound.image, lambda logits: logits.square().sum())
            torch.testing.assert_close(logits, bound.logits(bound.image), rtol=0, atol=0)


@pytest.mark.parametrize("axes", ["kji", "ijk", "ji"])
@pytest.mark.parametrize("kind", ["zscore", "rescale"])
def test_channels_prepared_one_by_one(kind: str, axes: str) -> None:
    """In windows each channel is prepared, and its gradient pulled back, by itself: the same as all in one graph."""
    case = toy_case(affine=oblique_affine())
    network = tiny_network(dimensions=len(axes))
    preprocessing = Preprocessing(axes=axes, orientation="RAS", normalization={"kind": kind})
    model = wrapped(network, preprocessing=preprocessing, window=(6,) * len(axes))
    with model.on(case) as bound:
        prepared, graphs = bound._prepare_by_channels(bound.image)
        leaf = bound.image.clone().requires_grad_(True)
        whole = bound._prepare(leaf)
        flips = [1 + axis for axis in bound._flips]
        torch.testing.assert_close(prepared.flip(flips), whole.detach())
        seed = torch.from_numpy(np.random.default_rng(0).normal(size=whole.shape))
        (expected,) = torch.autograd.grad(whole, leaf, seed)
        assert [graph is None for graph in graphs] == [kind == "rescale"] * 2
        torch.testing.assert_close(bound._pull_back_preparation(bound.image, seed.flip(flips), graphs), expected)


@pytest.mark.parametrize("axes", ["kji", "ijk"])
@pytest.mark.parametrize("normalization", [None, {"kind": "zscore", "mask": "above_mean", "background": 0.0}])
@pytest.mark.parametrize("code", ["LPS", "RPS", "LAI", "IRA", "SLP"])
def test_volumes_are_flipped_in_their_own_memory(code: str, normalization: dict[str, object] | None, axes: str) -> None:
    """MONAI's windows over the turned volume in one graph give the same, and neither image nor objective is changed."""
    case = toy_case(affine=np.diag([-1.0, -1.0, 1.0, 1.0]))
    network, windows = tiny_network(), {"window": (6, 6, 6), "overlap": 0.25}
    preprocessing = Preprocessing(orientation=code, axes=axes, normalization=normalization)
    model = wrapped(network, preprocessing=preprocessing, **windows)
    weights = torch.from_numpy(np.random.default_rng(0).normal(size=(3, *case.shape)))
    with model.on(case) as bound:
        image, kept = bound.image.clone(), weights.clone()
        leaf = image.clone().requires_grad_(True)
        logits = sliding_window_inference(
            bound._prepare(leaf)[None], (6, 6, 6), 1, network, overlap=0.25, mode="gaussian", sigma_scale=0.125
        )
        (expected,) = torch.autograd.grad((bound._steps.restore(logits[0]) * weights).sum(), leaf)
        for _ in range(2):
            _, gradient, found = bound.differentiate(bound.image, lambda logits: HandsOutWhatItUses.apply(logits, weights))
            torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(found, bound._steps.restore(logits[0].detach()), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(bound.image, image, rtol=0, atol=0)
        torch.testing.assert_close(weights, kept, rtol=0, atol=0)


class HandsOutWhatItUses(torch.autograd.Function):
    """A weighted sum whose gradient is its own copy of the weights, and no new memory."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ctx.weights = weights
        return (logits * weights).sum()

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.weights, None


def test_wrong_output_is_explained() -> None:
    model = SegmentationModel.from_network(tiny_network(), channels=("A", "B"), classes=["background", "core"])
    with pytest.raises(InputError, match="with 2 classes it must be"):
        model.segment(toy_case())


def test_missing_device_falls_back_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    model = wrapped(tiny_network(), device="cuda")
    assert str(model.device) == "cpu"
    assert "not available" in caplog.text
    with pytest.raises(InputError, match="no kind of device"):
        wrapped(tiny_network(), device="abacus")


def test_a_network_that_fails_is_explained() -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 9)).double()
    with pytest.raises(InputError, match=r"fails on an input of shape \(1, 2, 8, 8, 8\)") as caught:
        wrapped(network, window=(8, 8, 8)).segment(toy_case())
    assert "\n" not in str(caught.value)


class Odd(torch.nn.Module):
    """A network with one oddity at its end."""

    def __init__(self, oddity: str) -> None:
        super().__init__()
        self.network, self.oddity = tiny_network().float(), oddity

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        logits = self.network(batch)
        if self.oddity == "nan":
            return logits / 0 * 0
        if self.oddity == "threshold":
            return (logits > 0).float()
        raise KeyError("what a stranger's network raises")


@pytest.mark.parametrize(("oddity", "message"), [("nan", "NaN"), ("threshold", "no gradient"), ("error", "fails on an input")])
@pytest.mark.parametrize("window", [None, (8, 8, 8)])
def test_odd_networks_are_explained(oddity: str, message: str, window: tuple[int, ...] | None) -> None:
    case = toy_case()
    with pytest.raises(InputError, match=message):
        wrapped(Odd(oddity), window=window).value_and_gradient(case, objectives.SoftDice(case.label))


@pytest.mark.parametrize("window", [None, (8, 8, 8)])
def test_half_precision_networks(window: tuple[int, ...] | None) -> None:
    """Images and losses stay in single precision; small gradients are not flushed to 0."""
    case = toy_case()
    scaled = Preprocessing(normalization={"kind": "zscore"})
    expected = wrapped(tiny_network().float(), window=window, preprocessing=scaled)
    halved = wrapped(tiny_network().to(torch.bfloat16), window=window, preprocessing=scaled)
    value, gradient = expected.value_and_gradient(case, objectives.SoftDice(case.label))
    rough, other = halved.value_and_gradient(case, objectives.SoftDice(case.label))
    assert rough == pytest.approx(value, rel=0.01) and other.dtype == np.float32
    assert (np.sign(other) == np.sign(gradient)).mean() > 0.95
    assert (other != 0).all()
    np.testing.assert_array_equal(attacks.FGSM(epsilon=0.0)(halved, case).adversarial.image, case.image)


def test_references_of_another_shape_are_refused() -> None:
    case = toy_case()
    with pytest.raises(InputError, match="both must agree"):
        wrapped(tiny_network()).value_and_gradient(case, objectives.SoftDice(case.label[:1]))
    wrapped(tiny_network()).value_and_gradient(case, objectives.SoftDice(case.label[::-1]))
