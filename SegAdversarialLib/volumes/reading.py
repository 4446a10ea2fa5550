"""Reading image files: volumes as arrays, and where their voxels are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.files import is_file
from SegAdversarialLib.volumes.geometry import Grid, affine_of_itk, describe_grid, same_grid

if TYPE_CHECKING:
    import SimpleITK


@dataclass(frozen=True, eq=False)
class ReadImages:
    """What was read from a subject's files.

    Attributes:
        image: (C, K, J, I) float32, in the scanner's own units.
        channels: C names.
        affine: 4x4 float64, (i, j, k) to RAS, in mm.
        dtypes: the type in which each channel is stored, if that is an integer type, else "float32".
        label: (K, J, I) as it is stored, or None.
    """

    image: np.ndarray
    channels: tuple[str, ...]
    affine: np.ndarray
    dtypes: tuple[str, ...]
    label: np.ndarray | None


def read_images(
    channels: Mapping[Any, str | Path], label: str | Path | None, *, resample: bool, replace_nonfinite: float | None
) -> ReadImages:
    """Read a subject's files; arguments and errors as those of `Case.read`."""
    if not channels:
        raise InputError("No image was given; name at least one channel and its file.")
    names, arrays, dtypes = [], [], []
    first: SimpleITK.Image | None = None
    first_path = Path(next(iter(channels.values())))
    for key, path in channels.items():
        wanted = tuple(x.strip() for x in key.split(",")) if isinstance(key, str) else tuple(key)
        for channel, volume in zip(wanted, _volumes(Path(path), wanted)):
            volume = _replaced(volume, replace_nonfinite)
            if first is None:
                first = volume
            volume = _on_grid_of(first, first_path, volume, f"channel {channel} ({path})", resample, linear=True)
            array = _array(volume)
            if array.dtype.kind in "iu" and max(abs(int(array.min())), abs(int(array.max()))) > 2**24:
                raise InputError(f"Channel {channel} ({path}) holds whole numbers beyond 2^24, which float32 cannot keep.")
            dtypes.append(str(array.dtype) if array.dtype.kind in "iu" else "float32")
            arrays.append(array.astype(np.float32))
            names.append(channel)
    assert first is not None
    labels = None
    if label is not None:
        (volume,) = _volumes(Path(label), ("label",))
        labels = _array(_on_grid_of(first, first_path, volume, f"the label map ({label})", resample, linear=False))
    return ReadImages(np.stack(arrays), tuple(names), affine_of_itk(first), tuple(dtypes), labels)


def read_label(path: str | Path, grid: Grid) -> np.ndarray:
    """Read a label map on a case's grid: (K, J, I) int16.

    Raises:
        InputError: the file is missing or no image, lies on another grid, or does not hold whole numbers.
    """
    return checked_label(_read_on_grid(Path(path), grid, "label map"), grid.shape)


def read_channel(path: str | Path, grid: Grid) -> np.ndarray:
    """Read one channel on a case's grid: (K, J, I) float32.

    Raises:
        InputError: the file is missing or no image, lies on another grid, or holds NaN or infinities.
    """
    values = _read_on_grid(Path(path), grid, "image").astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"The image {path} holds voxels that are NaN or infinite; repair it.")
    return values


def checked_label(label: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A label map (K, J, I) of this shape as int16.

    Raises:
        InputError: it has another shape, or does not hold whole numbers of that type.
    """
    array = np.asarray(label)
    if array.shape != tuple(shape):
        raise InputError(f"The label map has the shape {array.shape}, the image {tuple(shape)}; they must be the same.")
    whole = array.astype(np.int16)
    if not np.array_equal(whole, array):
        raise InputError("The label map must hold whole numbers from -32768 to 32767; it holds others.")
    return np.ascontiguousarray(whole)


def _read_on_grid(path: Path, grid: Grid, what: str) -> np.ndarray:
    (volume,) = _volumes(path, (f"the {what}",))
    own = Grid(volume.GetSize()[::-1], affine_of_itk(volume))
    if not same_grid(*grid, *own):
        raise InputError(
            f"The {what} {path} lies on another grid ({describe_grid(*own)}) than the case ({describe_grid(*grid)}); "
            "resample it onto the images."
        )
    return _array(volume)


def _volumes(path: Path, names: tuple[str, ...]) -> list[SimpleITK.Image]:
    """The 3D images in a file, one for each name."""
    import SimpleITK

    if not is_file(path):
        if os.path.isdir(path):
            raise InputError(f"{path} is a folder; give an image file (NIfTI, NRRD or MHA) for {', '.join(names)}.")
        raise InputError(f"There is no file {path} (for {', '.join(names)}); check the path.")
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path} cannot be read as an image ({detail_of(error)}); NIfTI, NRRD and MHA files are right."
        ) from error
    image = _with_lost_nonfinite(image, path)
    if image.GetNumberOfComponentsPerPixel() > 1:
        parts = [SimpleITK.VectorIndexSelectionCast(image, n) for n in range(image.GetNumberOfComponentsPerPixel())]
    elif image.GetDimension() == 4:
        parts = [image[:, :, :, n] for n in range(image.GetSize()[3])]
    elif image.GetDimension() == 2:
        parts = [_as_single_slice(image)]
    else:
        parts = [image]
    if len(parts) != len(names):
        raise InputError(f"{path} holds {len(parts)} channel(s), but {len(names)} were named for it: {', '.join(names)}.")
    return parts


def _with_lost_nonfinite(image: SimpleITK.Image, path: Path) -> SimpleITK.Image:
    """Put back the NaN and infinities that ITK's NIfTI reader silently turns into 0."""
    import SimpleITK

    scalar_float = image.GetPixelID() in (SimpleITK.sitkFloat32, SimpleITK.sitkFloat64)
    if not scalar_float or not path.name.lower().endswith((".nii", ".nii.gz")):
        return image
    import nibabel.nifti1

    finite = np.isfinite(np.asanyarray(nibabel.nifti1.load(path).dataobj)).T
    if finite.all() or finite.shape != image.GetSize()[::-1]:
        return image
    array = SimpleITK.GetArrayFromImage(image)
    array[~finite] = np.nan
    repaired = SimpleITK.GetImageFromArray(array, isVector=False)
    repaired.CopyInformation(image)
    return repaired


def _as_single_slice(image: SimpleITK.Image) -> SimpleITK.Image:
    import SimpleITK

    return SimpleITK.JoinSeries(image)


def _on_grid_of(
    first: SimpleITK.Image, first_path: Path, volume: SimpleITK.Image, what: str, resample: bool, linear: bool
) -> SimpleITK.Image:
    import SimpleITK

    here, there = affine_of_itk(first), affine_of_itk(volume)
    if same_grid(first.GetSize()[::-1], here, volume.GetSize()[::-1], there):
        return volume
    if resample:
        interpolator = SimpleITK.sitkLinear if linear else SimpleITK.sitkNearestNeighbor
        # beyond the image there is air: the least intensity (-1000 in CT, not 0), and no label
        outside = float(np.nanmin(_array(volume))) if linear else 0.0
        return SimpleITK.Resample(volume, first, SimpleITK.Transform(), interpolator, outside, volume.GetPixelID())
    raise InputError(
        f"{what[0].upper()}{what[1:]} lies on another grid ({describe_grid(volume.GetSize()[::-1], there)}) than {first_path} "
        f"({describe_grid(first.GetSize()[::-1], here)}); resample it, or ask for resampling onto the first channel."
    )


def _array(image: SimpleITK.Image) -> np.ndarray:
    import SimpleITK

    return SimpleITK.GetArrayFromImage(image)


def _replaced(image: SimpleITK.Image, number: float | None) -> SimpleITK.Image:
    """The image with `number` in the place of NaN and infinities, if a number is given."""
    import SimpleITK

    array = _array(image)
    if number is None or array.dtype.kind != "f" or np.isfinite(array).all():
        return image
    replaced = SimpleITK.GetImageFromArray(np.where(np.isfinite(array), array, number).astype(array.dtype))
    replaced.CopyInformation(image)
    return replaced
