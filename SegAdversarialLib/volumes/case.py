"""One subject: its channels (modalities), its reference labels, and where its voxels are."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.files import file_name, is_file, whole_file
from SegAdversarialLib.volumes.geometry import (
    affine_of_itk,
    check_affine,
    describe_grid,
    is_orthogonal,
    itk_image,
    same_grid,
    spacing_of,
)

if TYPE_CHECKING:
    import SimpleITK


@dataclass(frozen=True, eq=False)
class Case:
    """One subject as it came from the scanner. Arrays are kept as they are given where that is possible, not copied.

    Attributes:
        image: (C, K, J, I) float32, in the scanner's own units.
        channels: C names, such as ("T1", "T1ce", "T2", "FLAIR").
        affine: 4x4 float64, (i, j, k) to RAS, in mm.
        label: (K, J, I) int16 reference label map, or None.
        label_names: the label values' names, such as {0: "background", 1: "tumour"}.
        name: the subject's name, used in file and node names.
        dtypes: the integer or float type in which each channel's file stores its voxels; "float32" unless given.

    Raises:
        InputError: shapes, names or types do not fit together, or the image holds NaN or infinities.
    """

    image: np.ndarray
    channels: tuple[str, ...]
    affine: np.ndarray
    label: np.ndarray | None = None
    label_names: Mapping[int, str] | None = None
    name: str = ""
    dtypes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        image = np.ascontiguousarray(self.image, dtype=np.float32)
        channels = (self.channels,) if isinstance(self.channels, str) else tuple(str(x) for x in self.channels)
        if image.ndim != 4 or image.shape[0] != len(channels) or 0 in image.shape:
            raise InputError(
                f"The image must have the shape (channels, slices, rows, columns) for the {len(channels)} channel(s) "
                f"{', '.join(channels)}; its shape is {image.shape}."
            )
        if len(set(channels)) != len(channels):
            raise InputError(f"Channel names must differ from each other; they are {', '.join(channels)}.")
        for channel, values in zip(channels, image):
            count = int(values.size - np.isfinite(values).sum())
            if count:
                raise InputError(
                    f"Channel {channel} holds {count} voxel(s) that are NaN or infinite; "
                    "repair the image, or have them replaced by a number (replace_nonfinite)."
                )
        dtypes = tuple(self.dtypes) if self.dtypes is not None else ("float32",) * len(channels)
        if len(dtypes) != len(channels):
            raise InputError(f"There are {len(dtypes)} voxel types for {len(channels)} channels; give one for each.")
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "affine", check_affine(self.affine))
        object.__setattr__(self, "label", _checked_label(self.label, image.shape[1:]))
        object.__setattr__(self, "dtypes", tuple(str(np.dtype(x)) for x in dtypes))
        object.__setattr__(self, "label_names", dict(self.label_names) if self.label_names else None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I): slices, rows, columns."""
        _, k, j, i = self.image.shape
        return k, j, i

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along i, j, k."""
        return spacing_of(self.affine)

    def channel(self, name: str) -> np.ndarray:
        """The (K, J, I) array of one channel.

        Raises:
            InputError: there is no such channel.
        """
        return self.image[self.channel_index(name)]

    def channel_index(self, name: str) -> int:
        """The position of a channel, found by its name; capitals do not matter.

        Raises:
            InputError: there is no such channel.
        """
        lowered = [x.lower() for x in self.channels]
        if name in self.channels:
            return self.channels.index(name)
        if lowered.count(name.lower()) == 1:
            return lowered.index(name.lower())
        raise InputError(f"There is no channel {name} in {self.name or 'the case'}; it has {', '.join(self.channels)}.")

    def with_image(self, image: np.ndarray) -> Case:
        """The same subject with other intensities; shape (C, K, J, I)."""
        return replace(self, image=image)

    @classmethod
    def read(
        cls,
        channels: Mapping[Any, str | Path],
        label: str | Path | None = None,
        *,
        label_names: Mapping[int, str] | None = None,
        name: str = "",
        resample: bool = False,
        replace_nonfinite: float | None = None,
    ) -> Case:
        """Read a subject from image files (NIfTI, NRRD, MHA and whatever else SimpleITK reads).

        Args:
            channels: a file for each channel name. A file with several channels (4D, or several values for each voxel) is
                named by all of them: `{("FLAIR", "T1"): "both.nii.gz"}` or `{"FLAIR,T1": "both.nii.gz"}`.
            label: the reference label map.
            label_names: the label values' names.
            name: the subject's name; the first file's folder if left out.
            resample: put channels and labels that lie on other grids onto the first channel's (linear, labels nearest).
            replace_nonfinite: the number that takes the place of NaN and infinities; without it they are refused.

        Raises:
            InputError: a file is missing or no image, the grids differ, or an image holds NaN or infinities.
        """
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
        affine = affine_of_itk(first)
        subject = name or first_path.resolve().parent.name
        return cls(np.stack(arrays), tuple(names), affine, labels, label_names, subject, tuple(dtypes))

    def write(self, folder: str | Path, extension: str = ".nii.gz") -> dict[str, Path]:
        """Write each channel, and the labels as `label`, into `folder`; files are written whole or not at all.

        A channel is stored in its own type (`dtypes`) where that loses nothing, in float32 otherwise.

        Returns:
            The file of each channel name, and of "label" if there is one.

        Raises:
            InputError: the folder cannot be written to, or two channels would become one file.
        """
        names = [file_name(x).lower() for x in (*self.channels, *(["label"] if self.label is not None else []))]
        if len(set(names)) != len(names):
            raise InputError(f"The channels {', '.join(self.channels)} (and label) would become files of the same name.")
        written = {}
        assert self.dtypes is not None
        for channel, values, dtype in zip(self.channels, self.image, self.dtypes):
            path = Path(folder) / f"{file_name(channel)}{extension}"
            written[channel] = write_volume(path, stored(values, dtype), self.affine)
        if self.label is not None:
            written["label"] = write_volume(Path(folder) / f"label{extension}", self.label, self.affine)
        return written


def read_label(path: str | Path, case: Case) -> np.ndarray:
    """Read a label map on a case's grid: (K, J, I) int16.

    Raises:
        InputError: the file is missing or no image, lies on another grid, or does not hold whole numbers.
    """
    label = _checked_label(_read_on_grid(Path(path), case, "label map"), case.shape)
    assert label is not None
    return label


def read_channel(path: str | Path, case: Case) -> np.ndarray:
    """Read one channel on a case's grid: (K, J, I) float32.

    Raises:
        InputError: the file is missing or no image, lies on another grid, or holds NaN or infinities.
    """
    values = _read_on_grid(Path(path), case, "image").astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"The image {path} holds voxels that are NaN or infinite; repair it.")
    return values


def _read_on_grid(path: Path, case: Case, what: str) -> np.ndarray:
    (volume,) = _volumes(path, (f"the {what}",))
    affine = affine_of_itk(volume)
    if not same_grid(case.shape, case.affine, volume.GetSize()[::-1], affine):
        raise InputError(
            f"The {what} {path} lies on another grid ({describe_grid(volume.GetSize()[::-1], affine)}) than the case "
            f"({describe_grid(case.shape, case.affine)}); resample it onto the images."
        )
    return _array(volume)


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


def _checked_label(label: np.ndarray | None, shape: Sequence[int]) -> np.ndarray | None:
    if label is None:
        return None
    array = np.asarray(label)
    if array.shape != tuple(shape):
        raise InputError(f"The label map has the shape {array.shape}, the image {tuple(shape)}; they must be the same.")
    whole = array.astype(np.int16)
    if not np.array_equal(whole, array):
        raise InputError("The label map must hold whole numbers from -32768 to 32767; it holds others.")
    return np.ascontiguousarray(whole)


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
