"""Standardisation inside a mask with its gradient in closed form.

Autograd through mean, variance and division keeps several volumes alive; a whole multi-modal scan has none to spare. The
mask is taken as it stands: it is a step function of the image, flat wherever it has a derivative.
"""

from __future__ import annotations

from typing import Any

import torch


class _Standardize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: torch.Tensor, mask: torch.Tensor | None, background: float | None) -> torch.Tensor:
        count = volume.numel() if mask is None else max(int(mask.sum()), 1)
        counted = volume if mask is None else volume * mask
        mean = counted.sum() / count
        centred = volume - mean
        square = centred if mask is None else centred * mask
        deviation = torch.linalg.vector_norm(square) / count**0.5
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        scores = centred.div_(deviation)
        if mask is not None and background is not None:
            scores.masked_fill_(~mask, background)
        ctx.save_for_backward(scores, mask, deviation)
        ctx.count, ctx.background = count, background
        return scores

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        scores, mask, deviation = ctx.saved_tensors
        (gradient,) = upstream
        if mask is not None and ctx.background is not None:
            gradient = gradient * mask
        through_mean = gradient.sum() / ctx.count
        through_deviation = (gradient * scores).sum() / ctx.count
        shared = through_mean + scores * through_deviation
        if mask is not None:
            shared.mul_(mask)
        return torch.sub(gradient, shared, out=shared).div_(deviation), None, None


def standardize(volume: torch.Tensor, mask: torch.Tensor | None = None, background: float | None = None) -> torch.Tensor:
    """(volume - mean) / standard deviation, both over the voxels inside `mask` (population formula; constant: deviation 1).

    Args:
        volume: (K, J, I), floating.
        mask: (K, J, I) bool, or None for all voxels.
        background: what voxels outside the mask become; None: they are standardised with the same numbers.
    """
    return _Standardize.apply(volume, mask, background)
