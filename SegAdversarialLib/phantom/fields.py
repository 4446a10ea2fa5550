"""Fields over space from which the phantom is made: smooth noise, distances to simple bodies, soft edges.

Positions are three arrays (K, J, I) of RAS millimetres from the centre of the volume: x to the right, y to the front, z up.
Distances are in mm, negative inside. Everything is a function of position in mm, so that a subject is the same at every
resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Position = tuple[np.ndarray, np.ndarray, np.ndarray]

_LATTICE = 48
_LATTICE_SIGMA = 2.0


@dataclass(frozen=True)
class Grid:
    """A volume (K, J, I) with axes LPS, centred at the origin.

    Attributes:
        shape: (K, J, I).
        spacing: mm along i, j, k.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def width(self) -> float:
        """The mean voxel side in mm."""
        return float(np.mean(self.spacing))

    @cached_property
    def axes(self) -> Position:
        """The coordinates x, y, z in mm that the voxels along i, j and k have."""
        i, j, k = (np.arange(n) - (n - 1) / 2 for n in reversed(self.shape))
        x, y, z = -i * self.spacing[0], -j * self.spacing[1], k * self.spacing[2]
        return x, y, z

    @cached_property
    def position(self) -> Position:
        """x, y, z of every voxel."""
        z, y, x = np.meshgrid(*(axis.astype(np.float32) for axis in reversed(self.axes)), indexing="ij")
        return x, y, z


@dataclass(frozen=True)
class Noise:
    """Smooth random values over all of space, with mean 0 and standard deviation 1: a periodic lattice, interpolated."""

    lattice: np.ndarray
    steps_per_mm: float

    @classmethod
    def random(cls, generator: np.random.Generator, sigma: float, band: bool = False) -> Noise:
        """Gaussian noise smoothed over `sigma` mm; with `band`, waves much longer than that are taken out, so that the zero
        crossings come at even distances."""
        from scipy.ndimage import gaussian_filter

        white = generator.standard_normal((_LATTICE,) * 3).astype(np.float32)
        lattice = gaussian_filter(white, _LATTICE_SIGMA, mode="wrap")
        if band:
            lattice = lattice - gaussian_filter(lattice, 2 * _LATTICE_SIGMA, mode="wrap")
        return cls((lattice - lattice.mean()) / lattice.std(), _LATTICE_SIGMA / sigma)

    def on(self, grid: Grid) -> np.ndarray:
        """The values (K, J, I) at a grid's voxels: cubic interpolation, one axis after the other."""
        values = self.lattice
        for axis in grid.axes:
            values = np.tensordot(self._weights(axis), values, axes=(1, 0)).transpose(1, 2, 0)
        return np.ascontiguousarray(values.transpose(2, 1, 0))

    def at(self, position: Position) -> np.ndarray:
        """The values at any positions: linear interpolation."""
        from scipy.ndimage import map_coordinates

        points = np.stack(position) * np.float32(self.steps_per_mm)
        return map_coordinates(self.lattice, points, order=1, mode="grid-wrap", output=np.float32)

    def _weights(self, coordinates: np.ndarray) -> np.ndarray:
        """Catmull-Rom weights (coordinates, lattice points along one axis)."""
        steps = coordinates * self.steps_per_mm
        before = np.floor(steps).astype(int)
        t = steps - before
        weights = np.zeros((len(steps), _LATTICE), np.float32)
        cubics = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        for offset, cubic in enumerate(cubics, start=-1):
            np.add.at(weights, (np.arange(len(steps)), (before + offset) % _LATTICE), cubic / 2)
        return weights


def soft_inside(distance: np.ndarray, width: float) -> np.ndarray:
    """How much of a voxel of `width` mm lies inside (distance below 0): its partial volume, 0 to 1."""
    return np.clip(0.5 - distance / np.float32(width), 0.0, 1.0)


def moved(position: Position, centre: tuple[float, float, float]) -> Position:
    """Positions relative to `centre`."""
    x, y, z = position
    return x - np.float32(centre[0]), y - np.float32(centre[1]), z - np.float32(centre[2])


def ellipsoid(position: Position, centre: tuple[float, float, float], half_axes: tuple[float, float, float]) -> np.ndarray:
    """Approximate distance to an ellipsoid with axes along x, y and z."""
    parts = [p / np.float32(a) for p, a in zip(moved(position, centre), half_axes)]
    scaled = np.sqrt(sum(p * p for p in parts))
    slope = np.sqrt(sum((p / np.float32(a)) ** 2 for p, a in zip(parts, half_axes)))
    # at the centre both are 0, and their ratio the mean half axis or so
    scaled, slope = scaled + np.float32(1e-6), slope + np.float32(1e-6 / np.mean(half_axes))
    return scaled * (scaled - 1) / slope


def tube(
    position: Position, start: tuple[float, float, float], end: tuple[float, float, float], radii: tuple[float, float]
) -> np.ndarray:
    """Distance to a straight tube from `start` to `end`, whose radius runs from the first to the second of `radii`."""
    axis = np.subtract(end, start).astype(np.float32)
    relative = moved(position, start)
    along = sum(p * a for p, a in zip(relative, axis)) / np.float32(axis @ axis)
    along = np.clip(along, 0.0, 1.0)
    away = np.sqrt(sum((p - along * a) ** 2 for p, a in zip(relative, axis)))
    return away - (radii[0] + (radii[1] - radii[0]) * along)


def union(first: np.ndarray, second: np.ndarray, blend: float = 0.0) -> np.ndarray:
    """Distance to two bodies together; `blend` mm rounds the groove between them."""
    smaller = np.minimum(first, second)
    if not blend:
        return smaller
    near = np.clip(1 - np.abs(first - second) / np.float32(blend), 0.0, 1.0)
    return smaller - near * near * np.float32(blend / 4)


def distance_to_zero(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Approximate distance to where a field (K, J, I) is 0: its value over its slope."""
    k, j, i = np.gradient(values, *reversed(grid.spacing))
    return np.abs(values) / np.sqrt(k * k + j * j + i * i + 1e-6)
