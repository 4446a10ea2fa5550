"""Writing volumes to image files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.files import whole_file
from SegAdversarialLib.volumes.geometry import is_orthogonal, itk_image


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` in the integer type `dtype` if every one of them survives it, else as float32."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        # as Python's numbers: in float32 the limits of int32 would be rounded up
        if float(values.min()) >= limits.min and float(values.max()) <= limits.max and (np.rint(values) == values).all():
            return values.astype(kind)
    return values.astype(np.float32)


def write_volume(path: str | Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write an array (K, J, I) as an image file, whole or not at all; the format follows from the name's ending.

    Only `.nii.gz` is compressed: files of other formats are for programs that exchange volumes, and quick.

    Raises:
        InputError: the file cannot be written.
    """
    import SimpleITK

    path = Path(path)
    if path.name.endswith((".nii", ".nii.gz")) and not is_orthogonal(affine):
        raise InputError(f"{path} cannot hold this grid, whose axes are sheared: NIfTI through ITK keeps right angles only.")
    image = itk_image(array.astype(np.uint8) if array.dtype == bool else array, affine)
    with whole_file(path) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=path.name.endswith(".gz"))
        except RuntimeError as error:
            raise OSError(f"the image writer failed ({detail_of(error)})") from error
        _check_complete(temporary, array.size * image.GetSizeOfPixelComponent())
    return path


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
