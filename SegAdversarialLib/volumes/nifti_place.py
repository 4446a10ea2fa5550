"""Where a NIfTI file says that its voxels are: twice, once or not at all.

nifti1.h, "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE": METHOD 1 (no code: sizes only), METHOD 2 (qform: a quaternion
and pixdim) and METHOD 3 (sform: an affine). Where both codes are set and name different spaces, both are true: the sform is
read, as nibabel, FSL and SPM do, and the qform is kept for what is written. Where they name one space, they have to agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.geometry import Grid, describe_two_grids, same_grid, spacing_of
from SegAdversarialLib.volumes.volume import Space

Prefer = Literal["sform", "qform"]
"""The position to be taken of a NIfTI file that gives two."""

_SPACES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}

_HALF_TURN = 1e-7
"""The square of a quaternion's first number below which it is taken for 0, as in the standard's own nifti1_io.c and in ITK."""

_HOW_TO_CHOOSE = 'choose one with prefer="sform" or prefer="qform" (--prefer on the command line)'


class TwoPlaces(InputError):
    """A file gives two positions that contradict each other; one of them has to be preferred."""


@dataclass(frozen=True, eq=False)
class NiftiPlace:
    """The fields of a header that say where the voxels are.

    Attributes:
        path: the file, for messages.
        shape: voxels along i, j, k.
        pixdim: pixdim[0], the sign of the k axis in the qform, and three voxel sizes.
        sform_code, qform_code: 0 where the file has no such position.
        srow: the sform (3, 4).
        quatern: b, c, d of the qform's quaternion.
        qoffset: the qform's place of the first voxel.
        unit: millimetres in the file's unit of length.
        dimensions: that the file says to have.
    """

    path: Path
    shape: tuple[int, int, int]
    pixdim: tuple[float, ...]
    sform_code: int
    srow: np.ndarray
    qform_code: int
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    unit: float
    dimensions: int

    def affine(self, prefer: Prefer | None = None) -> tuple[np.ndarray, Space, tuple[str, ...]]:
        """The affine (4x4, to RAS mm), its space, and what the user should know about how they were found.

        Raises:
            TwoPlaces: sform and qform, or sform and pixdim, contradict each other and none is preferred.
            InputError: a field holds what gives no position.
        """
        notes: list[str] = []
        if self.unit != 1.0:
            unit = "metres" if self.unit > 1 else "micrometres"
            notes.append(f"{self.path} gives its lengths in {unit} (xyzt_units); they were turned into mm.")
        if not self.sform_code and not self.qform_code:
            affine, space = self._by_sizes(notes), Space.of(0)
        elif self.sform_code and self.qform_code and prefer is None:
            affine, space = self._by_both(notes)
        elif self.sform_code and (prefer == "sform" or not self.qform_code):
            affine, space = self._sform(), Space.of(self.sform_code)
            if self.qform_code:
                notes.append(self._chosen("sform", "qform"))
            else:
                self._check_sizes(affine, prefer, notes)
        else:
            affine, space = self._qform(notes), Space.of(self.qform_code)
            if self.sform_code:
                notes.append(self._chosen("qform", "sform"))
        return affine, space, tuple(notes)

    def _by_sizes(self, notes: list[str]) -> np.ndarray:
        """METHOD 1: no orientation is known; the affine only scales."""
        notes.append(
            f"{self.path} says nothing about where its voxels are or how they are oriented (qform_code and sform_code are 0): "
            "i, j and k were taken for right, anterior and superior (nifti1.h, METHOD 1), and NIfTI files that are written "
            "will not claim more."
        )
        return np.diag([*(x * self.unit for x in self._sizes(notes)), 1.0])

    def _by_both(self, notes: list[str]) -> tuple[np.ndarray, Space]:
        sform, qform = self._sform(), self._qform(notes)
        shape = self.shape[::-1]
        if same_grid(shape, sform, shape, qform):
            return sform, Space(self.sform_code, self.qform_code)
        first, second, apart = describe_two_grids(Grid(shape, sform), Grid(shape, qform))
        both = f"its sform ({self._space('sform')}: {first}) and its qform ({self._space('qform')}: {second}) are {apart}"
        if self.sform_code == self.qform_code:
            raise TwoPlaces(f"{self.path} lies at two places of one space: {both}; {_HOW_TO_CHOOSE}.")
        notes.append(
            f"{self.path} lies in two spaces: {both}; the sform was taken, and written files keep both "
            '(prefer="qform", or --prefer qform, takes the qform).'
        )
        return sform, Space(self.sform_code, self.qform_code, qform)

    def _sform(self) -> np.ndarray:
        """METHOD 3."""
        affine = np.eye(4)
        affine[:3] = self.srow * self.unit
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) <= 1e-6 * np.prod(
            np.linalg.norm(affine[:3, :3], axis=0)
        ):
            raise InputError(
                f"{self.path}: sform_code is {self.sform_code}, but srow_x, srow_y and srow_z ({self.srow.tolist()}) give "
                f"voxels no volume; repair the header{self._or_prefer('qform')}."
            )
        return affine

    def _qform(self, notes: list[str]) -> np.ndarray:
        """METHOD 2."""
        b, c, d = self.quatern
        squared = b * b + c * c + d * d
        if not np.isfinite([squared, *self.qoffset]).all() or squared > 1 + 1e-4:
            raise InputError(
                f"{self.path}: quatern_b, quatern_c and quatern_d are {b:g}, {c:g} and {d:g} (qoffset: "
                f"{', '.join(f'{x:g}' for x in self.qoffset)}), which is no rotation: their squares add up to 1 at most; "
                f"repair the header{self._or_prefer('sform')}."
            )
        a = max(0.0, 1 - squared) ** 0.5
        if 1 - squared < _HALF_TURN:
            a, b, c, d = 0.0, *(x / squared**0.5 for x in (b, c, d))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        affine = np.eye(4)
        affine[:3, :3] = rotation * np.array(self._sizes(notes)) * [1, 1, -1 if self.pixdim[0] < 0 else 1] * self.unit
        affine[:3, 3] = np.array(self.qoffset) * self.unit
        return affine

    def _sizes(self, notes: list[str]) -> tuple[float, ...]:
        """The voxel sizes in pixdim; those of axes that the file does not have may be missing."""
        sizes = list(self.pixdim[1:4])
        for n, size in enumerate(sizes):
            if np.isfinite(size) and size > 0:
                continue
            if n < self.dimensions:
                raise InputError(
                    f"{self.path}: pixdim[{n + 1}], a voxel size, is {size:g}, but must be above 0; "
                    f"repair the header{self._or_prefer('sform')}."
                )
            notes.append(f"{self.path} does not say how thick its slice is (pixdim[{n + 1}] is {size:g}); 1 was taken.")
            sizes[n] = 1.0
        return tuple(sizes)

    def _check_sizes(self, sform: np.ndarray, prefer: Prefer | None, notes: list[str]) -> None:
        """The sform's voxel sizes against pixdim, which METHOD 3 does not use, but other readers do."""
        for n, given in enumerate(spacing_of(sform)[: self.dimensions]):
            stated = self.pixdim[n + 1] * self.unit
            where = f"pixdim[{n + 1}]"
            if not (np.isfinite(stated) and stated > 0):
                notes.append(
                    f"{self.path}: {where} is {stated:g}, which is no voxel size; the sform's was taken ({given:.6g} mm)."
                )
            elif abs(stated - given) > 1e-3 * given and prefer != "sform":
                raise TwoPlaces(
                    f"{self.path} gives two sizes for its voxels along {'ijk'[n]}: {where} says {stated:.6g} mm, the sform "
                    f'{given:.6g} mm; repair the header, or take the sform with prefer="sform" (--prefer sform).'
                )

    def _chosen(self, taken: str, left: str) -> str:
        return f"{self.path}: its {taken} ({self._space(taken)}) was taken, as asked, not its {left} ({self._space(left)})."

    def _or_prefer(self, other: str) -> str:
        """The way out that a file has which gives its position in another way, too."""
        return f' or take its {other} with prefer="{other}" (--prefer {other})' if self._codes[other] else ""

    def _space(self, name: str) -> str:
        code = self._codes[name]
        return f"code {code}, {_SPACES[code]}" if code in _SPACES else f"code {code}"

    @property
    def _codes(self) -> dict[str, int]:
        return {"sform": self.sform_code, "qform": self.qform_code}
