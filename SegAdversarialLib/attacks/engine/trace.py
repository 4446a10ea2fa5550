"""The rows of an attack's trace, from logits that the attack has computed anyway."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun


class TraceWriter:
    """Collects one row for each iteration.

    Dice is against the reference labels, or, where the case has none, against what the network says of the original.
    """

    def __init__(self, run: AttackRun) -> None:
        self.rows: list[dict[str, float]] = []
        self._run, self._head = run, run.head
        label = run.case.label
        if label is None:
            targets = run.clean_masks
        else:
            self._head.check_label(label)
            targets = self._head.masks(torch.from_numpy(label).to(run.device))
        self._targets = {n: targets[n] for n in self._head.foreground}
        self._sizes = {n: int(mask.sum()) for n, mask in self._targets.items()}
        span = (run.highest - run.lowest)[run.positions]
        span[span == 0] = 1
        self._span = [float(x) for x in span]

    def add(self, restart: int, iteration: int, loss: float, logits: torch.Tensor, image: torch.Tensor) -> None:
        """Write the row of one iteration."""
        dice = self._dice(logits)
        self.rows.append(
            {
                "restart": restart,
                "iteration": iteration,
                "loss": loss,
                "psnr": self._psnr(image),
                **{f"dice {self._head.names[n]}": value for n, value in dice.items()},
                "dice mean": sum(dice.values()) / len(dice),
            }
        )

    def _dice(self, logits: torch.Tensor) -> dict[int, float]:
        claimed = self._head.predicted(logits)
        values = {}
        for n, target in self._targets.items():
            size = self._sizes[n] + int(claimed[n].count_nonzero())
            values[n] = 2 * int((claimed[n] & target).count_nonzero()) / size if size else 1.0
        return values

    def _psnr(self, image: torch.Tensor) -> float:
        """Peak signal-to-noise ratio over the attacked channels, each on its own [0, 1] range, in dB."""
        positions, original = self._run.positions, self._run.original
        error = sum(float(torch.dist(image[c], original[c]) / span) ** 2 for c, span in zip(positions, self._span))
        mean = error / (len(positions) * original[0].numel())
        return -10 * math.log10(mean) if mean > 0 else math.inf
