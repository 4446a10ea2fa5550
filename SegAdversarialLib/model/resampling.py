"""From one number of voxels to another, axis by axis, with linear, nearest or cubic spline interpolation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from SegAdversarialLib.model.strict_settings import StrictSettings

Order = Literal[0, 1, 3]


class Resampling(StrictSettings):
    """How volumes are interpolated between two grids."""

    order: Order = Field(1, description="0: nearest voxel, 1: linear, 3: cubic spline (as skimage.transform.resize).")
    order_through: Order | None = Field(
        None,
        description="Where one grid is more anisotropic than `anisotropy`: order along its axis of the largest spacing, after "
        "the others; none: all axes alike.",
    )
    anisotropy: float = Field(3.0, gt=1, description="Largest over smallest spacing above which `order_through` holds.")
    clip: bool = Field(False, description="Cut off overshoots beyond the input's range (with `order_through`: each slice's).")
