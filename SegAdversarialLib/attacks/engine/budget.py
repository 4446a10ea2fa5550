"""What an attack may do to one image, as numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from SegAdversarialLib.volumes.intensity import IntensityRange
from SegAdversarialLib.volumes.slabs import slabs


@dataclass(frozen=True, eq=False)
class Budget:
    """What an attack may do to one image, as numbers.

    Attributes:
        norm: which norm `radius` bounds.
        radius: the largest norm of a change, in units; infinite where something else is bounded.
        units: what 1 is in each of the C channels, in intensity units.
        ranges: the intensities between which each channel lies.
        positions: of the channels that may change.
        region: (K, J, I) bool, where they may; None: everywhere. Padding never changes.
        clip: whether the result stays in the channels' ranges.
        whole_numbers: whether channels that are stored as integers keep whole numbers.
        seed: of every random draw.
    """

    norm: Literal["linf", "l2"]
    radius: float
    units: tuple[float, ...]
    ranges: tuple[IntensityRange, ...]
    positions: tuple[int, ...]
    region: np.ndarray | None
    clip: bool
    whole_numbers: bool
    seed: int

    def allowed(self, original: torch.Tensor) -> torch.Tensor | None:
        """What may change of an image (C, K, J, I): bool, of its shape or smaller by broadcasting; None: everything."""
        padded = [n for n in self.positions if self.ranges[n].padding is not None]
        if self.region is None and not padded and len(self.positions) == len(original):
            return None
        allowed = torch.zeros(len(original), 1, 1, 1, dtype=torch.bool, device=original.device)
        allowed[list(self.positions)] = True
        if self.region is not None:
            allowed = allowed & torch.from_numpy(self.region).to(original.device)
        if padded:
            allowed = allowed.expand(original.shape).clone()
            for n in padded:
                allowed[n] &= original[n] != self.ranges[n].padding
        return allowed

    def bounds(self, original: torch.Tensor, radius: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """The least and the greatest image (C, K, J, I) that L-inf radius and range allow, `allowed` aside.

        They are numbers of single precision, rounded towards the original: at an intensity of 10^6 such numbers are 0.06
        apart, and a sum that is rounded to the nearest of them may lie beyond the radius.

        Args:
            original: (C, K, J, I), whose values single precision holds exactly.
            radius: the budget as a multiple of its own.
        """
        least, greatest = torch.empty_like(original), torch.empty_like(original)
        bounded = self.norm == "linf" and math.isfinite(self.radius)
        for n, (unit, allowed) in enumerate(zip(self.units, self.ranges)):
            limit = _rounded_down(radius * self.radius * unit) if bounded else math.inf
            for piece in slabs(original[n]):
                voxels = original[n][piece].to(torch.float32)
                low, high = (voxels - limit, voxels + limit) if not bounded else _around(voxels, limit)
                if self.clip:
                    # a voxel that lies outside the range already may stay where it is
                    low = torch.minimum(low.clamp_(min=allowed.low), voxels)
                    high = torch.maximum(high.clamp_(max=allowed.high), voxels)
                least[n][piece], greatest[n][piece] = low, high
        return least, greatest

    def whole_ends(self, n: int, original: np.ndarray, dtype: str) -> tuple[np.ndarray | int, np.ndarray | int]:
        """The least and the greatest whole numbers that the type and the range of channel n (K, J, I) allow its voxels."""
        if not self.clip:
            return np.iinfo(dtype).min, np.iinfo(dtype).max
        # a range without outliers ends between whole numbers; a voxel beyond it may stay where it is
        ends = self.ranges[n]
        return np.minimum(np.ceil(ends.low), original), np.maximum(np.floor(ends.high), original)

    def describe(self, channels: tuple[str, ...]) -> dict[str, Any]:
        """Units and ranges by channel, as plain JSON data."""
        return {channel: {"unit": unit, **found.describe()} for channel, unit, found in zip(channels, self.units, self.ranges)}


def shortened(image: torch.Tensor, original: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """`image`, the rounded sum of the other two, with one step back where rounding has made the change longer; in place."""
    longer = (image - original).abs() > change.abs()
    return torch.where(longer, torch.nextafter(image, original), image, out=image)


def _around(voxels: torch.Tensor, limit: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`voxels` minus and plus `limit` in single precision, rounded towards `voxels`.

    What rounding has lost of a sum is itself a number of that precision (Knuth's two-sum) and says on which side it lies.
    """
    ends = []
    for change in (-limit, limit):
        end = voxels + change
        part = end - voxels
        lost = (voxels - (end - part)) + (change - part)
        beyond = lost > 0 if change < 0 else lost < 0
        ends.append(torch.where(beyond, torch.nextafter(end, voxels), end))
    return ends[0], ends[1]


def _rounded_down(number: float) -> float:
    """The largest number of single precision that is not above a number."""
    rounded = np.float32(number)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > number else rounded)
