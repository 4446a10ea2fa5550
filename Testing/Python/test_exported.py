"""Programs of torch.export (.pt2): sizes come from the graph, nothing runs without trust, answers and gradients hold."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from SegAdversarialLib import Case, InputError, open_model
from SegAdversarialLib.formats import describe_file

SETTINGS: dict[str, Any] = {"channels": ["CT"], "classes": ["background", "liver"]}
DIM = torch.export.Dim


def unet(dimensions: int) -> torch.nn.Module:
    torch.manual_seed(1)
    return UNet(dimensions, 1, 2, (2, 4, 4), (2, 2)).eval()


def exported(path: Path, dimensions: int, dynamic: dict[int, Any] | None = None, batch: int = 1) -> torch.nn.Module:
    network = unet(dimensions)
    shapes = (dynamic,) if dynamic is not None else None
    program = torch.export.export(network, (torch.full((batch, 1, *(16,) * dimensions), 7.5),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return network


def case(*shape: int) -> Case:
    return Case(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32), ("CT",), np.eye(4))


def steps_of_four(axes: int, most: int = 16) -> dict[int, Any]:
    return {0: DIM("b", min=1, max=8), **{2 + n: 4 * DIM(f"x{n}", min=2, max=most) for n in range(axes)}}


KINDS: dict[str, tuple[int, Any, int]] = {
    "static": (3, None, 1),
    "dynamic": (3, steps_of_four(3), 2),
    "slices": (2, None, 1),
    "dynamic slices": (2, steps_of_four(2), 2),
    "found by torch": (3, {0: DIM.AUTO, 2: DIM.AUTO, 3: DIM.AUTO, 4: DIM.AUTO}, 2),
    "batch of two": (3, None, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_gradients_are_those_of_the_network_it_was_made_of(kind: str, tmp_path: Path) -> None:
    dimensions, dynamic, batch = KINDS[kind]
    network = exported(tmp_path / "net.pt2", dimensions, dynamic, batch)
    model = open_model(tmp_path / "net.pt2", trust=True, device="cpu", **SETTINGS)
    subject = case(2 if dimensions == 2 else 16, 16, 16)
    leaf = torch.from_numpy(subject.image).requires_grad_(True)
    answer = network(leaf[:, None][0].transpose(0, 1) if dimensions == 2 else leaf[None])
    logits = answer.transpose(0, 1) if dimensions == 2 else answer[0]
    np.testing.assert_allclose(model.logits(subject), logits.detach(), rtol=1e-5, atol=1e-5)
    with model.on(subject) as bound:
        _, gradient, _ = bound.differentiate(bound.image, lambda x: (x[1] * x[0].sigmoid()).sum())
    (expected,) = torch.autograd.grad((logits[1] * logits[0].sigmoid()).sum(), leaf)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-4 and float(expected.norm()) > 0


def test_a_volume_larger_than_the_one_it_was_exported_for_goes_in_windows(tmp_path: Path) -> None:
    exported(tmp_path / "net.pt2", 3)
    known = describe_file(tmp_path / "net.pt2", **SETTINGS)
    assert known.window == (16, 16, 16) and known.needs_trust
    model = open_model(tmp_path / "net.pt2", trust=True, device="cpu", **SETTINGS)
    assert model.window_batch == 1 and model.logits(case(20, 16, 24)).shape == (2, 20, 16, 24)


def test_a_size_that_it_does_not_take_is_told(tmp_path: Path) -> None:
    exported(tmp_path / "net.pt2", 3, steps_of_four(3, most=5), 2)
    known = describe_file(tmp_path / "net.pt2", **SETTINGS)
    assert known.window is None and "8 to 20 in steps of 4" in known.content
    model = open_model(tmp_path / "net.pt2", trust=True, device="cpu", **SETTINGS)
    model.logits(case(13, 16, 16))
    with pytest.raises(InputError, match="8 to 20 in steps of 4.*not 1 of 24 x 16 x 16; say a window"):
        model.logits(case(24, 16, 16))
    with pytest.raises(InputError, match=r"takes 1 channel\(s\); its settings name 2 \(CT, PET\)"):
        open_model(tmp_path / "net.pt2", trust=True, **{**SETTINGS, "channels": ["CT", "PET"]})


def test_nothing_is_loaded_without_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(tmp_path / "net.pt2", 3)
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("it was loaded"))
    assert describe_file(tmp_path / "net.pt2", **SETTINGS).needs_trust
    with pytest.raises(InputError, match="evaluates as Python when it loads it .*; if you trust its source"):
        open_model(tmp_path / "net.pt2", **SETTINGS)


def test_settings_beside_it_and_a_folder(tmp_path: Path) -> None:
    exported(tmp_path / "net.pt2", 3)
    (tmp_path / "net.json").write_text(json.dumps({**SETTINGS, "overlap": 0.25}))
    for path in (tmp_path / "net.pt2", tmp_path / "net.json", tmp_path):
        known = describe_file(path)
        assert set(known.files) == {tmp_path / "net.pt2", tmp_path / "net.json"} and known.window == (16, 16, 16)
        assert open_model(path, trust=True, device="cpu").name == "net"
    (tmp_path / "net.json").rename(tmp_path / "other.json")
    (tmp_path / "other.json").write_text(json.dumps({**SETTINGS, "weights": "net.pt2"}))
    assert open_model(tmp_path / "other.json", trust=True, device="cpu").name == "other"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models/model.json": b"{"}, "damaged"),
        ({"models/model.json": b"{}"}, "inputs cannot be read"),
        ({"models/model.json": None}, "holds 0 programs"),
        ({"models/model.json": None, "data/aotinductor/model/x.so": b""}, "compiled code"),
        ({"models/two.json": b"{}"}, "holds 2 programs"),
    ],
)
def test_what_is_damaged_or_something_else(changed: dict[str, bytes | None], message: str, tmp_path: Path) -> None:
    exported(tmp_path / "whole.pt2", 3)
    with zipfile.ZipFile(tmp_path / "whole.pt2") as whole, zipfile.ZipFile(tmp_path / "net.pt2", "w") as copy:
        for name in whole.namelist():
            inner = name.partition("/")[2]
            if changed.get(inner, b"") is not None:
                copy.writestr(name, changed.get(inner) or whole.read(name))
        for inner, content in changed.items():
            if content is not None and inner not in {x.partition("/")[2] for x in whole.namelist()}:
                copy.writestr(f"whole/{inner}", content)
    for call in (describe_file, lambda *a, **k: open_model(*a, trust=True, **k)):
        with pytest.raises(InputError, match=message) as caught:
            call(tmp_path / "net.pt2", **SETTINGS)
        assert "\n" not in str(caught.value)


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    torch.export.save(torch.export.export(Two(), (torch.zeros(1, 1, 4, 4),) * 2), tmp_path / "net.pt2")
    with pytest.raises(InputError, match=r"takes 2 tensors \(4 axes, 4 axes\)"):
        describe_file(tmp_path / "net.pt2", **SETTINGS)


class InPlace(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.clamp_(-1, 1)
        y = self.layer(x)
        y[:, 0].mul_(2)
        return torch.nn.functional.relu(y, inplace=True)


def test_one_that_writes_into_its_tensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = InPlace().eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 8, 8, 8),)), tmp_path / "net.pt2")
    model = open_model(tmp_path / "net.pt2", trust=True, device="cpu", outputs="logits", **SETTINGS)
    subject = case(8, 8, 8)
    leaf = torch.from_numpy(subject.image).requires_grad_(True)
    logits = network(leaf[None].clone())[0]
    (expected,) = torch.autograd.grad(logits.square().sum(), leaf)
    with model.on(subject) as bound:
        _, gradient, given = bound.differentiate(bound.image, lambda x: x.square().sum())
    torch.testing.assert_close(given, logits.detach())
    torch.testing.assert_close(gradient, expected)
