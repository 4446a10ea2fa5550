"""The reference that moves with the anatomy: what the network should say of a warped image, and the loss against that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from SegAdversarialLib.changes.fields import Box, warp
from SegAdversarialLib.objectives.known_gradient import KnownGradient

if TYPE_CHECKING:
    from SegAdversarialLib.objectives import BoundObjective


class Extent:
    """Where a volume is not the same all over, as the air around a head or all that is outside of an organ's mask is.

    Args:
        volume: (C, K, J, I).
        affine: 4x4, IJK to RAS, in mm.
    """

    def __init__(self, volume: torch.Tensor, affine: np.ndarray) -> None:
        self._shape = volume.shape[1:]
        different = (volume != volume[:, :1, :1, :1]).any(0)
        self._inner = [_extent(different.any(other)) for other in ((1, 2), (0, 2), (0, 1))]
        self._voxels_per_mm = np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)[::-1]

    def box(self, displacement: torch.Tensor) -> Box:
        """Slices along k, j, i outside of which a displacement (3, K, J, I) changes nothing."""
        longest = math.sqrt(3) * float(displacement.detach().abs().max())
        slices = []
        for (first, last), density, size in zip(self._inner, self._voxels_per_mm, self._shape):
            reach = math.ceil(longest * density) + 1 if last > first else 0
            slices.append(slice(max(0, first - reach), min(size, last + reach)))
        return slices[0], slices[1], slices[2]


class MovedMasks:
    """Masks that a displacement carries along. Only the box around the structures is worked out.

    Args:
        masks: (N, K, J, I) bool, what each output should claim of the image as it was.
        affine: 4x4, IJK to RAS, in mm.
        dtype: of soft masks.
    """

    def __init__(self, masks: torch.Tensor, affine: np.ndarray, dtype: torch.dtype) -> None:
        self._masks, self._affine = masks, affine
        self._values = masks.to(dtype)
        self.extent = Extent(masks, affine)

    def soft(self, displacement: torch.Tensor, box: Box) -> torch.Tensor:
        """Within a box, the masks after a displacement, linearly interpolated: (N, *box) from 0 to 1; differentiable."""
        return warp(self._values, displacement, self._affine, box=box)

    def around(self, inside: torch.Tensor, box: Box) -> torch.Tensor:
        """The whole volume's soft masks, (N, K, J, I) without a graph, from those in a box."""
        whole = self._values.clone()
        whole[:, *box] = inside.detach()
        return whole

    def hard(self, displacement: torch.Tensor | None) -> torch.Tensor:
        """The masks after a displacement, by nearest neighbour: (N, K, J, I) bool."""
        if displacement is None:
            return self._masks
        box = self.extent.box(displacement)
        whole = self._masks.clone()
        whole[:, *box] = warp(self._values, displacement.detach(), self._affine, "nearest", box) > 0.5
        return whole


class MovedLoss:
    """A loss of logits, against targets that depend on what is sought: also its gradient by the targets, at fixed logits.

    Attributes:
        target_gradient: (N, K, J, I), from the last call.
    """

    def __init__(self, bound: BoundObjective) -> None:
        self._bound = bound
        self.target_gradient = torch.zeros(())

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar tensor; differentiable in the logits (N, K, J, I)."""
        bound, leaf = self._bound, logits.detach().requires_grad_(True)
        bound.targets = bound.targets.detach().requires_grad_(True)
        with torch.enable_grad():
            value = bound(leaf)
            by_logits, by_targets = torch.autograd.grad(value, (leaf, bound.targets))
        bound.targets = bound.targets.detach()
        self.target_gradient = by_targets
        return KnownGradient.apply(logits, value.detach(), by_logits)


def _extent(line: torch.Tensor) -> tuple[int, int]:
    """The first and one past the last place where a line of bool is True; (0, 0) if there is none."""
    places = line.nonzero()
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
