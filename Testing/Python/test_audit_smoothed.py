"""Audits of smoothed networks: the attacks go through the mean of all noisy copies, and are exact for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from audit_helpers import a_case, model_of, trained

import SegAdversarialLib
from SegAdversarialLib import Case, SegmentationModel, SmoothedModel, attacks
from SegAdversarialLib.defenses.audit import Audit
from SegAdversarialLib.metrics import dice
from SegAdversarialLib.model.noise import GaussianNoise

SIGMA, DRAWS, EPSILON, STEPS = 12.0, 4, 0.1, 4


def smoothed(network: torch.nn.Module, draws: int = DRAWS, seed: int = 0) -> SmoothedModel:
    return SmoothedModel(model_of(network), SIGMA, sigma_units="absolute", draws=draws, seed=seed)


def audited(model: SegmentationModel) -> Audit:
    usual: dict[str, Any] = {"epsilons": EPSILON, "steps": STEPS, "queries": 0, "temperatures": (), "losses": "soft_dice"}
    return SegAdversarialLib.audit(model, a_case(), **usual, restarts=1, directions=2)


@pytest.fixture(scope="module", name="found")
def _found() -> Audit:
    return audited(smoothed(trained()))


def mean_dice(model: SegmentationModel, case: Case, image: np.ndarray) -> float:
    claimed = model.segment(case.with_image(image))
    return float(np.mean([dice(claimed == n, case.label == n) for n in (1, 2)]))


def test_it_is_told_apart_from_a_random_network(found: Audit) -> None:
    """The copies are the same each time: nothing has to be drawn for it, and the gradient is that of what it answers."""
    assert found.get("deterministic").verdict == "pass" and found.get("deterministic").number == 0
    assert found.get("logits").verdict == "pass"
    assert found.get("gradient").verdict == "pass" and found.get("gradient").number < 1e-3
    assert found.get("zero").number == 0
    assert found.network["smoothing"]["draws"] == DRAWS and found.network["name"].endswith("smoothed")


def test_attacks_follow_the_gradient_through_all_copies(found: Audit) -> None:
    """FGSM's Dice in the table is what the sign of plain autograd's gradient over all copies leaves."""
    case, model = a_case(), smoothed(trained())
    noise = GaussianNoise.on(case, ("A", "B"), SIGMA, "absolute", 0)
    image = torch.from_numpy(case.image).requires_grad_(True)
    copies = torch.stack([image + noise.add(torch.zeros_like(image), n) for n in range(DRAWS)])
    share = trained()(copies).softmax(1).mean(0)
    wanted = torch.nn.functional.one_hot(torch.from_numpy(case.label).long(), 3).movedim(-1, 0).float()
    overlap = [2 * (share[n] * wanted[n]).sum() / (share[n].sum() + wanted[n].sum()) for n in (1, 2)]
    (gradient,) = torch.autograd.grad(-sum(overlap) / 2, image)
    lowest, highest = case.image.min((1, 2, 3)), case.image.max((1, 2, 3))
    limits = [x[:, None, None, None] for x in (lowest, highest)]
    step = EPSILON * np.abs(case.image).max((1, 2, 3))[:, None, None, None]
    moved = np.clip(case.image + step * np.sign(gradient.numpy()), *limits).astype(np.float32)
    assert found.measured.mean("FGSM", EPSILON) == pytest.approx(mean_dice(model, case, moved), abs=0.01)
    assert found.measured.mean("FGSM", EPSILON) < found.measured.clean_mean - 0.1


def test_what_was_fitted_to_the_copies_holds_for_others(found: Audit) -> None:
    """The attack is one on the noise's distribution, not on four draws of it."""
    case = a_case()
    result = attacks.PGD(epsilon=EPSILON, steps=STEPS)(smoothed(trained()), case)
    own, other = (
        mean_dice(smoothed(trained(), draws=n, seed=s), case, result.adversarial.image) for n, s in ((4, 0), (32, 9))
    )
    assert own == pytest.approx(found.measured.alone("PGD", EPSILON), abs=0.02)
    assert abs(other - own) < 0.1
