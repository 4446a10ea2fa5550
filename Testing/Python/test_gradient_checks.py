"""One sentence for each reason why there is no gradient, and no reason to make one out of nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case
from torch import nn
from torch.utils.checkpoint import checkpoint

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, objectives


class Network(nn.Module):
    """A tiny network that is used in some way."""

    def __init__(self, use: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.use = tiny_network(1, 2).float(), use

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.use(self.network, x)


def model_of(use: Callable[[nn.Module, torch.Tensor], torch.Tensor], **settings: Any) -> SegmentationModel:
    return SegmentationModel.from_network(Network(use), channels=("A",), classes=["background", "core"], **settings)


def case_of() -> Case:
    return toy_case((8, 8, 16), ("A",), labels=2)


def without_gradients(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(x)


def in_inference_mode(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(x)


def overwritten(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    logits = network(x)
    rooted = logits.exp()
    rooted.mul_(2)
    return rooted


@pytest.mark.parametrize("window", [None, (8, 8, 8)])
@pytest.mark.parametrize(
    ("use", "cause"),
    [
        (lambda network, x: (network(x) > 0).float(), "threshold or an argmax"),
        (lambda network, x: nn.functional.one_hot(network(x).argmax(1), 2).movedim(-1, 1).float(), "threshold or an argmax"),
        (lambda network, x: network(x).round().detach(), "threshold or an argmax"),
        (without_gradients, "torch.no_grad"),
        (in_inference_mode, "inference_mode"),
        (lambda network, x: network(x).detach(), "detach"),
        (lambda network, x: torch.from_numpy(network(x).detach().numpy()), "numpy"),
        (lambda network, x: checkpoint(network, x, use_reentrant=True), "checkpoint with use_reentrant=True"),
        (lambda network, x: network(x.detach()) + torch.ones(1, requires_grad=True), "does not depend on its input"),
        (overwritten, "overwrites, in place"),
        (lambda network, x: network(x) + torch.special.zeta(x.abs() + 2, x.abs() + 3), "no derivative in PyTorch.*zeta"),
    ],
)
def test_each_cause_has_its_own_sentence(
    use: Callable[[nn.Module, torch.Tensor], torch.Tensor], cause: str, window: tuple[int, ...] | None
) -> None:
    case, model = case_of(), model_of(use, window=window)
    assert model.segment(case).shape == case.shape  # answers it gives
    with pytest.raises(InputError, match=f"passes no gradient on: .*{cause}") as caught:
        model.value_and_gradient(case, objectives.SoftDice(case.label))
    said = str(caught.value)
    assert "\n" not in said and ("threshold" in said) == ("threshold" in cause)


@pytest.mark.parametrize("window", [None, (8, 8, 8)])
def test_checkpoints_that_can_be_differentiated_are(window: tuple[int, ...] | None) -> None:
    case, loss = case_of(), objectives.SoftDice(case_of().label)
    expected = model_of(lambda network, x: network(x), window=window).value_and_gradient(case, loss)
    found = model_of(lambda network, x: checkpoint(network, x, use_reentrant=False), window=window)
    np.testing.assert_array_equal(found.value_and_gradient(case, loss)[1], expected[1])


def edges(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A gradient magnitude, whose own derivative is not finite where the image is flat."""
    edge = torch.sqrt((x - torch.roll(x, 1, -1)) ** 2)
    return torch.cat([20 - edge, edge - 20], 1)


@pytest.mark.parametrize("window", [None, (8, 8, 8)])
def test_a_gradient_that_is_no_number_is_called_so(window: tuple[int, ...] | None) -> None:
    image = np.random.default_rng(0).normal(0, 50, (1, 8, 8, 16)).astype(np.float32)
    image[0, 3:5] = 7.0
    case = Case(image, ("A",), np.eye(4), (image[0] > 0).astype(np.int16))
    model = model_of(edges, window=window)
    assert np.isfinite(model.logits(case)).all()
    with pytest.raises(InputError, match="answers .* are finite, but its gradient is NaN or infinite at") as caught:
        attacks.FGSM(epsilon=0.01)(model, case)
    assert "256 of 1024 voxels (first in channel 1, slice 3, row 0, column 0)" in str(caught.value)
    assert "weights" not in str(caught.value)


@pytest.mark.parametrize("window", [None, (8, 8, 8)])
def test_answers_that_are_no_numbers_are_called_so(window: tuple[int, ...] | None) -> None:
    case, model = case_of(), model_of(lambda network, x: network(x).sqrt(), window=window)
    for ask in (model.segment, lambda case: model.value_and_gradient(case, objectives.SoftDice(case.label))):
        with pytest.raises(InputError, match="gives NaN or infinite numbers for this case; check its preprocessing"):
            ask(case)


def flat(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = torch.clamp(x, 1e3, 2e3)
    return torch.cat([-y, y], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "kind", [attacks.FGSM, attacks.IFGSM, attacks.PGD, attacks.APGD, attacks.SegPGD, attacks.MomentumIFGSM]
)
def test_no_step_where_there_is_no_gradient(kind: Any, norm: str) -> None:
    case = case_of()
    fields = kind.model_fields
    how = {key: value for key, value in {"norm": norm, "steps": 3, "random_start": False}.items() if key in fields}
    found = kind(epsilon=5.0, epsilon_units="absolute", **how)(model_of(flat), case).adversarial.image
    np.testing.assert_array_equal(found, case.image)


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-20, 1e-30])
def test_a_step_in_l2_has_its_length_however_small_the_gradient(scale: float) -> None:
    """The squares of small numbers are 0 in single precision; the direction is there all the same."""
    case = case_of()
    direction = np.random.default_rng(0).normal(size=case.image.shape)
    gradient = torch.from_numpy((direction * scale).astype(np.float32))
    attack = attacks.PGD(epsilon=5.0, epsilon_units="absolute", norm="l2", steps=1)

    class Run:
        unit, allowed = torch.ones(1, 1, 1, 1), None

    moved = attack._along(Run(), torch.zeros(case.image.shape), gradient, 2.0).numpy()  # type: ignore[arg-type]
    np.testing.assert_allclose(moved, 2 * direction / np.linalg.norm(direction), rtol=1e-3, atol=1e-6)
