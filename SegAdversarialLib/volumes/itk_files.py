"""Volumes of the files that SimpleITK reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.geometry import affine_of_itk
from SegAdversarialLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK


def read_with_itk(path: Path) -> list[Volume]:
    """The volumes in a file: one, or one for each of its values or frames.

    Raises:
        InputError: SimpleITK cannot read it.
    """
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be read as an image ({detail_of(error)}); NIfTI, NRRD and MHA files are right."
        ) from error
    return volumes_of(image)


def volumes_of(image: SimpleITK.Image) -> list[Volume]:
    """The volumes in an image of two to four dimensions: one, or one for each value of a voxel or each frame."""
    import SimpleITK

    count = image.GetNumberOfComponentsPerPixel()
    array, affine = SimpleITK.GetArrayFromImage(image), affine_of_itk(image)
    if count > 1:
        parts = [array[..., n] for n in range(count)]
    elif image.GetDimension() == 4:
        parts = list(array)
    else:
        parts = [array]
    return [Volume(part if part.ndim == 3 else part[None], affine) for part in parts]
