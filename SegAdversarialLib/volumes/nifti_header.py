"""What a NIfTI header says, checked before a voxel counts.

Written after nifti1.h and nifti2.h (the NIfTI-1 and NIfTI-2 standards), whose section names stand in quotes below; where
the standard is silent, what is done follows nibabel.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.nifti_place import NiftiPlace

_HEADER_SIZES = {348: 1, 540: 2}
"""The length of a header, which is its first number, and the version of the standard that has it."""

LONGEST_HEADER = max(_HEADER_SIZES)

_MAGICS = {b"n+1\0": True, b"ni1\0": False, b"n+2\0": True, b"ni2\0": False}
"""The mark of each kind of file, and whether the voxels follow in the same file."""

_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Unit codes for space (the three lowest bits of xyzt_units): unknown, metre, millimetre, micrometre."""


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """A checked header.

    Attributes:
        single: whether the voxels follow in the same file.
        shape: voxels along i, j, k.
        frames: volumes: frames (dim[4]) or values for each voxel (dim[5]).
        dtype: of the voxels as they are stored, byte order included; three or four bytes with names for colours.
        offset: bytes before the voxels, in the file that holds them.
        scaling: slope and intercept, or None where the stored numbers are the values.
        place: where the voxels are.
    """

    single: bool
    shape: tuple[int, int, int]
    frames: int
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float, float] | None
    place: NiftiPlace


def read_header(path: Path, block: bytes) -> NiftiHeader:
    """The header in the first bytes of a file.

    Raises:
        InputError: it is none, or a field holds what the standard does not allow or this software does not read.
    """
    fields = _fields(path, block)
    magic = bytes(fields["magic"]).ljust(4, b"\0")[:4]
    shape, frames = _shape(path, fields)
    single = _MAGICS[magic]
    dtype = _dtype(path, fields)
    return NiftiHeader(
        single=single,
        shape=shape,
        frames=frames,
        dtype=dtype,
        offset=_offset(path, fields, single),
        scaling=_scaling(path, fields) if dtype.names is None else None,
        place=_place(path, fields, shape),
    )


def _fields(path: Path, block: bytes) -> Any:
    """The fields by their names in the standard, read in the file's own byte order."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    if len(block) < 4:
        raise InputError(f"{path} cannot be read as an image: it is incomplete and ends within its header; fetch it again.")
    sizes = {order: struct.unpack(f"{order}i", block[:4])[0] for order in "<>"}
    order = next((order for order, size in sizes.items() if size in _HEADER_SIZES), None)
    if order is None:
        raise InputError(
            f"{path} cannot be read as an image: it is no NIfTI file, whose first number is 348 or 540 (here {sizes['<']}); "
            "NIfTI, NRRD and MHA files are right."
        )
    size = sizes[order]
    if len(block) < size:
        raise InputError(f"{path} cannot be read as an image: it is incomplete and ends within its header; fetch it again.")
    kind = Nifti1Header if _HEADER_SIZES[size] == 1 else Nifti2Header
    fields = kind(block[:size], endianness=order, check=False)
    if bytes(fields["magic"]).ljust(4, b"\0")[:4] not in _MAGICS:
        raise InputError(
            f'{path} is an Analyze 7.5 file, not NIfTI (its field magic is {bytes(fields["magic"])!r}, not "n+1" or "ni1"), '
            "and says nothing about left and right; convert it to NIfTI with a program in which you can state its orientation."
        )
    return fields


def _shape(path: Path, fields: Any) -> tuple[tuple[int, int, int], int]:
    dim = [int(x) for x in fields["dim"]]
    if not 1 <= dim[0] <= 7:
        raise InputError(f"{path}: dim[0], the number of dimensions, is {dim[0]}; it must be from 1 to 7.")
    sizes = [*dim[1 : dim[0] + 1], *([1] * (7 - dim[0]))]
    wrong = next((n for n, size in enumerate(sizes) if size < 1), None)
    if wrong is not None:
        raise InputError(f"{path}: dim[{wrong + 1}] is {sizes[wrong]}, but a volume has at least one voxel along each axis.")
    several = [n for n in range(3, 7) if sizes[n] > 1]
    if len(several) > 1 or any(n > 4 for n in several):
        raise InputError(
            f"{path} has the dimensions {'x'.join(map(str, dim[1 : dim[0] + 1]))}; of the fourth (frames) and the fifth "
            "(values of a voxel) one may be more than 1, and no others: save the volumes that you want in a file of their own."
        )
    return (sizes[0], sizes[1], sizes[2]), math.prod(sizes[3:])


def _dtype(path: Path, fields: Any) -> np.dtype[Any]:
    from nibabel.nifti1 import data_type_codes

    code = int(fields["datatype"])
    known: Any = data_type_codes.dtype
    dtype: np.dtype[Any] = np.dtype(known[code]) if code in known else np.dtype("V1")
    if dtype.kind == "c":
        raise InputError(
            f"{path} holds complex numbers (datatype {code}); save their magnitude, or real and imaginary part as two images."
        )
    if dtype.names is None and (dtype.kind not in "iuf" or dtype.itemsize > 8):
        raise InputError(
            f"{path} holds voxels of a type that cannot be read (datatype {code}); whole numbers of 8 to 64 bits and float32 "
            "or float64 are right."
        )
    return dtype.newbyteorder(fields.endianness)


def _offset(path: Path, fields: Any, single: bool) -> int:
    """Where the voxels begin; 0 in a single file stands for the least that is possible, as for nibabel."""
    value = float(fields["vox_offset"])
    least = int(fields["sizeof_hdr"]) + 4 if single else 0
    if single and value == 0:
        return least
    if not math.isfinite(value) or value != int(value) or value < least:
        raise InputError(
            f"{path}: vox_offset, where the voxels begin, is {value:g}; it must be a whole number from {least} on."
        )
    return int(value)


def _scaling(path: Path, fields: Any) -> tuple[float, float] | None:
    """Slope and intercept ("DATA SCALING"): a slope of 0 means none, and so does NaN, which ITK and nibabel write for none."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return None
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise InputError(
            f"{path}: the voxels are to be scaled by scl_slope = {slope:g} and scl_inter = {intercept:g}, which must be "
            "finite; set them to 1 and 0 if the stored numbers are the intensities."
        )
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)


def _place(path: Path, fields: Any, shape: tuple[int, int, int]) -> NiftiPlace:
    unit = int(fields["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        raise InputError(
            f"{path}: xyzt_units gives the unit {unit} for lengths; 1 (m), 2 (mm), 3 (micrometres) or 0 are right."
        )
    return NiftiPlace(
        path=path,
        shape=shape,
        pixdim=tuple(float(x) for x in fields["pixdim"][:4]),
        sform_code=max(0, int(fields["sform_code"])),
        srow=np.array([fields["srow_x"], fields["srow_y"], fields["srow_z"]], dtype=np.float64),
        qform_code=max(0, int(fields["qform_code"])),
        quatern=tuple(float(fields[f"quatern_{x}"]) for x in "bcd"),
        qoffset=tuple(float(fields[f"qoffset_{x}"]) for x in "xyz"),
        unit=_MILLIMETRES[unit],
        dimensions=int(fields["dim"][0]),
    )
