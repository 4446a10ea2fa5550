"""One network in every form in which a file can hold it: the original's answer, and the gradient of plain autograd."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT
from monai.networks.nets import UNet

from SegAdversarialLib import Case, SegmentationModel, ensemble, export_network, objectives, open_model

SETTINGS: dict[str, Any] = {"channels": ["A", "B"], "classes": ["background", "core", "rim"], "outputs": "logits"}
SIZE = 8


def arguments(dimensions: int) -> dict[str, Any]:
    sizes: dict[str, Any] = {"channels": [4, 8], "strides": [2], "num_res_units": 1}
    return {"spatial_dims": dimensions, "in_channels": 2, "out_channels": 3, **sizes}


def unet(dimensions: int) -> torch.nn.Module:
    torch.manual_seed(3)
    return UNet(**arguments(dimensions)).eval()


def settings(dimensions: int, named: bool = False) -> dict[str, Any]:
    said = {**SETTINGS, "preprocessing": {"axes": "ji"}} if dimensions == 2 else dict(SETTINGS)
    return {**said, "network": {"name": "UNet", "arguments": arguments(dimensions)}} if named else said


def traced(folder: Path, dimensions: int) -> Path:
    path, example = folder / "net.ts", torch.zeros(2, 2, *(SIZE,) * dimensions)
    torch.jit.trace(unet(dimensions), example).save(str(path))
    (folder / "net.json").write_text(json.dumps(settings(dimensions)))
    return path


def with_settings_inside(folder: Path, dimensions: int) -> Path:
    program = torch.jit.trace(unet(dimensions), torch.zeros(2, 2, *(SIZE,) * dimensions))
    torch.jit.save(program, str(folder / "net.ts"), _extra_files={"model.json": json.dumps(settings(dimensions))})
    return folder / "net.ts"


def weights(folder: Path, dimensions: int) -> Path:
    safetensors.torch.save_file(unet(dimensions).state_dict(), folder / "net.safetensors")
    (folder / "net.json").write_text(json.dumps(settings(dimensions, named=True)))
    return folder / "net.json"


def lightning(folder: Path, dimensions: int) -> Path:
    state = {f"model.{name}": x for name, x in unet(dimensions).state_dict().items()}
    torch.save({"pytorch-lightning_version": "2.6.6", "state_dict": state, "epoch": 2}, folder / "net.ckpt")
    (folder / "net.json").write_text(json.dumps(settings(dimensions, named=True)))
    return folder / "net.ckpt"


def own_export(folder: Path, dimensions: int) -> Path:
    (folder / "first").mkdir()
    export_network(lightning(folder / "first", dimensions), folder / "own")
    return folder / "own"


def members(folder: Path, dimensions: int) -> Path:
    """An ensemble of the network with itself, whose mean is the network."""
    weights(folder, dimensions)
    (folder / "both.json").write_text(json.dumps({"members": ["net.json", "net.json"]}))
    return folder / "both.json"


FORMS: dict[str, Callable[[Path, int], Path]] = {
    "TorchScript": traced,
    "TorchScript with settings in it": with_settings_inside,
    "safetensors": weights,
    "Lightning": lightning,
    "own export": own_export,
    "ensemble": members,
}


def subject(dimensions: int) -> Case:
    shape = (2, 3 if dimensions == 2 else SIZE, SIZE, SIZE)
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 3, shape[1:]).astype(np.int16)
    return Case(image, ("A", "B"), np.eye(4), label)


def check_as_autograd(model: SegmentationModel, dimensions: int, probabilities: bool = False) -> None:
    """Logits, and the gradient of soft Dice, are those of the network; an ensemble gives the logarithms of probabilities."""
    case, network = subject(dimensions), unet(dimensions)
    leaf = torch.from_numpy(case.image).requires_grad_(True)
    batch = leaf.movedim(0, 1) if dimensions == 2 else leaf[None]
    answer = network(batch)
    logits = answer.movedim(0, 1) if dimensions == 2 else answer[0]
    wanted = logits.log_softmax(0) if probabilities else logits
    np.testing.assert_allclose(model.logits(case), wanted.detach(), rtol=1e-4, atol=1e-4)
    objective = objectives.SoftDice(case.label)
    loss = objective.bind(model.head, model.device, model.dtype)(logits)
    (expected,) = torch.autograd.grad(loss, leaf)
    value, gradient = model.value_and_gradient(case, objective)
    assert value == pytest.approx(float(loss.detach()), rel=1e-5)
    difference = np.linalg.norm(gradient - expected.numpy()) / np.linalg.norm(expected.numpy())
    assert difference < 1e-4 and np.linalg.norm(gradient) > 0


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_answer_and_gradient_are_the_networks_own(form: str, dimensions: int, tmp_path: Path) -> None:
    path = FORMS[form](tmp_path, dimensions)
    model = open_model(path, trust=form.startswith("TorchScript"), device="cpu")
    check_as_autograd(model, dimensions, probabilities=form == "ensemble")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_of_a_network_in_python(dimensions: int) -> None:
    axes = {"axes": "ji"} if dimensions == 2 else {}
    said = {"channels": ["A", "B"], "classes": ["background", "core", "rim"]}
    check_as_autograd(SegmentationModel.from_network(unet(dimensions), preprocessing=axes, **said), dimensions)
    both = [SegmentationModel.from_network(unet(dimensions), preprocessing=axes, **said) for _ in range(2)]
    check_as_autograd(ensemble(both), dimensions, probabilities=True)


def test_of_a_bundle_that_was_exported_as_a_program() -> None:
    """Through all of its preprocessing: as of the bundle itself, which is held against finite differences elsewhere."""
    folder = ROOT / "Testing" / "networks" / "monai-softmax"
    bundle = open_model(folder, device="cpu")
    program = open_model(folder / "models" / "model.ts", trust=True, device="cpu")
    case = Case.read({"FLAIR": ROOT / "Testing" / "networks" / "monai-cases" / "flat_FLAIR.nii.gz"})
    objective = objectives.SoftDice(bundle.segment(case))
    (value, gradient), (expected, right) = (x.value_and_gradient(case, objective) for x in (program, bundle))
    assert value == pytest.approx(expected, rel=1e-4)
    assert np.linalg.norm(gradient - right) / np.linalg.norm(right) < 1e-3 and np.linalg.norm(right) > 0
