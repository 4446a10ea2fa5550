"""Networks in low precision: the layers that are asked in another way give the same, in modules and in programs."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from SegAdversarialLib.model import low_precision
from SegAdversarialLib.model.cast_program import cast_program
from SegAdversarialLib.model.frozen_prelu import OPERATOR, frozen_prelu
from SegAdversarialLib.model.low_precision import LowPrecision


@pytest.mark.parametrize("shape", [(1, 3, 5, 6, 7), (2, 3, 5, 6, 7), (2, 3, 6, 7)])
@pytest.mark.parametrize("affine", [False, True])
def test_a_norm_in_another_memory_order_is_the_same_norm(shape: tuple[int, ...], affine: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(3, generator=generator).double() if affine else None for _ in range(2))
    image = torch.randn(shape, generator=generator).double().requires_grad_(True)
    seed = torch.randn(shape, generator=generator).double()
    found = low_precision._instance_norm(image, weight=weight, bias=bias)
    expected = functional.instance_norm(image, weight=weight, bias=bias)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(x, image, seed)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients)


class Mixture(nn.Module):
    """Layers that have another way in low precision, and weights that are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(2, 8, 3, stride=2, padding=1)
        self.norm, self.act = nn.InstanceNorm3d(8, affine=True), nn.PReLU(init=0.1)
        self.up, self.many = nn.ConvTranspose3d(8, 3, 2, stride=2), nn.PReLU(3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.many(self.up(self.act(self.norm(self.down(image)))))
        return functional.conv3d(found, self.up.weight.mean((0, 2, 3, 4)).diag()[..., None, None, None])


@pytest.mark.parametrize("scripted", [False, True])
def test_low_precision_says_nearly_the_same(scripted: bool) -> None:
    torch.manual_seed(0)
    network = Mixture().eval().requires_grad_(False)
    image = torch.randn(2, 2, 8, 10, 12).requires_grad_(True)
    asked = torch.jit.trace(network, image.detach()) if scripted else network
    low = LowPrecision(asked, torch.bfloat16, torch.device("cpu"))
    found, expected = low(image), network(image)
    assert found.dtype == torch.bfloat16
    seed = torch.randn(expected.shape)
    gradients = [torch.autograd.grad((x.float() * seed).sum(), image)[0] for x in (found, expected)]
    for a, b in ((found.detach().float(), expected.detach()), gradients):
        assert 1e-5 < float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("channels", "weights"), [(5, 5), (4, 4), (3, 1), (1, 1)])
def test_a_prelu_whose_weights_stay_is_the_same_to_the_last_bit(
    dtype: torch.dtype, order: torch.memory_format, channels: int, weights: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, channels, 4, 6, 7, generator=generator).to(dtype).contiguous(memory_format=order)
    image[:, :, 1] = 0.0
    weight = (3 * torch.randn(weights, generator=generator)).to(dtype)
    seed = torch.randn(image.shape, generator=generator).to(dtype)
    leaf = image.requires_grad_(True)
    found, expected = frozen_prelu(leaf, weight), torch.prelu(leaf, weight)
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=order)
    gradients = [torch.autograd.grad(x, leaf, seed)[0] for x in (found, expected)]
    assert torch.equal(*gradients)


def test_a_program_is_frozen_with_another_prelu() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.act = nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.PReLU(4)
            self.last_norm, self.second, self.last = nn.BatchNorm3d(4), nn.PReLU(), nn.Conv3d(4, 2, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.last(self.second(self.last_norm(self.act(self.norm(self.first(image))))))

    torch.manual_seed(0)
    network = Layers()
    with torch.no_grad():
        network.act.weight.copy_(torch.tensor([0.1, 2.0, -1.0, 5.0]))
        for _ in range(5):
            network(3 + torch.randn(2, 2, 8, 8, 8))
    network.eval().requires_grad_(False)
    image = torch.randn(1, 2, 8, 9, 10).requires_grad_(True)
    program = torch.jit.script(network)
    cast = cast_program(program, torch.bfloat16)
    kinds = [x.kind() for x in cast.graph.nodes()]  # type: ignore[attr-defined]
    assert "aten::prelu" not in kinds and kinds.count(OPERATOR) == 2 and kinds.count("aten::batch_norm") == 1
    seed = torch.randn(1, 2, 8, 9, 10)
    for _ in range(3):  # PyTorch makes a program another one in its first calls
        answers = [cast(image.bfloat16()).float(), program(image), network(image)]
        gradients = [torch.autograd.grad((x * seed).sum(), image)[0] for x in answers]
        for found, *both in (answers, gradients):
            for expected in both:
                away = torch.linalg.vector_norm((found - expected).detach()) / torch.linalg.vector_norm(expected.detach())
                assert float(away) < 0.1  # slopes change at 0
    assert program.act.weight.dtype == torch.float32


def test_a_program_that_cannot_be_frozen_is_cast_as_it_is() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act = nn.Conv3d(2, 2, 1), nn.PReLU(2)
            self.register_buffer("asked", torch.zeros(1))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.asked += 1
            return self.act(self.first(image))

    program = torch.jit.script(Counting().eval().requires_grad_(False))
    image = torch.randn(1, 2, 4, 4, 4)
    found = cast_program(program, torch.bfloat16)(image.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), program(image), rtol=0.05, atol=0.05)


def test_a_layer_that_wants_single_precision_has_it() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv3d(2, 3, 1), nn.Conv3d(3, 2, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found = self.first(image)
            with torch.autocast("cpu", enabled=False):
                return self.last(found.float())

    network = Careful().requires_grad_(False)
    image = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    found = LowPrecision(network, torch.bfloat16, torch.device("cpu"))(image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(image), rtol=0.05, atol=0.05)


def test_weights_that_move_are_cast_anew() -> None:
    network = nn.Conv3d(2, 2, 1, bias=False).requires_grad_(False)
    low = LowPrecision(network, torch.bfloat16, torch.device("cpu"))
    before = low(torch.ones(1, 2, 4, 4, 4)).clone()
    network.weight.mul_(2)
    torch.testing.assert_close(low(torch.ones(1, 2, 4, 4, 4)), 2 * before)


def test_the_operator_of_programs_outlives_a_module_that_is_imported_anew() -> None:
    image, weight = torch.randn(1, 3, 4, 4, 4), torch.tensor([0.5, -1.0, 3.0])
    importlib.reload(sys.modules[frozen_prelu.__module__])
    assert torch.equal(torch.ops.segadversarial.frozen_prelu(image, weight), torch.prelu(image, weight))
