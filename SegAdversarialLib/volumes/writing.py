"""Writing volumes to image files."""

from __future__ import annotations

import gzip
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.files import whole_file
from SegAdversarialLib.volumes.geometry import is_orthogonal, itk_image, spacing_of
from SegAdversarialLib.volumes.volume import Space

if TYPE_CHECKING:
    import SimpleITK


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` in the integer type `dtype` if every one of them survives it, else as float32."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        # as Python's numbers: in float32 the limits of int32 would be rounded up
        if float(values.min()) >= limits.min and float(values.max()) <= limits.max and (np.rint(values) == values).all():
            return values.astype(kind)
    return values.astype(np.float32)


def write_volume(path: str | Path, array: np.ndarray, affine: np.ndarray, space: Space | None = None) -> Path:
    """Write an array (K, J, I), or (K, J, I, values), as an image file, whole or not at all; the format follows from the
    name's ending.

    Only `.nii.gz` is compressed: files of other formats are for programs that exchange volumes, and quick.

    Args:
        path: the file.
        array: the voxels.
        affine: 4x4, (i, j, k) to RAS mm.
        space: what the millimetres are measured in; None: the scanner's. NIfTI files say so; NRRD files only whether the
            orientation is known.

    Raises:
        InputError: the file cannot be written.
    """
    path, space = Path(path), space or Space()
    array = array.astype(np.uint8) if array.dtype == bool else array
    nifti = path.name.endswith((".nii", ".nii.gz"))
    if nifti and not is_orthogonal(affine):
        raise InputError(
            f"{path} cannot hold this grid, whose axes are sheared, for all readers of NIfTI: write .nrrd, or resample the "
            "case onto a right-angled grid."
        )
    with whole_file(path) as temporary:
        if nifti:
            _write_nifti(temporary, array, affine, space)
        elif path.suffix == ".nrrd" and not space.known:
            _write_unoriented_nrrd(temporary, array, affine)
        else:
            _write_with_itk(temporary, itk_image(array, affine))
        _check_complete(temporary, array.nbytes)
    return path


def _write_nifti(path: Path, array: np.ndarray, affine: np.ndarray, space: Space) -> None:
    """A NIfTI-1 file whose sform, qform and codes say what those of the case's file said."""
    from nibabel.nifti1 import Nifti1Header, Nifti1Image
    from nibabel.spatialimages import HeaderDataError

    voxels = array.T if array.ndim == 3 else np.moveaxis(array.T, 0, -1)[:, :, :, None]
    header = Nifti1Header()
    try:
        header.set_data_dtype(array.dtype)
        image = Nifti1Image(voxels, None, header)
        image.header.set_xyzt_units("mm")
        if array.ndim == 4:
            image.header.set_intent("vector")
        if space.known:
            image.set_qform(affine if space.qform is None else space.qform, space.qform_code)
            image.set_sform(affine, space.code)
        else:  # METHOD 1: sizes only
            image.header.set_zooms([*spacing_of(affine), *([1.0] * (voxels.ndim - 3))])
            image.header.set_qform(None, 0)
            image.header.set_sform(None, 0)
        image.to_filename(path)
    except HeaderDataError as error:
        raise InputError(f"{path} cannot be written as NIfTI ({detail_of(error)}); write .nrrd.") from error


def _write_with_itk(path: Path, image: SimpleITK.Image) -> None:
    import SimpleITK

    try:
        SimpleITK.WriteImage(image, str(path), useCompression=False)
    except RuntimeError as error:
        raise OSError(f"the image writer failed ({detail_of(error)})") from error


def _write_unoriented_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """A NRRD file that gives voxel sizes and no space; SimpleITK would write one."""
    kinds = {"i": "int", "u": "uint", "f": "float"}
    names = {"float32": "float", "float64": "double"}
    kind = names.get(array.dtype.name, f"{kinds[array.dtype.kind]}{8 * array.dtype.itemsize}")
    values = array.shape[3:]
    lines = [
        "NRRD0004",
        f"type: {kind}",
        f"dimension: {array.ndim}",
        f"sizes: {' '.join(map(str, (*values, *array.shape[2::-1])))}",
        f"spacings: {' '.join(['nan'] * len(values) + [repr(x) for x in spacing_of(affine)])}",
        f"kinds: {' '.join(['vector'] * len(values) + ['domain'] * 3)}",
        f"endian: {sys.byteorder}",
        "encoding: raw",
    ]
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode())
        file.write(np.ascontiguousarray(array).data)


def _check_complete(path: Path, content: int) -> None:
    """Raise OSError for a file that ends too early: ITK's writers do not always report a full disk."""
    if path.name.endswith(".nii.gz"):
        held = 0
        try:
            with gzip.open(path) as file:
                while chunk := file.read(1 << 22):
                    held += len(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            held = 0
    elif path.suffix in (".nii", ".nrrd", ".mha"):
        held = path.stat().st_size
    else:
        return
    if held < content:
        raise OSError("the file is incomplete; the disk is probably full")
