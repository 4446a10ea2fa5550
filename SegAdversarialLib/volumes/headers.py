"""What files say about their voxels before any is read: where they are, and how many values each has."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.dicom import dicom_grid, holds_dicom
from SegAdversarialLib.volumes.files import is_file
from SegAdversarialLib.volumes.geometry import Grid
from SegAdversarialLib.volumes.itk_files import read_with_itk
from SegAdversarialLib.volumes.nifti import is_nifti, nifti_grid
from SegAdversarialLib.volumes.nifti_place import Prefer
from SegAdversarialLib.volumes.pictures import is_picture, picture_grid


class Header(NamedTuple):
    """Where a file's voxels are, and how many channels it holds."""

    grid: Grid
    channels: int


def read_header(path: Path, prefer: Prefer | None = None) -> Header:
    """The header of an image file or a DICOM folder; formats other than NIfTI, DICOM and pictures are read as a whole.

    Args:
        path: the file, the folder, or what is chosen in it after a `#`.
        prefer: which of two positions in a NIfTI file counts.

    Raises:
        InputError: the file is missing or no image, or what its header says cannot be right.
    """
    if holds_dicom(path):
        return Header(dicom_grid(path), 1)
    if is_picture(path):
        return Header(*picture_grid(path))
    if not is_file(path):
        raise InputError(f"There is no file {path}; check the path.")
    if is_nifti(path):
        return Header(*nifti_grid(path, prefer))
    volumes = read_with_itk(path)
    return Header(volumes[0].grid, len(volumes))
