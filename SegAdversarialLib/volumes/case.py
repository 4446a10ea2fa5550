"""One subject: its channels (modalities), its reference labels, and where its voxels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.showing import notebook
from SegAdversarialLib.structures.matching import relabelled, understood
from SegAdversarialLib.volumes.files import file_name
from SegAdversarialLib.volumes.geometry import Grid, check_affine, sizes, spacing_of
from SegAdversarialLib.volumes.nifti_place import Prefer
from SegAdversarialLib.volumes.reading import checked_label, read_images, subject_of
from SegAdversarialLib.volumes.volume import Space
from SegAdversarialLib.volumes.writing import stored, write_volume

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead


@checked(image="an array (channels, slices, rows, columns); Case.read reads files")
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
        space: what the affine's millimetres are measured in, as the first channel's file says; the scanner's unless given.

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
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if np.iscomplexobj(self.image):
            raise InputError("The image must hold real numbers, not complex ones; give their magnitude.")
        try:
            image = np.ascontiguousarray(self.image, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"The image must hold numbers ({error}).") from None
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
        object.__setattr__(self, "label", None if self.label is None else checked_label(self.label, image.shape[1:]))
        object.__setattr__(self, "dtypes", tuple(map(_type_name, dtypes)))
        object.__setattr__(self, "label_names", dict(self.label_names) if self.label_names else None)

    def __repr__(self) -> str:
        name = f" {self.name}" if self.name else ""
        spacing = "x".join(f"{x:.3g}" for x in self.spacing)
        reference = "with a reference" if self.label is not None else "without a reference"
        return f"<Case{name}: {', '.join(self.channels)}; {sizes(self.shape)} voxels of {spacing} mm; {reference}>"

    def _repr_html_(self) -> str:
        assert self.dtypes is not None
        channels = [
            {"channel": name, "least": float(x.min()), "mean": float(x.mean()), "most": float(x.max()), "stored as": dtype}
            for name, x, dtype in zip(self.channels, self.image, self.dtypes)
        ]
        shown = notebook.table(channels, ("channel", "least", "mean", "most", "stored as"), repr(self).strip("<>"))
        if self.label is None:
            return shown
        milliliters, names = np.prod(self.spacing) / 1000, self.label_names or {}
        labels = [
            {"label": int(value), "name": names.get(int(value)), "voxels": int(count), "ml": float(count * milliliters)}
            for value, count in zip(*np.unique(self.label, return_counts=True))
        ]
        return shown + notebook.table(labels, ("label", "name", "voxels", "ml"), "Reference")

    @property
    def called(self) -> str:
        """What messages call it: "the case NAME", or "the case" where it has no name."""
        return f"the case {self.name}" if self.name else "the case"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I): slices, rows, columns."""
        _, k, j, i = self.image.shape
        return k, j, i

    @property
    def grid(self) -> Grid:
        """Where its voxels are."""
        return Grid(self.shape, self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along i, j, k."""
        return spacing_of(self.affine)

    @checked
    def channel(self, name: str) -> np.ndarray:
        """The (K, J, I) array of one channel.

        Raises:
            InputError: there is no such channel.
        """
        return self.image[self.channel_index(name)]

    @checked
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

    def positions_for(self, taker: str, channels: Sequence[str]) -> list[int]:
        """Where the channels that a network takes are among the case's, by name.

        Args:
            taker: the network's name.
            channels: its channels.

        Raises:
            InputError: the case lacks one of them.
        """
        try:
            return [self.channel_index(channel) for channel in channels]
        except InputError:
            raise InputError(
                f"The network {taker} takes {len(channels)} channel(s), {', '.join(channels)}; "
                f"{self.called} has {len(self.channels)}: {', '.join(self.channels)}."
            ) from None

    @checked
    def with_image(self, image: np.ndarray) -> Case:
        """The same subject with other intensities; shape (C, K, J, I)."""
        return replace(self, image=image)

    def in_terms_of(self, head: OutputHead, what: str = "The reference") -> Case:
        """The same subject with a network's own reference labels; itself where these are its labels already.

        Names count before numbers (`structures.matching.match`); where label values have no names, it is taken as it is.

        Args:
            head: the network's classes.
            what: what messages call the reference.

        Raises:
            InputError: it is not known which class a named label value is.
        """
        if self.label is None or not self.label_names:
            return self
        label = relabelled(self.label, (), self.label_names, head, what)
        return self if label is self.label else replace(self, label=label, label_names=head.reference_names)

    @classmethod
    @checked(channels='a file for each channel name, such as {"T1": "t1.nii.gz"}')
    def read(
        cls,
        channels: Mapping[Any, str | Path],
        label: str | Path | None = None,
        *,
        label_names: Mapping[Any, str] | None = None,
        name: str = "",
        resample: bool = False,
        replace_nonfinite: float | None = None,
        prefer: Prefer | None = None,
        head: OutputHead | None = None,
    ) -> Case:
        """Read a subject from image files (NIfTI, NRRD, MHA, DICOM, pictures, and whatever else SimpleITK reads).

        Args:
            channels: a file for each channel name. A file with several channels (4D, or several values for each voxel) is
                named by all of them: `{("FLAIR", "T1"): "both.nii.gz"}` or `{"FLAIR,T1": "both.nii.gz"}`.
                A DICOM series is the folder that holds it; of several in a folder, one is chosen after a `#`, by its number,
                UID or description: `{"T1": "study#301"}`.
            label: the reference label map, or a segmentation that Slicer has saved (.seg.nrrd). A picture that is only black
                and white gives the labels 0 and 1.
            label_names: what a network calls the label values, or the segments by their own names: `{3: "enhancing tumour"}`,
                `{"left kidney": "kidney_left"}`; names of a .seg.nrrd file that say so themselves need none.
            name: the subject's name; if left out, what the channels' files are called together (`subject_of`): ts_000 of
                ts_000_0000.nii.gz and ts_000_0001.nii.gz; or else the first file's folder.
            resample: put channels and labels that lie on other grids onto the first channel's (linear, labels nearest).
                Pictures have no place: they are laid on each other pixel for pixel, and never resampled.
            replace_nonfinite: the number that takes the place of NaN and infinities; without it they are refused.
            prefer: "sform" or "qform", the position to take of a NIfTI file that gives two which contradict each other.
            head: the classes of the network that the case is read for (`model.head`): the labels become those of the network,
                for which segments may overlap as its regions do.

        Raises:
            InputError: a file is missing, incomplete or no image, its header contradicts itself, the grids differ or are
                sheared, an image holds NaN or infinities, segments overlap, or it is not known which of the network's classes
                they are.
        """
        read = read_images(channels, label, resample=resample, replace_nonfinite=replace_nonfinite, prefer=prefer)
        subject = name or subject_of(channels)
        labels, names = read.label, label_names
        if labels is not None:
            what = f"The reference {label}"
            labels = checked_label(labels, read.image.shape[1:], what)
            labels, names = understood(labels, read.segments, label_names, head, what)
        return cls(read.image, read.channels, read.affine, labels, names, subject, read.dtypes, read.space)

    @checked
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
            written[channel] = write_volume(path, stored(values, dtype), self.affine, self.space)
        if self.label is not None:
            written["label"] = write_volume(Path(folder) / f"label{extension}", self.label, self.affine, self.space)
        return written


def _type_name(dtype: Any) -> str:
    """A voxel type as numpy calls it."""
    try:
        return str(np.dtype(dtype))
    except TypeError:
        raise InputError(f"There is no voxel type {dtype}; the types of numpy are right, such as int16 or float32.") from None
