"""Convolutions with which torch is slow have the same answers and gradients when they are computed in another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.profiler import profile
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from SegAdversarialLib import Preprocessing, open_model, phantom
from SegAdversarialLib.model import averaging, quick_convolutions
from SegAdversarialLib.model.graph_memory import with_its_bytes
from SegAdversarialLib.model.quick_convolutions import QuickConvolutions
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training.learner import NetworkLearner
from SegAdversarialLib.training.machine import machine
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import Task

needs_onednn = pytest.mark.skipif(not quick_convolutions._ONEDNN, reason="oneDNN is not asked on this processor")
SLOW = "aten::slow_conv3d_forward"


def operators(work: Callable[[], object]) -> set[str]:
    """What torch computes meanwhile."""
    with profile(use_kineto=False) as seen:
        work()
    return {x.key for x in seen.key_averages()}


def with_gradients(
    dtype: torch.dtype, given: list[torch.Tensor | None], wanted: list[bool], how: tuple[Any, ...]
) -> list[torch.Tensor]:
    """A convolution's answer and the gradients that are wanted of its input, weight and bias."""
    leaves = [None if x is None else x.to(dtype).clone().requires_grad_(y) for x, y in zip(given, wanted)]
    answer = functional.conv3d(*leaves, *how)  # type: ignore[call-overload]
    seed = torch.randn(answer.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    asked = [x for x in leaves if x is not None and x.requires_grad]
    return [answer.detach(), *(torch.autograd.grad(answer, asked, seed) if asked else ())]


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
strides = st.one_of(st.integers(1, 2), st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)))
paddings = st.one_of(st.integers(0, 2), st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)))


@pytest.mark.parametrize("avx512", [False, True])
@given(
    st.integers(1, 2),
    st.integers(1, 9),
    st.integers(1, 17),
    sizes,
    kernels,
    strides,
    paddings,
    st.integers(1, 2),
    st.booleans(),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_a_convolution_and_its_gradients_are_those_in_double_precision(
    avx512: bool,
    images: int,
    channels: int,
    outputs: int,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: int,
    biased: bool,
    wanted: list[bool],
) -> None:
    source = torch.Generator().manual_seed(0)
    shapes = (images, channels, *size), (outputs, channels, *kernel), (outputs,)
    image, weight, bias = (torch.randn(x, generator=source) for x in shapes)
    tensors = [image, weight, bias if biased else None]
    how = stride, padding, dilation
    with mock.patch.multiple(quick_convolutions, _AVX512=avx512, _WORTH=0):
        try:
            expected = with_gradients(torch.float64, tensors, wanted, how)
        except RuntimeError as error:  # a kernel is larger than what it goes over
            with pytest.raises(RuntimeError) as failed, QuickConvolutions():
                with_gradients(torch.float32, tensors, wanted, how)
            assert str(failed.value) == str(error)
            return
        with QuickConvolutions():
            found = with_gradients(torch.float32, tensors, wanted, how)
    assert len(found) == len(expected)
    for here, there in zip(found, expected):
        assert here.layout is torch.strided
        torch.testing.assert_close(here.double(), there, rtol=1e-4, atol=1e-4)


def test_a_narrow_layer_is_pulled_back_by_the_kernel_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_convolutions, "_AVX512", True)
    monkeypatch.setattr(quick_convolutions, "_WORTH", 0)
    layer = nn.Conv3d(3, 5, (3, 2, 1), padding=(2, 0, 0), dilation=(2, 1, 1)).requires_grad_(False)
    leaf = torch.randn(2, 3, 7, 6, 5).requires_grad_(True)
    with QuickConvolutions():
        answer = layer(leaf)
    back = "aten::convolution_backward"
    gradients: list[torch.Tensor] = []
    done = operators(lambda: gradients.extend(torch.autograd.grad(answer.sum(), leaf)))  # a gradient that is one number
    assert (back not in done) == quick_convolutions._ONEDNN
    torch.testing.assert_close(gradients[0], torch.autograd.grad(layer(leaf).sum(), leaf)[0], rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize(("channels", "size"), [(16, 32), (1, 32), (2, 96), (64, 8)])
def test_nothing_is_left_to_the_slow_way(channels: int, size: int) -> None:
    layer = nn.Conv3d(channels, 8, 3, padding=1)
    image = torch.randn(1, channels, size, size, 8)

    def work() -> None:
        layer(image)

    assert SLOW in operators(work), "torch asks oneDNN by itself now"
    with QuickConvolutions():
        assert SLOW not in operators(work)


@pytest.mark.parametrize(
    "case",
    [
        "many outputs",
        "little to compute",
        "long kernel",
        "double precision",
        "groups",
        "same padding",
        "one voxel",
        "bfloat16 around",
        "no batch",
        "2D",
    ],
)
def test_other_convolutions_are_torchs_own_to_the_last_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    if case != "little to compute":
        monkeypatch.setattr(quick_convolutions, "_WORTH", 0)
    image, how, low = torch.randn(1, 4, 8, 8, 8), dict[str, Any](kernel_size=3, padding=1), False
    outputs = 18 if case == "many outputs" else 6
    if case == "many outputs":
        image = torch.randn(2, 4, 8, 8, 8)
    elif case == "long kernel":
        how |= {"kernel_size": 9, "padding": 4}
    elif case == "double precision":
        image = image.double()
    elif case == "groups":
        how["groups"] = 2
    elif case == "same padding":
        how["padding"] = "same"
    elif case == "one voxel":
        how |= {"kernel_size": 1, "padding": 0}
    elif case == "bfloat16 around":
        low = True
    elif case == "no batch":
        image = image[0]
    kind = nn.Conv2d if case == "2D" else nn.Conv3d
    image = image[..., 0] if case == "2D" else image
    layer = kind(4, outputs, **how).to(image.dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        expected = layer(image)
        with QuickConvolutions():
            found = layer(image)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also small convolutions are computed in the other way."""
    monkeypatch.setattr(quick_convolutions, "_WORTH", 0)


class Network(nn.Module):
    """Layers one after another; with `again`, what they compute is computed again on the way back."""

    def __init__(self, again: bool = False, channels: int = 2) -> None:
        super().__init__()
        self.again = again
        self.layers = nn.Sequential(
            nn.Conv3d(channels, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv3d(8, 4, 3, padding=1, bias=False), nn.Sigmoid()
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.again:
            return checkpoint(self.layers, image, use_reentrant=False)  # type: ignore[no-any-return]
        return self.layers(image)  # type: ignore[no-any-return]


def gradient_of(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    leaf = image.clone().requires_grad_(True)
    with QuickConvolutions():
        answer = network(leaf)
    return torch.autograd.grad(answer.square().sum(), leaf)[0]


def test_a_network_may_compute_again_what_it_did_not_keep(always: None) -> None:
    torch.manual_seed(0)
    network, image = Network().eval().requires_grad_(False), torch.randn(1, 2, 8, 9, 10)
    expected = gradient_of(network, image)
    network.again = True
    torch.testing.assert_close(gradient_of(network, image), expected, rtol=1e-5, atol=1e-6)


def test_a_graph_takes_no_more_memory(always: None) -> None:
    network, image = Network(), torch.randn(1, 2, 16, 16, 16)

    def graph() -> torch.Tensor:
        return network(image.clone().requires_grad_(True))  # type: ignore[no-any-return]

    expected = with_its_bytes(graph, lambda answer: [answer])[1]
    with QuickConvolutions():
        assert with_its_bytes(graph, lambda answer: [answer])[1] == expected


@pytest.mark.parametrize("how", ["once more", "forwards", "mapped", "inside autocast"])
def test_other_ways_of_differentiating_are_right(always: None, how: str) -> None:
    """Also within a network: what it makes of its own gradient."""
    torch.manual_seed(0)
    network, image = Network().requires_grad_(False), torch.randn(1, 2, 5, 6, 7)

    def asked(image: torch.Tensor) -> torch.Tensor:
        if how == "forwards":
            return torch.func.jvp(network, (image,), (torch.ones_like(image),))[1]  # type: ignore[no-any-return]
        if how == "mapped":
            return torch.func.vmap(network)(torch.stack([image, 2 * image]))  # type: ignore[no-any-return]
        leaf = image.clone().requires_grad_(True)
        answer = network(leaf).square().sum()
        if how == "inside autocast":
            with torch.autocast("cpu", torch.bfloat16):
                return torch.autograd.grad(answer, leaf)[0]
        (first,) = torch.autograd.grad(answer, leaf, create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaf)[0]

    expected = asked(image)
    with QuickConvolutions():
        found = asked(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_nested_it_does_the_same(always: None) -> None:
    torch.manual_seed(0)
    network, image = Network(), torch.randn(1, 2, 8, 9, 10)
    expected = gradient_of(network, image)
    with QuickConvolutions():
        assert torch.equal(gradient_of(network, image), expected)


def test_members_that_are_asked_again_give_the_same_bits(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = averaging.MeanLogits([Network() for _ in range(3)]).eval().requires_grad_(False)
    image = torch.randn(1, 2, 8, 9, 10)
    expected = gradient_of(network, image)
    monkeypatch.setattr(averaging, "TOGETHER", 0)
    assert torch.equal(gradient_of(network, image), expected)


@needs_onednn
def test_a_model_and_a_training_ask_so(always: None) -> None:
    model = open_model("builtin:brain-tumour-phantom", device="cpu", acceleration={"mixed_precision": False})
    case = phantom.subject(seed=0, shape=(32, 32, 32))
    with model.on(case) as bound:
        assert SLOW not in operators(lambda: bound.differentiate(bound.image, lambda logits: logits.square().mean()))
    settings_here = TrainingSettings()
    task = Task(("T1", "T2"), OutputHead.of(("background", "a", "b", "c")), Preprocessing())
    learner = NetworkLearner(Network(), task, settings_here, machine(settings_here, "cpu"))

    def step() -> None:
        learner.backward(learner.ask(torch.randn(1, 2, 8, 8, 8))[0].sum())

    assert SLOW not in operators(step)
