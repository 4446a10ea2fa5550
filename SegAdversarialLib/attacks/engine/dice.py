"""Dice of what a network claims, counted on its device."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from SegAdversarialLib.metrics.overlap import mean_dice


class DiceMeter:
    """Dice against fixed masks.

    Args:
        targets: (N, K, J, I) bool, what each output should claim.
        outputs: the positions of the outputs that count.
    """

    def __init__(self, targets: torch.Tensor, outputs: Iterable[int]) -> None:
        self._targets = {n: targets[n] for n in outputs}
        self._sizes = {n: int(mask.count_nonzero()) for n, mask in self._targets.items()}

    def __call__(self, claimed: torch.Tensor) -> dict[int, float]:
        """Dice by output for masks (N, K, J, I) bool; 1 where neither the reference nor the network has any."""
        values = {}
        for n, target in self._targets.items():
            size = self._sizes[n] + int(claimed[n].count_nonzero())
            values[n] = 2 * int((claimed[n] & target).count_nonzero()) / size if size else 1.0
        return values

    def mean(self, claimed: torch.Tensor) -> float:
        """The mean over the outputs."""
        return mean_dice(self(claimed).values())
