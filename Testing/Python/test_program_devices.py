"""TorchScript programs that name a device, that of the machine on which they were made, run on another."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from SegAdversarialLib import Case, SegmentationModel, open_model

SETTINGS: dict[str, Any] = {"channels": ["CT"], "classes": ["background", "liver"]}
CASE = Case(np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32), ("CT",), np.eye(4))


class Plain(torch.nn.Module):
    """What the others would be, did they name no device."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([-x, x], 1) + 1


class Made(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([-x, x], 1) + torch.ones([1], device=torch.device("cuda:0"))


class Sent(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.cat([-x, x], 1).to("cuda") + 1).to(torch.device("cuda:1"))


class Method(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([-x, x], 1).cuda() + 1


class Keeper(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.device = torch.device("cuda:0")
        self.name = "cuda"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = torch.full([1], 0.5, device=torch.device(self.name))
        return torch.cat([-x, x], 1) + half + torch.full([1], 0.5, device=self.device)


class Nested(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Keeper()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return moved(self.inner(x))


def moved(x: torch.Tensor) -> torch.Tensor:
    if x.shape[0] > 0:
        return x + torch.zeros([1], device=torch.device("cuda"))
    return x.cuda()


def opened(network: torch.nn.Module, folder: Path) -> SegmentationModel:
    torch.jit.script(network).save(str(folder / "net.ts"))
    return open_model(folder / "net.ts", trust=True, device="cpu", **SETTINGS)


@pytest.mark.parametrize("network", [Made, Sent, Method, Keeper, Nested])
def test_a_program_made_for_a_gpu_runs_on_a_cpu(
    network: Callable[[], torch.nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model = opened(network(), tmp_path)
    said = [x.getMessage() for x in caplog.records]
    assert len(said) == 1 and "net.ts was made for cuda" in said[0] and "here it runs on cpu" in said[0]
    np.testing.assert_allclose(model.logits(CASE), opened(Plain(), tmp_path).logits(CASE), rtol=1e-6, atol=1e-6)


class Traced(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + torch.zeros(2, 1, 1, 1, device=x.device)  # traced, this is "cpu" forever


def test_a_program_for_this_device_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    network = Traced().eval()
    torch.jit.trace(network, torch.zeros(1, 1, 4, 4, 4)).save(str(tmp_path / "net.ts"))
    with caplog.at_level(logging.WARNING), torch.no_grad():
        model = open_model(tmp_path / "net.ts", trust=True, device="cpu", **SETTINGS)
        np.testing.assert_array_equal(model.logits(CASE), network(torch.from_numpy(CASE.image)[None])[0].numpy())
    assert caplog.records == []


def test_a_program_traced_on_a_cpu_makes_its_tensors_on_the_device_of_its_input(tmp_path: Path) -> None:
    from SegAdversarialLib.formats import torchscript

    torch.jit.trace(Traced().eval(), torch.zeros(1, 1, 4, 4, 4)).save(str(tmp_path / "net.ts"))
    with zipfile.ZipFile(tmp_path / "net.ts") as archive:
        changed = torchscript._for_device(archive, torch.device("cuda:1"))
    text = str(torch.jit.load(changed, map_location="cpu").graph)
    assert 'Device = prim::Constant[value="cuda:1"]' in text and 'value="cpu"' not in text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("network", [Traced, Made, Nested])
def test_on_a_gpu(network: Callable[[], torch.nn.Module], tmp_path: Path) -> None:
    made = network().eval()
    program = torch.jit.trace(made, torch.zeros(1, 1, 4, 4, 4)) if isinstance(made, Traced) else torch.jit.script(made)
    program.save(str(tmp_path / "net.ts"))
    there = open_model(tmp_path / "net.ts", trust=True, device="cuda", **SETTINGS).logits(CASE)
    here = open_model(tmp_path / "net.ts", trust=True, device="cpu", **SETTINGS).logits(CASE)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)
