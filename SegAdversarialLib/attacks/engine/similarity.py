"""Structural similarity to the original, and its gradient, as a search along gradients needs them."""

from __future__ import annotations

import numpy as np
import torch

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
        self._scaled = (original - self._low) / self._span
        self._mean = self._blurred(self._scaled)
        self._square = self._blurred(self._scaled.square())

    def value(self, image: torch.Tensor) -> float:
        """The similarity of an image (K, J, I)."""
        changed = (image - self._low) / self._span
        maps = self._blurred(changed), self._blurred(changed.square()), self._blurred(changed * self._scaled)
        return float(self._similarities(*maps).mean(dtype=torch.float64))

    def value_and_gradient(self, image: torch.Tensor) -> tuple[float, torch.Tensor]:
        """The similarity of an image (K, J, I), and its gradient by the voxels."""
        changed = (image - self._low) / self._span
        maps = [self._blurred(x).requires_grad_(True) for x in (changed, changed.square(), changed * self._scaled)]
        with torch.enable_grad():
            similarities = self._similarities(*maps)
            value = similarities.mean(dtype=torch.float64)
            by_mean, by_square, by_product = torch.autograd.grad(value, maps)
        gradient = self._spread(by_mean)
        gradient += 2 * changed * self._spread(by_square)
        gradient += self._scaled * self._spread(by_product)
        return float(value.detach()), gradient.div_(self._span)

    def _similarities(self, mean: torch.Tensor, square: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
        before, own = self._mean, self._square - self._mean.square()
        numerator = (2 * before * mean + _C1) * (2 * (product - before * mean) + _C2)
        denominator = (before.square() + mean.square() + _C1) * (own + square - mean.square() + _C2)
        return numerator / denominator

    def _blurred(self, values: torch.Tensor) -> torch.Tensor:
        """Windows' means, where the whole window lies in the image."""
        for axis, band in self._bands.items():
            values = _along(band, values, axis)
        return values

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        """The transpose of that."""
        for axis, band in self._bands.items():
            values = _along(band.T, values, axis)
        return values


def _band(size: int, radius: int, like: torch.Tensor) -> torch.Tensor:
    """(places of the window, size): each row the window's weights at a place."""
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / (_SIGMA_PER_RADIUS * radius)) ** 2)
    weights /= weights.sum()
    band = np.zeros((size - 2 * radius, size))
    for place in range(len(band)):
        band[place, place : place + 2 * radius + 1] = weights
    return torch.from_numpy(band).to(like)


def _along(matrix: torch.Tensor, values: torch.Tensor, axis: int) -> torch.Tensor:
    """A matrix times the vectors along an axis of (K, J, I)."""
    if axis == 0:
        return (matrix @ values.flatten(1)).unflatten(1, values.shape[1:])
    return matrix @ values if axis == 1 else values @ matrix.T
