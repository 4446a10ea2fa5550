"""Gradients that remember the ones before them."""

from __future__ import annotations

import torch

from SegAdversarialLib.volumes.slabs import slabs


class Momentum:
    """m <- decay * m + g / mean|g| (Dong et al. 2018, MI-FGSM, which divides by the sum: only the directions of m are used).

    Args:
        decay: how much of what was before counts; 0: gradients are given back as they are.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._sum: torch.Tensor | None = None

    @property
    def looks_everywhere(self) -> bool:
        """Whether the direction at a voxel depends on the gradient at others."""
        return self._decay != 0

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        """The remembered direction, in the gradient's own memory."""
        if self._decay == 0:
            return gradient
        size = gradient.abs().mean().clamp_min(torch.finfo(gradient.dtype).tiny)
        if self._sum is None:
            self._sum = gradient.div_(size).clone()
            return gradient
        pieces = [(slice(None), x) for x in slabs(gradient)] if gradient.ndim == 4 else [()]
        for piece in pieces:
            direction = gradient[piece].div_(size)
            direction.copy_(self._sum[piece].mul_(self._decay).add_(direction))
        return gradient
