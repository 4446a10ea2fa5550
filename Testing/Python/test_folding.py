"""Batch norms folded into convolutions: the same numbers, the network left as it was, and odd networks left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from acceleration_helpers import answers, difference, wrapped
from conftest import toy_case
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from SegAdversarialLib import Preprocessing, SegmentationModel
from SegAdversarialLib.errors import Cancelled


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """With batch norms that have seen something."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)) and module.running_mean is not None:
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
            if module.affine:
                nn.init.uniform_(module.weight, -2, 2, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return network


def folded(model: SegmentationModel) -> int:
    """How many batch norms are folded while the model is on a case."""
    with model.on(toy_case()):
        return model._accelerated._folding.count


def block(dimensions: int, kind: str, inside: int, outside: int, grouped: bool, bias: bool, affine: bool) -> list[nn.Module]:
    convolutions: dict[tuple[str, int], Any] = {
        ("plain", 2): nn.Conv2d,
        ("plain", 3): nn.Conv3d,
        ("transposed", 2): nn.ConvTranspose2d,
        ("transposed", 3): nn.ConvTranspose3d,
    }
    groups = 2 if grouped and kind == "plain" and inside % 2 == 0 else 1
    padding = {"padding_mode": "replicate"} if kind == "plain" else {}
    convolution = convolutions[kind, dimensions](inside, outside, 3, padding=1, bias=bias, groups=groups, **padding)
    norm = (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(outside, affine=affine)
    return [convolution, norm, nn.Softplus()]


@settings(max_examples=20, deadline=None)
@given(
    dimensions=st.sampled_from([2, 3]),
    blocks=st.lists(
        st.tuples(
            st.sampled_from(["plain", "transposed"]), st.sampled_from([2, 4, 6]), st.booleans(), st.booleans(), st.booleans()
        ),
        min_size=1,
        max_size=3,
    ),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    window=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_folding_changes_nothing(
    dimensions: int, blocks: list[tuple[str, int, bool, bool, bool]], dtype: torch.dtype, window: bool, seed: int
) -> None:
    """Random networks: output and gradient stay, and every norm that follows a convolution is folded."""
    torch.manual_seed(seed)
    layers, channels = [], 2
    for kind, outside, grouped, bias, affine in blocks:
        layers += block(dimensions, kind, channels, outside, grouped, bias, affine)
        channels = outside
    last = nn.Conv2d(channels, 3, 1) if dimensions == 2 else nn.Conv3d(channels, 3, 1)
    network = stirred(nn.Sequential(*layers, last), seed).to(dtype)
    chosen = {"axes": "kji"[3 - dimensions :]}
    some = {"preprocessing": Preprocessing(**chosen)}
    if window:
        some["window"] = (8,) * dimensions
    expected = answers(wrapped(network, {"fused": False}, **some))
    model = wrapped(network, **some)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for found, wanted in zip(answers(model), expected):
        assert difference(found, wanted) < tolerance
    assert model.describe()["acceleration"]["in_use"] == ["fused"]
    assert model._accelerated._folding.count == len(blocks)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: UNet(3, 2, 3, (4, 8, 8), (2, 2), norm="batch"), 4),
        (lambda: UNet(3, 2, 3, (4, 8, 8), (2, 2), norm="batch", num_res_units=2), 9),
        (lambda: BasicUNet(3, 2, 3, features=(4, 4, 8, 8, 8, 4), norm="batch"), 18),
    ],
)
def test_networks_of_monai_are_folded(network: Callable[[], nn.Module], count: int) -> None:
    torch.manual_seed(0)
    net = stirred(network()).double()
    size = {"size_multiple": 16}
    model = wrapped(net, **size)
    for found, wanted in zip(answers(model), answers(wrapped(net, {"fused": False}, **size))):
        assert difference(found, wanted) < 1e-10
    assert folded(model) == count


def batch_norm_network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Tanh(), nn.Conv3d(4, 3, 1), nn.BatchNorm3d(3)]
    return stirred(nn.Sequential(*layers))  # type: ignore[return-value]


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    network = batch_norm_network().train()
    network[3].weight.requires_grad_(False)
    model = wrapped(network)
    before = {name: (id(x), x.clone(), x.requires_grad) for name, x in network.state_dict(keep_vars=True).items()}
    modules = [(name, id(x), set(x.__dict__), x.training) for name, x in network.named_modules()]
    try:
        with model.on(toy_case()) as bound:
            assert model._accelerated._folding.count == 2 and not network[0].weight.requires_grad
            assert folded(model) == 2  # on two cases at once
            bound.logits(bound.image)
            if fails:
                raise Cancelled
    except Cancelled:
        pass
    after = network.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, x in after.items():
        number, content, learns = before[name]
        assert id(x) == number and x.requires_grad == learns and torch.equal(x, content), name
    assert [(name, id(x), set(x.__dict__), x.training) for name, x in network.named_modules()] == modules


def test_folding_follows_the_weights() -> None:
    """A network that goes on learning between two uses is folded anew."""
    network = batch_norm_network()
    model = wrapped(network)
    first = answers(model)[0]
    with torch.no_grad():
        network[1].running_var.mul_(3)
        network[0].weight.add_(0.1)
    second = answers(model)[0]
    assert difference(second, first) > 1e-2
    assert difference(second, answers(wrapped(network, {"fused": False}))[0]) < 1e-5


class Odd(nn.Module):
    """A convolution, a batch norm, and something that forbids to fold them."""

    def __init__(self, oddity: str) -> None:
        super().__init__()
        self.oddity = oddity
        torch.manual_seed(0)
        self.first, self.second = nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 3, 1)
        self.norm = nn.BatchNorm3d(4, track_running_stats=oddity != "no statistics")
        self.twin, self.again = nn.Conv3d(4, 4, 1), nn.Conv3d(4, 4, 1)
        stirred(self)
        if oddity == "hook":
            self.first.register_forward_hook(lambda module, given, made: made * 2)
        if oddity == "parametrized":
            nn.utils.parametrizations.weight_norm(self.first)

    def train(self, mode: bool = True) -> Odd:
        super().train(mode)
        if self.oddity == "stays in training":
            self.norm.train()
        return self

    def forward(self, x: torch.Tensor, extra: torch.Tensor | None = None) -> torch.Tensor:
        seen = self.first(x)
        if self.oddity == "decides by the data" and seen.mean() > 0.1:
            return self.second(seen)
        if self.oddity == "decides by the type" and isinstance(seen, torch.Tensor):
            return self.second(seen)  # tracing takes the other branch
        if self.oddity == "used twice":
            return self.second(self.norm(seen) + seen)
        if self.oddity == "shared norm":
            return self.second(self.norm(self.twin(self.norm(seen))))
        if self.oddity == "shared convolution":
            return self.second(self.twin(torch.tanh(self.norm(self.twin(seen)))))
        if self.oddity == "functional weight":
            return self.second(self.norm(seen)) * self.first.weight.mean()
        return self.second(self.norm(seen))


ODDITIES = ["hook", "parametrized", "stays in training", "no statistics", "decides by the data", "decides by the type"]
ODDITIES += ["used twice", "shared norm", "shared convolution", "functional weight"]


@pytest.mark.parametrize("oddity", ODDITIES)
def test_odd_networks_are_not_folded(oddity: str) -> None:
    network = Odd(oddity).double()
    model = wrapped(network)
    keys = set(network.__dict__)
    for found, wanted in zip(answers(model), answers(wrapped(network, {"fused": False}))):
        np.testing.assert_array_equal(found, wanted)
    assert folded(model) == 0 and set(network.__dict__) == keys
    assert folded(wrapped(Odd("none").double())) == 1  # but for the oddity it would be


def test_programs_and_low_precision_are_not_folded() -> None:
    network = batch_norm_network().eval()
    assert folded(wrapped(torch.jit.trace(network, torch.zeros(1, 2, 8, 8, 8)))) == 0
    assert folded(wrapped(batch_norm_network().to(torch.bfloat16))) == 0
    assert folded(wrapped(network, {"fused": False})) == 0
    assert folded(wrapped(network)) == 2
