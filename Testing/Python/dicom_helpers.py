"""DICOM files made with pydicom, as scanners write them, for the tests of reading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "128"))
ENHANCED_CT, ENHANCED_MR = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2.1", "4.1"))
AXIAL = (1, 0, 0, 0, 1, 0)

Edit = Callable[[Dataset, int], None]


def new_file(path: Path, kind: str, pixels: np.ndarray, **values: Any) -> FileDataset:
    """A dataset with an image; 16-bit, signed, of rows and columns as `pixels`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID, data.PatientID = kind, meta.MediaStorageSOPInstanceUID, "phantom"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = pixels.astype("<i2").tobytes()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def save(data: FileDataset, path: Path) -> Path:
    """Write it with preamble and file header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    volume: np.ndarray,
    *,
    kind: str = CT,
    axes: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.7, 0.5, 3.0),
    origin: Sequence[float] = (-10.0, 20.0, 30.0),
    order: Sequence[int] | None = None,
    edit: Edit | None = None,
    prefix: str = "IM",
    **values: Any,
) -> list[Path]:
    """A series of one file for each slice of a volume (K, J, I).

    Args:
        folder: where the files go.
        volume: stored values.
        kind: SOP class.
        axes: ImageOrientationPatient.
        spacing: mm along i, j, k.
        origin: of the first voxel, LPS mm.
        order: the slices' order in instance numbers and names; None: as they lie.
        edit: called with each dataset and its slice before it is written.
        prefix: of the files' names, which have no ending.
        values: further elements of each file.

    Returns:
        The files in the order of the slices.
    """
    normal = np.cross(axes[:3], axes[3:])
    common = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
    common |= {"Modality": "CT", "SeriesNumber": 1, "SeriesDescription": "body", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    paths = []
    for k, pixels in enumerate(volume):
        number = k if order is None else order[k]
        path = folder / f"{prefix}{number:04d}"
        data = new_file(path, kind, pixels, **{**common, **values})
        data.InstanceNumber = number + 1
        data.ImagePositionPatient = [float(x) for x in np.asarray(origin) + k * spacing[2] * normal]
        data.ImageOrientationPatient = list(axes)
        data.PixelSpacing, data.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        if kind == CT:
            data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
        if edit is not None:
            edit(data, k)
        paths.append(save(data, path))
    return paths


def write_enhanced(
    path: Path,
    volume: np.ndarray,
    heights: Sequence[float],
    *,
    kind: str = ENHANCED_MR,
    frames: Sequence[dict[str, dict[str, Any]]] | None = None,
    shared: dict[str, dict[str, Any]] | None = None,
    **values: Any,
) -> Path:
    """A multi-frame file.

    Args:
        path: the file.
        volume: stored values, (frames, rows, columns).
        heights: ImagePositionPatient's third component for each frame.
        frames: further functional groups of each frame, as {sequence: {keyword: value}}.
        shared: further shared functional groups.
        values: further elements at the top.
    """
    common = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": generate_uid(), "Modality": "MR", "SeriesNumber": 1}
    data = new_file(path, kind, volume, **{**common, **values})
    data.NumberOfFrames = len(volume)
    groups = {
        "PixelMeasuresSequence": {"PixelSpacing": [0.5, 0.7], "SliceThickness": 3},
        "PlaneOrientationSequence": {"ImageOrientationPatient": list(AXIAL)},
        **(shared or {}),
    }
    data.SharedFunctionalGroupsSequence = pydicom.Sequence([_groups(groups)])
    own = []
    for n, height in enumerate(heights):
        place = {"PlanePositionSequence": {"ImagePositionPatient": [10, 20, height]}}
        content = {"FrameContentSequence": {"StackID": "1", "InStackPositionNumber": n + 1}}
        own.append(_groups({**place, **content, **(frames[n] if frames else {})}))
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence(own)
    return save(data, path)


def _groups(groups: dict[str, dict[str, Any]]) -> Dataset:
    data = Dataset()
    for sequence, values in groups.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(data, sequence, pydicom.Sequence([item]))
    return data
