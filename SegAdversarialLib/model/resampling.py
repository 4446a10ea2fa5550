"""From one number of voxels to another, axis by axis, with nearest, linear or cubic spline interpolation.

Each of these is linear and separable, prefilter and borders included (Unser 1999, "Splines: a perfect fit for signal and image
processing"): along an axis it is a matrix (voxels out, voxels in), whose transpose is the exact gradient. Only `clip` is not
linear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from SegAdversarialLib.model.strict_settings import StrictSettings
from SegAdversarialLib.volumes.geometry import resize

if TYPE_CHECKING:
    import torch

Order = Literal[0, 1, 3]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
Line = tuple[float, ...]
Places = tuple[np.ndarray, np.ndarray, np.ndarray]


class Resampling(StrictSettings):
    """How volumes are interpolated between two grids."""

    order: Order = Field(1, description="0: nearest voxel, 1: linear, 3: cubic spline (as skimage.transform.resize).")
    order_through: Order | None = Field(
        None,
        description="Where one of the two spacings is more anisotropic than `anisotropy`: order along its coarsest axis, "
        "which then comes last; none: all axes alike.",
    )
    anisotropy: float = Field(3.0, gt=1, description="Largest over smallest spacing above which `order_through` holds.")
    clip: bool = Field(
        False, description="Cut off what lies beyond the input's range (with `order_through`: beyond the slice's), as skimage."
    )

    def axis_apart(self, have: Spacing, want: Spacing) -> int | None:
        """The axis that is resampled by itself, where volumes of one spacing (K, J, I) get another; None: there is none.

        The first of the two spacings that is anisotropic decides, as in nnU-Net 2.
        """
        if self.order_through is None:
            return None
        for spacing in (have, want):
            largest = max(spacing)
            if largest / min(spacing) > self.anisotropy:
                coarsest = [axis for axis, x in enumerate(spacing) if x >= largest * (1 - 1e-6)]
                return coarsest[0] if len(coarsest) == 1 else None
        return None


@dataclass(frozen=True)
class Axis:
    """One axis of two grids.

    Attributes:
        count: voxels that it has.
        wanted: voxels that it gets.
        step: distance of the wanted voxels, in voxels that it has.
        centers: the first two voxels have the same centre; false: the first two voxels begin at the same place.
        order: of interpolation.
        is_reversed: it counts from its last voxel.
        first: where the first wanted voxel's centre lies, in voxels that it has; with `centers` alone.
        places: where all do, where that is known to the last bit.
    """

    count: int
    wanted: int
    step: float
    centers: bool
    order: Order
    is_reversed: bool = False
    first: float = 0.0
    places: Line | None = None

    @property
    def matrix(self) -> np.ndarray:
        """What each wanted voxel takes of each there is, (wanted, count) float64; rows sum to 1."""
        return _matrix(self)

    def nearest(self) -> np.ndarray:
        """The voxel, of those there are, that each wanted one lies in; below 0 or from `count` on: beside the volume."""
        inside = np.floor(self._places() + 0.5).astype(int)
        return self.count - 1 - inside[::-1] if self.is_reversed else inside

    def linear_places(self) -> Places:
        """Linearly, for each wanted voxel: the lower and the upper one that it lies between, and the upper's share."""
        places = self._places().clip(0, self.count - 1)
        low = np.floor(places).astype(int)
        high, share = np.minimum(low + 1, self.count - 1), places - low
        if not self.is_reversed:
            return low, high, share
        return self.count - 1 - high[::-1], self.count - 1 - low[::-1], 1 - share[::-1]

    def _places(self) -> np.ndarray:
        if self.places is not None:
            return np.array(self.places)
        wanted = np.arange(self.wanted)
        return self.first + self.step * wanted if self.centers else self.step * (wanted + 0.5) - 0.5


@lru_cache(maxsize=16)
def _matrix(axis: Axis) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    matrix, unit = np.empty((axis.wanted, axis.count)), np.zeros(axis.count)
    for n in range(axis.count):
        unit[n] = 1
        map_coordinates(unit, [axis._places()], output=matrix[:, n], order=axis.order, mode="nearest")
        unit[n] = 0
    return matrix[::-1, ::-1].copy() if axis.is_reversed else matrix


@dataclass(frozen=True)
class Interpolation:
    """From volumes of one shape to volumes of another.

    Attributes:
        shape: that the volumes get.
        axes: K, J, I; None: it stays as it is.
        apart: the axis that comes last.
        clip: see `Resampling`.
    """

    shape: Shape
    axes: tuple[Axis | None, Axis | None, Axis | None]
    apart: int | None
    clip: bool

    def __call__(self, volumes: torch.Tensor) -> torch.Tensor:
        """Volumes (N, K, J, I) as (N, *shape); differentiable."""
        if not any(self.axes):
            return volumes
        if all(axis is None or (axis.order == 1 and not axis.centers) for axis in self.axes):
            return resize(volumes, self.shape)
        first = [axis for axis in range(3) if axis != self.apart and self.axes[axis] is not None]
        # the axes that lose most come first
        first.sort(key=lambda axis: self.shape[axis] / volumes.shape[1 + axis])
        result = volumes
        for axis in first:
            result = self._along(axis, result)
        if first and self.clips:
            alike = [1 + axis for axis in range(3) if axis != self.apart]
            result = result.clamp(volumes.amin(alike, keepdim=True), volumes.amax(alike, keepdim=True))
        return result if self.apart is None or self.axes[self.apart] is None else self._along(self.apart, result)

    def at(self, lines: tuple[Line, Line, Line]) -> Interpolation:
        """The same with the wanted voxels' places along K, J, I, which are known to the last bit."""
        k, j, i = (x and replace(x, places=line) for x, line in zip(self.axes, lines))
        return replace(self, axes=(k, j, i))

    @property
    def is_linear(self) -> bool:
        """Whether something is interpolated, and that linearly."""
        return any(self.axes) and all(x is None or x.order == 1 for x in self.axes)

    @property
    def clips(self) -> bool:
        """Whether there can be overshoots that are cut off."""
        return self.clip and any(x is not None and x.order == 3 for n, x in enumerate(self.axes) if n != self.apart)

    def _along(self, axis: int, volumes: torch.Tensor) -> torch.Tensor:
        import torch

        line = self.axes[axis]
        assert line is not None
        # matrices, not gathered voxels: their gradient is a product, too, and the same each time on a GPU
        matrix = torch.from_numpy(line.matrix).to(device=volumes.device, dtype=volumes.dtype)
        if axis == 2:
            return volumes @ matrix.T
        if axis == 1:
            return matrix @ volumes
        count, _, *plane = volumes.shape
        return (matrix @ volumes.reshape(count, line.count, -1)).reshape(count, line.wanted, *plane)
