"""Standardisation inside a mask with its gradient in closed form.

Autograd through mean, variance and division keeps several volumes alive and goes over them many times; a whole multi-modal
scan has no memory to spare, and an attack's step no time. The mask is taken as it stands: it is a step function of the
image, flat wherever it has a derivative.
"""

from __future__ import annotations

from typing import Any

import torch


class _Standardize(torch.autograd.Function):
    """Works in as few volumes as it can: on a CPU, memory fresh from the system costs five times what it costs to fill it."""

    @staticmethod
    def forward(ctx: Any, volume: torch.Tensor, mask: torch.Tensor | None, background: float | None) -> torch.Tensor:
        # the mask as 0 and 1 of the volume's type: products with it are several times quicker than with booleans
        inside = None if mask is None else mask.to(volume.dtype)
        if inside is None:
            count = float(volume.numel())
            mean = volume.sum() / count
            scores = counted = volume - mean
        else:
            count = max(float(inside.sum()), 1.0)
            scores = volume * inside
            mean = scores.sum() / count
            if background is None:
                torch.sub(volume, mean, out=scores)
                counted = scores * inside
            else:
                counted = scores.sub_(mean).mul_(inside)
        # slice by slice: in one go, torch's single-precision norm of millions of numbers is off in the third digit
        deviation = torch.linalg.vector_norm(torch.linalg.vector_norm(counted, dim=(1, 2))) / count**0.5
        del counted
        # below what rounding of the mean leaves, the channel is constant: all its scores, and its gradient, are 0
        deviation = torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.full_like(deviation, torch.inf))
        scores.div_(deviation)
        if mask is not None and background:
            scores.masked_fill_(mask == 0, background)
        ctx.save_for_backward(scores, inside, deviation)
        ctx.count, ctx.background = count, background
        return scores

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        scores, inside, deviation = ctx.saved_tensors
        (gradient,) = upstream
        if inside is None or ctx.background is None:
            through_mean, through_deviation = gradient.sum() / ctx.count, _product_sum(gradient, scores) / ctx.count
            passed = (scores * -through_deviation).sub_(through_mean)
            if inside is not None:
                passed.mul_(inside)
            return passed.add_(gradient).div_(deviation), None, None
        passed = gradient * inside
        through_mean, through_deviation = passed.sum() / ctx.count, _product_sum(passed, scores) / ctx.count
        return passed.addcmul_(scores, -through_deviation).sub_(through_mean).mul_(inside).div_(deviation), None, None


def _product_sum(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The sum of the products of two volumes; on a CPU without a volume for the products."""
    if one.device.type != "cpu":
        return (one * other).sum()
    # slice by slice also for the sake of accuracy
    return torch.stack([torch.dot(x.flatten(), y.flatten()) for x, y in zip(one, other)]).sum()


def standardize(volume: torch.Tensor, mask: torch.Tensor | None = None, background: float | None = None) -> torch.Tensor:
    """(volume - mean) / standard deviation, both over the voxels inside `mask` (population formula; constant: all 0).

    Args:
        volume: (K, J, I), floating.
        mask: (K, J, I) bool, or 1 and 0 in the volume's type, which is quicker; None: all voxels.
        background: what voxels outside the mask become; None: they are standardised with the same numbers.
    """
    return _Standardize.apply(volume, mask, background)
