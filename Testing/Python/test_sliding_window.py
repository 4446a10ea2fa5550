"""A network in windows over a volume: what is kept, what runs out, and what must not depend on either."""

from __future__ import annotations

import weakref
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case
from gradient_helpers import wrapped
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from SegAdversarialLib import InputError, Preprocessing, objectives
from SegAdversarialLib.model import sliding_window, windows_at_once
from SegAdversarialLib.model.sliding_window import SlidingWindow
from SegAdversarialLib.model.window_grid import WindowGrid


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 14)] * 3),
    window=st.tuples(*[st.integers(3, 9)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    batch=st.integers(1, 4),
    kept=st.booleans(),
    blending=st.sampled_from(["gaussian", "constant"]),
)
def test_blended_logits_and_pull_back(
    shape: tuple[int, int, int],
    window: tuple[int, int, int],
    overlap: float,
    batch: int,
    kept: bool,
    blending: Literal["gaussian", "constant"],
) -> None:
    """Logits are MONAI's; the pull-back is the transposed derivative, whatever the sizes and whether a graph was kept."""
    network = tiny_network()
    windows = SlidingWindow(network, WindowGrid(shape, window, overlap, blending=blending), 3, batch_size=batch)
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, *shape, dtype=torch.float64, generator=generator, requires_grad=True)
    upstream = torch.randn(3, *shape, dtype=torch.float64, generator=generator)
    (expected,) = sliding_window_inference(volume[None], window, 1, network, overlap=overlap, mode=blending, sigma_scale=0.125)
    (pulled,) = torch.autograd.grad(expected, volume, upstream)
    with torch.no_grad():
        found = windows(volume, before_gradient=kept)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(windows.pull_back(volume.detach(), upstream), pulled, rtol=1e-9, atol=1e-9)


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


@pytest.mark.parametrize(("volumes", "kept"), [(0.0, 1), (100.0, 4)])
@pytest.mark.parametrize("limit", [None, "the loss", "the way back"])
def test_the_last_windows_are_asked_once(
    limit: str | None, volumes: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their graphs are kept for the way back; where there is no room for them, all is done again without, then and later."""
    monkeypatch.setattr(sliding_window, "_KEPT", volumes)
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
    # four windows: each is asked on the way there, and on the way back once more those that were not kept
    assert counts == ([8 - kept, 8 - kept] if limit is None else [4 + 8, 8])


@pytest.mark.parametrize(
    ("volumes", "batch", "kept"),
    [(0.3, 1, 1), (0.99, 1, 1), (1.0, 1, 2), (1.5, 1, 3), (2.0, 1, 4), (0.2, 2, 2), (2.0, 2, 4), (0.2, 3, 3), (2.0, 3, 4)],
)
def test_as_many_graphs_are_kept_as_are_small_beside_the_volume(
    volumes: float, batch: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of a square is its input, and the answer at its end: that of one of four windows takes half of a volume."""
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
        lost = sum(answer is None for answer in alive)
        assert all(answer is None for answer in alive[:lost])  # the last windows are kept
        assert sum(len(answer) for answer in alive[lost:] if answer is not None) == kept
        del alive
        asked = len(answers)
        torch.testing.assert_close(windows.pull_back(volume, seed), 2 * volume * seed)
        assert len(answers) - asked == -(-(4 - kept) // batch)
        assert all(answer() is None for answer in answers)


class Unusual(torch.nn.Module):
    """Networks that do what one should not rely on being left undone."""

    def __init__(self, habit: str) -> None:
        super().__init__()
        self.network, self.habit = tiny_network(), habit
        self.register_buffer("mask", torch.ones(1, dtype=torch.float64))
        self.register_buffer("sparse", torch.eye(8, dtype=torch.float64).to_sparse())

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        if self.habit == "writes into its own memory":
            self.mask.copy_(torch.full((1,), 0.5))
            return self.network(crops * self.mask)
        if self.habit == "sparse":
            return self.network(torch.sparse.mm(self.sparse, crops.reshape(8, -1)).reshape(crops.shape))
        if self.habit == "differentiates inside":
            slope = torch.func.grad(lambda x: (x**2).sum())(crops.detach())
            return self.network(crops) * (1 + 0 * slope[:, :1])
        if self.habit == "writes into its input" and not crops.requires_grad:
            crops.mul_(1.0)
        return self.network(crops) + (0.25 if torch.is_grad_enabled() and self.habit == "tells gradients" else 0)


@pytest.mark.parametrize("keeps", [0.0, 100.0])
@pytest.mark.parametrize(
    "habit",
    ["none", "writes into its own memory", "sparse", "differentiates inside", "writes into its input", "tells gradients"],
)
def test_a_gradient_is_the_same_each_time(habit: str, keeps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, and with graphs kept as without."""
    case, network = toy_case((8, 8, 24)), Unusual(habit)
    model = wrapped(network, window=(8, 8, 8), overlap=0.4)
    objective = objectives.SoftDice(case.label)
    if habit != "tells gradients":
        monkeypatch.setattr(sliding_window, "_KEPT", 0.0)
        expected = model.value_and_gradient(case, objective)
    monkeypatch.setattr(sliding_window, "_KEPT", keeps)
    with model.on(case) as bound:
        loss = objective.bind(model.head, "cpu", torch.float64)
        found = [bound.differentiate(bound.image, loss) for _ in range(3)]
    for value, gradient, logits in found:
        assert value == found[0][0]
        torch.testing.assert_close(gradient, found[0][1], rtol=0, atol=0)
        torch.testing.assert_close(logits, found[0][2], rtol=0, atol=0)
        if habit != "tells gradients":
            assert value == expected[0]
            np.testing.assert_array_equal(gradient.numpy(), expected[1])


class Clock:
    """Seconds that only a network takes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Slow(torch.nn.Module):
    """A network that takes these seconds for so many windows at once."""

    def __init__(self, seconds: dict[int, float], clock: Clock | None = None, alone: float = 0.0) -> None:
        super().__init__()
        self.network, self.needs, self.clock, self.alone = tiny_network(), seconds, clock or Clock(), alone
        self.asked: list[int] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(batch))
        self.clock.seconds += self.needs[len(batch)]
        answer: torch.Tensor = self.network(batch)
        return answer + self.alone if len(batch) == 1 else answer


@pytest.mark.parametrize(
    ("seconds", "found", "tried"),
    [
        ({1: 0.1, 2: 0.19, 4: 0.1}, 1, 2),  # two are hardly quicker: it ends there
        ({1: 0.1, 2: 0.12, 4: 0.23}, 2, 4),
        ({1: 0.1, 2: 0.12, 4: 0.16}, 4, 4),
        ({1: 1.0, 2: 1.2, 4: 2.3}, 2, 4),
    ],
)
def test_the_quickest_number_of_windows_at_once(seconds: dict[int, float], found: int, tried: int) -> None:
    clock = Clock()
    network = Slow(seconds, clock)
    crops = torch.randn(4, 2, 8, 8, 8, dtype=torch.float64)
    assert windows_at_once.quickest(network, crops, (1, 2, 4), clock) == found
    assert max(network.asked) == tried
    if seconds[1] > windows_at_once.LONG:  # one answer of each number, and the one that shows what a graph takes
        assert network.asked == [1, 1, 2, 4]


@pytest.mark.parametrize("why", ["memory", "others", "fails", "no graph"])
def test_windows_go_one_by_one(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two do not fit, change each other's answers, are not taken, or do not say what memory they need."""
    clock = Clock()
    seconds = {1: 0.1, 2: 0.1, 4: 0.1}
    network: torch.nn.Module = Slow({1: 0.1} if why == "fails" else seconds, clock, alone=1.0 if why == "others" else 0.0)
    monkeypatch.setattr(windows_at_once, "TOGETHER", 1 if why == "memory" else 1 << 30)
    crops = torch.randn(4, 2, 8, 8, 8, dtype=torch.float64)
    if why == "no graph":
        monkeypatch.setattr(windows_at_once, "with_its_bytes", lambda make, ends, most: (make(), float("inf")))
    assert windows_at_once.quickest(network, crops, (1, 2, 4), clock) == 1


def test_a_large_graph_is_not_built_to_see_that_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer must not need a gradient's memory."""
    crops = torch.randn(2, 1, 8, 8, 8)
    monkeypatch.setattr(windows_at_once, "TOGETHER", 8 * crops[0].nbytes)
    layers = [0]

    def network(batch: torch.Tensor) -> torch.Tensor:
        for _ in range(100):
            batch = batch.sin()  # saves what it is given
            layers[0] += batch.requires_grad
        return batch

    assert windows_at_once.quickest(network, crops, (1, 2)) == 1
    assert 1 <= layers[0] <= 5


@pytest.mark.parametrize("axes", ["kji", "ji"])
def test_windows_at_once_are_measured_once_and_said(axes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy_case()
    how = {"preprocessing": Preprocessing(axes=axes)} | ({"window": (8, 8, 8)} if axes == "kji" else {})
    network = tiny_network(dimensions=len(axes))
    expected = wrapped(network, window_batch=2, **how).value_and_gradient(case, objectives.SoftDice(case.label))
    monkeypatch.setattr(windows_at_once, "MANY", {2: 4, 3: 4})
    unmeasured = wrapped(network, **how)
    assert (
        unmeasured.value_and_gradient(case, objectives.SoftDice(case.label)) and unmeasured.describe()["window_batch"] is None
    )
    measured = list[int]()
    monkeypatch.setattr(windows_at_once, "WORTH_MEASURING", 1)
    monkeypatch.setattr(windows_at_once, "quickest", lambda network, crops, numbers: measured.append(len(crops)) or 2)
    model = wrapped(network, **how)
    assert model.describe()["window_batch"] is None
    value, gradient = model.value_and_gradient(case, objectives.SoftDice(case.label))
    model.segment(case)
    assert model.describe()["window_batch"] == 2 and len(measured) == 1
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    said = wrapped(network, window_batch=1, **how)
    said.segment(case)
    assert said.describe()["window_batch"] == 1 and len(measured) == 1
    # what was found for a case of many windows is nothing to one of few
    monkeypatch.setattr(windows_at_once, "MANY", {2: 1000, 3: 1000})
    model.segment(case)
    assert model.describe()["window_batch"] is None and len(measured) == 1


def test_windows_at_once_are_remembered_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = list[int]()
    monkeypatch.setattr(windows_at_once, "quickest", lambda network, crops, numbers: measured.append(1) or 2)
    monkeypatch.setattr(windows_at_once, "_decided", {})
    crops, own = torch.zeros(4, 2, 8, 8, 8), dict[Any, int]()
    for file_hash, shape, known in (("a", 8, {}), ("a", 8, {}), ("a", 4, {}), ("", 8, own), ("", 8, own), ("", 8, {})):
        assert windows_at_once.number_for(lambda batch: batch, crops[..., :shape], file_hash, known) == 2
    assert len(measured) == 4
