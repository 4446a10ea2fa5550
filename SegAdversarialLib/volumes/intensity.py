"""The range of a channel's intensities, and what in it is padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

RangeKind = Literal["full", "robust"]

ROBUST_PERCENTILES = (0.5, 99.5)
"""What "robust" leaves of a channel's voxels, in percent: nnU-Net clips CT there."""

_LEAST_SHARE = 0.01
"""Padding fills at least this share of the volume's outer faces: the corners beside a round field of view are 2 % or more."""

_FEWEST_VOXELS = 1000
"""In a smaller volume a few voxels are a share of anything."""

_LEAST_GAP = 0.25
"""Padding lies at least so far from the other voxels, as a share of their own span (1st to 99th percentile)."""


@dataclass(frozen=True)
class IntensityRange:
    """Between what intensities a channel lies.

    Attributes:
        low, high: the least and the largest intensity that counts, in the channel's own units.
        padding: the single value with which the space outside the field of view is filled; None: there is none.
    """

    low: float
    high: float
    padding: float | None = None

    @property
    def largest(self) -> float:
        """The largest absolute intensity: what a relative epsilon of 1 is."""
        return max(abs(self.low), abs(self.high))

    @classmethod
    def of(cls, values: np.ndarray, kind: RangeKind = "full") -> IntensityRange:
        """The range of a channel (K, J, I), padding left out.

        Args:
            values: the channel.
            kind: "full": from the least to the largest voxel; "robust": between two percentiles (`ROBUST_PERCENTILES`) of the
                voxels other than 0, so that neither a few bright voxels nor much air decide.
        """
        padding = find_padding(values)
        if padding is None and kind == "full":
            return cls(float(values.min()), float(values.max()))
        counted = values if padding is None else values[values != padding]
        if kind == "robust":
            some = counted[counted != 0]
            low, high = np.percentile(some, ROBUST_PERCENTILES) if some.size else (0.0, 0.0)
        else:
            low, high = counted.min(), counted.max()
        return cls(float(low), float(high), padding)

    def describe(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {"low": self.low, "high": self.high, **({} if self.padding is None else {"padding": self.padding})}


def find_padding(values: np.ndarray) -> float | None:
    """The value with which a channel (K, J, I) is padded outside the field of view, if there is one.

    Scanners and converters fill what was not measured with a number that no tissue has: -2000, -2048 or -3024 in CT. It is
    told by three things: it is the least or the largest value of the volume, but not 0, which is what nothing measures; it
    fills half of the volume's corners and a share of its outer faces; and between it and (nearly) all other voxels is a gap.
    """
    if values.size < _FEWEST_VOXELS:
        return None
    corners = values[np.ix_(*([0, -1] if size > 1 else [0] for size in values.shape))]
    for extreme in (values.min(), values.max()):
        if extreme == 0 or 2 * np.count_nonzero(corners == extreme) < corners.size:
            continue
        faces = _faces(values)
        if np.count_nonzero(faces == extreme) < _LEAST_SHARE * faces.size:
            continue
        others = values[values != extreme]
        if not others.size:
            return None
        low, high = np.percentile(others, (1, 99))
        gap = max(low - extreme, extreme - high)
        if gap > _LEAST_GAP * (high - low) > 0:
            return float(extreme)
    return None


def _faces(values: np.ndarray) -> np.ndarray:
    """The voxels on the outside of a volume; where it is one slice, on the outside of that."""
    axes = [axis for axis, size in enumerate(values.shape) if size > 1]
    return np.concatenate([np.take(values, end, axis).ravel() for axis in axes for end in (0, -1)] or [values.ravel()])
