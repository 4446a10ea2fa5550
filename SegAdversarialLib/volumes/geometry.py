"""Where voxels are: affines, orientation codes, and moving tensors between grids differentiably.

Affines are 4x4 float64 and map (i, j, k) voxel indices to RAS millimetres. Arrays are (..., K, J, I): Slicer's order, the
reverse of the affine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK
    import torch

_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
LPS_FROM_RAS = RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Affines to LPS, SimpleITK's and DICOM's, from those to RAS, and back: the turn is its own inverse."""


class Grid(NamedTuple):
    """Where voxels are: `shape` (K, J, I), and the 4x4 `affine` from (i, j, k) to RAS mm."""

    shape: tuple[int, ...]
    affine: np.ndarray


def check_affine(affine: np.ndarray) -> np.ndarray:
    """Return `affine` as 4x4 float64.

    Raises:
        InputError: it is no invertible 4x4 matrix of finite numbers with the last row 0 0 0 1.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise InputError(f"The affine must be a 4x4 matrix of finite numbers that ends in 0 0 0 1; it is {matrix.tolist()}.")
    if abs(np.linalg.det(matrix[:3, :3])) <= 1e-6 * np.prod(np.linalg.norm(matrix[:3, :3], axis=0)):
        raise InputError(f"The affine {matrix.tolist()} is singular: it gives voxels no volume.")
    return matrix


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size in mm along i, j, k."""
    i, j, k = np.linalg.norm(affine[:3, :3], axis=0)
    return float(i), float(j), float(k)


def orientation_of(affine: np.ndarray) -> str:
    """Three letters that say where the i, j and k axes point, such as "RAS" or, for axes towards left, posterior, superior,
    "LPS"; oblique axes get the nearest anatomical one."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(permutations(range(3)), key=lambda rows: sum(abs(direction[row, axis]) for axis, row in enumerate(rows)))
    letters = ["RAS"[row] for row in best]
    return "".join(x if direction[row, axis] > 0 else _OPPOSITE[x] for axis, (row, x) in enumerate(zip(best, letters)))


def is_orthogonal(affine: np.ndarray) -> bool:
    """Whether the axes stand at right angles (to about 0.01 degrees)."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(direction.T @ direction, np.eye(3), atol=2e-4))


def check_right_angles(affine: np.ndarray, what: str, way: str = "") -> None:
    """Refuse sheared axes before any work: voxel sizes, distances, a network's preprocessing and qforms take right angles.

    Raises:
        InputError: the axes of `what` are sheared; `way` is a way out that it has beside resampling.
    """
    if is_orthogonal(affine):
        return
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = direction.T @ direction
    a, b = max(((0, 1), (0, 2), (1, 2)), key=lambda pair: abs(cosines[pair]))
    angle = np.degrees(np.arccos(np.clip(cosines[a, b], -1, 1)))
    raise InputError(
        f"{what} has sheared axes ({angle:.4g} degrees between {'ijk'[a]} and {'ijk'[b]}, as of a CT with a tilted gantry), "
        f"and voxel sizes and distances need right angles:{way} resample it onto a right-angled grid first, for example with "
        "Slicer's Resample Scalar/Vector/DWI Volume or SimpleITK.Resample, and save it as NIfTI or NRRD."
    )


def check_orientation(code: str) -> str:
    """Return the orientation code in capitals.

    Raises:
        InputError: it does not name each of the three body axes once.
    """
    code = code.upper()
    if len(code) != 3 or {frozenset(x + _OPPOSITE.get(x, x)) for x in code} != {frozenset(p) for p in ("RL", "AP", "SI")}:
        raise InputError(f'Orientation "{code}" is not a code of three letters, one of each pair R/L, A/P, S/I, such as RAS.')
    return code


@dataclass(frozen=True)
class Reorientation:
    """How an array (..., K, J, I) is turned so that its axes point where a code says: a permutation, then flips; no
    interpolation, so that going there and back changes no bit."""

    permutation: tuple[int, int, int]
    flips: tuple[int, ...]

    @classmethod
    def between(cls, have: str, want: str) -> Reorientation:
        """From axes that point as `have` says to axes that point as `want` says."""
        order = [next(n for n, x in enumerate(have) if x in (letter, _OPPOSITE[letter])) for letter in want]
        flipped = [axis for axis, (n, letter) in enumerate(zip(order, want)) if have[n] != letter]
        # i, j, k count from the last array axis backwards
        array_order = tuple(2 - order[2 - axis] for axis in range(3))
        return cls((array_order[0], array_order[1], array_order[2]), tuple(sorted(2 - axis for axis in flipped)))

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Turn (..., K, J, I); differentiable."""
        lead = tensor.ndim - 3
        turned = tensor.permute(*range(lead), *(lead + axis for axis in self.permutation))
        return turned.flip([lead + axis for axis in self.flips]) if self.flips else turned

    def undo(self, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of `apply`; differentiable."""
        lead = tensor.ndim - 3
        if self.flips:
            tensor = tensor.flip([lead + axis for axis in self.flips])
        inverse = [self.permutation.index(axis) for axis in range(3)]
        return tensor.permute(*range(lead), *(lead + axis for axis in inverse))

    def shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The array shape after `apply`."""
        a, b, c = (shape[axis] for axis in self.permutation)
        return a, b, c


def resize(tensor: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Linear resampling of (C, K, J, I) onto another number of voxels over the same extent of space; differentiable.

    Voxel centres follow the extent (the first voxel's outer face stays where it was); outside the outermost centres the
    nearest voxel is repeated.
    """
    import torch.nn.functional as functional

    if tuple(tensor.shape[-3:]) == tuple(shape):
        return tensor
    return functional.interpolate(tensor[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def sizes(shape: Sequence[int]) -> str:
    """A shape (K, J, I) as people say it, along i, j, k: "256x256x24"."""
    return "x".join(str(n) for n in reversed(shape))


def describe_grid(shape: tuple[int, ...], affine: np.ndarray, digits: int = 4) -> str:
    """A grid in words: size and spacing along i, j, k, orientation, origin in RAS mm."""
    size = sizes(shape[-3:])
    spacing = "x".join(f"{x:.{digits}g}" for x in spacing_of(affine))
    origin = ", ".join(f"{x:.{digits}g}" for x in affine[:3, 3] + 0.0)
    return f"{size} voxels of {spacing} mm, axes {orientation_of(affine)}, origin ({origin}) mm"


def describe_two_grids(grid: Grid, other: Grid) -> tuple[str, str, str]:
    """Two grids that differ, in words that differ: each by itself, and how far apart they are at the farthest corner."""
    for digits in range(4, 8):
        first, second = describe_grid(*grid, digits), describe_grid(*other, digits)
        if first != second:
            break
    else:  # only the directions differ
        first, second = (f"{describe_grid(*x)}, directions {_directions(x.affine)}" for x in (grid, other))
    return first, second, f"up to {max(distances(grid, other)):.3g} mm apart at the corners"


def _directions(affine: np.ndarray) -> str:
    columns = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T
    return " ".join(f"({', '.join(f'{x:.7g}' for x in column)})" for column in columns)


def distances(grid: Grid, other: Grid) -> np.ndarray:
    """How far each of the eight corners of a grid is from the same corner of another, in mm."""
    return np.linalg.norm(_corners(grid) - _corners(other), axis=1)


def _corners(grid: Grid) -> np.ndarray:
    """The outermost voxels' places in RAS mm, (8, 3); voxel (0, 0, 0) is the first."""
    k, j, i = (max(1, n - 1) for n in grid.shape[-3:])
    indices = np.array([[x, y, z, 1.0] for x in (0, i) for y in (0, j) for z in (0, k)])
    return (indices @ grid.affine.T)[:, :3]


def same_grid(shape: tuple[int, ...], affine: np.ndarray, other_shape: tuple[int, ...], other_affine: np.ndarray) -> bool:
    """Whether two grids agree in size and, at every corner, in position to a thousandth of the smallest voxel side.

    Beside that they may be turned against each other about their first voxel by what a NIfTI file's qform cannot tell: three
    float32 numbers, whose fourth is lost near half a turn.
    """
    if tuple(shape[-3:]) != tuple(other_shape[-3:]):
        return False
    grid, other = Grid(shape, affine), Grid(other_shape, other_affine)
    corners = _corners(grid)
    reach = np.linalg.norm(corners - corners[0], axis=1)
    allowed = 1e-3 * min(spacing_of(affine)) + qform_rounding(affine) * reach
    return bool((distances(grid, other) <= allowed).all())


def qform_rounding(affine: np.ndarray) -> float:
    """By which angle, in radians, a rotation may be off once it was a quaternion of three float32 numbers b, c, d.

    The fourth is sqrt(1 - b^2 - c^2 - d^2) (nifti1.h, "QUATERNION REPRESENTATION"): the difference of nearly equal numbers
    where it is small, as for the axes L, P, S. Libraries take it for 0 below a threshold of three float32 roundings.
    """
    rotation = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.linalg.det(rotation) < 0:
        rotation = rotation * [1, 1, -1]
    fourth = np.sqrt(max(0.0, 1 + np.trace(rotation))) / 2
    lost = 4 * float(np.finfo(np.float32).eps)
    return float(2 * lost / max(fourth, np.sqrt(lost)) + 1e-6)


def affine_of_itk(image: SimpleITK.Image) -> np.ndarray:
    """The IJK to RAS affine of a 2D or 3D SimpleITK image (which counts in LPS); a 2D image gets a third axis of 1 mm."""
    dimension = image.GetDimension()
    direction, origin, spacing = np.eye(3), np.zeros(3), np.ones(3)
    shown = min(dimension, 3)
    direction[:shown, :shown] = np.reshape(image.GetDirection(), (dimension, dimension))[:shown, :shown]
    origin[:shown], spacing[:shown] = image.GetOrigin()[:shown], image.GetSpacing()[:shown]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    return RAS_FROM_LPS @ affine


def itk_image(array: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """A SimpleITK image of an array (K, J, I) on the grid that `affine` gives."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    lps = LPS_FROM_RAS @ affine
    spacing = spacing_of(affine)
    image.SetSpacing(spacing)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / np.array(spacing)).ravel().tolist())
    return image
