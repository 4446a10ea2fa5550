"""Agreement of two masks of one structure, and a mask's volume.

Masks are (K, J, I) bool; spacing is the voxel size in mm along i, j, k, the reverse of the array's order. A 2D mask has one
slice. Where a structure is missing, BraTS' convention holds: missing in both masks is perfect overlap (1), missing in one is
none (0), and a surface distance is undefined (nan) in both cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from SegAdversarialLib.errors import InputError


def dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Dice coefficient in [0, 1]: twice the common voxels over the sum of both; 1 if both masks are empty.

    Raises:
        InputError: the masks differ in shape.
    """
    predicted, reference = _masks(predicted, reference)
    total = np.count_nonzero(predicted) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(predicted & reference) / total) if total else 1.0


def mean_dice(values: Iterable[float]) -> float:
    """What is called the mean Dice wherever it stands: that of the network's own structures in one case.

    These are its outputs but for the background: classes or, of a network that answers so, regions. What is measured beside
    them (BraTS' WT, TC and ET of a network of classes, regions that somebody named) holds the same voxels once more: it is
    shown, and does not count. Of an attack on chosen classes, what it is bound by is the mean over these, and is called so.

    Args:
        values: the Dice of each structure that counts; nan (undefined) is left out.

    Returns:
        The mean; nan where nothing is defined.
    """
    known = [x for x in values if not math.isnan(x)]
    return sum(known) / len(known) if known else math.nan


def iou(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Intersection over union (Jaccard index) in [0, 1]; 1 if both masks are empty.

    Raises:
        InputError: the masks differ in shape.
    """
    predicted, reference = _masks(predicted, reference)
    union = np.count_nonzero(predicted | reference)
    return float(np.count_nonzero(predicted & reference) / union) if union else 1.0


def hd95(predicted: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile of the Hausdorff distance in mm; nan if either mask is empty.

    The surface is every voxel of the mask with a neighbour across a face that is outside the mask or the image. The distance
    from each surface voxel of one mask to the nearest of the other is measured between voxel centres; the result is the
    larger of the two directions' 95th percentiles, as in MONAI's `compute_hausdorff_distance`. Axes of a single voxel do
    not count, so that a slice is measured by its outline.

    Args:
        predicted, reference: (K, J, I) bool.
        spacing: voxel size in mm along i, j, k.

    Raises:
        InputError: the masks differ in shape.
    """
    predicted, reference = _masks(predicted, reference)
    if not predicted.any() or not reference.any():
        return float("nan")
    if np.array_equal(predicted, reference):
        return 0.0
    axes = [axis for axis, size in enumerate(predicted.shape) if size > 1]
    # distances are between surfaces, which the common bounding box holds: nothing outside it matters
    box = _bounding_box(predicted | reference)
    surfaces = [_surface(np.pad(mask[box], 1), axes) for mask in (predicted, reference)]
    there = np.percentile(_distance_to(surfaces[1], spacing)[surfaces[0]], 95)
    back = np.percentile(_distance_to(surfaces[0], spacing)[surfaces[1]], 95)
    return float(max(there, back))


def volume_ml(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Volume of a mask in millilitres; spacing in mm along i, j, k."""
    return float(np.count_nonzero(mask) * np.prod(np.asarray(spacing, dtype=np.float64)) / 1000.0)


def _masks(predicted: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, reference = np.asarray(predicted, dtype=bool), np.asarray(reference, dtype=bool)
    if predicted.shape != reference.shape:
        raise InputError(f"The masks have the shapes {predicted.shape} and {reference.shape}; they must lie on one grid.")
    return predicted, reference


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(box)


def _surface(mask: np.ndarray, axes: Iterable[int]) -> np.ndarray:
    """The mask's voxels with a face neighbour outside it; the mask must keep clear of the array's border."""
    inside = mask.copy()
    for axis in axes:
        inside &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return mask & ~inside


def _distance_to(surface: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm of every voxel to the nearest voxel of a surface."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(surface.astype(np.uint8))
    image.SetSpacing([float(x) for x in spacing])
    # A dense distance map: MONAI's search tree takes minutes where an attack has broken a structure into noise.
    distance = SimpleITK.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.abs(SimpleITK.GetArrayFromImage(distance))
