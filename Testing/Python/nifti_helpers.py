"""What the tests of reading share: refusals, and NIfTI files field by field, as no library would write them (nibabel and
SimpleITK mend headers before they write)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from SegAdversarialLib import Case, InputError

VOXELS = np.arange(6 * 7 * 8, dtype=np.int16).reshape(8, 7, 6)
"""(K, J, I)"""


def refused(channels: dict[str, Path], **keys: Any) -> str:
    """The one sentence with which `Case.read` refuses files."""
    with pytest.raises(InputError) as caught:
        Case.read(channels, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def affine_at(*origin: float, sizes: tuple[float, float, float] = (1.0, 1.5, 2.0)) -> np.ndarray:
    """L, P, S axes."""
    affine = np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
    affine[:3, 3] = origin or (10, 20, -30)
    return affine


def turned_affine(degrees: tuple[float, float, float], sizes: tuple[float, float, float] = (0.9, 0.9, 1.2)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * sizes
    affine[:3, 3] = 100, 120, -80
    return affine


def write_nifti(
    path: Path,
    array: np.ndarray = VOXELS,
    sform: tuple[np.ndarray, int] | None = None,
    qform: tuple[np.ndarray, int] | None = None,
    version: int = 1,
    order: str = "<",
    **fields: Any,
) -> Path:
    """Write an array (..., K, J, I) with a header of these forms, then of these fields; "pixdim_3" is the third of pixdim."""
    header = (nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header)(endianness=order)
    header.set_data_shape(array.shape[::-1])
    header.set_data_dtype(array.dtype)
    header["vox_offset"] = header.single_vox_offset
    header["magic"] = header.single_magic
    header["scl_slope"], header["scl_inter"] = 1, 0
    if qform is not None:
        header.set_qform(*qform)
    if sform is not None:
        header.set_sform(*sform)
        if qform is None:
            header["pixdim"][1:4] = np.linalg.norm(sform[0][:3, :3], axis=0)
    for name, value in fields.items():
        stem, _, index = name.rpartition("_")
        if stem in ("pixdim", "dim"):
            header[stem][int(index)] = value
        else:
            header[name] = value
    path.write_bytes(header.binaryblock + bytes(4) + array.astype(array.dtype.newbyteorder(order)).tobytes())
    return path
