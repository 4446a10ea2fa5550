"""The sum of soft Dice scores with its gradient in closed form.

Autograd would go through a new volume for every product and sum of every structure. With the probabilities p, the reference y
and T = sum over structures of (2 sum(p y) + gamma) / (sum(p) + sum(y) + gamma), the derivative of T by p at a voxel is
a y + b, and that by y is a p + b, with two numbers a and b for each structure: each slab of slices can be done by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from SegAdversarialLib.volumes.slabs import slabs


class SoftDiceSum(torch.autograd.Function):
    """Soft Dice scores of some outputs, added up."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        targets: torch.Tensor,
        region: torch.Tensor | None,
        structures: Sequence[int],
        gamma: float,
        exclusive: bool,
    ) -> torch.Tensor:
        """The sum for logits and targets (N, K, J, I); `exclusive` outputs share each voxel (softmax, else sigmoid)."""
        overlaps, claims, wishes = [], [], []
        # for the gradient, which takes their place
        kept = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for piece in slabs(logits):
            some = logits[:, piece]
            probabilities = _probabilities(some, exclusive, torch.empty_like(some) if kept is None else kept[:, piece])
            for n in structures:
                claimed, wanted = probabilities[n], targets[n, piece]
                if region is not None:
                    claimed, wanted = claimed * region[piece], wanted * region[piece]
                overlaps.append((claimed * wanted).sum())
                claims.append(claimed.sum())
                wishes.append(wanted.sum())
        # (slabs, structures) each
        overlap, claim, wish = (torch.stack(x).reshape(-1, len(structures)).sum(0) for x in (overlaps, claims, wishes))
        total, score = claim + wish + gamma, 2 * overlap + gamma
        ctx.save_for_backward(logits, targets, region, 2 / total, -score / total**2)
        ctx.structures, ctx.exclusive, ctx.probabilities = structures, exclusive, kept
        return (score / total).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients by the logits and, if it is wanted, by the targets; (N, K, J, I) each."""
        logits, targets, region, slopes, offsets = ctx.saved_tensors
        lines = list(zip(ctx.structures, upstream * slopes, upstream * offsets))
        gradient, ctx.probabilities = ctx.probabilities, None
        first = gradient is not None
        gradient = gradient if first else torch.empty_like(logits)
        by_targets = torch.zeros_like(targets) if ctx.needs_input_grad[1] else None
        for piece in slabs(logits):
            out = gradient[:, piece]
            probabilities = out.clone() if first else _probabilities(logits[:, piece], ctx.exclusive, torch.empty_like(out))
            inside = None if region is None else region[piece]
            if by_targets is not None:
                _derivatives(probabilities, lines, inside, by_targets[:, piece])
            _derivatives(targets[:, piece], lines, inside, out.zero_())
            if ctx.exclusive:
                out.mul_(probabilities)
                out.sub_(probabilities.mul_(out.sum(0)))
            else:
                out.mul_(probabilities).mul_(probabilities.neg_().add_(1))
        return gradient, by_targets, None, None, None, None


def _derivatives(
    other: torch.Tensor, lines: list[tuple[int, torch.Tensor, torch.Tensor]], region: torch.Tensor | None, out: torch.Tensor
) -> None:
    """a `other` + b for the structures, inside the region; what stands in `out` for the other outputs is left there."""
    for n, slope, offset in lines:
        torch.mul(other[n], slope, out=out[n]).add_(offset)
        if region is not None:
            out[n].mul_(region)


def _probabilities(logits: torch.Tensor, exclusive: bool, out: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits, 0, out=out) if exclusive else torch.sigmoid(logits, out=out)
