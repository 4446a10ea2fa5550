"""A network that is distilled here, by the library's own training and recipe, and what the audit says of it."""

from __future__ import annotations

import pytest
import torch
from audit_helpers import Network, a_case

import SegAdversarialLib
from SegAdversarialLib.defenses.audit import Audit
from SegAdversarialLib.defenses.recipes import DefensiveDistillation
from SegAdversarialLib.training.loop import train
from SegAdversarialLib.training.recipe import Recipe


def audited(recipe: Recipe | None) -> Audit:
    torch.manual_seed(0)
    settings = {"epochs": 120, "learning_rate": 0.02, "batch_size": 4, "loss": "ce", "schedule": "cosine"}
    described = {"channels": ["A", "B"], "classes": {0: "background", 1: "core", 2: "rim"}, "preprocessing": {}}
    cases = [a_case(seed) for seed in range(100, 108)]
    model = train(Network(), cases, settings, recipe=recipe, device="cpu", **described)
    return SegAdversarialLib.audit(model, [a_case(0), a_case(1)], epsilons=(0.05, 0.1), steps=20, queries=100)


@pytest.mark.slow
def test_distillation_hides_gradients_and_is_caught() -> None:
    """Plain attacks make the distilled network look better than the usual one; rescaled logits show that it is not."""
    usual, distilled = audited(None), audited(DefensiveDistillation(temperature=100))
    assert min(usual.measured.clean_mean, distilled.measured.clean_mean) > 0.9
    apparent = distilled.measured.mean("PGD", 0.1) - usual.measured.mean("PGD", 0.1)
    assert apparent > 0.05
    assert distilled.dice(0.1) - usual.dice(0.1) < apparent / 2
    assert usual.get("masking").verdict == "pass"
    masked = distilled.get("masking")
    assert masked.verdict == "warn" and masked.number > 0.2 and "Gradient masking" in masked.sentence
