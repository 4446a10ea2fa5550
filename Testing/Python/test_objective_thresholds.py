"""Losses that ask whether a voxel is right, where a region is present from another probability on than one half."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from SegAdversarialLib import objectives
from SegAdversarialLib.structures.output_head import OutputHead

THRESHOLD = 0.8
LIMIT = float(np.log(THRESHOLD / (1 - THRESHOLD)))
HEAD = OutputHead.of(["lesion"], "sigmoid", threshold=THRESHOLD)
LABEL = np.array([1, 1, 0, 0], np.int16).reshape(1, 1, 4)
SCORES = (2.0, 0.9, 0.9, 2.0)
"""Right, missed, right (though more probable than not), and claimed in vain."""


def asked(kind: type[objectives.Objective], **settings: object) -> tuple[float, list[float]]:
    """The loss, and its gradient at each voxel."""
    bound = kind(LABEL, **settings).bind(HEAD, "cpu", torch.float64)  # type: ignore[arg-type]
    logits = torch.tensor(SCORES, dtype=torch.float64).view(1, 1, 1, 4).requires_grad_(True)
    value = bound(logits)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.item(), gradient.flatten().tolist()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_margin_is_a_distance_from_the_threshold(temperature: float) -> None:
    most = 0.1 / temperature
    value, gradient = asked(objectives.Margin, most=most, balanced=False, temperature=temperature)
    leads = np.array([LIMIT - SCORES[0], LIMIT - SCORES[1], SCORES[2] - LIMIT, SCORES[3] - LIMIT]) / temperature
    assert value == pytest.approx(np.minimum(leads, most).mean(), rel=1e-12)
    assert gradient == pytest.approx([-0.25 / temperature, 0, 0.25 / temperature, 0])  # lost voxels pull no more


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_what_is_right_is_so_at_every_temperature(temperature: float) -> None:
    kind = objectives.BalancedMaskedCrossEntropy
    _, gradient = asked(kind, balanced=False, temperature=temperature)
    assert [x != 0 for x in gradient] == [True, False, True, False]
    _, gradient = asked(objectives.SegPGDWeighted, temperature=temperature)  # at its start, only what is right counts
    assert [x != 0 for x in gradient] == [True, False, True, False]
