"""The sum of soft Dice scores with its gradient in closed form.

Autograd would keep the probabilities and go through a new volume for every product and sum of every structure. With the
probabilities p, the reference y and T = sum over structures of (2 sum(p y) + gamma) / (sum(p) + sum(y) + gamma), the
derivative of T by p at a voxel is a y + b with two numbers a and b for each structure, so that each slab of slices can be done
by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from SegAdversarialLib.slabs import slabs


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
        kept = torch.empty_like(logits)
        for piece in slabs(logits):
            probabilities = _probabilities(logits[:, piece], exclusive, kept[:, piece])
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
        """The gradient by the logits (N, K, J, I)."""
        logits, targets, region, slopes, offsets = ctx.saved_tensors
        # the gradient takes the place of the probabilities, the first time that it is wanted
        gradient, ctx.probabilities = ctx.probabilities, None
        first = gradient is not None
        gradient = gradient if first else torch.empty_like(logits)
        for piece in slabs(logits):
            out = gradient[:, piece]
            probabilities = out.clone() if first else _probabilities(logits[:, piece], ctx.exclusive, torch.empty_like(out))
            out.zero_()
            for n, slope, offset in zip(ctx.structures, upstream * slopes, upstream * offsets):
                torch.mul(targets[n, piece], slope, out=out[n]).add_(offset)
                if region is not None:
                    out[n].mul_(region[piece])
            if ctx.exclusive:
                out.mul_(probabilities)
                out.sub_(probabilities.mul_(out.sum(0)))
            else:
                out.mul_(probabilities).mul_(probabilities.neg_().add_(1))
        return gradient, None, None, None, None, None


def _probabilities(logits: torch.Tensor, exclusive: bool, out: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits, 0, out=out) if exclusive else torch.sigmoid(logits, out=out)
