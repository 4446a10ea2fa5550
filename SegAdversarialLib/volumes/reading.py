"""Reading a subject's files: which reader takes which file, and all of them on one grid."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.matching import understood
from SegAdversarialLib.structures.segments import Segment
from SegAdversarialLib.volumes.dicom import holds_dicom, read_dicom
from SegAdversarialLib.volumes.files import file_name, is_file
from SegAdversarialLib.volumes.geometry import (
    Grid,
    check_right_angles,
    describe_two_grids,
    itk_image,
    same_grid,
)
from SegAdversarialLib.volumes.itk_files import read_with_itk
from SegAdversarialLib.volumes.nifti import is_nifti, read_nifti
from SegAdversarialLib.volumes.nifti_place import Prefer, TwoPlaces
from SegAdversarialLib.volumes.pictures import fits_pixels, is_picture, read_picture, read_picture_mask
from SegAdversarialLib.volumes.segmentation_file import read_segments, segment_keys
from SegAdversarialLib.volumes.volume import Space, Volume

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead

_log = logging.getLogger(__name__)

_LARGEST = float(np.finfo(np.float32).max)
_ROUNDING = 1e-3
"""How far beside a whole number a label may lie: what is left of whole numbers that were stored with a scaling."""

_ENDING = re.compile(r"(?:\.\w+)?\.gz$|\.[^.]*$", re.IGNORECASE)
_BETWEEN = "_-. "
"""Signs between the words of a file's name."""


def read_volumes(path: Path, names: Sequence[str], prefer: Prefer | None = None, labels: bool = False) -> list[Volume]:
    """The volumes in a file (or a DICOM folder), one for each name: the one place that picks a reader by the kind of file.

    Args:
        path: the file, the folder, or what is chosen in it after a `#`.
        names: what the volumes are.
        prefer: which of two positions in a NIfTI file counts.
        labels: whether it is a label map, whose black and white are labels if it is a picture.

    Raises:
        InputError: the file is missing or no image, what its header says cannot be right, or it holds another number of
            volumes.
    """
    if holds_dicom(path):
        volumes = [read_dicom(path)]
    elif is_picture(path):
        volumes = [read_picture_mask(path)] if labels else read_picture(path, names)
    else:
        _check_there(path, names)
        volumes = read_nifti(path, prefer) if is_nifti(path) else read_with_itk(path)
    if len(volumes) != len(names):
        raise InputError(
            f"{path} holds {len(volumes)} channel(s), but {len(names)} were named for it: {', '.join(names)}; name each of "
            "them (A,B,C), or save the one that you want in a file of its own."
        )
    return volumes


def subject_of(channels: Mapping[Any, str | Path]) -> str:
    """What a subject is called by its channels' files: the whole words that their names begin with, or the first's folder.

    "ts_000" of ts_000_0000.nii.gz and ts_000_0001.nii.gz, "sub-01" of sub-01_t1.nii.gz and sub-01_flair.nii.gz; of one file
    what stands before its channel's name or nnU-Net's 0000. Files that are called just as their channels, and DICOM's, say
    nothing of the subject.
    """
    paths = [Path(x) for x in channels.values()]
    folder = paths[0].resolve().parent.name
    stems = [_ENDING.sub("", x.name) for x in paths]
    names = [file_name(str(x)) for x in channels]
    if [x.lower() for x in stems] == [x.lower() for x in names] or any(map(holds_dicom, paths)):
        return folder
    if len(stems) == 1:
        found = re.fullmatch(rf"(.+)[_\-. ](?:0000|{re.escape(names[0])})", stems[0], re.IGNORECASE)
        return found[1].rstrip(_BETWEEN) if found else folder
    shared = len(os.path.commonprefix(stems))
    while shared and any(x[shared : shared + 1] not in ("", *_BETWEEN) for x in stems):
        shared -= 1
    return stems[0][:shared].rstrip(_BETWEEN) or folder


def _check_there(path: Path, names: Sequence[str]) -> None:
    if not is_file(path):
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
        segments: what the label map's values are, where its file says so.
    """

    image: np.ndarray
    channels: tuple[str, ...]
    affine: np.ndarray
    dtypes: tuple[str, ...]
    label: np.ndarray | None
    space: Space
    segments: tuple[Segment, ...] | None = None


def read_images(
    channels: Mapping[Any, str | Path],
    label: str | Path | None,
    *,
    resample: bool,
    replace_nonfinite: float | None,
    prefer: Prefer | None,
) -> ReadImages:
    """Read a subject's files; arguments and errors as those of `Case.read`."""
    if not channels:
        raise InputError("No image was given; name at least one channel and its file.")
    if prefer not in (None, "sform", "qform"):
        raise InputError(f'prefer is {prefer!r}; "sform", "qform" or None are right.')
    if replace_nonfinite is not None and not abs(replace_nonfinite) <= _LARGEST:
        raise InputError(
            f"replace_nonfinite must be a finite number, such as the intensity of air; it is {replace_nonfinite}."
        )
    names, arrays, dtypes = [], [], []
    notes: list[str] = []
    first: Volume | None = None
    first_path = Path(next(iter(channels.values())))
    for key, path in channels.items():
        wanted = tuple(x.strip() for x in key.split(",")) if isinstance(key, str) else tuple(key)
        for channel, volume in zip(wanted, read_volumes(Path(path), wanted, prefer)):
            volume = _replaced(volume, replace_nonfinite)
            notes += volume.notes
            if first is None:
                first = volume
                way = ' take its qform with prefer="qform" (--prefer qform), or' if first.space.qform is not None else ""
                check_right_angles(first.affine, str(first_path), way)
            array = _on_grid_of(first, first_path, volume, f"channel {channel}", path, resample, linear=True)
            if array.dtype.kind in "iu" and max(abs(int(array.min())), abs(int(array.max()))) > 2**24:
                raise InputError(f"Channel {channel} ({path}) holds whole numbers beyond 2^24, which float32 cannot keep.")
            dtypes.append(str(array.dtype) if array.dtype.kind in "iu" else "float32")
            arrays.append(_single(array, f"Channel {channel} ({path})"))
            names.append(channel)
    assert first is not None
    labels = segments = None
    if label is not None:
        volume, segments = read_reference(Path(label), first.grid, prefer)
        notes += volume.notes
        labels = _on_grid_of(first, first_path, volume, "the label map", label, resample, linear=False)
    for note in dict.fromkeys(notes):
        _log.warning("%s", note)
    return ReadImages(np.stack(arrays), tuple(names), first.affine, tuple(dtypes), labels, first.space, segments)


def read_label(path: str | Path, grid: Grid, head: OutputHead | None = None) -> np.ndarray:
    """Read a label map, or a segmentation of Slicer's, on a case's grid: (K, J, I) int16.

    Args:
        path: the file.
        grid: of the case.
        head: the network's classes, which give the segments of a segmentation their values.

    Raises:
        InputError: the file is missing or no image, lies on another grid, does not hold whole numbers, or has segments that
            overlap or are not known to be the network's classes.
    """
    labels, segments = _label_on_grid(Path(path), grid)
    what = f"The label map {path}"
    return checked_label(understood(labels, segments, None, head, what)[0], grid.shape, what)


def read_mask(path: str | Path, grid: Grid) -> np.ndarray:
    """Read which voxels of a case's grid have any label, or lie in any segment: (K, J, I) bool.

    Raises:
        InputError: the file is missing or no image, lies on another grid, or does not hold whole numbers.
    """
    return checked_label(_label_on_grid(Path(path), grid)[0], grid.shape, f"The mask {path}") != 0


def read_channel(path: str | Path, grid: Grid) -> np.ndarray:
    """Read one channel on a case's grid: (K, J, I) float32; errors as those of `read_values`."""
    return read_values(path, grid, 1, "image")[0]


def read_values(path: str | Path, grid: Grid, count: int, what: str) -> np.ndarray:
    """Read the `count` values that each voxel has, on a case's grid: (count, K, J, I) float32.

    Raises:
        InputError: the file is missing or no image, has another number of values, lies on another grid, or holds NaN or
            infinities.
    """
    values = _single(np.stack(_read_on_grid(Path(path), grid, (what,) * count)), f"The {what} {path}")
    if not np.isfinite(values).all():
        raise InputError(f"The {what} {path} holds voxels that are NaN or infinite; repair it.")
    return values


def checked_label(label: np.ndarray, shape: Sequence[int], what: str = "The label map") -> np.ndarray:
    """A label map (K, J, I) of this shape as int16; `what` begins the sentence that refuses another.

    Raises:
        InputError: it has another shape, or does not hold whole numbers of that type.
    """
    array = np.asarray(label)
    if array.shape != tuple(shape):
        raise InputError(f"{what} has the shape {array.shape}, the image {tuple(shape)}; they must be the same.")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} must hold whole numbers from -32768 to 32767; its type is {array.dtype}.")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InputError(
                f"{what} must hold whole numbers from -32768 to 32767; it holds NaN or infinities; save it with 0 there."
            )
        near = np.rint(array)
        off = np.abs(array - near).max()
        if off > _ROUNDING:
            raise InputError(
                f"{what} must hold whole numbers; it holds others, up to {off:.3g} beside a whole one: store it as "
                "whole numbers, without a scaling (scl_slope)."
            )
        array = near
    whole = array.astype(np.int16)
    if not np.array_equal(whole, array):
        raise InputError(f"{what} must hold whole numbers from -32768 to 32767; it holds {array.min():g} to {array.max():g}.")
    return np.ascontiguousarray(whole)


def read_reference(path: Path, grid: Grid, prefer: Prefer | None) -> tuple[Volume, tuple[Segment, ...] | None]:
    """A label map, or the segments of a segmentation painted into one, on the grid if they lie on its voxels."""
    _check_there(path, ("label",))
    keys = segment_keys(path)
    if keys is not None:
        return read_segments(read_with_itk(path), keys, path, grid)
    (volume,) = read_volumes(path, ("label",), prefer, labels=True)
    return volume, None


def _label_on_grid(path: Path, grid: Grid) -> tuple[np.ndarray, tuple[Segment, ...] | None]:
    _check_there(path, ("label map",))
    if segment_keys(path) is None:
        return _read_on_grid(path, grid, ("label map",), labels=True)[0], None
    volume, segments = read_reference(path, grid, None)
    return _same_voxels([[volume]], grid, "label map", path)[0], segments


def _read_on_grid(path: Path, grid: Grid, names: Sequence[str], labels: bool = False) -> list[np.ndarray]:
    """The voxels of a file that has to lie on a grid; of the two positions that a file may give, one has to."""
    try:
        found = [read_volumes(path, names, labels=labels)]
    except TwoPlaces:
        positions: tuple[Prefer, ...] = ("sform", "qform")
        found = [read_volumes(path, names, prefer) for prefer in positions]
    return _same_voxels(found, grid, names[0], path)


def _same_voxels(found: list[list[Volume]], grid: Grid, what: str, path: Path) -> list[np.ndarray]:
    """The voxels of the one of several readings of a file that lies on a grid."""
    fitting = (x for x in found if fits_pixels(grid, None, x[0].grid, path) or same_grid(*grid, *x[0].grid))
    volumes = next(fitting, None)
    if volumes is None:
        case, own, apart = describe_two_grids(grid, found[0][0].grid)
        raise InputError(
            f"The {what} {path} lies on another grid ({own}) than the case ({case}): {apart}; resample it onto the images."
        )
    return [x.array for x in volumes]


def _on_grid_of(
    first: Volume, first_path: Path, volume: Volume, what: str, path: str | Path, resample: bool, linear: bool
) -> np.ndarray:
    """The voxels of a volume on the first one's grid."""
    if fits_pixels(first.grid, first_path, volume.grid, path) or same_grid(*first.grid, *volume.grid):
        return volume.array
    if resample:
        return _resampled(volume, first.grid, linear)
    there, own, apart = describe_two_grids(first.grid, volume.grid)
    way = ""
    if first.space.qform is not None or volume.space.qform is not None:
        way = ', or read all files by their qforms with prefer="qform" (--prefer qform) if those agree'
    raise InputError(
        f"{what[0].upper()}{what[1:]} ({path}) lies on another grid ({own}) than {first_path} ({there}): {apart}; resample "
        f"it, or have it resampled onto the first channel with resample=True (--resample){way}."
    )


def _resampled(volume: Volume, grid: Grid, linear: bool) -> np.ndarray:
    import SimpleITK

    # ITK cuts off the fractions of whole numbers, half an intensity on average; they are rounded
    rounds, kind = linear and volume.array.dtype.kind in "iu", volume.array.dtype
    exact = np.float32 if kind.itemsize <= 2 else np.float64
    image = itk_image(volume.array.astype(exact) if rounds else volume.array, volume.affine)
    like = itk_image(np.empty(grid.shape, np.uint8), grid.affine)
    interpolator = SimpleITK.sitkLinear if linear else SimpleITK.sitkNearestNeighbor
    # beyond the image there is air: the least intensity (-1000 in CT, not 0), and no label
    outside = float(np.nanmin(volume.array)) if linear else 0.0
    moved = SimpleITK.Resample(image, like, SimpleITK.Transform(), interpolator, outside, image.GetPixelID())
    array = SimpleITK.GetArrayFromImage(moved)
    return np.rint(array).astype(kind) if rounds else array


def _single(array: np.ndarray, what: str) -> np.ndarray:
    """Voxels in single precision; what is not finite stays so."""
    if array.dtype == np.float64 and (np.isfinite(array) & (np.abs(array) > _LARGEST)).any():
        raise InputError(f"{what} holds numbers beyond {_LARGEST:.1e}, which float32 cannot hold; give them in a larger unit.")
    return array.astype(np.float32, copy=False)


def _replaced(volume: Volume, number: float | None) -> Volume:
    """The volume with `number` in the place of NaN and infinities, if a number is given."""
    array = volume.array
    if number is None or array.dtype.kind != "f" or np.isfinite(array).all():
        return volume
    return replace(volume, array=np.where(np.isfinite(array), array, number).astype(array.dtype))
