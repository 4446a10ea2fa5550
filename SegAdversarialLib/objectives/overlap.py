"""Objectives that count how much two segmentations overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.objectives.objective import BoundObjective, Objective

if TYPE_CHECKING:
    import torch


class SoftDice(Objective):
    """Soft Dice loss, 1 - D, over the foreground classes (Liu et al. 2021, eq. 5 and 6).

    D = 1/N * sum over the foreground of (2 sum(F Y) + gamma) / (sum(F) + sum(Y) + gamma), with the probabilities F, the
    reference Y and, as printed, N counting the background too; so the best value is 1/N, not 0. Limited to some classes, N is
    their number plus one. A sigmoid head has no background to count.

    Args:
        gamma: small positive number in numerator and denominator; an absent structure that nothing claims has D = 1.
    """

    name = "soft_dice"

    def __init__(self, reference: np.ndarray, *, gamma: float = 1e-5, **common: object) -> None:
        super().__init__(reference, **common)  # type: ignore[arg-type]
        if not gamma > 0:
            raise InputError(f"gamma must be above 0; it is {gamma}.")
        self.gamma = gamma

    def loss(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """1 - D for logits (N, K, J, I)."""
        from SegAdversarialLib.objectives.soft_dice_gradient import SoftDiceSum

        exclusive = bound.head.kind == "softmax"
        total = SoftDiceSum.apply(logits, bound.targets, bound.region, bound.structures, self.gamma, exclusive)
        return 1 - total / (len(bound.structures) + (1 if exclusive else 0))
