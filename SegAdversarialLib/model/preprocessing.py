"""From a case's own grid to the grid and intensities that a network was trained on, and back; differentiable.

The steps run in this order, each of them optional: orientation (axes permuted), spacing or size (linear resampling over the
same extent), normalisation (for each channel), order of the tensor's axes, orientation (axes flipped). Every step treats
each channel on its own, so gradients can be pulled back one channel at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.crop import Crop
from SegAdversarialLib.model.normalization import Normalization, graph_is_small, normalize
from SegAdversarialLib.model.resampling import Resampling
from SegAdversarialLib.model.strict_settings import StrictSettings
from SegAdversarialLib.volumes.geometry import Reorientation, check_orientation, orientation_of, resize, spacing_of

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int, int]
Stage = Literal["crop", "resample", "normalize"]


class Preprocessing(StrictSettings):
    """What a network wants done to a case before it sees it; `Preprocessing()` does nothing."""

    orientation: str | None = Field(None, description="Where the i, j, k axes point, such as RAS or LPS; none: as they are.")
    order: tuple[Stage, Stage, Stage] = Field(
        ("crop", "resample", "normalize"), description="In which order it is cropped, resampled and normalised."
    )
    crop: Crop | None = Field(None, description="The part that the network sees, found anew in each image; none: all.")
    spacing: tuple[float | None, float | None, float | None] | None = Field(
        None, description="Voxel size in mm along i, j, k, after orientation; null for an axis keeps the case's own."
    )
    spacing_kept: tuple[float, float] | None = Field(
        None,
        description="An axis whose own spacing is between these two multiples of the wanted one stays as it is, such as "
        "[0.75, 1.25] (Auto3DSeg); none: all are resampled.",
    )
    size: Shape | None = Field(None, description="Number of voxels along i, j, k, after orientation, instead of a spacing.")
    grid: Literal["extent", "centers"] = Field(
        "extent",
        description="extent: the new voxels fill the same space, their number is rounded (nnU-Net); centers: the first voxel's "
        "centre stays, and the spacing is exact (MONAI's Spacing).",
    )
    resampling: Resampling = Field(default_factory=Resampling, description="How images are interpolated.")
    output_resampling: Resampling = Field(
        default_factory=Resampling, description="How the network's outputs are interpolated on the way back."
    )
    restores: Literal["logits", "probabilities"] = Field(
        "logits", description="What is interpolated on the way back: logits (nnU-Net), or probabilities (MONAI's Invert)."
    )
    normalization: Normalization | tuple[Normalization, ...] | None = Field(
        None, description="What is done to the intensities; one for all channels, or one for each in the network's order."
    )
    axes: str = Field(
        "kji",
        description="Order of the spatial axes in the network's tensor: kji is slice, row, column; ijk the order of nibabel "
        "arrays; two letters for a 2D network, which sees the slices along the third.",
    )

    @field_validator("orientation")
    @classmethod
    def _orientation_is_a_code(cls, code: str | None) -> str | None:
        return None if code is None else check_orientation(code)

    @field_validator("axes")
    @classmethod
    def _axes_differ(cls, axes: str) -> str:
        if len(axes) not in (2, 3) or len(set(axes)) != len(axes) or set(axes) - set("ijk"):
            raise ValueError(f'axes must be two or three different letters of i, j, k, such as "kji"; they are "{axes}"')
        return axes

    @field_validator("order")
    @classmethod
    def _each_stage_once(cls, order: tuple[Stage, Stage, Stage]) -> tuple[Stage, Stage, Stage]:
        if len(set(order)) != len(order):
            raise ValueError(f"order must name crop, resample and normalize once each; it is {', '.join(order)}")
        return order

    @model_validator(mode="after")
    def _one_resampling(self) -> Preprocessing:
        if self.spacing is not None and self.size is not None:
            raise ValueError("give a spacing or a size, not both")
        if self.spacing is not None and any(x is not None and x <= 0 for x in self.spacing):
            raise ValueError(f"spacings must be above 0 mm, or null; they are {self.spacing}")
        if self.spacing is None and (self.grid != "extent" or self.spacing_kept is not None):
            raise ValueError('grid "centers" and spacing_kept are about a spacing; give one')
        if self.spacing_kept is not None and not 0 < self.spacing_kept[0] <= self.spacing_kept[1]:
            raise ValueError(f"spacing_kept must be two multiples, the smaller first; it is {self.spacing_kept}")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"sizes must be at least 1 voxel; they are {self.size}")
        return self

    @property
    def dimensions(self) -> int:
        """3, or 2 for a network that sees slices."""
        return len(self.axes)

    def on_grid(self, shape: Shape, affine: np.ndarray) -> PreprocessingOnGrid:
        """The steps worked out for volumes of `shape` (K, J, I) at `affine`."""
        if (self.crop, self.grid, self.resampling, self.output_resampling) != (None, "extent", Resampling(), Resampling()):
            raise InputError("Crops, grids by centres and other interpolation than linear are not there yet.")
        have = orientation_of(affine)
        turn = Reorientation.between(have, self.orientation or have)
        turned = turn.shape(shape)
        target = turned
        if self.size is not None:
            i, j, k = self.size
            target = (k, j, i)
        elif self.spacing is not None:
            # turned array axes are (k, j, i); the native spacing is counted the other way round
            native = spacing_of(affine)[::-1]
            mm = [turned[axis] * native[turn.permutation[axis]] for axis in range(3)]
            k, j, i = (max(1, round(x / (step or x / n))) for x, step, n in zip(mm, self.spacing[::-1], turned))
            target = (k, j, i)
        first_slices = "".join(x for x in "kji" if x not in self.axes)
        order = tuple("kji".index(x) for x in first_slices + self.axes)
        return PreprocessingOnGrid(self, turn, turned, target, order)


@dataclass(frozen=True)
class PreprocessingOnGrid:
    """A `Preprocessing` on one grid: tensors in, tensors out, differentiable."""

    settings: Preprocessing
    turn: Reorientation
    turned_shape: Shape
    resampled_shape: Shape
    order: tuple[int, ...]

    @property
    def does_nothing(self) -> bool:
        """Whether the network sees the volumes as they are."""
        return (
            self.settings.normalization is None
            and self.turn == Reorientation((0, 1, 2), ())
            and self.resampled_shape == self.turned_shape
            and self.order == (0, 1, 2)
        )

    @property
    def network_shape(self) -> Shape:
        """The spatial shape that the network sees; the first axis counts slices for a 2D network."""
        a, b, c = (self.resampled_shape[axis] for axis in self.order)
        return a, b, c

    def forward_channel(self, volume: torch.Tensor, index: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """One channel (K, J, I) as the network sees it; `index` is its place among the network's channels.

        Where `out` (of the network's shape) is given, the channel is written there, too. As the gradient may be computed from
        it, it must stay as it is until then; the gradient may take its place, and can be asked for only once.
        """
        if self.turn.flips:
            unflipped, axes = self.without_flips()
            flipped = unflipped.forward_channel(volume, index).flip(axes)
            if out is not None:
                out.copy_(flipped.detach())
            return flipped
        inverse = [self.order.index(axis) for axis in range(3)]
        target = None if out is None else out.permute(inverse)
        volume = resize(self.turn.apply(volume)[None], self.resampled_shape)[0]
        chosen = self.settings.normalization
        normalization = chosen[index] if isinstance(chosen, tuple) else chosen
        return normalize(volume, normalization, None, target).permute(self.order)

    def without_flips(self) -> tuple[PreprocessingOnGrid, tuple[int, ...]]:
        """The same steps without the flips of `turn`, and the network's axes that are flipped after them.

        But for rounding no step tells one direction of an axis from the other, so that the flips can come last. They do so
        everywhere: rounding decides on which side of a mask's threshold a resampled voxel falls.
        """
        unflipped = replace(self, turn=Reorientation(self.turn.permutation, ()))
        return unflipped, tuple(self.order.index(axis) for axis in self.turn.flips)

    def graph_is_small(self, index: int) -> bool:
        """Whether autograd's graph of a channel holds little more than the channel before and after."""
        chosen = self.settings.normalization
        return graph_is_small(chosen[index] if isinstance(chosen, tuple) else chosen)

    def restore(self, logits: torch.Tensor) -> torch.Tensor:
        """Bring logits (N, *network_shape) back onto the case's own grid (N, K, J, I)."""
        if self.turn.flips:
            unflipped, axes = self.without_flips()
            return unflipped.restore(logits.flip([1 + axis for axis in axes]))
        inverse = [1 + self.order.index(axis) for axis in range(3)]
        return self.turn.undo(resize(logits.permute(0, *inverse), self.turned_shape))

