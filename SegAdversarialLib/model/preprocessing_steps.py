"""The steps of a preprocessing on volumes of one shape: there, differentiably, and what comes out of the network back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from SegAdversarialLib.model.crop import Box, Shape
from SegAdversarialLib.model.normalization import Normalization, normalize
from SegAdversarialLib.model.resampling import Interpolation, Spacing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CropStep:
    """Volumes of the shape `before` cut to a box, which may be larger than they are."""

    before: Shape
    box: Box
    spreads: bool
    """Answers beside the box are its outermost ones: they are interpolated, and blotted out, later."""

    @property
    def shape(self) -> Shape:
        return self.box.shape

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        return self.box.cut_out(volumes, self.before)

    def back(self, answers: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
        if self.spreads:
            return self.box.spread(answers, self.before)
        return self.box.put_back(answers, self.before, outside)


@dataclass(frozen=True)
class ResampleStep:
    """Volumes of the shape `before` on another grid."""

    before: Shape
    into: Interpolation
    out_of: Interpolation
    spacing: Spacing
    """The new grid's, in mm along K, J, I."""

    @property
    def shape(self) -> Shape:
        return self.into.shape

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        return self.into(volumes)

    def back(self, answers: torch.Tensor, mixes: Literal["softmax", "sigmoid"] | None) -> torch.Tensor:
        if mixes is None or not self.out_of.is_linear:
            return self.out_of(answers)
        from SegAdversarialLib.model.probabilities import interpolate_probabilities

        places = [None if x is None else x.linear_places() for x in self.out_of.axes]
        return interpolate_probabilities(answers, mixes, places)

    def shares(self, masks: torch.Tensor) -> torch.Tensor:
        """Masks (N, *before) as shares of the new grid's voxels: linear, whatever images are interpolated with."""
        k, j, i = (None if x is None else replace(x, order=1) for x in self.into.axes)
        return replace(self.into, axes=(k, j, i), apart=None, clip=False)(masks)


@dataclass(frozen=True)
class NormalizeStep:
    """Channels whose intensities are changed: all alike, or each in its own way."""

    shape: Shape
    normalization: Normalization | tuple[Normalization, ...] | None
    union: torch.Tensor | None = None
    filled: torch.Tensor | None = None
    """The voxels other than 0 in some channel, (K, J, I) bool, without and with the holes between them."""

    def of(self, channel: int) -> Normalization | None:
        """What is done to the channel in this place of the network's."""
        return self.normalization[channel] if isinstance(self.normalization, tuple) else self.normalization

    def forward(self, volume: torch.Tensor, channel: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """One channel (K, J, I); see `normalize` for `out`."""
        return normalize(volume, self.of(channel), self.filled, out)


Step = CropStep | ResampleStep | NormalizeStep
