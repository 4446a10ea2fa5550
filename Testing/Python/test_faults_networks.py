"""Networks that answer nonsense, at once or later, and too little memory: one sentence, nothing lost, the next run works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_network
from fault_helpers import address_space, in_child, limited, listing, needs_fork, run_toy, sentence_of, toy_job, unfinished

from SegAdversarialLib import InputError, SegmentationModel
from SegAdversarialLib.jobs import run
from SegAdversarialLib.jobs.failures import failure

Spoil = Callable[[torch.Tensor], Any]


class Spoiled(torch.nn.Module):
    """A network whose answers are spoiled from the nth call on."""

    def __init__(self, spoil: Spoil, after: int) -> None:
        super().__init__()
        self.network, self.spoil, self.after, self.calls = tiny_network().float(), spoil, after, 0

    def forward(self, x: torch.Tensor) -> Any:
        self.calls += 1
        answer = self.network(x)
        return answer if self.calls <= self.after else self.spoil(answer)


def out_of_memory(answer: torch.Tensor) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB.")


def no_memory(answer: torch.Tensor) -> Any:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: you tried")


SPOILS: dict[str, Spoil] = {
    "NaN": lambda x: x * torch.nan,
    "NaN in one voxel": lambda x: torch.cat([x[..., :1] * torch.nan, x[..., 1:]], -1),
    "infinite": lambda x: x + torch.inf,
    "too small": lambda x: x[..., 1:],
    "too few classes": lambda x: x[:, :2],
    "too many classes": lambda x: torch.cat([x, x], 1),
    "flat": lambda x: x.flatten(),
    "no batch": lambda x: x[0],
    "a list of nothing": lambda x: [],
    "a text": lambda x: "answer",
    "None": lambda x: None,
    "a dictionary of texts": lambda x: {"out": "answer"},
    "whole numbers": lambda x: x.argmax(1, keepdim=True),
    "complex": lambda x: x.to(torch.complex64),
    "empty": lambda x: x[:0],
    "CUDA out of memory": out_of_memory,
    "memory": no_memory,
}


def opener(spoil: Spoil, after: int) -> Callable[[Any], SegmentationModel]:
    """A window of the case's size, so that a network that answers nonsense is not asked again at 32, 64 and 128 voxels."""
    network = Spoiled(spoil, after)
    said: dict[str, Any] = {"channels": ("A", "B"), "classes": ("background", "core", "rim"), "window": (8, 10, 12)}
    return lambda source: SegmentationModel.from_network(network, **said)


@pytest.mark.parametrize("name", SPOILS)
@pytest.mark.parametrize("kind", ["segment", "attack"])
def test_an_answer_of_nonsense_from_the_first_on(name: str, kind: str, tmp_path: Path) -> None:
    job = toy_job(tmp_path, {"attack": "pgd", "steps": 2}, kind=kind)
    inputs = listing(tmp_path / "case")
    with pytest.raises((InputError, torch.OutOfMemoryError, RuntimeError)) as caught:
        run(job, open_model=opener(SPOILS[name], 0))
    told = failure(caught.value)
    assert told["kind"] == ("memory" if "memory" in name else "input"), told
    assert "\n" not in told["message"] and told["details"] == ""
    assert listing(tmp_path / "case") == inputs and not unfinished(tmp_path)
    assert not list((tmp_path / "out").rglob("*.nrrd"))
    assert run_toy(job)


@pytest.mark.parametrize("name", ["NaN", "infinite", "too small", "too few classes", "None", "CUDA out of memory"])
@pytest.mark.parametrize("after", [8, 16])
def test_an_answer_of_nonsense_from_a_later_step_on(name: str, after: int, tmp_path: Path) -> None:
    """What was finished before stays, as after a stop."""
    job = toy_job(tmp_path, {"attack": "fgsm"}, {"attack": "pgd", "steps": 30})
    with pytest.raises((InputError, torch.OutOfMemoryError)) as caught:
        run(job, open_model=opener(SPOILS[name], after))
    told = failure(caught.value)
    assert told["kind"] == ("memory" if "memory" in name else "input"), told
    assert not unfinished(tmp_path) and not (tmp_path / "out" / "pgd").exists()
    assert run_toy(toy_job(tmp_path, {"attack": "pgd", "steps": 2}, overwrite=True))


@needs_fork
def test_the_machines_memory_does_not_suffice(tmp_path: Path) -> None:
    """A real limit of the address space, in which the answer of the network finds no room."""
    job, said = toy_job(tmp_path, kind="segment"), tmp_path / "said"

    class Greedy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1 << 29)[: x.numel()].reshape(x.shape).repeat(1, 2, 1, 1, 1)[:, :3]  # 2 GiB

    def model(source: Any) -> SegmentationModel:
        return SegmentationModel.from_network(Greedy(), channels=("A", "B"), classes=("background", "core", "rim"))

    def held_short() -> None:
        with limited("RLIMIT_AS", address_space() + (300 << 20)):
            try:
                run(job, open_model=model)
            except Exception as error:
                told = failure(error)
                said.write_text(f"{told['kind']}: {told['message']}")

    assert in_child(held_short) == 0
    assert said.read_text().startswith("memory: ") and "smaller" in said.read_text()
    assert not unfinished(tmp_path) and not list((tmp_path / "out").rglob("*.nrrd"))
    assert run_toy(job)


def test_a_network_that_raises_anything_is_told_as_its_own(tmp_path: Path) -> None:
    def broken(answer: torch.Tensor) -> Any:
        raise KeyError("layer4")

    told = sentence_of(lambda: run(toy_job(tmp_path, kind="segment"), open_model=opener(broken, 0)))
    assert "network" in told and "layer4" in told
