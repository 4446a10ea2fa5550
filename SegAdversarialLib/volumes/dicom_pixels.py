"""The voxels of DICOM frames: decoded by GDCM (in SimpleITK), then scaled by each frame's own slope and intercept.

GDCM is given the stored pixels alone. With the whole header it would scale all frames of a file by the first one's slope, and
turn MONOCHROME1 into its negative, also where the values are Hounsfield units or activities.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.dicom_frames import Frame, Source, quiet

_PIXELS = (
    *("SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
"""All that a decoder needs."""

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_COMPRESSED = (
    "1.2.840.10008.1.2.5",  # RLE
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70)),  # JPEG
    *(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)),  # JPEG-LS
    *(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91)),  # JPEG 2000
)
"""The transfer syntaxes that GDCM decodes (PS3.6 table A-1)."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_MEASURING = ("CT", "MR", "PT", "NM")
"""Modalities whose values are measurements: MONOCHROME1 there only says how they are shown."""


def intensities(frames: Sequence[Frame]) -> np.ndarray:
    """The intensities of frames of one size, (K, J, I), in the order given: whole numbers if all are, else float32.

    Raises:
        InputError: a file is cut off, or holds what has no one meaning as an intensity (colours, tables, mosaics).
    """
    _check_scaling(frames)
    slices: dict[int, np.ndarray] = {}
    for source in dict.fromkeys(frame.source for frame in frames):
        stored = _stored(source)
        for place, frame in enumerate(frames):
            if frame.source is source:
                slices[place] = _scaled(stored[frame.number], frame)
    volume = np.stack([slices[place] for place in range(len(frames))])
    return volume.astype(np.float32, copy=False) if volume.dtype.kind == "f" else volume


def _check_scaling(frames: Sequence[Frame]) -> None:
    for frame in frames:
        if frame.slope == 0:
            raise InputError(f"{frame.source.path} has a RescaleSlope of 0, which makes all its voxels equal; it is damaged.")
    for what, values in (
        ("has a RescaleSlope", [frame.slope is not None or frame.intercept is not None for frame in frames]),
        ("measures in", [frame.units for frame in frames]),
    ):
        other = next((n for n, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            shown = [str({True: "yes", False: "no"}.get(x, x) if isinstance(x, bool) else f'"{x}"') for x in values]
            raise InputError(
                f"Slices of one series differ in what their values mean: {frames[0].source.path} {what}: {shown[0]}, "
                f"{frames[other].source.path}: {shown[other]}; read them apart."
            )


def _scaled(stored: np.ndarray, frame: Frame) -> np.ndarray:
    slope, intercept = frame.slope if frame.slope is not None else 1.0, frame.intercept or 0.0
    if not (slope.is_integer() and intercept.is_integer()):
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    whole = stored.astype(np.int64) * int(slope) + int(intercept)
    for kind in (np.int16, np.uint16, np.int32):
        if np.iinfo(kind).min <= whole.min() and whole.max() <= np.iinfo(kind).max:
            return whole.astype(kind)
    return whole


def _stored(source: Source) -> np.ndarray:
    """The stored values of all frames of a file: (frames, rows, columns)."""
    import pydicom
    import SimpleITK

    _check_kind(source)
    with quiet(), tempfile.TemporaryDirectory(prefix="segadversarial-") as folder:
        try:
            dataset = pydicom.dcmread(source.path, force=True)
            _check_pixels(dataset, source)
            place = Path(folder) / "pixels.dcm"
            _strip(dataset)
            dataset.save_as(place)
            array = np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(place))))
        except InputError:
            raise
        except Exception as error:  # pydicom raises whatever a damaged file leads to
            raise InputError(
                f"The pixels of {source.path} cannot be decoded ({detail_of(error)}): the file is damaged, or compressed in a "
                "rare way; get it again, or decompress it first (gdcmconv --raw, dcmdjpeg or dcmdjpls)."
            ) from error
    if array.size != source.frames * source.shape[0] * source.shape[1]:
        raise InputError(f"{source.path} holds fewer pixels than its header says; it was cut off: get it again.")
    return array.reshape(source.frames, *source.shape)


def _check_kind(source: Source) -> None:
    path = source.path
    if source.samples != 1 or not source.photometric.startswith("MONOCHROME"):
        raise InputError(
            f"{path} holds colours ({source.photometric or source.samples}), not one intensity for each pixel; "
            "save it as a picture (PNG) and name its three channels: R,G,B=picture.png."
        )
    if "MOSAIC" in source.image_type:
        raise InputError(f"{path} is a mosaic: many slices in one picture; convert it to NIfTI (dcm2niix) and give that.")
    if source.has_table:
        raise InputError(f"{path} has a table (Modality LUT) in the place of slope and intercept; convert it to NIfTI.")
    if source.photometric == "MONOCHROME1" and source.modality not in _MEASURING:
        raise InputError(
            f"{path} ({source.modality}) is a negative (MONOCHROME1), and whether the network was trained on negatives is not "
            "known; save it as MONOCHROME2 or as a picture (PNG), the way round on which the network was trained."
        )


def _check_pixels(dataset: Any, source: Source) -> None:
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if "PixelData" not in dataset:
        raise InputError(
            f"{source.path} was cut off, or holds no pixels of a known kind; get it again, or convert it to NIfTI."
        )
    if syntax is not None and syntax not in _NATIVE + _COMPRESSED:
        raise InputError(
            f"{source.path} is compressed as {syntax.name}, which is not decoded here; decompress it first "
            "(gdcmconv --raw, dcmdjpeg or dcmdjpls)."
        )
    if syntax is None or syntax in _NATIVE:
        wanted = source.frames * source.shape[0] * source.shape[1] * int(dataset.BitsAllocated) // 8
        if len(dataset.PixelData) < wanted:
            raise InputError(
                f"{source.path} holds {len(dataset.PixelData)} bytes of pixels, its header says {wanted}: it was cut off; "
                "get it again."
            )


def _strip(dataset: Any) -> None:
    """Leave of a dataset what a decoder needs; its encoding stays."""
    from pydicom.datadict import tag_for_keyword

    kept = {tag_for_keyword(keyword) for keyword in _PIXELS}
    for tag in list(dataset.keys()):
        if int(tag) not in kept:
            del dataset[tag]
    dataset.SOPClassUID = _SECONDARY_CAPTURE
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if getattr(dataset, "file_meta", None):
        dataset.file_meta.MediaStorageSOPClassUID = _SECONDARY_CAPTURE
