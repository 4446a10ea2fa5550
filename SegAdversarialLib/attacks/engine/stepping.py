"""A step of an attack and what keeps it within the budget, in one pass over the image.

Each operation over a whole volume reads and writes all of it; a slab of some slices stays in the processor's cache meanwhile.
All numbers are those of the plain formulas, to the last bit.
"""

from __future__ import annotations

import torch

from SegAdversarialLib.volumes.slabs import slabs

Limits = tuple[torch.Tensor, torch.Tensor]
"""The least and the greatest image (C, K, J, I) that is allowed."""


def sign_step(image: torch.Tensor, gradient: torch.Tensor, length: torch.Tensor, limits: Limits) -> torch.Tensor:
    """`image + length * sign(gradient)` within limits, in the gradient's memory.

    Args:
        image, gradient: (C, K, J, I).
        length: (C, 1, 1, 1), below 0 for a step downwards.
        limits: what is allowed.
    """
    for piece in slabs(image):
        step = gradient[:, piece]
        step.sign_().mul_(length).add_(image[:, piece]).clamp_(*(x[:, piece] for x in limits))
    return gradient


def mixed(
    target: torch.Tensor, image: torch.Tensor, before: torch.Tensor, share: float, limits: Limits | None = None
) -> torch.Tensor:
    """`image + share * (target - image) + (1 - share) * (image - before)` within limits, if any, in the target's memory.

    Args:
        target, image, before: (C, K, J, I).
        share: of the move to the target; the rest is of the last move.
        limits: what is allowed.
    """
    for piece in slabs(image):
        here, step = image[:, piece], target[:, piece]
        step.sub_(here).mul_(share).add_(here - before[:, piece], alpha=1 - share).add_(here)
        if limits is not None:
            step.clamp_(*(x[:, piece] for x in limits))
    return target
