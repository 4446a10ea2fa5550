"""From a case's own grid to the grid and intensities that a network was trained on, and back; differentiable.

The steps run in this order, each of them optional: orientation (axes permuted), spacing or size (linear resampling over the
same extent), normalisation (for each channel), order of the tensor's axes, orientation (axes flipped). Every step treats
each channel on its own, so gradients can be pulled back one channel at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from SegAdversarialLib.arguments import InOneSentence
from SegAdversarialLib.volumes.geometry import Reorientation, check_orientation, orientation_of, resize, spacing_of

if TYPE_CHECKING:
    import torch
    from pydantic._internal._model_construction import ModelMetaclass

    from SegAdversarialLib.model.standardization import Inside
else:
    ModelMetaclass = type(BaseModel)

Shape = tuple[int, int, int]
MaskKind = Literal["all", "positive", "nonzero", "above_mean"]


class _Called(InOneSentence, ModelMetaclass):
    """What is given wrongly is said in one sentence."""


class _Settings(BaseModel, metaclass=_Called):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ZScore(_Settings):
    """Subtract the mean and divide by the standard deviation of the voxels inside a mask, channel by channel."""

    kind: Literal["zscore"] = "zscore"
    mask: MaskKind = Field("all", description="Voxels that count: all, above 0, other than 0, or above the channel's mean.")
    background: float | None = Field(None, description="Value of the voxels outside the mask; none: standardised as well.")

    def apply(self, volume: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Standardise one channel (K, J, I); into new memory, or into `out` as `standardize` says."""
        from SegAdversarialLib.model.standardization import standardize

        return standardize(volume, _inside(volume, self.mask), self.background, out)


class Rescale(_Settings):
    """Put the range between two percentiles of the channel onto [0, 1] (Liu et al. 2021 with the defaults)."""

    kind: Literal["rescale"] = "rescale"
    low: float = Field(0.0, ge=0, lt=100, description="Percentile that becomes 0.")
    high: float = Field(100.0, gt=0, le=100, description="Percentile that becomes 1.")
    clip: bool = Field(False, description="Cut off what lies beyond the two percentiles.")

    @model_validator(mode="after")
    def _ordered(self) -> Rescale:
        if self.low >= self.high:
            raise ValueError(f"the low percentile ({self.low}) must be below the high one ({self.high})")
        return self

    def apply(self, volume: torch.Tensor) -> torch.Tensor:
        """Rescale one channel (K, J, I)."""
        low, high = _percentile(volume, self.low), _percentile(volume, self.high)
        span = high - low
        scaled = (volume - low) / span if span.item() > 0 else volume - low
        return scaled.clamp(0, 1) if self.clip else scaled


class IntensityWindow(_Settings):
    """Cut to a fixed intensity range, then subtract and divide by fixed numbers, as for CT in Hounsfield units."""

    kind: Literal["window"] = "window"
    lower: float | None = Field(None, description="Lowest intensity kept, in scanner units.")
    upper: float | None = Field(None, description="Highest intensity kept, in scanner units.")
    mean: float = Field(0.0, description="Subtracted, in scanner units.")
    std: float = Field(1.0, gt=0, description="Divided by, in scanner units.")

    def apply(self, volume: torch.Tensor) -> torch.Tensor:
        """Window one channel (K, J, I)."""
        if self.lower is not None or self.upper is not None:
            volume = volume.clamp(self.lower, self.upper)
        return (volume - self.mean) / self.std


Normalization = Annotated[ZScore | Rescale | IntensityWindow, Field(discriminator="kind")]


class Preprocessing(_Settings):
    """What a network wants done to a case before it sees it; `Preprocessing()` does nothing."""

    orientation: str | None = Field(None, description="Where the i, j, k axes point, such as RAS or LPS; none: as they are.")
    spacing: tuple[float, float, float] | None = Field(None, description="Voxel size in mm along i, j, k, after orientation.")
    size: Shape | None = Field(None, description="Number of voxels along i, j, k, after orientation, instead of a spacing.")
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

    @model_validator(mode="after")
    def _one_resampling(self) -> Preprocessing:
        if self.spacing is not None and self.size is not None:
            raise ValueError("give a spacing or a size, not both")
        if self.spacing is not None and min(self.spacing) <= 0:
            raise ValueError(f"spacings must be above 0 mm; they are {self.spacing}")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"sizes must be at least 1 voxel; they are {self.size}")
        return self

    @property
    def dimensions(self) -> int:
        """3, or 2 for a network that sees slices."""
        return len(self.axes)

    def on_grid(self, shape: Shape, affine: np.ndarray) -> PreprocessingOnGrid:
        """The steps worked out for volumes of `shape` (K, J, I) at `affine`."""
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
            k, j, i = (max(1, round(length / step)) for length, step in zip(mm, self.spacing[::-1]))
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
        if isinstance(normalization, ZScore):
            return normalization.apply(volume, target).permute(self.order)
        if normalization is not None:
            volume = normalization.apply(volume)
        if target is not None:
            target.copy_(volume.detach())
        return volume.permute(self.order)

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
        return not isinstance(chosen[index] if isinstance(chosen, tuple) else chosen, Rescale)

    def restore(self, logits: torch.Tensor) -> torch.Tensor:
        """Bring logits (N, *network_shape) back onto the case's own grid (N, K, J, I)."""
        if self.turn.flips:
            unflipped, axes = self.without_flips()
            return unflipped.restore(logits.flip([1 + axis for axis in axes]))
        inverse = [1 + self.order.index(axis) for axis in range(3)]
        return self.turn.undo(resize(logits.permute(0, *inverse), self.turned_shape))


def _inside(volume: torch.Tensor, kind: MaskKind) -> Inside | None:
    """What tells the voxels that count: 1 or 0 in the volume's own type, as torch compares into booleans several times more
    slowly."""
    import torch

    if kind == "all":
        return None
    if kind == "nonzero":
        return lambda some: torch.ne(some, 0, out=torch.empty_like(some))
    threshold = volume.detach().mean() if kind == "above_mean" else 0
    return lambda some: torch.gt(some, threshold, out=torch.empty_like(some))


def _percentile(volume: torch.Tensor, percent: float) -> torch.Tensor:
    """Linear interpolation between the two nearest ranks, as numpy; differentiable in those voxels."""
    flat = volume.flatten()
    if percent == 0:
        return flat.amin()
    if percent == 100:
        return flat.amax()
    rank = percent / 100 * (flat.numel() - 1)
    below = int(rank)
    low = flat.kthvalue(below + 1).values
    high = flat.kthvalue(min(below + 2, flat.numel())).values
    return low + (high - low) * (rank - below)
