"""Where a network's windows lie in a volume, and what each of them has to say about its voxels."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as functional

from SegAdversarialLib.model.windows import Blending, Places

Shape = tuple[int, int, int]
Slices = tuple[slice, ...]


class View(NamedTuple):
    """A window as the network is shown it: where it lies, and the axes of (C, *window) along which it is flipped."""

    place: Slices
    flips: tuple[int, ...] = ()


def flipped(volume: torch.Tensor, flips: tuple[int, ...]) -> torch.Tensor:
    """A volume (C, *window) flipped along some of its axes."""
    return volume.flip(flips) if flips else volume


class WindowGrid:
    """Overlapping windows that cover volumes of one shape, zero-padded where these are smaller than a window.

    Args:
        shape: spatial shape of the volumes; for a 2D network the first axis counts slices.
        window: spatial size of a window (as many numbers as the network has dimensions); None: the whole volume (slice).
        overlap: share of a window that its neighbour sees too, in [0, 1).
        multiple: sizes that the network takes are multiples of this.
        dimensions: 2 or 3.
        blending: how much the voxels of a window count.
        spread: how the windows are laid.
        mirror: axes of the volumes (0 to 2) along which the network is shown each window flipped, too: all combinations.

    Attributes:
        shape: that of the volumes.
        dimensions: 2 or 3.
        window: the size of a window with all three axes.
        padded: the shape of the volumes once they are padded.
        places: the windows in a padded volume.
        views: each window with each combination of flips.
    """

    def __init__(
        self,
        shape: Shape,
        window: Sequence[int] | None = None,
        overlap: float = 0.5,
        multiple: int = 1,
        dimensions: Literal[2, 3] = 3,
        blending: Blending = "gaussian",
        spread: Places = "dense",
        mirror: Sequence[int] = (),
    ) -> None:
        self.shape, self.dimensions, self._blending = shape, dimensions, blending
        wanted = list(window) if window is not None else list(shape[-dimensions:])
        self.window = (*[1] * (3 - dimensions), *(-(-size // multiple) * multiple for size in wanted))
        missing = [max(0, size - have) for size, have in zip(self.window, shape)]
        self._before = tuple(gap // 2 for gap in missing)
        self.padded = tuple(have + gap for have, gap in zip(shape, missing))
        self.places = self._places(overlap) if spread == "dense" else self._even_places(overlap)
        combinations = [x for n in range(len(mirror) + 1) for x in itertools.combinations([1 + axis for axis in mirror], n)]
        self.views = [View(place, flips) for place in self.places for flips in combinations]
        self._weights: tuple[torch.Tensor, torch.Tensor] | None = None
        """Importance of a voxel in a window, and the sum of it over all windows at each voxel of the volume."""

    @property
    def sees_all(self) -> bool:
        """Whether there is one window for the volume, or in 2D for each slice."""
        return self.window[3 - self.dimensions :] == self.padded[3 - self.dimensions :]

    def share(self, place: Slices, out: torch.Tensor) -> torch.Tensor:
        """What a view has to say about its voxels, in `out` (*window): its importance over that of all views there.

        A voxel's importance is what the blending says, see `_importance`.
        """
        if self._weights is None:
            weights = _importance(self.window[3 - self.dimensions :], self._blending).to(out).reshape(self.window)
            total = weights.new_zeros(self.padded)
            for other in self.places:
                total[other] += weights
            total *= len(self.views) / len(self.places)
            self._weights = weights, total
        weights, total = self._weights
        return torch.div(weights, total[place], out=out)

    def pad(self, volumes: torch.Tensor) -> torch.Tensor:
        """Volumes (C, *shape) as (C, *padded)."""
        if self.padded == tuple(self.shape):
            return volumes
        sides: list[int] = []
        for axis in (2, 1, 0):
            before = self._before[axis]
            sides += [before, self.padded[axis] - self.shape[axis] - before]
        return functional.pad(volumes, sides)

    def unpad(self, volumes: torch.Tensor) -> torch.Tensor:
        """The inner part (C, *shape) of padded volumes (C, *padded)."""
        if self.padded == tuple(self.shape):
            return volumes
        inner = tuple(slice(before, before + have) for before, have in zip(self._before, self.shape))
        return volumes[(slice(None), *inner)]

    def _places(self, overlap: float) -> list[Slices]:
        """Windows at MONAI's steps, the last one along each axis moved back into the volume."""
        from monai.data.utils import dense_patch_slices

        steps = [
            size if size == 1 or size >= whole else max(1, int(size * (1 - overlap)))
            for size, whole in zip(self.window, self.padded)
        ]
        return [tuple(place) for place in dense_patch_slices(self.padded, self.window, steps)]

    def _even_places(self, overlap: float) -> list[Slices]:
        """As few windows as overlap by at least this share, spread evenly along each axis (Isensee et al. 2021)."""
        starts = []
        for size, whole in zip(self.window, self.padded):
            gaps = math.ceil((whole - size) / max(1.0, size * (1 - overlap)) - 1e-9)
            starts.append([round((whole - size) / max(gaps, 1) * n) for n in range(gaps + 1)])
        return [tuple(slice(x, x + size) for x, size in zip(start, self.window)) for start in itertools.product(*starts)]


def _importance(size: Sequence[int], blending: Blending) -> torch.Tensor:
    """How much the voxels of a window of this size count.

    A Gaussian has a sigma of 1/8 of the window. MONAI's has its centre in the middle and is nowhere below 1/1000; nnU-Net's
    has it on a voxel, and is rounded to half precision, where the least number above 0 stands for smaller ones.
    """
    if blending != "voxel-gaussian":
        from monai.data.utils import compute_importance_map

        return compute_importance_map(tuple(size), mode=blending, sigma_scale=0.125, dtype=torch.float64)
    axes = [torch.exp(-0.5 * (8 / n * (torch.arange(n, dtype=torch.float64) - n // 2)) ** 2) for n in size]
    weights = 10 * functools.reduce(lambda some, axis: some[..., None] * axis, axes)
    return weights.half().clamp_min(2**-24).double()
