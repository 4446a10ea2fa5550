"""Reading a subject's files: which reader takes which file, and all of them on one grid."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.files import is_file
from SegAdversarialLib.volumes.geometry import Grid, describe_grid, itk_image, same_grid
from SegAdversarialLib.volumes.itk_files import read_with_itk
from SegAdversarialLib.volumes.nifti import is_nifti, read_nifti
from SegAdversarialLib.volumes.nifti_place import Prefer, TwoPlaces
from SegAdversarialLib.volumes.volume import Space, Volume


def read_volumes(path: Path, names: Sequence[str], prefer: Prefer | None = None) -> list[Volume]:
    """The volumes in a file, one for each name: the one place that picks a reader by the kind of file.

    Raises:
        InputError: the file is missing or no image, what its header says cannot be right, or it holds another number of
            volumes.
    """
    _check_there(path, names)
    volumes = read_nifti(path, prefer) if is_nifti(path) else read_with_itk(path)
    if len(volumes) != len(names):
        raise InputError(f"{path} holds {len(volumes)} channel(s), but {len(names)} were named for it: {', '.join(names)}.")
    return volumes


def _check_there(path: Path, names: Sequence[str]) -> None:
    if is_file(path):
        return
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder; give an image file (NIfTI, NRRD or MHA) for {', '.join(names)}.")
    raise InputError(f"There is no file {path} (for {', '.join(names)}); check the path.")


@dataclass(frozen=True, eq=False)
class ReadImages:
    """What was read from a subject's files.

    Attributes:
        image: (C, K, J, I) float32, in the scanner's own units.
        channels: C names.
        affine: 4x4 float64, (i, j, k) to RAS, in mm.
        dtypes: the type in which each channel is stored, if that is an integer type, else "float32".
        label: (K, J, I) as it is stored, or None.
        space: what the first channel's file says that its millimetres are measured in.
    """

    image: np.ndarray
    channels: tuple[str, ...]
    affine: np.ndarray
    dtypes: tuple[str, ...]
    label: np.ndarray | None
    space: Space


def read_images(
    channels: Mapping[Any, str | Path], label: str | Path | None, *, resample: bool, replace_nonfinite: float | None
) -> ReadImages:
    """Read a subject's files; arguments and errors as those of `Case.read`."""
    if not channels:
        raise InputError("No image was given; name at least one channel and its file.")
    names, arrays, dtypes = [], [], []
    first: Volume | None = None
    first_path = Path(next(iter(channels.values())))
    for key, path in channels.items():
        wanted = tuple(x.strip() for x in key.split(",")) if isinstance(key, str) else tuple(key)
        for channel, volume in zip(wanted, read_volumes(Path(path), wanted)):
            volume = _replaced(volume, replace_nonfinite)
            first = first or volume
            array = _on_grid_of(first, first_path, volume, f"channel {channel} ({path})", resample, linear=True)
            if array.dtype.kind in "iu" and max(abs(int(array.min())), abs(int(array.max()))) > 2**24:
                raise InputError(f"Channel {channel} ({path}) holds whole numbers beyond 2^24, which float32 cannot keep.")
            dtypes.append(str(array.dtype) if array.dtype.kind in "iu" else "float32")
            arrays.append(array.astype(np.float32, copy=False))
            names.append(channel)
    assert first is not None
    labels = None
    if label is not None:
        (volume,) = read_volumes(Path(label), ("label",))
        labels = _on_grid_of(first, first_path, volume, f"the label map ({label})", resample, linear=False)
    return ReadImages(np.stack(arrays), tuple(names), first.affine, tuple(dtypes), labels, first.space)


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
    (volume,) = read_volumes(path, (f"the {what}",))
    if not same_grid(*grid, *volume.grid):
        raise InputError(
            f"The {what} {path} lies on another grid ({describe_grid(*volume.grid)}) than the case ({describe_grid(*grid)}); "
            "resample it onto the images."
        )
    return volume.array


def _on_grid_of(first: Volume, first_path: Path, volume: Volume, what: str, resample: bool, linear: bool) -> np.ndarray:
    """The voxels of a volume on the first one's grid."""
    if same_grid(*first.grid, *volume.grid):
        return volume.array
    if resample:
        return _resampled(volume, first.grid, linear)
    raise InputError(
        f"{what[0].upper()}{what[1:]} lies on another grid ({describe_grid(*volume.grid)}) than {first_path} "
        f"({describe_grid(*first.grid)}); resample it, or ask for resampling onto the first channel."
    )


def _resampled(volume: Volume, grid: Grid, linear: bool) -> np.ndarray:
    import SimpleITK

    image, like = itk_image(volume.array, volume.affine), itk_image(np.empty(grid.shape, np.uint8), grid.affine)
    interpolator = SimpleITK.sitkLinear if linear else SimpleITK.sitkNearestNeighbor
    # beyond the image there is air: the least intensity (-1000 in CT, not 0), and no label
    outside = float(np.nanmin(volume.array)) if linear else 0.0
    moved = SimpleITK.Resample(image, like, SimpleITK.Transform(), interpolator, outside, image.GetPixelID())
    return SimpleITK.GetArrayFromImage(moved)


def _replaced(volume: Volume, number: float | None) -> Volume:
    """The volume with `number` in the place of NaN and infinities, if a number is given."""
    array = volume.array
    if number is None or array.dtype.kind != "f" or np.isfinite(array).all():
        return volume
    return Volume(np.where(np.isfinite(array), array, number).astype(array.dtype), volume.affine, volume.space)
