"""Standardisation inside a mask with its gradient in closed form.

Autograd through mean, variance and division keeps several volumes alive and goes over them many times; a whole multi-modal
scan has no memory to spare, and an attack's step no time. The mask is taken as it stands: it is a step function of the
image, flat wherever it has a derivative.
"""

from __future__ import annotations

from typing import Any

import torch


class _Standardize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: torch.Tensor, mask: torch.Tensor | None, background: float | None) -> torch.Tensor:
        # the mask as 0 and 1 of the volume's type: products with it are several times quicker than with booleans
        inside = None if mask is None else mask.to(volume.dtype)
        count = volume.numel() if inside is None else max(float(inside.sum()), 1.0)
        mean = (volume.sum() if inside is None else (volume * inside).sum()) / count
        scores = volume - mean
        counted = scores if inside is None else scores * inside
        deviation = torch.linalg.vector_norm(counted) / count**0.5
        # below what rounding of the mean leaves, the channel is constant: all its scores, and its gradient, are 0
        deviation = torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.full_like(deviation, torch.inf))
        if inside is not None and background is not None:
            scores = counted
        scores.div_(deviation)
        if mask is not None and background:
            scores.masked_fill_(~mask, background)
        ctx.save_for_backward(scores, inside, deviation)
        ctx.count, ctx.background = count, background
        return scores

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        scores, inside, deviation = ctx.saved_tensors
        (gradient,) = upstream
        if inside is not None and ctx.background is not None:
            gradient = gradient * inside
        through_mean = gradient.sum() / ctx.count
        through_deviation = (gradient * scores).sum() / ctx.count
        shared = (scores * through_deviation).add_(through_mean)
        if inside is not None:
            shared.mul_(inside)
        return torch.sub(gradient, shared, out=shared).div_(deviation), None, None


def standardize(volume: torch.Tensor, mask: torch.Tensor | None = None, background: float | None = None) -> torch.Tensor:
    """(volume - mean) / standard deviation, both over the voxels inside `mask` (population formula; constant: all 0).

    Args:
        volume: (K, J, I), floating.
        mask: (K, J, I) bool, or None for all voxels.
        background: what voxels outside the mask become; None: they are standardised with the same numbers.
    """
    return _Standardize.apply(volume, mask, background)
