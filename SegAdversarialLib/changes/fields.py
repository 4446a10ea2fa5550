"""Smooth fields over a volume: warping by a displacement, and where displacements and bias fields come from. Differentiable.

Displacements are (3, K, J, I) in mm with RAS components. A displacement u says where a voxel's new value is taken from: the
warped volume at the world point p is the volume at p + u(p), as in ITK and in Slicer's transforms "from parent". So a
displacement of +1 mm to the right moves what is seen 1 mm to the left. All functions take float32 and float64 and any device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.geometry import spacing_of

Box = tuple[slice, slice, slice]

_TRIES = 60
_SHRINK = 0.9


def warp(
    volume: torch.Tensor,
    displacement: torch.Tensor,
    affine: np.ndarray,
    mode: Literal["linear", "nearest"] = "linear",
    box: Box | None = None,
) -> torch.Tensor:
    """A volume seen through a displacement: its value at the world point p is the volume at p + displacement(p).

    Outside the outermost voxel centres the nearest border value is repeated. A voxel whose displacement is zero keeps its
    value bit for bit. With "linear" the result is differentiable by the volume and by the displacement; where a point falls
    on a voxel, the slope towards one of its two neighbours stands for the derivative.

    Args:
        volume: (C, K, J, I); with "nearest" of any type, such as a label map.
        displacement: (3, K, J, I) in mm, RAS components, on the volume's grid.
        affine: 4x4, IJK to RAS, in mm.
        mode: how values between voxels are found.
        box: slices along k, j, i: only this part of the result is worked out. None: all of it.

    Returns:
        (C, K, J, I), or the box of it, of the volume's type.
    """
    whole = not volume.is_floating_point()
    source = volume.to(displacement.dtype)
    grid = _sampling_grid(displacement, affine, box)
    name = "bilinear" if mode == "linear" else "nearest"
    with torch.autocast(source.device.type, enabled=False):
        sampled = functional.grid_sample(source[None], grid[None], name, padding_mode="border", align_corners=False)[0]
    if box is not None:
        source, displacement = source[:, *box], displacement[:, *box]
    warped = _KeepWhere.apply(sampled, source, (displacement.detach() == 0).all(0))
    return warped.round().to(volume.dtype) if whole else warped.to(volume.dtype)


class _KeepWhere(torch.autograd.Function):
    """The kept values where a mask says so, the sampled ones elsewhere, with the derivative of the sampled ones everywhere.

    Sampling coordinates are rounded, so that sampling at a voxel would not give exactly this voxel's value.
    """

    @staticmethod
    def forward(context: Any, sampled: torch.Tensor, kept: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, kept, sampled)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0], None, None


def _sampling_grid(displacement: torch.Tensor, affine: np.ndarray, box: Box | None) -> torch.Tensor:
    """Where `grid_sample` reads for each voxel: (K, J, I, 3), from -1 to 1 between the outer faces along i, j, k."""
    part = displacement if box is None else displacement[:, *box]
    voxels_per_mm = np.linalg.inv(np.asarray(affine, dtype=np.float64)[:3, :3])
    parts = []
    for row, size, dimension in zip(voxels_per_mm, reversed(displacement.shape[1:]), (-1, -2, -3)):
        centres = (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1
        if box is not None:
            centres = centres[box[dimension]]
        line = centres.to(displacement).reshape([-1 if axis == dimension else 1 for axis in (-3, -2, -1)])
        parts.append(_weighted_sum(part, row * 2 / size) + line)
    return torch.stack(parts, dim=-1)


def _weighted_sum(vectors: torch.Tensor, weights: np.ndarray) -> torch.Tensor:
    """The sum of the components (3, K, J, I) with three weights; not a matrix product, which autocast would round."""
    total = vectors[0] * float(weights[0])
    for part, weight in zip(vectors[1:], weights[1:]):
        if weight:  # axes along the body's: two of three weights are zero
            total = torch.add(total, part, alpha=float(weight))
    return total


def bspline_grid(
    shape: tuple[int, int, int], affine: np.ndarray, spacing_mm: float | tuple[float, float, float]
) -> tuple[tuple[int, int, int], np.ndarray]:
    """The control points of a uniform cubic B-spline over a volume, along the volume's own axes.

    The outermost control points lie outside the volume, centred on it, so that every voxel centre has four in each direction.

    Args:
        shape: (K, J, I) of the volume.
        affine: 4x4, IJK to RAS, in mm.
        spacing_mm: the distance of control points, for all axes or along i, j, k. Finer than the voxels is allowed.

    Returns:
        The number of control points along k, j, i, and the control points' own affine.

    Raises:
        InputError: the spacing is not positive.
    """
    counts, matrix = [], np.array(affine, dtype=np.float64)
    first = np.zeros(3)
    for axis, (size, voxel, distance) in enumerate(zip(shape[::-1], spacing_of(affine), _distances(spacing_mm))):
        count, margin = _control_line(size, voxel, distance)
        counts.append(count)
        first[axis] = -(margin + distance) / voxel
        matrix[:3, axis] *= distance / voxel
    matrix[:3, 3] = np.asarray(affine)[:3, 3] + np.asarray(affine)[:3, :3] @ first
    i, j, k = counts
    return (k, j, i), matrix


def bspline_field(
    control: torch.Tensor,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    spacing_mm: float | tuple[float, float, float],
) -> torch.Tensor:
    """A smooth field over a volume from the coefficients of a uniform cubic B-spline; differentiable, linear in the control.

    Each value is a weighted mean of 64 coefficients, so that the field stays between the least and the largest of them (up
    to rounding). Evaluated along one axis after the other, by three small matrix products.

    Args:
        control: (P, a, b, c) coefficients of P fields, as many along k, j, i as `bspline_grid` says.
        shape, affine, spacing_mm: see `bspline_grid`.

    Returns:
        (P, K, J, I) of the control's type.

    Raises:
        InputError: the control has another shape, or the spacing is not positive.
    """
    wanted, _ = bspline_grid(shape, affine, spacing_mm)
    if control.ndim != 4 or tuple(control.shape[1:]) != wanted:
        raise InputError(
            f"This volume needs control points of the shape (fields, {', '.join(map(str, wanted))}); they have "
            f"{tuple(control.shape)}."
        )
    lines = zip(shape[::-1], spacing_of(affine), _distances(spacing_mm))
    along_i, along_j, along_k = (_spline_weights(*line).to(control) for line in lines)
    with torch.autocast(control.device.type, enabled=False):
        field = control @ along_i.T
        field = along_j @ field
        return (along_k @ field.flatten(2)).unflatten(2, (shape[1], shape[2]))


def _distances(spacing_mm: float | tuple[float, float, float]) -> tuple[float, float, float]:
    i, j, k = spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm,) * 3
    if not min(i, j, k) > 0:
        raise InputError(f"The distance of control points must be a positive number of mm, not {spacing_mm}.")
    return float(i), float(j), float(k)


def _control_line(size: int, voxel: float, distance: float) -> tuple[int, float]:
    """How many control points an axis needs, and how far (mm) the second of them lies before the first voxel's centre."""
    extent = (size - 1) * voxel
    # an extent that is a whole number of distances, up to rounding, needs no further one
    intervals = max(1, math.ceil(extent / distance - 1e-6))
    return intervals + 3, (intervals * distance - extent) / 2


def _spline_weights(size: int, voxel: float, distance: float) -> torch.Tensor:
    """The weight of each control point for each voxel along one axis: (size, number of control points) float64."""
    count, margin = _control_line(size, voxel, distance)
    position = (torch.arange(size, dtype=torch.float64) * voxel + margin) / distance + 1
    away = (position[:, None] - torch.arange(count, dtype=torch.float64)).abs()
    near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away).clamp(min=0) ** 3 / 6
    return torch.where(away < 1, near, far)


def integrate_velocity(velocity: torch.Tensor, affine: np.ndarray, squarings: int = 6) -> torch.Tensor:
    """The displacement after following a stationary velocity for one unit of time; differentiable.

    Scaling and squaring (Arsigny et al. 2006): the velocity divided by 2^squarings is taken as a displacement, which is then
    composed with itself `squarings` times. A smooth velocity gives a diffeomorphism; the negative velocity gives its inverse.
    No displacement is longer than the longest velocity. Where the velocity is zero, so is the displacement, exactly.

    Args:
        velocity: (3, K, J, I) in mm, RAS components.
        affine: 4x4, IJK to RAS, in mm, of the velocity's grid; it may be coarser than the image's.
        squarings: how often to compose; 2^squarings steps. A step should be shorter than half a voxel.
    """
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = compose(displacement, displacement, affine)
    return displacement


def compose(first: torch.Tensor, second: torch.Tensor, affine: np.ndarray) -> torch.Tensor:
    """The displacement that does at once what warping by `first` and then by `second` does: second(p) + first(p + second(p)).

    The composed warp interpolates the image once, two warps twice; beyond the border, `first` goes on as it ends there.

    Args:
        first, second: (3, K, J, I) in mm, RAS components.
        affine: 4x4, IJK to RAS, in mm.
    """
    return second + warp(first, second, affine)


def diffeomorphism_grid(shape: tuple[int, int, int], affine: np.ndarray, spacing_mm: float) -> tuple[int, int, int]:
    """How many control points `diffeomorphism` takes along k, j, i."""
    return bspline_grid(*bspline_grid(shape, affine, spacing_mm / 2), spacing_mm)[0]


def diffeomorphism(
    control: torch.Tensor, shape: tuple[int, int, int], affine: np.ndarray, spacing_mm: float, squarings: int = 6
) -> torch.Tensor:
    """A smooth displacement over a volume from a few control velocities, integrated on a coarse grid; differentiable.

    The velocity is a cubic B-spline. It is integrated on points half as far apart as its control points, not on the voxels:
    that costs next to nothing. The result is made smooth between these points by a second cubic B-spline. No displacement
    is longer than the longest control velocity.

    Args:
        control: (3, a, b, c) velocities in mm, RAS components; a, b, c from `diffeomorphism_grid`.
        shape: (K, J, I) of the volume.
        affine: 4x4, IJK to RAS, in mm.
        spacing_mm: the distance of control points.
        squarings: see `integrate_velocity`.

    Returns:
        (3, K, J, I) in mm, RAS components.

    Raises:
        InputError: the control has another shape, or the spacing is not positive.
    """
    points, points_affine = bspline_grid(shape, affine, spacing_mm / 2)
    velocity = bspline_field(control, points, points_affine, spacing_mm)
    return bspline_field(integrate_velocity(velocity, points_affine, squarings), shape, affine, spacing_mm / 2)


def affine_displacement(
    rotation: torch.Tensor,
    translation: torch.Tensor,
    scale: torch.Tensor,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    centre: tuple[float, float, float] | None = None,
) -> torch.Tensor:
    """The displacement of a rotation, a scale and a translation; differentiable by all three.

    p + u(p) = R S (p - c) + c + t. The values are taken from there: the picture itself moves by the inverse.

    Args:
        rotation: (3,) degrees about the axes to the right, to the front and upwards, in this order, by the right-hand rule.
        translation: (3,) mm, RAS.
        scale: (3,) factors along the same axes, applied first; 1 changes nothing.
        shape: (K, J, I) of the volume.
        affine: 4x4, IJK to RAS, in mm.
        centre: c in mm, RAS; the middle of the volume unless given.

    Returns:
        (3, K, J, I) in mm, RAS components; exactly zero for zero angles and shifts and scales of one.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    middle = matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2) + matrix[:3, 3] if centre is None else np.asarray(centre)
    start = torch.as_tensor(matrix[:3, 3] - middle).to(rotation)
    steps = torch.as_tensor(matrix[:3, :3]).to(rotation)
    with torch.autocast(rotation.device.type, enabled=False):
        linear = _rotation_matrix(rotation) * scale - torch.eye(3).to(rotation)
        constant, slopes = linear @ start + translation, linear @ steps
    k, j, i = (torch.arange(size).to(rotation) for size in shape)
    along_i, along_j, along_k = (slopes[:, n].reshape(3, 1, 1, 1) for n in range(3))
    return constant.reshape(3, 1, 1, 1) + along_k * k.reshape(-1, 1, 1) + along_j * j.reshape(-1, 1) + along_i * i


def _rotation_matrix(degrees: torch.Tensor) -> torch.Tensor:
    """About the first axis, then the second, then the third."""
    (a, b, c), (x, y, z) = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    rows = [[b * c, x * y * c - a * z, a * y * c + x * z], [b * z, x * y * z + a * c, a * y * z - x * c], [-y, x * b, a * b]]
    return torch.stack([torch.stack(row) for row in rows])


def jacobian_determinant(displacement: torch.Tensor, affine: np.ndarray) -> torch.Tensor:
    """By how much p -> p + displacement(p) stretches volume at each voxel; 0 or less where it folds. Differentiable.

    In world coordinates, from central differences, at the volume's faces from one-sided ones. (ITK's
    DisplacementFieldJacobianDeterminantFilter repeats the border there, and leaves the axes' directions out.) Along an axis
    of a single slice nothing changes.

    Args:
        displacement: (3, K, J, I) in mm, RAS components.
        affine: 4x4, IJK to RAS, in mm.

    Returns:
        (K, J, I) without unit; 1 is no change.
    """
    voxels_per_mm = np.linalg.inv(np.asarray(affine, dtype=np.float64)[:3, :3])
    rows = []
    for n in range(3):
        slopes = torch.stack([_slope(displacement[n], dimension) for dimension in (-1, -2, -3)])
        row = [_weighted_sum(slopes, column) for column in voxels_per_mm.T]
        row[n] = row[n] + 1
        rows.append(row)
    (a, b, c), (d, e, f), (g, h, i) = rows
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _slope(values: torch.Tensor, dimension: int) -> torch.Tensor:
    """The change from voxel to voxel along one axis."""
    size = values.shape[dimension]
    if size == 1:
        return torch.zeros_like(values)
    first, last = values.narrow(dimension, 0, 1), values.narrow(dimension, size - 1, 1)
    middle = (values.narrow(dimension, 2, size - 2) - values.narrow(dimension, 0, size - 2)) / 2
    start, end = values.narrow(dimension, 1, 1) - first, last - values.narrow(dimension, size - 2, 1)
    return torch.cat([start, middle, end], dim=dimension)


def largest_displacement(displacement: torch.Tensor) -> float:
    """The length in mm of the longest displacement of (3, K, J, I)."""
    vectors = displacement.detach()
    if vectors.device.type == "mps":  # has no float64
        vectors = vectors.cpu()
    return float(vectors.double().square().sum(0).max().sqrt())


def limited_displacement(
    displacement_at: Callable[[float], torch.Tensor],
    affine: np.ndarray,
    max_displacement: float,
    min_determinant: float = 0.01,
) -> tuple[torch.Tensor, float]:
    """The displacement, scaled down as far as it must be to keep two promises exactly: its length, and that nothing folds.

    Args:
        displacement_at: the displacement (3, K, J, I) for a factor from 0 to 1, such as
            `lambda x: integrate_velocity(x * velocity, affine)`; zero for the factor 0.
        affine: 4x4, IJK to RAS, in mm.
        max_displacement: no displacement is longer than this, in mm.
        min_determinant: every Jacobian determinant is larger than this, from 0 to below 1. A little above 0 leaves room for
            rounding elsewhere.

    Returns:
        The displacement without a graph, and the factor: 1 where it was within both bounds already, 0 where nothing else is.
    """
    scale = 1.0
    with torch.no_grad():
        for _ in range(_TRIES):
            displacement = displacement_at(scale)
            length = largest_displacement(displacement)
            if length <= max_displacement:
                if float(jacobian_determinant(displacement, affine).min()) > min_determinant:
                    return displacement, scale
                scale *= _SHRINK
            elif not math.isfinite(length) or max_displacement <= 0:
                break
            else:
                # nearly proportional: one or two such steps suffice
                scale *= max_displacement / length * (1 - 1e-4)
        return torch.zeros_like(displacement), 0.0


def taper(mask: np.ndarray, affine: np.ndarray, width_mm: float) -> np.ndarray:
    """A window that lets a smooth field end at a region's border: 0 outside, rising to 1 inside over a width.

    Args:
        mask: (K, J, I), not 0 inside the region. The edge of the volume is no border.
        affine: 4x4, IJK to RAS, in mm.
        width_mm: the distance from outside at which the window has risen to 1.

    Returns:
        (K, J, I) float32, 0 to 1, with a continuous slope.
    """
    from scipy.ndimage import distance_transform_edt

    inside = np.asarray(mask) != 0
    if inside.all() or not inside.any() or width_mm <= 0:
        return inside.astype(np.float32)
    depth = np.minimum(distance_transform_edt(inside, sampling=spacing_of(affine)[::-1]) / width_mm, 1)
    return (depth**2 * (3 - 2 * depth)).astype(np.float32)
