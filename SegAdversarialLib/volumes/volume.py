"""One volume as its file gives it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from SegAdversarialLib.volumes.geometry import Grid

ALIGNED = 2
"""The code of what lies on another image's voxels, which need not say where the patient was: pictures."""


@dataclass(frozen=True, eq=False)
class Space:
    """What a file says that its millimetres are measured in, in NIfTI's codes, so that what is written says the same.

    Attributes:
        code: of the volume's affine: 0 unknown, 1 scanner, 2 aligned to another image, 3 Talairach, 4 MNI.
        qform_code: of the position that a NIfTI file gives as its qform.
        qform: that position (4x4, RAS mm) where it is in another space than the affine; None: the affine's.
    """

    code: int = 1
    qform_code: int = 1
    qform: np.ndarray | None = None

    @classmethod
    def of(cls, code: int) -> Space:
        """One position in one space."""
        return cls(code, code)

    @property
    def known(self) -> bool:
        """Whether anything is said about where the patient is."""
        return self.code > 0


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D image of a file.

    Attributes:
        array: (K, J, I), in the file's own type, or float64 where the file's scaling was applied.
        affine: 4x4 float64, (i, j, k) to RAS, in mm.
        space: what the affine's millimetres are measured in.
        notes: sentences about what the file leaves open or contradicts, and what was taken; for the user to read.
    """

    array: np.ndarray
    affine: np.ndarray
    space: Space = field(default_factory=Space)
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """Where its voxels are."""
        return Grid(self.array.shape, self.affine)
