"""The gradient of a whole volume against plain autograd through everything at once."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from conftest import oblique_affine, tiny_network, toy_case
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel, attacks, objectives, sliding_window
from SegAdversarialLib.objectives import Objective
from SegAdversarialLib.sliding_window import SlidingWindow
from SegAdversarialLib.window_grid import WindowGrid

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}


def wrapped(network: torch.nn.Module, **settings: object) -> SegmentationModel:
    return SegmentationModel.from_network(
        network,
        channels=("B", "A"),
        classes=["background", "core", "rim"],
        **settings,  # type: ignore[arg-type]
    )


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


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 14)] * 3),
    window=st.tuples(*[st.integers(3, 9)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    batch=st.integers(1, 4),
    kept=st.booleans(),
)
def test_blended_logits_and_pull_back(
    shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float, batch: int, kept: bool
) -> None:
    """Logits are MONAI's; the pull-back is the transposed derivative, whatever the sizes and whether a graph was kept."""
    network = tiny_network()
    windows = SlidingWindow(network, WindowGrid(shape, window, overlap), 3, batch_size=batch)
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, *shape, dtype=torch.float64, generator=generator, requires_grad=True)
    upstream = torch.randn(3, *shape, dtype=torch.float64, generator=generator)
    expected = sliding_window_inference(volume[None], window, 1, network, overlap=overlap, mode="gaussian", sigma_scale=0.125)[
        0
    ]
    (pulled,) = torch.autograd.grad(expected, volume, upstream)
    with torch.no_grad():
        found = windows(volume, before_gradient=kept)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(windows.pull_back(volume.detach(), upstream), pulled, rtol=1e-9, atol=1e-9)


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


class OutOfMemoryAbove(torch.nn.Module):
    """Stands in for a GPU that holds only so many windows."""

    def __init__(self, network: torch.nn.Module, limit: int) -> None:
        super().__init__()
        self.network, self.limit = network, limit
        self.largest = 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        self.largest = max(self.largest, len(batch))
        return self.network(batch)


def test_smaller_batches_when_memory_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    case = toy_case()
    settings = {"window": (8, 8, 8), "window_batch": 8}
    expected = wrapped(tiny_network(), **settings).value_and_gradient(case, objectives.SoftDice(case.label))
    cramped = OutOfMemoryAbove(tiny_network(), 3)
    value, gradient = wrapped(cramped, **settings).value_and_gradient(case, objectives.SoftDice(case.label))
    assert value == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-9, atol=1e-18)
    assert 1 <= cramped.largest <= 3
    assert "Out of device memory" in caplog.text
    with pytest.raises(InputError, match="single window"):
        wrapped(OutOfMemoryAbove(tiny_network(), 0), **settings).segment(case)


@pytest.mark.parametrize("limit", [None, "the loss", "the way back"])
def test_the_last_windows_are_asked_once(limit: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their graph is kept for the way back; where there is no room for it, all is done again without, then and later."""
    monkeypatch.setattr(sliding_window, "_KEPT", 0.0)  # the last batch's alone
    case, asked = toy_case((8, 8, 32)), list[int]()
    model = wrapped(tiny_network(), window=(8, 8, 8), overlap=0.0)
    expected = model.value_and_gradient(case, objectives.SoftDice(case.label))[1]
    model.network.register_forward_hook(lambda *_: asked.append(1))
    calls = {"the loss": 0, "the way back": 0}
    values: list[weakref.ref[torch.Tensor]] = []

    def fails_once(where: str) -> None:
        calls[where] += 1
        if where == limit and calls[where] == 1:
            raise torch.OutOfMemoryError("out of memory")

    real = sliding_window.input_gradient

    def input_gradient(*arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fails_once("the way back")
        return real(*arguments)

    monkeypatch.setattr(sliding_window, "input_gradient", input_gradient)
    with model.on(case) as bound:
        objective = objectives.SoftDice(case.label).bind(model.head, "cpu", torch.float64)

        def loss(logits: torch.Tensor) -> torch.Tensor:
            assert all(value() is None for value in values), "what was computed in vain still takes memory"
            value = objective(logits)
            values.append(weakref.ref(value))
            fails_once("the loss")
            return value

        counts = []
        for _ in range(2):
            asked.clear()
            gradient = bound.differentiate(bound.image, loss)[1]
            counts.append(len(asked))
            np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-9, atol=1e-18)
    # four windows: each is asked on the way there, three (all) of them again on the way back
    assert counts == {None: [7, 7], "the loss": [4 + 8, 8], "the way back": [4 + 8, 8]}[limit]


@pytest.mark.parametrize(("volumes", "batch", "kept"), [(0.3, 1, 1), (0.5, 1, 2), (0.74, 1, 2), (0.75, 1, 3), (0.2, 2, 2)])
def test_as_many_graphs_are_kept_as_are_small_beside_the_volume(
    volumes: float, batch: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of a square is its input: that of one of four windows is a quarter of the volume."""
    monkeypatch.setattr(sliding_window, "_KEPT", volumes)
    answers: list[weakref.ref[torch.Tensor]] = []

    def square(crops: torch.Tensor) -> torch.Tensor:
        logits = crops**2
        answers.append(weakref.ref(logits))
        return logits

    windows = SlidingWindow(square, WindowGrid((8, 8, 32), (8, 8, 8), overlap=0.0), 2, batch_size=batch)
    volume, seed = torch.randn(2, 2, 8, 8, 32, dtype=torch.float64)
    for _ in range(2):
        answers.clear()
        torch.testing.assert_close(windows(volume, before_gradient=True), volume**2)
        alive = [answer() for answer in answers]
        assert [x is not None and x.requires_grad for x in alive[-kept // batch :]] == [True] * (kept // batch)
        assert sum(len(x) for x in alive if x is not None) == kept
        del alive
        torch.testing.assert_close(windows.pull_back(volume, seed), 2 * volume * seed)
        assert len(answers) * batch == 8 - kept
        assert all(answer() is None for answer in answers)


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


def test_slices_in_smaller_batches_when_memory_runs_out() -> None:
    """A whole 2D volume goes through in one go until a GPU cannot hold it; the model remembers what it can."""
    case, preprocessing = toy_case(), Preprocessing(axes="ji")
    network = tiny_network(dimensions=2)
    expected = wrapped(network, preprocessing=preprocessing).value_and_gradient(case, objectives.SoftDice(case.label))
    model = wrapped(OutOfMemoryAbove(network, 3), preprocessing=preprocessing, window_batch=64)
    value, gradient = model.value_and_gradient(case, objectives.SoftDice(case.label))
    assert value == pytest.approx(expected[0], rel=1e-12) and model.window_batch == 3
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-9, atol=1e-18)
    np.testing.assert_array_equal(model.segment(case), wrapped(network, preprocessing=preprocessing).segment(case))


def test_references_of_another_shape_are_refused() -> None:
    case = toy_case()
    with pytest.raises(InputError, match="both must agree"):
        wrapped(tiny_network()).value_and_gradient(case, objectives.SoftDice(case.label[:1]))
    wrapped(tiny_network()).value_and_gradient(case, objectives.SoftDice(case.label[::-1]))
