"""The part of a volume that a network sees: which it is, cutting it out, and putting answers back.

The box is found anew from each image. It is a step function of the image, flat wherever it has a derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from SegAdversarialLib.model.strict_settings import StrictSettings

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int, int]


class NonzeroCrop(StrictSettings):
    """Crop to the smallest box that holds all voxels other than 0 in any of the network's channels (nnU-Net)."""

    kind: Literal["nonzero"] = "nonzero"

    def counts(self, volume: torch.Tensor) -> torch.Tensor:
        """The voxels of a channel (K, J, I) that the box must hold, bool."""
        return volume != 0

    def takes(self, channel: int) -> bool:
        """Whether the channel in this place of the network's counts."""
        return True

    def around(self, found: Box, shape: Shape) -> Box:
        """The box itself, from the smallest one around what counts."""
        return found


class ForegroundCrop(StrictSettings):
    """Crop to the box around all voxels above a number in any of the network's channels (MONAI's CropForeground)."""

    kind: Literal["foreground"] = "foreground"
    above: float = Field(0.0, description="Voxels above this count.")
    margin: tuple[int, int, int] = Field(
        (0, 0, 0), description="Voxels along i, j, k by which the box is larger, on both sides."
    )
    channels: tuple[int, ...] | None = Field(
        None, min_length=1, description="Places, from 0, of the channels that count among the network's; none: all."
    )
    multiple: int = Field(
        1, ge=1, description="The box's sizes are made multiples of this, padded with 0 over the image's edge."
    )
    padded: bool = Field(False, description="A margin goes over the image's edge, padded with 0; false: it ends there.")

    @model_validator(mode="after")
    def _counted_from_0(self) -> ForegroundCrop:
        if min(self.margin) < 0:
            raise ValueError(f"margins must be at least 0 voxels; they are {self.margin}")
        if self.channels is not None and min(self.channels) < 0:
            raise ValueError(f"places of channels count from 0; they are {self.channels}")
        return self

    def counts(self, volume: torch.Tensor) -> torch.Tensor:
        """The voxels of a channel (K, J, I) that the box must hold, bool."""
        return volume > self.above

    def takes(self, channel: int) -> bool:
        """Whether the channel in this place of the network's counts."""
        return self.channels is None or channel in self.channels

    def around(self, found: Box, shape: Shape) -> Box:
        """The box itself, from the smallest one around what counts, as monai.transforms.CropForeground 1.6."""
        sides = []
        for start, stop, margin, whole in zip(found.start, found.stop, self.margin[::-1], shape):
            start, stop = start - margin, stop + margin
            if not self.padded:
                start, stop = max(start, 0), min(stop, whole)
            size = -(-(stop - start) // self.multiple) * self.multiple
            start -= (size - (stop - start)) // 2
            sides.append((start, start + size))
        return Box.of(sides)


class CenterCrop(StrictSettings):
    """Crop, and pad with 0, to a size about the middle (MONAI's CenterSpatialCrop, SpatialPad, ResizeWithPadOrCrop)."""

    kind: Literal["center"] = "center"
    size: tuple[int | None, int | None, int | None] = Field(
        description="Voxels along i, j, k; null: that axis stays as it is."
    )
    only: Literal["crop", "pad"] | None = Field(
        None, description="crop: smaller volumes are not padded; pad: larger ones are not cropped; none: all get the size."
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> CenterCrop:
        if any(x is not None and x < 1 for x in self.size):
            raise ValueError(f"sizes must be at least 1 voxel, or null; they are {self.size}")
        return self

    def box(self, shape: Shape) -> Box:
        """Where it is in volumes (K, J, I)."""
        sides = []
        for size, whole in zip(self.size[::-1], shape):
            stays = size is None or (self.only == "crop" and size > whole) or (self.only == "pad" and size < whole)
            wanted = whole if stays or size is None else size
            start = whole // 2 - wanted // 2 if wanted < whole else -((wanted - whole) // 2)
            sides.append((start, start + wanted))
        return Box.of(sides)


Crop = Annotated[NonzeroCrop | ForegroundCrop | CenterCrop, Field(discriminator="kind")]


@dataclass(frozen=True)
class Box:
    """A range of voxels along each axis of a volume (K, J, I), `stop` not counted; it may go over the volume's edges."""

    start: Shape
    stop: Shape

    @classmethod
    def of(cls, sides: list[tuple[int, int]]) -> Box:
        """From (start, stop) along each axis."""
        k, j, i = sides
        return cls((k[0], j[0], i[0]), (k[1], j[1], i[1]))

    @classmethod
    def around(cls, mask: torch.Tensor) -> Box | None:
        """The smallest one that holds all voxels of a mask (K, J, I); None: there are none."""
        sides = []
        for axis in range(3):
            others = [x for x in (2, 1, 0) if x != axis]
            there = mask.any(others[0]).any(others[1] if others[1] < others[0] else others[1] - 1).nonzero()
            if not len(there):
                return None
            sides.append((int(there[0]), int(there[-1]) + 1))
        return cls.of(sides)

    @classmethod
    def whole(cls, shape: Shape) -> Box:
        """All of a volume."""
        return cls((0, 0, 0), shape)

    @property
    def shape(self) -> Shape:
        """Its size."""
        k, j, i = (stop - start for start, stop in zip(self.start, self.stop))
        return k, j, i

    def reversed(self, axes: tuple[int, ...], shape: Shape) -> Box:
        """The same part of a volume of `shape` once it is flipped along some axes."""
        return Box.of(
            [
                (shape[axis] - stop, shape[axis] - start) if axis in axes else (start, stop)
                for axis, (start, stop) in enumerate(zip(self.start, self.stop))
            ]
        )

    def cut_out(self, volumes: torch.Tensor, shape: Shape) -> torch.Tensor:
        """The part of volumes (..., *shape), 0 where it goes over their edges; differentiable."""
        import torch.nn.functional as functional

        k, j, i = (slice(max(0, start), min(stop, whole)) for start, stop, whole in zip(self.start, self.stop, shape))
        part, sides = volumes[..., k, j, i], []
        for axis in (2, 1, 0):
            sides += [max(0, -self.start[axis]), max(0, self.stop[axis] - shape[axis])]
        return functional.pad(part, sides) if any(sides) else part

    def put_back(self, parts: torch.Tensor, shape: Shape, outside: torch.Tensor) -> torch.Tensor:
        """Volumes (N, *shape) with `parts` (N, *box) in their place and `outside` (N,) around them; differentiable."""
        whole = outside.to(parts)[:, None, None, None].expand(len(parts), *shape).contiguous()
        ranges = list(zip(self.start, self.stop, shape))
        there = tuple(slice(max(0, start), min(stop, size)) for start, stop, size in ranges)
        own = tuple(slice(max(0, -start), min(stop, size) - start) for start, stop, size in ranges)
        whole[(slice(None), *there)] = parts[(slice(None), *own)]
        return whole

    def spread(self, parts: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Volumes (N, *shape) with `parts` (N, *box) in their place, their outermost voxels repeated; differentiable."""
        import torch

        inner = tuple(
            slice(max(0, start) - start, min(stop, whole) - start) for start, stop, whole in zip(self.start, self.stop, shape)
        )
        spread = parts[(slice(None), *inner)]
        for axis in range(3):
            before, after = max(0, self.start[axis]), max(0, shape[axis] - self.stop[axis])
            if before or after:  # not pad(mode="replicate"): its gradient on a GPU differs from time to time
                sizes = [-1] * 4
                ends = []
                for place, count in ((0, before), (spread.shape[1 + axis] - 1, after)):
                    sizes[1 + axis] = count
                    ends.append(spread.narrow(1 + axis, place, 1).expand(sizes))
                spread = torch.cat([ends[0], spread, ends[1]], 1 + axis)
        return spread


def fill_holes(mask: torch.Tensor) -> torch.Tensor:
    """A mask (K, J, I) bool with all that it encloses, as scipy.ndimage.binary_fill_holes (a fifth of its time)."""
    import numpy as np
    import torch
    from scipy.ndimage import label

    parts, count = label(~mask.cpu().numpy())
    is_hole = np.ones(count + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            is_hole[np.unique(parts.take(end, axis))] = False
    is_hole[0] = True  # the mask itself
    return torch.from_numpy(is_hole[parts]).to(mask.device)
