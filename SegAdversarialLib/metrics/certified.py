"""The least overlap that a mask can have of which only a part is known for certain.

`inside` are voxels that the mask holds for certain, `outside` voxels that it certainly does not; the others may be anything,
and are counted against it. Each extreme voxel by voxel: one that belongs to the reference can only help where the mask holds
it, any other can only hurt, so that the least overlap is that of `inside` with all undecided voxels outside the reference.
"""

from __future__ import annotations

import numpy as np

from SegAdversarialLib.errors import InputError


def least_dice(inside: np.ndarray, outside: np.ndarray, reference: np.ndarray) -> float:
    """The smallest Dice, against a reference (K, J, I) bool, of all masks that agree with what is certain.

    Raises:
        InputError: the masks differ in shape, or a voxel is said to be inside and outside.
    """
    worst, common, known = _worst(inside, outside, reference)
    return 2 * common / (worst + known) if worst + known else 1.0


def least_iou(inside: np.ndarray, outside: np.ndarray, reference: np.ndarray) -> float:
    """The smallest intersection over union of all masks that agree with what is certain; raises as `least_dice`."""
    worst, common, known = _worst(inside, outside, reference)
    return common / (worst + known - common) if worst + known else 1.0


def _worst(inside: np.ndarray, outside: np.ndarray, reference: np.ndarray) -> tuple[int, int, int]:
    """Of the worst mask: its voxels, those in common with the reference, and the reference's."""
    inside, outside, reference = (np.asarray(x, dtype=bool) for x in (inside, outside, reference))
    if not inside.shape == outside.shape == reference.shape:
        raise InputError(
            f"The masks have the shapes {inside.shape}, {outside.shape} and {reference.shape}; they must lie on one grid."
        )
    if (inside & outside).any():
        raise InputError("A voxel cannot be certainly inside and certainly outside of a structure.")
    masks = (inside | ~(outside | reference), inside & reference, reference)
    worst, common, known = (int(np.count_nonzero(x)) for x in masks)
    return worst, common, known
