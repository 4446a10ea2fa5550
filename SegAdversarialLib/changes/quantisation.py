"""Blocks of a volume as cosines, and what tables of quantisation can make of them.

As in JPEG, the coefficients c of a block are divided by a table q, rounded, and multiplied again: q round(c / q). Hanif et al.
2023 (VAFA, eq. 1) learn the tables. What the tables with 0 < q <= q_max can make of one coefficient is known beforehand: 0, if
|c| <= q_max / 2; and for each number of steps k = 1, 2, ... all from c 2k / (2k + 1) to c 2k / (2k - 1) that is no larger than
k q_max. None of that is further from c than q_max / 2, nor than |c|.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from SegAdversarialLib.volumes.geometry import spacing_of
from SegAdversarialLib.volumes.slabs import slabs

_INSIDE = 4e-6
"""How far values stay away from where a quotient would be rounded to another number, as a share of them."""


class BlockCosines:
    """The orthonormal discrete cosine transform (DCT-II) of blocks.

    Every axis is cut into pieces of the block's length from its beginning on; what is left over at its end is a shorter piece,
    with cosines of its own. So the transform of the whole volume is orthonormal, and so is its inverse its transpose: the
    gradient by the coefficients is the transform of the gradient by the voxels.

    Args:
        block: voxels of a block along k, j, i.
        like: a tensor of the wanted type on the wanted device.
    """

    def __init__(self, block: tuple[int, int, int], like: torch.Tensor) -> None:
        self.block, self._like = block, like
        self._matrices: dict[tuple[int, int], torch.Tensor] = {}

    @classmethod
    def of_mm(cls, block_mm: float, affine: np.ndarray, shape: tuple[int, int, int], like: torch.Tensor) -> BlockCosines:
        """Blocks that are as close to cubes as the voxels allow: of this edge length, and of one voxel at least."""
        steps = spacing_of(affine)[::-1]
        counts = [min(max(1, round(block_mm / float(step))), size) for step, size in zip(steps, shape)]
        return cls((counts[0], counts[1], counts[2]), like)

    def coefficients(self, volumes: torch.Tensor) -> torch.Tensor:
        """The coefficients (..., K, J, I) of volumes (..., K, J, I), each block's in the place of its voxels."""
        for axis, length in enumerate(self.block):
            volumes = times_along(self._matrix(volumes.shape[axis - 3], length), volumes, axis - 3)
        return volumes

    def voxels(self, coefficients: torch.Tensor) -> torch.Tensor:
        """The volumes of coefficients: the inverse, and the transpose."""
        for axis, length in enumerate(self.block):
            coefficients = times_along(self._matrix(coefficients.shape[axis - 3], length).T, coefficients, axis - 3)
        return coefficients

    def _matrix(self, size: int, length: int) -> torch.Tensor:
        """(size, size): the pieces' cosines along the diagonal. Most of it is 0, but a product with it is one call."""
        if (size, length) not in self._matrices:
            whole = np.zeros((size, size))
            for start in range(0, size, length):
                part = slice(start, min(start + length, size))
                whole[part, part] = _cosines(part.stop - start)
            self._matrices[size, length] = torch.from_numpy(whole).to(self._like)
        return self._matrices[size, length]


def times_along(matrix: torch.Tensor, volumes: torch.Tensor, axis: int) -> torch.Tensor:
    """A matrix times all vectors along an axis of volumes (..., K, J, I), the axis being -3, -2 or -1."""
    if axis == -3:
        return (matrix @ volumes.flatten(-2)).unflatten(-1, volumes.shape[-2:])
    return matrix @ volumes if axis == -2 else volumes @ matrix.T


def _cosines(length: int) -> np.ndarray:
    """Row u: the cosine of frequency u, of length 1."""
    places = np.arange(length)
    rows = np.sqrt(2 / length) * np.cos(np.pi * np.outer(places, 2 * places + 1) / (2 * length))
    rows[0] = np.sqrt(1 / length)
    return rows


def quantised(coefficients: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Coefficients divided by a table of the same shape, rounded, and multiplied again; where it is 0, as they are."""
    return torch.where(table == 0, coefficients, (coefficients / table).round() * table)


def nearest_quantised(coefficients: torch.Tensor, wanted: torch.Tensor, q_max: torch.Tensor) -> torch.Tensor:
    """The values nearest to those that are wanted which tables with 0 < q <= q_max can make of coefficients.

    Args:
        coefficients, wanted: (C, K, J, I).
        q_max: (C, 1, 1, 1), from 0 on, in the coefficients' units; 0: they stay as they are.
    """
    found = torch.empty_like(coefficients)
    for own, goal, out, limit in zip(coefficients, wanted, found, q_max):
        for piece in slabs(own):
            out[piece] = _nearest(own[piece], goal[piece], limit) if limit else own[piece]
    return found


def table_for(coefficients: torch.Tensor, values: torch.Tensor, q_max: torch.Tensor) -> torch.Tensor:
    """A table that makes values, as `nearest_quantised` gives them, of coefficients; arguments as there."""
    size, value, limit = coefficients.abs().double(), values.abs().double(), q_max.double()
    found = torch.where(value == 0, limit.expand_as(size), torch.zeros_like(size))
    for more in (1, 0):
        steps = _fewest_steps(size, limit) + more
        step = value / steps.clamp_min(1)
        fits = (value > 0) & (steps > 0) & (step <= limit * (1 + _INSIDE)) & ((size / step.clamp_min(1e-30)).round() == steps)
        found = torch.where(fits, torch.minimum(step, limit), found)
    return torch.where(values == coefficients, 0.0, found).to(coefficients.dtype)


class Quantise(torch.autograd.Function):
    """What tables change of coefficients, as near as they can to a control times q_max / 2.

    Its gradient by the control is as if any change were possible (a straight-through estimator).
    """

    @staticmethod
    def forward(context: Any, control: torch.Tensor, coefficients: torch.Tensor, q_max: torch.Tensor) -> torch.Tensor:
        """The change (C, K, J, I); arguments of the same shape, and (C, 1, 1, 1)."""
        context.save_for_backward(q_max)
        found = torch.empty_like(coefficients)
        for own, goal, out, limit in zip(coefficients, control, found, q_max):
            for piece in slabs(own):
                out[piece] = _nearest(own[piece], own[piece] + goal[piece] * (limit / 2), limit) - own[piece] if limit else 0.0
        return found

    @staticmethod
    def backward(context: Any, *seeds: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient by the control."""
        (q_max,) = context.saved_tensors
        return seeds[0] * (q_max / 2), None, None


def _fewest_steps(size: torch.Tensor, q_max: torch.Tensor) -> torch.Tensor:
    """The least number of steps to which tables can round coefficients of a size."""
    return (size / q_max - 0.5).ceil().clamp_(min=0)


def _nearest(coefficients: torch.Tensor, wanted: torch.Tensor, q_max: torch.Tensor) -> torch.Tensor:
    """By the fewest steps k: from 2k / (2k + 1) to 2k / (2k - 1) of the size or k q_max; and by one more, which reaches
    from below the size to above it. More steps than these lead to no other values. Between the two there may be a hole."""
    size, sign = coefficients.abs(), coefficients.sign()
    along, few = wanted * sign, _fewest_steps(size, q_max)
    odd = 2 * few + 1
    reach = size / odd * (1 - _INSIDE)
    lowest = torch.where(few > 0, size - reach, 0.0)
    hole = torch.minimum(size + size / (odd - 2) * (1 - _INSIDE * few.sign()), few * q_max)
    above = size - size / (odd + 2) * (1 - _INSIDE)
    found = torch.maximum(torch.minimum(along, torch.maximum(size + reach, hole)), lowest)
    within = (found > hole) & (found < above)
    found = torch.where(within, torch.where(2 * found < hole + above, hole, above), found)
    return torch.where(along == size, coefficients, found * sign)
