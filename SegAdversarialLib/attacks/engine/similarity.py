"""Structural similarity to the original, and its gradient, as a search along gradients needs them."""

from __future__ import annotations

import numpy as np
import torch

from SegAdversarialLib.changes.quantisation import times_along
from SegAdversarialLib.volumes.intensity import IntensityRange

_WINDOW, _SIGMA_PER_RADIUS = 11, 0.3
_C1, _C2 = 0.01**2, 0.03**2


class Similarity:
    """Structural similarity (Wang et al. 2004) of a channel to the original, exactly as `metrics.ssim` counts it.

    Args:
        original: (K, J, I).
        found: its range.
    """

    def __init__(self, original: torch.Tensor, found: IntensityRange) -> None:
        self._low, self._span = found.low, found.high - found.low
        shape = original.shape
        self._axes = [axis for axis, size in enumerate(shape) if size > 2]
        self.is_defined = self._span > 0 and bool(self._axes)
        if not self.is_defined:
            return
        radius = (min(_WINDOW, *(shape[axis] for axis in self._axes)) - 1) // 2
        self._bands = {axis: _band(shape[axis], radius, original) for axis in self._axes}
        self._original = original

    def value(self, image: torch.Tensor) -> float:
        """The similarity of an image (K, J, I)."""
        means, contrasts, sizes, variances = _parts(*self._maps(self._scaled(self._original), self._scaled(image)))
        return float((means * contrasts / (sizes * variances)).mean(dtype=torch.float64))

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """The similarity of an image (K, J, I), and its gradient by the voxels."""
        original, changed = self._scaled(self._original), self._scaled(image)
        maps = self._maps(original, changed)
        means, contrasts, sizes, variances = _parts(*maps)
        below = sizes * variances
        found = means * contrasts / below
        by_product = 2 * means / below
        by_mean = maps[0] * (2 * contrasts / below - by_product) + 2 * maps[2] * found * (1 / variances - 1 / sizes)
        gradient = self._spread(by_mean)
        gradient += 2 * changed * self._spread(found / variances).neg_()
        gradient += original * self._spread(by_product)
        return float(found.mean(dtype=torch.float64)), gradient.div_(self._span * found.numel())

    def _scaled(self, image: torch.Tensor) -> torch.Tensor:
        """By the original's range; made anew each time, as the maps are: they are cheaper than the memory of whole volumes."""
        return (image - self._low) / self._span

    def _maps(self, original: torch.Tensor, changed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Windows' means of the original and of its square, of the image and of its square, and of their product."""
        every = original, original.square(), changed, changed.square(), changed * original
        return tuple(self._blurred(x) for x in every)

    def _blurred(self, values: torch.Tensor) -> torch.Tensor:
        """Windows' means, where the whole window lies in the image."""
        for axis, band in self._bands.items():
            values = times_along(band, values, axis - 3)
        return values

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        """The transpose of that."""
        for axis, band in self._bands.items():
            values = times_along(band.T, values, axis - 3)
        return values


def _parts(
    before: torch.Tensor, own: torch.Tensor, mean: torch.Tensor, square: torch.Tensor, product: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """The two factors above the line of the similarity at each place, and the two below it."""
    means, contrasts = 2 * before * mean + _C1, 2 * (product - before * mean) + _C2
    variances = own - before.square() + square - mean.square() + _C2
    return means, contrasts, before.square() + mean.square() + _C1, variances


def _band(size: int, radius: int, like: torch.Tensor) -> torch.Tensor:
    """(places of the window, size): each row the window's weights at a place."""
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / (_SIGMA_PER_RADIUS * radius)) ** 2)
    weights /= weights.sum()
    band = np.zeros((size - 2 * radius, size))
    for place in range(len(band)):
        band[place, place : place + 2 * radius + 1] = weights
    return torch.from_numpy(band).to(like)
