"""A network that answers at random, attacked through the mean of fixed draws: against plain autograd over the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from certificate_helpers import case_of

from SegAdversarialLib import attacks, objectives
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.expected_model import ExpectedModel
from SegAdversarialLib.model.random_numbers import drawing
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.volumes.case import Case

SHAPE = (2, 6, 6, 6)


class Noisy(torch.nn.Module):
    """Logits with random numbers in them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = torch.nn.Conv3d(2, 3, 3, padding=1).double()
        self.drawn: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.conv(images)
        self.drawn.append(torch.randn_like(logits))
        return logits + logits.tanh() * self.drawn[-1]


def model_() -> SegmentationModel:
    classes = {0: "background", 1: "a", 2: "b"}
    return SegmentationModel.from_network(Noisy(), channels=["C0", "C1"], classes=classes, allow_random=True)


def subject() -> Case:
    source = np.random.default_rng(0)
    return case_of(source.standard_normal(SHAPE), source.integers(0, 3, SHAPE[1:]).astype(np.int16))


def test_value_and_gradient_are_those_of_the_mean_of_the_draws() -> None:
    case, base = subject(), model_()
    model, network = ExpectedModel(base, draws=4, seed=1), base.network
    model.logits(case)  # the network is asked what it is like before it is used for the first time
    network.drawn.clear()
    value, gradient = model.value_and_gradient(case, objectives.SoftDice(case.label))
    draws = network.drawn[:4]
    leaf = torch.from_numpy(case.image).double().requires_grad_()
    plain = network.conv(leaf[None])
    mean = torch.stack([plain + plain.tanh() * x for x in draws]).mean(0)[0]
    loss = objectives.SoftDice(case.label).bind(base.head, base.device, base.dtype)(mean)
    (expected,) = torch.autograd.grad(loss, leaf)
    assert value == pytest.approx(float(loss.detach()), rel=1e-12)
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-8, atol=1e-14)


def test_it_says_the_same_each_time_and_leaves_everybody_elses_random_numbers_alone() -> None:
    case, model = subject(), ExpectedModel(model_(), draws=2)
    first = model.logits(case)
    torch.manual_seed(8)
    wanted = torch.rand(3)
    torch.manual_seed(8)
    np.testing.assert_array_equal(model.logits(case), first)
    assert torch.equal(torch.rand(3), wanted)
    assert not np.array_equal(model.base.logits(case), model.base.logits(case))


def test_no_other_device_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.manual_seed` seeds all GPUs, also those on which somebody else draws, and nobody puts them back."""
    base = model_()
    seeded: list[int] = []
    for device in (torch.cuda, torch.mps, torch.xpu):
        monkeypatch.setattr(device, "manual_seed_all" if device is not torch.mps else "manual_seed", seeded.append)
    torch.manual_seed(1)
    assert seeded  # so torch says, and the test sees it
    seeded.clear()
    ExpectedModel(base, draws=2).value_and_gradient(subject(), objectives.SoftDice(subject().label))
    with drawing(5):
        first = torch.rand(3)
    with drawing(5, "cpu"):
        assert torch.equal(torch.rand(3), first)
    assert not seeded


@pytest.mark.parametrize("seed", [1, 65536, 2**32, 2**40])
def test_another_seed_draws_other_numbers(seed: int) -> None:
    case, base = subject(), model_()
    assert not np.allclose(ExpectedModel(base, 2, seed=seed).logits(case), ExpectedModel(base, 2, seed=0).logits(case))


def test_any_attack_works_on_it_and_nonsense_is_refused() -> None:
    case, model = subject(), ExpectedModel(model_(), draws=2)
    result = attacks.PGD(epsilon=0.1, steps=3)(model, case)
    assert 0 < np.abs(result.adversarial.image - case.image).max() <= 0.1 * np.abs(case.image).max() * (1 + 1e-6)
    for draws, seed in ((0, 0), (2, -1)):
        with pytest.raises(InputError, match="at least 1 draw"):
            ExpectedModel(model.base, draws, seed=seed)
