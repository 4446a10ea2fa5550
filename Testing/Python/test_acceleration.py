"""Networks that run faster: switches, a way back where one fails, and batches that fill the memory."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from acceleration_helpers import answers, difference, searched, wrapped
from conftest import tiny_network, toy_case
from torch import nn

from SegAdversarialLib import InputError, Preprocessing, objectives, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.jobs.running import open_source
from SegAdversarialLib.jobs.specification import ModelSource
from SegAdversarialLib.model.acceleration import AcceleratedNetwork, Acceleration
from SegAdversarialLib.model.devices import GpuMemory


@pytest.fixture
def _nothing_compiled_before() -> Iterator[None]:
    """The compiler counts how often it has compiled, over all networks of a process, and leaves modules behind, named after
    their contents, that cannot be imported by that name: PySide6 tries to, at its next error message, and ends the process."""
    torch._dynamo.reset()
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] not in sys.modules:
            del sys.modules[name]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library itself has logged."""
    return [x.message for x in caplog.records if x.name.startswith("SegAdversarialLib")]


@pytest.mark.usefixtures("_nothing_compiled_before")
@pytest.mark.parametrize("window", [None, (8, 8, 8)])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("switches", "tolerance"),
    [
        ({"channels_last": True}, 1e-5),
        ({"mixed_precision": True}, 0.05),
        ({"mixed_precision": "float16"}, 0.01),
        ({"compiled": True}, 1e-5),
        ({"channels_last": True, "mixed_precision": "bfloat16", "compiled": True}, 0.05),
    ],
)
def test_gradients_with_switches(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    switches: dict[str, object],
    tolerance: float,
    dimensions: int,
    window: tuple[int, ...] | None,
) -> None:
    """Against single precision as it stands; compilation without its last, slow stage."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    network = tiny_network(dimensions=dimensions).float()
    some = {"window": window and window[:dimensions], "preprocessing": Preprocessing(axes="kji"[3 - dimensions :])}
    expected = answers(wrapped(network, **some))
    model = wrapped(network, switches, **some)
    logits, gradient = searched(model)
    assert difference(logits, expected[0]) < tolerance and difference(gradient, expected[1]) < tolerance
    assert gradient.dtype == np.float32 and (gradient != 0).mean() > 0.999
    assert model.describe()["acceleration"]["in_use"] == sorted(switches) and not warnings_of(caplog)
    if "mixed_precision" in switches:
        assert difference(gradient, expected[1]) > 1e-6  # it does compute otherwise
        assert difference(answers(model)[1], expected[1]) < 1e-5  # but not for answers


@pytest.mark.slow
@pytest.mark.usefixtures("_nothing_compiled_before")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler for torch.compile")
def test_real_compilation(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor, "compile_threads", 1)
    network = tiny_network().float()
    model = wrapped(network, {"compiled": True})
    for found, wanted in zip(answers(model), answers(wrapped(network))):
        assert difference(found, wanted) < 1e-5
    assert model.describe()["acceleration"]["in_use"] == ["compiled"] and not warnings_of(caplog)


def test_a_compiler_that_fails(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("backend='inductor' raised:\nno C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1 for the stack")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    network = tiny_network()
    model = wrapped(network, {"compiled": True, "channels_last": True})
    for found, wanted in zip(answers(model), answers(wrapped(network))):
        assert difference(found, wanted) < 1e-12
    (warning,) = warnings_of(caplog)
    assert "does not run with compiled (backend='inductor' raised: no C++ compiler found)" in warning
    assert model.describe()["acceleration"]["in_use"] == ["channels_last"]


def test_a_compiler_that_fails_on_the_way_back(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, batch: torch.Tensor) -> torch.Tensor:
            return batch.clone()

        @staticmethod
        def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("backward cannot be compiled")

    monkeypatch.setattr(torch, "compile", lambda network: lambda batch: Broken.apply(network(batch)))
    network = tiny_network()
    case = toy_case()
    model = wrapped(network, {"compiled": True}, window=(8, 8, 8))
    _, gradient = model.value_and_gradient(case, objectives.SoftDice(case.label))
    _, wanted = wrapped(network, window=(8, 8, 8)).value_and_gradient(case, objectives.SoftDice(case.label))
    np.testing.assert_array_equal(gradient, wanted)
    assert len(warnings_of(caplog)) == 1 and "backward cannot be compiled" in caplog.text


def test_half_precision_that_overflows(caplog: pytest.LogCaptureFixture) -> None:
    network = tiny_network().float()
    with torch.no_grad():
        network[0].weight.mul_(1e6)
        network[0].bias.zero_()
        network[2].weight.mul_(1e-3)
    network[1] = nn.Identity()
    model = wrapped(network, {"mixed_precision": "float16"})
    for found, wanted in zip(searched(model), answers(wrapped(network))):
        np.testing.assert_array_equal(found, wanted)
    assert len(warnings_of(caplog)) == 1 and "mixed_precision" in caplog.text and "NaN" in caplog.text


def test_a_network_that_fails_by_itself_is_not_blamed_on_a_switch(caplog: pytest.LogCaptureFixture) -> None:
    model = wrapped(nn.Sequential(nn.Conv3d(2, 3, 99)), {"channels_last": True})
    with pytest.raises(InputError, match="fails on an input"):
        model.segment(toy_case())
    assert not warnings_of(caplog)


def test_a_program_is_not_compiled(caplog: pytest.LogCaptureFixture) -> None:
    network = torch.jit.trace(tiny_network(), torch.zeros(1, 2, 8, 8, 8, dtype=torch.float64))
    model = wrapped(network, {"compiled": True})
    assert "cannot be compiled" in caplog.text
    answers(model)
    assert model.describe()["acceleration"]["in_use"] == []


@pytest.mark.parametrize(
    ("seconds", "used"),
    [
        ([1.0, 0.9], ["channels_last"]),
        ([1.0, 0.97], []),
    ],
)
def test_measured_switches(seconds: list[float], used: list[str]) -> None:
    """On a GPU "auto" keeps what makes it faster; here the clock is made up."""
    cpu = torch.device("cpu")
    auto = Acceleration(channels_last="auto")
    network = AcceleratedNetwork(tiny_network().float(), auto, cpu, torch.float32)
    assert network.undecided == []  # never on a CPU
    network.undecided = ["channels_last"]
    clock = iter(seconds)

    def measured(call: Callable[[], object]) -> float:
        call()
        return next(clock)

    network.settle(torch.randn(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0)), measured)
    assert network.in_use == used and network.undecided == []


def test_measured_switches_must_give_the_same_gradient() -> None:
    class Moody(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (2 if x.is_contiguous() else 3)

    network = AcceleratedNetwork(Moody(), Acceleration(), torch.device("cpu"), torch.float32)
    network.undecided = ["channels_last"]
    clock = iter([1.0, 0.1])
    network.settle(torch.ones(1, 2, 8, 8, 8), lambda call: next(clock))
    assert network.in_use == []


class Counting(nn.Module):
    """Writes down how many windows it gets at a time."""

    def __init__(self, limit: int = 1000) -> None:
        super().__init__()
        self.network, self.limit = tiny_network(), limit
        self.batches: list[int] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        self.batches.append(len(batch))
        return self.network(batch)


class Memory:
    """A GPU on which a window takes 10 bytes."""

    def __init__(self, network: Counting, free: int) -> None:
        self._network, self._free = network, free
        self.started = 0

    def start(self) -> None:
        self.started += 1
        self._first = len(self._network.batches)

    def used(self) -> int:
        return 10 * max(self._network.batches[self._first :])

    def free(self) -> int:
        return self._free


@pytest.mark.parametrize(("free", "expected"), [(65, 5), (10**6, 12), (20, 1), (1, 1)])
def test_batches_fill_the_measured_memory(free: int, expected: int) -> None:
    """The first batch that is differentiated is measured; 0.8 of the free memory is filled, up to a limit."""
    case, network = toy_case((16, 16, 32)), Counting()
    model = wrapped(network, window=(8, 8, 8), overlap=0.0, window_batch=2)
    memory = Memory(network, free)
    model.memory, model.most_windows = memory, 12  # type: ignore[assignment]
    model.examine()
    network.batches.clear()
    wanted = wrapped(tiny_network(), window=(8, 8, 8), overlap=0.0)
    loss = objectives.SoftDice(case.label)
    value, gradient = model.value_and_gradient(case, loss)
    expected_value, expected_gradient = wanted.value_and_gradient(case, loss)
    assert value == pytest.approx(expected_value, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-18)
    forward, backward = network.batches[:8], network.batches[8:]
    assert forward == [2] * 8 and backward[0] == 2 and backward[1] == expected
    assert sum(backward) == 16 and memory.started == 1


def test_a_memory_that_was_measured_wrongly(caplog: pytest.LogCaptureFixture) -> None:
    """Batches are halved when the memory runs out all the same, and never grow beyond that again."""
    case, network = toy_case((16, 16, 32)), Counting(limit=5)
    model = wrapped(network, window=(8, 8, 8), overlap=0.0, window_batch=2)
    model.memory, model.most_windows = Memory(network, 10**6), 12  # type: ignore[assignment]
    for _ in range(2):
        model.value_and_gradient(case, objectives.SoftDice(case.label))
    assert model.most_windows == 3 and max(network.batches) == 3
    assert caplog.text.count("Out of device memory") == 2  # 12, 6, and not again


def test_whole_batches_of_slices() -> None:
    """Where all slices turn out to fit, the next gradient takes one forward and one backward."""
    case, network = toy_case((10, 16, 18)), Counting()
    network.network = tiny_network(dimensions=2)
    model = wrapped(network, preprocessing=Preprocessing(axes="ji"), window_batch=4)
    model.memory, model.most_windows = Memory(network, 10**6), 64  # type: ignore[assignment]
    with model.on(case) as bound:
        loss = objectives.SoftDice(case.label).bind(model.head, "cpu", torch.float64)
        _, first, _ = bound.differentiate(bound.image, loss)
        network.batches.clear()
        _, second, _ = bound.differentiate(bound.image, loss)
    assert network.batches == [10]
    torch.testing.assert_close(second, first, rtol=1e-9, atol=1e-18)


def test_switches_are_settings(capsys: pytest.CaptureFixture[str]) -> None:
    name = "builtin:brain-tumour-phantom"
    chosen = {"channels_last": True, "mixed_precision": "bfloat16"}
    model = open_model(name, device="cpu", acceleration=chosen)
    described = model.describe()["acceleration"]
    used = {"in_use": ["channels_last", "mixed_precision"], "searches_in": "bfloat16"}
    assert described == {**Acceleration(**chosen).model_dump(), **used}  # type: ignore[arg-type]
    source = ModelSource(path=name, device="cpu", changes={"acceleration": chosen})
    assert open_source(source).describe()["acceleration"] == described
    words = ["info", "--model", name, "--device", "cpu", "--accelerate", "channels_last", "--events"]
    assert main([*words, "--accelerate", "mixed_precision=bfloat16"]) == 0
    (event,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "acceleration" in line)
    assert described in (event.get("network", event).get("acceleration"), event.get("result", {}).get("acceleration"))


@pytest.mark.parametrize("wrong", [{"turbo": True}, {"mixed_precision": "float8"}])
def test_wrong_switches(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="Acceleration"):
        wrapped(tiny_network(), wrong)
    with pytest.raises(InputError, match="acceleration"):
        open_model("builtin:brain-tumour-phantom", acceleration=wrong)


def test_readings_of_a_gpus_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Used is beyond what was held at the start; free is the driver's and what PyTorch keeps for later."""
    state = {"allocated": 100, "peak": 900, "reserved": 400}

    def reset(device: torch.device) -> None:
        state["peak"] = state["allocated"]

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: state["allocated"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state["peak"])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: state["reserved"])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5000, 8000))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0, raising=False)
    memory = GpuMemory(torch.device("cuda"))
    memory.start()
    state["peak"] = 350
    assert memory.used() == 250 and memory.free() == 5300
