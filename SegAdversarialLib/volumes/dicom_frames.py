"""What DICOM headers say about each frame: one slice of a classic file, or one of many in a multi-frame (enhanced) file.

Both kinds of file become the same records here, so that all that follows (stacks, order, gaps, slopes) is written once.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ENDINGS = (".dcm", ".dicom", ".ima")
"""Endings of DICOM files. Many have none, and are known by their content."""

_MARK_END = 132

_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
"""The one kind of object whose pixels are no whole numbers."""

_STANDARD = "1.2.840.10008."
"""What the standard's own UIDs begin with."""

_NO_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "SR", "PR", "KO", "REG", "DOC", "FID"}
"""Modalities of objects that are about images, and no scanner's images themselves."""


@dataclass(frozen=True)
class Trait:
    """Something that tells the stacks of one series apart.

    Attributes:
        name: in words.
        classic: its keyword in a file of one slice.
        groups: the functional groups in which a multi-frame file keeps it.
        enhanced: its keyword there.
        always: whether slices that differ in it never belong together; else only where slices would lie on each other.
    """

    name: str
    classic: str
    groups: tuple[str, ...]
    enhanced: str
    always: bool = False


_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence", "XRay3DFrameTypeSequence")
ACQUISITION, FILE = "acquisition", "file"
TRAITS = (
    Trait("stack", "StackID", ("FrameContentSequence",), "StackID", always=True),
    Trait("image type", "ImageType", _FRAME_TYPES, "FrameType", always=True),
    Trait("echo time", "EchoTime", ("MREchoSequence",), "EffectiveEchoTime", always=True),
    Trait("b-value", "DiffusionBValue", ("MRDiffusionSequence",), "DiffusionBValue", always=True),
    Trait(ACQUISITION, "AcquisitionNumber", ("FrameContentSequence",), "FrameAcquisitionNumber"),
    Trait("time point", "TemporalPositionIdentifier", ("FrameContentSequence",), "TemporalPositionIndex"),
    Trait("trigger time", "TriggerTime", ("CardiacSynchronizationSequence",), "NominalCardiacTriggerDelayTime"),
    Trait("inversion time", "InversionTime", ("MRModifierSequence",), "InversionTimes"),
    Trait("kernel", "ConvolutionKernel", ("CTReconstructionSequence",), "ConvolutionKernel"),
    Trait("tube voltage", "KVP", ("CTXRayDetailsSequence",), "KVP"),
    Trait("acquisition time", "AcquisitionTime", ("FrameContentSequence",), "FrameAcquisitionDateTime"),
)


@dataclass(frozen=True, eq=False)
class Source:
    """A DICOM file that holds an image.

    Attributes:
        path: the file.
        series: its series' UID.
        series_number: the series' number in its study, or None.
        description: the series' description, or "".
        modality: such as "CT".
        shape: rows and columns.
        frames: how many it holds.
        instance: its number in the series.
        uid: its own UID.
        image_type: ImageType's values.
        samples: values for each pixel.
        photometric: PhotometricInterpretation.
        has_table: whether stored values become intensities by a table (Modality LUT) instead of slope and intercept.
    """

    path: Path
    series: str
    series_number: int | None
    description: str
    modality: str
    shape: tuple[int, int]
    frames: int
    instance: int
    uid: str
    image_type: tuple[str, ...]
    samples: int
    photometric: str
    has_table: bool


class Place(NamedTuple):
    """Where a slice lies, in LPS: the centre of its first pixel in mm, and the directions along a row and down a column."""

    position: np.ndarray
    row: np.ndarray
    column: np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice.

    Attributes:
        source: the file that holds it.
        number: its place in that file, from 0.
        place: where it lies, or None where the header does not say all of it.
        spacing: mm between rows and between columns, or None.
        thickness: in mm, or None.
        slope, intercept: intensity = slope * stored value + intercept; None where the header has none.
        units: what the intensities are measured in, as far as the header says.
        traits: what tells the stacks of a series apart, by its name.
    """

    source: Source
    number: int
    place: Place | None
    spacing: tuple[float, float] | None
    thickness: float | None
    slope: float | None
    intercept: float | None
    units: str
    traits: dict[str, Any]


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its content; very old ones have no mark and go by their ending."""
    return _start(path)[128:] == b"DICM" or (path.suffix.lower() in _ENDINGS and path.is_file())


def frames_in(folder: Path) -> list[Frame]:
    """The frames of all images in a folder and the folders in it; files of other kinds are passed over.

    Raises:
        InputError: a file that should be DICOM cannot be read: its slice would be missing.
    """
    return [frame for path in _files(folder) if is_dicom(path) for frame in frames_of(path)]


def frames_of(path: Path) -> list[Frame]:
    """The frames of a DICOM file; none, if it holds no scanner's image.

    Raises:
        InputError: it cannot be read, or its header contradicts itself.
    """
    import pydicom

    try:
        with quiet():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            whole = "PixelRepresentation" in header  # the last of what says how the pixels are stored
            if not whole and _should_be_image(header):
                raise InputError(f"{path} is empty, damaged or no DICOM file, and its slice would be missing; get it again.")
            if not whole or str(header.get("Modality", "")) in _NO_IMAGES:
                return []
            return _frames(header, _source(header, path))
    except InputError:
        raise
    except Exception as error:  # pydicom raises whatever a damaged header leads to
        raise InputError(f"The DICOM header of {path} cannot be read ({detail_of(error)}); get the file again.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from telling of values that are not quite by the standard, which scanners write."""
    from pydicom import config

    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = before


def kind_of(path: Path) -> str:
    """What a DICOM file is, in the standard's words, such as "Segmentation Storage"."""
    import pydicom

    return str(_class_of(pydicom.dcmread(path, stop_before_pixels=True, force=True)).name)


def _class_of(header: Any) -> Any:
    """The UID that says what a DICOM file is, or None; a DICOMDIR has it in its file header only."""
    return header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")


def _should_be_image(header: Any) -> bool:
    """Whether a header that does not say how pixels are stored was cut off, instead of being that of some other object."""
    kind = _class_of(header)
    if not kind or "Rows" in header:
        return kind != _PARAMETRIC_MAP
    # a class that the standard does not name is a manufacturer's own, or the beginning of one of the standard's
    unknown = kind.name == str(kind) and (kind.startswith(_STANDARD) or _STANDARD.startswith(kind))
    return "Image" in kind.name or unknown


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if name.startswith("."):
                continue
            start = _start(path)
            if not path.suffix and len(start) < _MARK_END and not any(start[: _MARK_END - 4]):
                raise InputError(f"{path} is empty: if it is a slice of the series, get it again, else take it away.")
            yield path


def _start(path: Path) -> bytes:
    """A file's bytes up to the mark of DICOM, which follows a preamble that is mostly zeros."""
    try:
        with path.open("rb") as file:
            return file.read(_MARK_END)
    except OSError:
        return b""


def _source(header: Dataset, path: Path) -> Source:
    return Source(
        path=path,
        series=str(header.get("SeriesInstanceUID", "")),
        series_number=_whole(header.get("SeriesNumber")),
        description=str(header.get("SeriesDescription", "") or "").strip(),
        modality=str(header.get("Modality", "") or "unknown modality"),
        shape=(int(header.Rows), int(header.Columns)),
        frames=_whole(header.get("NumberOfFrames")) or 1,
        instance=_whole(header.get("InstanceNumber")) or 0,
        uid=str(header.get("SOPInstanceUID", "")),
        image_type=tuple(str(x) for x in header.get("ImageType", None) or ()),
        samples=_whole(header.get("SamplesPerPixel")) or 1,
        photometric=str(header.get("PhotometricInterpretation", "")),
        has_table=bool(header.get("ModalityLUTSequence")),
    )


def _frames(header: Dataset, source: Source) -> list[Frame]:
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    if not shared and not own:
        return [_frame(source, number, _Classic(header, source.frames)) for number in range(source.frames)]
    if own and len(own) != source.frames:
        raise InputError(
            f"{source.path} says that it holds {source.frames} frames, but describes {len(own)}: the file is damaged; "
            "get it again."
        )
    common = list(shared)[:1]
    places = [_Enhanced(header, [*own[n : n + 1], *common]) for n in range(source.frames)]
    return [_frame(source, number, place) for number, place in enumerate(places)]


class _Classic:
    """Where a file of one slice keeps what describes it: at the top."""

    def __init__(self, header: Dataset, frames: int) -> None:
        self.header, self.frames = header, frames

    def find(self, keyword: str, *groups: str) -> Any:
        # what stands at the top of a file of many frames is the place of at most one of them
        return None if self.frames > 1 and "Position" in keyword else self.header.get(keyword)

    def trait(self, trait: Trait) -> Any:
        return self.header.get(trait.classic)


class _Enhanced:
    """Where a multi-frame file keeps what describes a frame: in the frame's functional groups, or in the shared ones."""

    def __init__(self, header: Dataset, groups: list[Dataset]) -> None:
        self.header, self.groups = header, groups

    def find(self, keyword: str, *groups: str) -> Any:
        items = (item for place in self.groups for group in groups for item in place.get(group) or ())
        return next((item.get(keyword) for item in items if item.get(keyword) is not None), None)

    def trait(self, trait: Trait) -> Any:
        return self.find(trait.enhanced, *trait.groups)


def _frame(source: Source, number: int, place: _Classic | _Enhanced) -> Frame:
    def numbers(keyword: str, group: str, count: int) -> tuple[float, ...] | None:
        return _numbers(place.find(keyword, group), count, f"{keyword} of {source.path} (frame {number + 1})")

    position = numbers("ImagePositionPatient", "PlanePositionSequence", 3)
    axes = numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6)
    spacing = None
    # of projections (radiographs) only the spacing at the detector is known
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = spacing or numbers(keyword, "PixelMeasuresSequence", 2)
    thickness = None
    for keyword in ("SliceThickness", "SpacingBetweenSlices"):
        thickness = thickness or numbers(keyword, "PixelMeasuresSequence", 1)
    slope = numbers("RescaleSlope", "PixelValueTransformationSequence", 1)
    intercept = numbers("RescaleIntercept", "PixelValueTransformationSequence", 1)
    units = (place.find("RescaleType", "PixelValueTransformationSequence"), place.header.get("Units"))
    traits = {trait.name: _plain(place.trait(trait)) for trait in TRAITS}
    return Frame(
        source=source,
        number=number,
        place=Place(np.array(position), np.array(axes[:3]), np.array(axes[3:])) if position and axes else None,
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        thickness=None if thickness is None else thickness[0],
        slope=None if slope is None else slope[0],
        intercept=None if intercept is None else intercept[0],
        units=" ".join(str(x) for x in units if x),
        traits={**traits, FILE: source.path.name if source.frames > 1 else None},
    )


def _whole(value: Any) -> int | None:
    return None if value in (None, "") else int(value)


def _numbers(value: Any, count: int, what: str) -> tuple[float, ...] | None:
    if value is None or value == "" or (isinstance(value, list) and not value):
        return None
    values = [value] if isinstance(value, (str, int, float)) else list(value)
    found = tuple(float(x) for x in values)
    if len(found) != count or not all(math.isfinite(x) for x in found):
        raise InputError(f"{what} is {list(found)}; {count} finite number(s) would be right: the header is damaged.")
    return found


def _plain(value: Any) -> Any:
    """A header's value as something that can be compared and shown."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return float(value)
    return "\\".join(str(x) for x in value)
