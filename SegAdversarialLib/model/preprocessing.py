"""From a case's own grid to the grid and intensities that a network was trained on, and back; differentiable.

The steps, each of them optional: orientation (axes permuted); in the order that is set crop, resampling and normalisation (for
each channel); order of the tensor's axes; orientation (axes flipped). Every step treats each channel on its own, but for where
a crop and a mask lie, so that gradients can be pulled back one channel at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from SegAdversarialLib.arguments import shown
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.crop import CenterCrop, Crop, ForegroundCrop, Shape
from SegAdversarialLib.model.normalization import Normalization
from SegAdversarialLib.model.preprocessing_on_grid import PreprocessingOnGrid, Stage, Stages
from SegAdversarialLib.model.preprocessing_steps import ResampleStep
from SegAdversarialLib.model.resampling import Axis, Interpolation, Line, Resampling, Spacing
from SegAdversarialLib.model.strict_settings import StrictSettings
from SegAdversarialLib.volumes.geometry import Reorientation, check_orientation, orientation_of, spacing_of

_SAME_PLACE = 1e-6
"""Voxels within which the first of two grids' voxels lie at one place."""
_SAME_SPACING = 1e-3
"""mm within which MONAI's Spacing leaves an axis as it is."""


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
        description="extent: the new voxels fill the same space, their number is rounded (nnU-Net); centers: the first "
        "voxel's centre stays, and the spacing is exact (MONAI's Spacing).",
    )
    resampling: Resampling = Field(Resampling(), description="How images are interpolated.")
    output_resampling: Resampling = Field(
        Resampling(), description="How the network's outputs are interpolated on the way back."
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

    @classmethod
    def of(cls, given: Preprocessing | Mapping[str, Any] | None) -> Preprocessing:
        """These settings from themselves, from a mapping, or the default.

        Raises:
            InputError: a setting is unknown or wrong, or it is something else, such as a transform of MONAI's.
        """
        if given is None or isinstance(given, Mapping):
            return cls(**(given or {}))
        if cls.__name__ not in {x.__name__ for x in type(given).__mro__}:
            raise InputError(
                f"preprocessing must be a Preprocessing or its settings by name, such as {{'orientation': 'RAS'}}; it is "
                f"{shown(given)}: say what its transforms do in these settings, or open them as a MONAI bundle."
            )
        return given

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
    def _sizes_fit_together(self) -> Preprocessing:
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

    def check_channels(self, count: int) -> None:
        """Refuse what does not fit a network of so many channels.

        Raises:
            InputError: there are more or fewer normalisations, or a crop looks at a channel that there is not.
        """
        chosen = self.normalization
        if isinstance(chosen, tuple) and len(chosen) != count:
            raise InputError(f"There are {len(chosen)} normalisations for {count} channels; give one for each.")
        looked_at = self.crop.channels if isinstance(self.crop, ForegroundCrop) and self.crop.channels else (0,)
        if max(looked_at) >= count:
            raise InputError(
                f"The crop looks at the channel in place {max(looked_at)}, counted from 0; the network has {count} channel(s)."
            )

    @property
    def fixed_size(self) -> Shape | None:
        """The size along i, j, k of what the network sees, where it is the same for all cases."""
        comes_last = "crop" if self.order.index("crop") > self.order.index("resample") else "resample"
        decides = comes_last == "crop" or (self.spacing is None and self.size is None)
        if decides and isinstance(self.crop, CenterCrop) and self.crop.only is None and None not in self.crop.size:
            i, j, k = (int(x or 0) for x in self.crop.size)
            return i, j, k
        return self.size if self.crop is None or comes_last == "resample" else None

    def on_grid(self, shape: Shape, affine: np.ndarray) -> PreprocessingOnGrid:
        """The steps worked out for volumes of `shape` (K, J, I) at `affine`, as far as they do not depend on the image."""
        have = orientation_of(affine)
        turn = Reorientation.between(have, self.orientation or have)
        native = spacing_of(affine)[::-1]
        k, j, i = (native[axis] for axis in turn.permutation)
        resample = partial(self._resampled, _turned(affine, turn), (k, j, i), turn.flips)
        stages = Stages(self.order, self.crop, resample, self.normalization, turn.flips)
        turned = turn.shape(shape)
        first_slices = "".join(x for x in "kji" if x not in self.axes)
        a, b, c = ("kji".index(x) for x in first_slices + self.axes)
        steps = None if stages.needs_image else stages.steps(turned)
        return PreprocessingOnGrid(stages, turn, turned, (a, b, c), self.dimensions, (k, j, i), steps)

    def _resampled(self, affine: np.ndarray, native: Spacing, flips: tuple[int, ...], shape: Shape) -> ResampleStep:
        """The step for volumes of a shape (K, J, I) before any flips; `affine` is theirs after these, without its origin."""
        centers = self.grid == "centers"
        if centers:
            reached = spacing = self._target(native, tolerance=_SAME_SPACING)
            wanted, starts, lines = _by_centers(shape, affine, spacing)
        else:
            wanted, starts, lines = self._voxels_by_extent(shape, native), (0.0, 0.0, 0.0), None
            k, j, i = (have * mm / want for have, mm, want in zip(shape, native, wanted))
            reached = (k, j, i)
            spacing = reached if self.spacing is None else self._target(native)

        def interpolation(
            rule: Resampling, shapes: tuple[Shape, Shape], spacings: tuple[Spacing, Spacing], firsts: Spacing
        ) -> Interpolation:
            """From voxels of the first shape and spacing to those of the second, the first of which lie at `firsts`."""
            apart = rule.axis_apart(*spacings)
            axes: list[Axis | None] = []
            for n, (have, want, old, new, first) in enumerate(zip(*shapes, *spacings, firsts)):
                order = rule.order_through if n == apart and rule.order_through is not None else rule.order
                # which side a nearest voxel is on hangs on the last bit: have / want first
                step = new / old if centers else have / want
                stays = step == 1 and have == want and not first
                axes.append(None if stays else Axis(have, want, step, centers, order, n in flips, first))
            return Interpolation(shapes[1], (axes[0], axes[1], axes[2]), apart, rule.clip)

        into = interpolation(self.resampling, (shape, wanted), (native, spacing), starts)
        if lines is not None:
            into = into.at(lines)
        k, j, i = (-first * old / new for first, old, new in zip(starts, native, spacing))
        out_of = interpolation(self.output_resampling, (wanted, shape), (spacing, native), (k, j, i))
        return ResampleStep(shape, into, out_of, reached)

    def _target(self, native: Spacing, tolerance: float = 0.0) -> Spacing:
        """The spacing that is wanted (K, J, I) in mm; the case's own where it is near enough."""
        low, high = self.spacing_kept or (1.0, 1.0)
        asked = (self.spacing or (None, None, None))[::-1]
        k, j, i = (
            own if mm is None or mm * min(low, 1) - tolerance <= own <= mm * max(high, 1) + tolerance else mm
            for own, mm in zip(native, asked)
        )
        return k, j, i

    def _voxels_by_extent(self, shape: Shape, native: Spacing) -> Shape:
        if self.size is not None:
            i, j, k = self.size
            return k, j, i
        if self.spacing is None:
            return shape
        pairs = list(zip(shape, native, self._target(native)))
        if self.order[0] == "crop" and self.crop is not None:  # nnU-Net's rounding, which differs at halves
            k, j, i = (max(1, round(mm / step * count)) for count, mm, step in pairs)
        else:
            k, j, i = (max(1, round(count * mm / step)) for count, mm, step in pairs)
        return k, j, i


def _turned(affine: np.ndarray, turn: Reorientation) -> np.ndarray:
    """The affine of volumes that are turned, but for its origin."""
    columns = [affine[:3, 2 - turn.permutation[2 - n]] * (-1 if 2 - n in turn.flips else 1) for n in range(3)]
    turned = np.eye(4)
    turned[:3, :3] = np.stack(columns, axis=1)
    return turned


def _by_centers(shape: Shape, affine: np.ndarray, spacing: Spacing) -> tuple[Shape, Spacing, tuple[Line, Line, Line]]:
    """MONAI's number of voxels, where the first of them lies among those there are, and where all do, as it computes them.

    The first one is that which there is; but where the axes are not at right angles to 1e-8, as those of an oblique scan never
    are in a file of single precision, MONAI lets the middles of both grids coincide (halves of the numbers of voxels).
    """
    from monai.data.utils import compute_shape_offset, zoom_affine

    there = zoom_affine(affine, spacing[::-1], diagonal=False)
    counts, offset = compute_shape_offset(shape[::-1], affine, there)
    there[:3, 3] = offset
    into = np.linalg.solve(affine, there)
    i, j, k = (0.0 if abs(x) < _SAME_PLACE else float(x) for x in into[:3, 3])
    a, b, c = (int(n) for n in counts[::-1])
    lines = _lines(into, (a, b, c), shape)
    return (a, b, c), (k, j, i), lines


def _lines(into: np.ndarray, wanted: Shape, shape: Shape) -> tuple[Line, Line, Line]:
    """Where the wanted voxels lie along each axis (K, J, I), to the last bit as torch's affine grid says it in MONAI.

    The last bit counts: it lets a voxel beside the brain be something other than 0, which a mask takes for brain.
    """
    import torch
    import torch.nn.functional as functional
    from monai.networks.utils import to_norm_affine

    normed = to_norm_affine(torch.from_numpy(into)[None], shape[::-1], wanted[::-1], align_corners=False)[0]
    found = []
    for axis in range(3):
        along = torch.zeros(1, 3, 4, dtype=torch.float64)
        along[0, 0, 0], along[0, 0, 3] = normed[2 - axis, 2 - axis], normed[2 - axis, 3]
        grid = functional.affine_grid(along, [1, 1, 1, 1, wanted[axis]], align_corners=False)[..., 0].flatten()
        found.append(tuple((((grid + 1) * shape[axis] - 1) / 2).tolist()))
    return found[0], found[1], found[2]
