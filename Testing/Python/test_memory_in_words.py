"""Too little memory on a device: for one window, for the volumes around it, or for the weights, each in its own sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case
from gradient_helpers import wrapped

from SegAdversarialLib import InputError, SegmentationModel, attacks, objectives
from SegAdversarialLib.jobs.failures import failure
from SegAdversarialLib.model.bound_model import BoundModel
from SegAdversarialLib.model.devices import GpuMemory
from SegAdversarialLib.model.preprocessing_on_grid import PreprocessingOnGrid
from SegAdversarialLib.model.sliding_window import SlidingWindow
from SegAdversarialLib.training.failures import memory_in_words

WINDOWS = {"window": (8, 8, 8), "window_batch": 4}


def full(*_: Any, **__: Any) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB.")


def full_machine(*_: Any, **__: Any) -> Any:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: you tried 4 bytes")


def full_numpy(*_: Any, **__: Any) -> Any:
    raise MemoryError("Unable to allocate 20.0 GiB for an array")


def told(work: Callable[[], Any]) -> str:
    """The sentence, which is told to be one about memory."""
    with pytest.raises(InputError) as caught:
        work()
    event = failure(caught.value)
    assert event["kind"] == "memory" and event["details"] == "" and "\n" not in event["message"]
    return str(event["message"])


@pytest.mark.parametrize("error", [full, full_machine, full_numpy])
@pytest.mark.parametrize("where", ["_prepare", "restore", "loss", "attack", "reading"])
def test_the_volumes_do_not_fit(where: str, error: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Said of the volumes, whatever it is that finds no room; a window is not blamed."""
    model, case = wrapped(tiny_network(), **WINDOWS), toy_case((8, 10, 12))
    model.examine()
    if where == "_prepare":
        monkeypatch.setattr(BoundModel, where, error)
    elif where == "restore":
        monkeypatch.setattr(PreprocessingOnGrid, where, error)
    elif where == "reading":
        monkeypatch.setattr(BoundModel, "__init__", error)
    if where in ("loss", "attack"):
        attack = attacks.FGSM(epsilon=0.1)
        monkeypatch.setattr(objectives.SoftDice, "bind", lambda *_, **__: error) if where == "loss" else None
        monkeypatch.setattr(type(attack), "_search", error) if where == "attack" else None
        said = told(lambda: attack(model, case))
    else:
        said = told(lambda: model.segment(case))
    assert said.startswith("A volume of 12x10x8 voxels in 2 channels,") and "the computer's memory" in said
    assert "window hardly helps" in said


@pytest.mark.parametrize("limit", [0, "backward"])
@pytest.mark.parametrize("settings", [WINDOWS, {}])
def test_a_single_window_does_not_fit(limit: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said where it is the network that finds no room with one window alone, on the way there or back."""
    model, case = wrapped(tiny_network(), **settings), toy_case((8, 10, 12))
    model.examine()
    if limit == "backward":
        monkeypatch.setattr("SegAdversarialLib.model.sliding_window.input_gradient", full)
        monkeypatch.setattr("SegAdversarialLib.model.bound_model.input_gradient", full)
    else:
        model.network.register_forward_pre_hook(full)
    size = "8x8x8" if settings else "8x10x12"  # along the network's axes
    said = told(lambda: model.value_and_gradient(case, objectives.SoftDice(case.label)))
    assert said.startswith(f"A single window of {size} voxels does not fit")


def test_a_volume_in_one_piece_goes_on_without_the_graph_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the objective finds no room beside the network's graph, one comes after the other, with the same gradient."""
    case, network = toy_case((8, 10, 12)), tiny_network()
    expected = wrapped(network).value_and_gradient(case, objectives.SoftDice(case.label))
    tried, model = list[bool](), wrapped(network)
    restore = PreprocessingOnGrid.restore

    def restored(self: Any, logits: torch.Tensor, *more: Any) -> torch.Tensor:
        tried.append(bound._keeps_all)
        return full() if bound._keeps_all else restore(self, logits, *more)

    monkeypatch.setattr(PreprocessingOnGrid, "restore", restored)
    with model.on(case) as bound:
        loss = objectives.SoftDice(case.label).bind(model.head, "cpu", torch.float64)
        for _ in range(2):
            value, gradient, _logits = bound.differentiate(bound.image, loss)
            assert value == pytest.approx(expected[0], rel=1e-12)
            np.testing.assert_allclose(gradient, expected[1], rtol=1e-9, atol=1e-18)
    assert tried == [True, False, False], "what did not fit is tried once"


def test_fewer_windows_for_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a batch of windows finds no room for its own volumes, fewer are tried before anybody is told."""
    blended = SlidingWindow._share
    model, case, tried = wrapped(tiny_network(), **WINDOWS), toy_case((8, 10, 12)), list[int]()

    def share(self: SlidingWindow, *arguments: Any) -> torch.Tensor:
        tried.append(self.batch_size)
        return full() if self.batch_size > 1 else blended(self, *arguments)

    monkeypatch.setattr(SlidingWindow, "_share", share)
    np.testing.assert_array_equal(model.segment(case), wrapped(tiny_network(), **WINDOWS).segment(case))
    assert tried[:3] == [4, 2, 1]


def test_the_weights_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network()
    monkeypatch.setattr(torch.nn.Module, "to", full)
    said = told(
        lambda: SegmentationModel.from_network(
            network, channels=("A", "B"), classes=("background", "core", "rim"), name="unet"
        )
    )
    assert said == "The weights of the network unet do not fit into the computer's memory; close other programs."


def test_what_helps_in_training_is_told_there() -> None:
    model, case = wrapped(tiny_network()), toy_case((8, 10, 12))
    with pytest.raises(InputError, match="The GPU has too little memory for this training"), memory_in_words(), model.on(case):
        full()


@pytest.mark.parametrize(("fraction", "free"), [(1.0, 5300), (0.5, 3900), (0.01, 300)])
def test_a_limit_of_the_process_counts(fraction: float, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.cuda.set_per_process_memory_fraction`: all that PyTorch keeps counts towards it."""
    numbers = {"memory_allocated": 100, "memory_reserved": 400, "mem_get_info": (5000, 8000)}
    for name, number in numbers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, number=number: number)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: fraction, raising=False)
    assert GpuMemory(torch.device("cuda")).free() == free
    monkeypatch.delattr(torch.cuda, "get_per_process_memory_fraction")  # PyTorch before 2.8
    assert GpuMemory(torch.device("cuda")).free() == 5300
