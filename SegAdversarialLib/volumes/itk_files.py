"""Volumes of the files that SimpleITK reads, checked where SimpleITK does not look."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.completeness import damaged, incomplete, is_gzip
from SegAdversarialLib.volumes.geometry import affine_of_itk, spacing_of
from SegAdversarialLib.volumes.metaimage_header import MetaImageHeader
from SegAdversarialLib.volumes.nrrd_header import NrrdHeader
from SegAdversarialLib.volumes.volume import Space, Volume

if TYPE_CHECKING:
    import SimpleITK

_NOT_CHECKED_BY_ITK = (".vtk", ".gipl", ".gipl.gz", ".mrc", ".rec", ".pic")
"""Formats of plain numbers behind a header, of which ITK 5.4 reads a file that ends too early without a word."""

_ENDS_EARLY = re.compile(r"got only|but received|but read|unexpected end|premature|truncated", re.IGNORECASE)
"""How the readers within ITK say that voxels are missing."""


def read_with_itk(path: Path) -> list[Volume]:
    """The volumes in a file: one, or one for each of its values or frames.

    Raises:
        InputError: SimpleITK cannot read it, it is incomplete, or what its header says cannot be right.
    """
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")):
        return _read_nrrd(path)
    if name.endswith((".mha", ".mhd")):
        return _read_metaimage(path)
    image, notes = itk_image_of(path)
    if name.endswith(_NOT_CHECKED_BY_ITK):
        _check_size(path, image)
    return volumes_of(image, path, notes=notes)


def itk_image_of(path: Path) -> tuple[SimpleITK.Image, list[str]]:
    """An image as SimpleITK reads it, and what it warned of.

    Raises:
        InputError: it cannot be read, or holds complex numbers.
    """
    import SimpleITK

    with _warnings() as warned:
        try:
            image = SimpleITK.ReadImage(str(path))
        except RuntimeError as error:
            if _ENDS_EARLY.search(str(error)):
                raise InputError(f"{path} is incomplete ({detail_of(error)}); fetch or save it again.") from error
            raise InputError(
                f"{path} cannot be read as an image ({detail_of(error)}); NIfTI, NRRD and MHA files are right."
            ) from error
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path} holds complex numbers; save their magnitude, or real and imaginary part as two images.")
    return image, [f"{path}: {text}." for text in dict.fromkeys(warned)]


def volumes_of(image: SimpleITK.Image, path: Path, unit: float = 1.0, notes: list[str] | None = None) -> list[Volume]:
    """The volumes in an image of two to four dimensions: one, or one for each value of a voxel or each frame.

    Args:
        image: as SimpleITK reads it.
        path: its file, for messages.
        unit: millimetres in its unit of length.
        notes: what the user should know about it.

    Raises:
        InputError: it has no voxels or no place, several frames of several values, or more than four dimensions.
    """
    import SimpleITK

    values, dimension = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    if dimension > 4 or (dimension == 4 and values > 1):
        raise InputError(
            f"{path} has {dimension} dimensions and {values} value(s) for each voxel; save the volumes that you want in a "
            "file of their own."
        )
    array = SimpleITK.GetArrayFromImage(image)
    affine = affine_of_itk(image)
    affine[:3] *= unit
    if array.size == 0 or not np.isfinite(affine).all() or not all(spacing_of(affine)):
        raise InputError(f"{path} has no voxels, or gives them no size or place; sizes and spacings must be more than 0.")
    parts = [array[..., n] for n in range(values)] if values > 1 else list(array) if dimension == 4 else [array]
    notes = list(notes or ())
    if unit != 1.0:
        notes.append(f"{path} gives its lengths in units of {unit:g} mm; they were turned into mm.")
    if dimension == 2:
        notes.append(f"{path} is a single slice that does not say how thick it is; 1 mm was taken.")
    return [Volume(part if part.ndim == 3 else part[None], affine, notes=tuple(notes)) for part in parts]


def _read_nrrd(path: Path) -> list[Volume]:
    header = NrrdHeader.read(path)
    header.refuse_flat_in_space()
    header.check_complete()
    image, warned = itk_image_of(path)
    volumes = volumes_of(image, path, header.unit(), [*header.notes(), *warned])
    return volumes if header.oriented else [_unoriented(x) for x in volumes]


def _unoriented(volume: Volume) -> Volume:
    """A volume whose file gives sizes only: the affine scales, as that of a NIfTI file without codes."""
    affine = np.diag([*spacing_of(volume.affine), 1.0])
    return Volume(volume.array, affine, Space.of(0), volume.notes)


def _read_metaimage(path: Path) -> list[Volume]:
    header = MetaImageHeader.read(path)
    header.check_scaling()
    header.check_complete()
    image, warned = itk_image_of(path)
    return volumes_of(image, path, header.unit(), [*header.notes(), *warned])


def _check_size(path: Path, image: SimpleITK.Image) -> None:
    """Refuse a file of plain numbers behind a header that ends too early."""
    try:
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            start = file.read(1 << 12)
            held = len(start) + sum(len(piece) for piece in iter(lambda: file.read(1 << 20), b""))
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path, error) from error
    count = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel()
    header, unit, size = _header_length(path, start), "bytes", image.GetSizeOfPixelComponent()
    if path.suffix.lower() == ".vtk" and b"BINARY" not in start.upper():  # numbers as text
        header, unit, size, held = 0, "numbers", 1, len(path.read_bytes()[header:].split())
    needed = header + count * size
    if held < needed:
        raise incomplete(path, held, needed, unit)


def _header_length(path: Path, start: bytes) -> int:
    """Bytes before the voxels."""
    name = path.name.lower()
    if name.endswith((".gipl", ".gipl.gz")):
        return 256
    if name.endswith(".pic"):
        return 76
    if name.endswith((".mrc", ".rec")):  # and an extended header, whose length stands at byte 92
        return 1024 + int.from_bytes(start[92:96], "little" if start[212:213] == b"D" else "big")
    keyword = max(start.find(b"LOOKUP_TABLE"), start.find(b"VECTORS"), start.find(b"COLOR_SCALARS"))
    return start.find(b"\n", keyword) + 1 if keyword >= 0 else 0


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What ITK warns of while the block runs, which it would write to the terminal alone."""
    import SimpleITK

    found: list[str] = []
    if not hasattr(SimpleITK, "LoggerBase"):  # a SimpleITK that was built without it
        yield found
        return

    class Collector(SimpleITK.LoggerBase):
        def DisplayText(self, text: str) -> None:  # noqa: N802
            """Nothing of what is no warning: errors are raised, too."""

        def DisplayWarningText(self, text: str) -> None:  # noqa: N802
            # "WARNING: In file, line n\nClass (0xaddress): sentence"
            found.append(re.sub(r"^.*\(0x[0-9a-f]+\): ", "", " ".join(text.split())).rstrip("."))

        DisplayErrorText = DisplayGenericOutputText = DisplayDebugText = DisplayText

    collector = Collector()
    earlier = collector.SetAsGlobalITKLogger()
    try:
        yield found
    finally:
        earlier.SetAsGlobalITKLogger()
