"""The mean of a network's probabilities over noisy copies: its answer and its gradient, against plain autograd."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from certificate_helpers import case_of, linear_model
from scipy.stats import norm

from SegAdversarialLib import SmoothedModel, attacks, objectives
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.noise import GaussianNoise
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.volumes.case import Case

SHAPE = (2, 8, 8, 8)


def network(double: bool = True) -> torch.nn.Module:
    torch.manual_seed(3)
    built = torch.nn.Sequential(torch.nn.Conv3d(2, 6, 3, padding=1), torch.nn.Softplus(), torch.nn.Conv3d(6, 3, 3, padding=1))
    return built.double() if double else built


def model_of(head: Literal["softmax", "sigmoid"], **settings: object) -> SegmentationModel:
    classes = {0: "background", 1: "a", 2: "b"} if head == "softmax" else {1: "a", 2: "b", 3: "c"}
    return SegmentationModel.from_network(
        network(),
        channels=["C0", "C1"],
        classes=classes,
        head=head,
        **settings,  # type: ignore[arg-type]
    )


def subject() -> Case:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 3, SHAPE[1:]).astype(np.int16)
    return case_of(2 * generator.standard_normal(SHAPE), label)


def plainly(model: SegmentationModel, image: torch.Tensor, noise: GaussianNoise, draws: int) -> torch.Tensor:
    """Logits of the mean probabilities, as one graph over all copies."""
    copies = [image + noise.add(torch.zeros_like(image), k) for k in range(draws)]
    found = [model.network(x[None])[0] for x in copies]
    if model.head.kind == "softmax":
        return torch.stack([x.softmax(0) for x in found]).mean(0).log()
    mean = torch.stack([x.sigmoid() for x in found]).mean(0)
    return torch.logit(mean)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("window", [None, (6, 6, 6)])
def test_value_and_gradient_are_those_of_all_copies_at_once(
    head: Literal["softmax", "sigmoid"], window: tuple[int, int, int] | None
) -> None:
    case, draws, sigma = subject(), 4, {"C0": 0.5, "C1": 1.5}
    smoothed = SmoothedModel(model_of(head, window=window), sigma, sigma_units="absolute", draws=draws, seed=6)
    objective = objectives.SoftDice(case.label)
    value, gradient = smoothed.value_and_gradient(case, objective)
    noise = GaussianNoise.on(case, ("C0", "C1"), sigma, "absolute", 6)
    image = torch.from_numpy(case.image).double().requires_grad_(True)
    whole = model_of(head)
    if window is None:
        logits = plainly(whole, image, noise, draws)
        expected = objective.bind(whole.head, torch.device("cpu"), torch.float64)(logits)
        assert value == pytest.approx(float(expected), rel=1e-9)
        (wanted,) = torch.autograd.grad(expected, image)
        np.testing.assert_allclose(gradient, wanted.numpy(), rtol=1e-6, atol=1e-10)
    # in windows and as a whole alike: finite differences along a random direction
    along = np.random.default_rng(1).standard_normal(SHAPE)
    step = 1e-4
    with smoothed.on(case) as bound:
        loss = objective.bind(smoothed.head, smoothed.device, smoothed.dtype)
        ends = [loss(bound.logits(bound.image + sign * step * torch.from_numpy(along))) for sign in (1, -1)]
    assert float(ends[0] - ends[1]) / (2 * step) == pytest.approx(float((gradient * along).sum()), rel=1e-4)


def test_saturated_copies_still_pass_a_gradient() -> None:
    model = linear_model((400.0, 0.0))
    case = case_of(np.full((2, 4, 4, 4), 3.0), np.zeros((4, 4, 4), np.int16))
    smoothed = SmoothedModel(model, 0.01, sigma_units="absolute", draws=3)
    _, gradient = smoothed.value_and_gradient(case, objectives.CrossEntropy(case.label))
    assert np.isfinite(gradient).all() and (np.abs(gradient[0]) > 0).all()


def test_many_copies_of_a_steep_network_come_near_the_closed_form() -> None:
    image = np.zeros((2, 6, 6, 6))
    image[0] = 0.8
    smoothed = SmoothedModel(linear_model((1000.0, 0.0)), 1.0, sigma_units="absolute", draws=200)
    logits = torch.from_numpy(smoothed.logits(case_of(image)))
    assert float(logits.softmax(0)[1].mean()) == pytest.approx(norm.cdf(0.8), abs=0.005)


def test_it_answers_the_same_each_time_and_is_attacked_as_any_other_model() -> None:
    case, model = subject(), model_of("softmax")
    smoothed = SmoothedModel(model, 0.1, draws=2)
    np.testing.assert_array_equal(smoothed.logits(case), smoothed.logits(case))
    result = attacks.PGD(epsilon=0.3, steps=4)(smoothed, case)
    loss = objectives.SoftDice(case.label)
    before, after = (smoothed.value_and_gradient(x, loss)[0] for x in (result.original, result.adversarial))
    assert after != before and result.model == "network, smoothed"
    assert smoothed.describe()["smoothing"] == {"sigma": 0.1, "sigma_units": "relative", "draws": 2, "seed": 0}
    # the model that it was made from is as it was
    assert model.name == "network" and "smoothing" not in model.describe()


def test_no_draws_are_refused() -> None:
    with pytest.raises(InputError, match="at least one draw"):
        SmoothedModel(linear_model((1.0,)), 0.1, draws=0)


def test_another_network_in_its_place_is_smoothed_alike() -> None:
    case, base = subject(), model_of("softmax")
    smoothed = SmoothedModel(base, 0.3, sigma_units="absolute", draws=3, seed=5)
    swapped = smoothed.with_network(torch.nn.Conv3d(2, 3, 1).double())
    again = SmoothedModel(swapped.base, 0.3, sigma_units="absolute", draws=3, seed=5)
    np.testing.assert_array_equal(swapped.logits(case), again.logits(case))
    assert not np.allclose(swapped.logits(case), swapped.base.logits(case))
    assert not np.allclose(swapped.logits(case), smoothed.logits(case))
