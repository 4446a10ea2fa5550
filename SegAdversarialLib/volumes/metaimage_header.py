"""What a MetaImage header says that its reader passes over: the voxels' number of bytes, units of length, and a scaling.

Written after the MetaIO documentation ("MetaImage" tags) and MetaIO as it is in ITK 5.4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.completeness import check_plain, check_present, check_zlib
from SegAdversarialLib.volumes.units import millimetres

_LONGEST = 1 << 20

_LONGEST_TEXT = 255
"""Bytes of the texts and numbers of a header. MetaIO in ITK 5.4 keeps them in places of fixed length, and what is longer,
or a number of dimensions that it does not know, ends the process."""

_TEXTS = ("ObjectType", "ObjectSubType", "TransformType", "Name", "ID", "ParentID", "AcquisitionDate", "Modality")

_BYTES = {
    **dict.fromkeys(("CHAR", "UCHAR", "ASCII_CHAR"), 1),
    **dict.fromkeys(("SHORT", "USHORT"), 2),
    **dict.fromkeys(("INT", "UINT", "LONG", "ULONG", "FLOAT"), 4),
    **dict.fromkeys(("LONG_LONG", "ULONG_LONG", "DOUBLE"), 8),
}

_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
"""The names that the matrix of directions may have."""


@dataclass(frozen=True)
class MetaImageHeader:
    """The text before the voxels.

    Attributes:
        path: the file, for messages.
        tags: what stands behind "Tag = ".
        length: bytes of the text.
    """

    path: Path
    tags: Mapping[str, str]
    length: int

    @classmethod
    def read(cls, path: Path) -> MetaImageHeader:
        """The header of a .mha or .mhd file.

        Raises:
            InputError: it is no MetaImage file, or its numbers cannot be those of an image.
        """
        with path.open("rb") as file:
            block = file.read(_LONGEST)
        tags: dict[str, str] = {}
        length = 0
        for raw in block.split(b"\n"):
            length += len(raw) + 1
            tag, sign, value = raw.decode("utf-8", "replace").partition("=")
            if not sign:
                break
            tags[tag.strip()] = value.strip()
            if tag.strip() == "ElementDataFile":  # always the last
                found = cls(path, tags, length)
                found._check_sizes()
                return found
        raise InputError(f"{path} cannot be read as an image: it is no MetaImage file, whose header ends in ElementDataFile.")

    def _check_sizes(self) -> None:
        """Refuse a header from which no reader can make an image."""
        long = next((x for x in _TEXTS if len(self.tags.get(x, "").encode()) > _LONGEST_TEXT), None)
        if long is not None:
            raise InputError(f"{self.path}: {long} is longer than {_LONGEST_TEXT} letters; save it again.")
        dimensions = self.tags.get("NDims", "")
        if dimensions not in ("2", "3", "4"):
            raise InputError(f"{self.path}: NDims, the number of dimensions, is {dimensions[:20]!r}; it must be 2, 3 or 4.")
        sizes = self.tags.get("DimSize", "").split()
        if len(sizes) != int(dimensions) or any(not re.fullmatch("[0-9]{1,9}", x) or int(x) < 1 for x in sizes):
            raise InputError(
                f"{self.path}: DimSize is {self.tags.get('DimSize', '')[:40]!r}; it must be {dimensions} whole numbers."
            )
        channels = self.tags.get("ElementNumberOfChannels", "1")
        if not re.fullmatch("[0-9]{1,4}", channels) or int(channels) < 1:
            raise InputError(f"{self.path}: ElementNumberOfChannels is {channels[:20]!r}; a whole number from 1 on is right.")

    def unit(self) -> float:
        """Millimetres in the unit of length.

        Raises:
            InputError: it is no known unit of length.
        """
        return millimetres(self.tags.get("DistanceUnits", "mm"), self.path, "DistanceUnits")

    def notes(self) -> list[str]:
        """What the user should know about where the voxels are."""
        sized = "ElementSpacing" in self.tags or "ElementSize" in self.tags
        unsized = [] if sized else [f"{self.path} does not say how large its voxels are (ElementSpacing); 1 mm was taken."]
        if any(tag in self.tags for tag in _DIRECTIONS):
            return unsized
        stated = self.tags.get("AnatomicalOrientation")
        unused = f" (AnatomicalOrientation = {stated} was not used)" if stated else ""
        return [
            f"{self.path} gives no directions (TransformMatrix): i, j and k were taken for left, posterior and superior, as "
            f"SimpleITK does{unused}.",
            *unsized,
        ]

    def check_scaling(self) -> None:
        """Refuse intensities that are to be scaled, as the reader gives the stored numbers.

        Raises:
            InputError: they are.
        """
        for tag, neutral in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
            if tag in self.tags and _number(self.tags[tag]) not in (neutral, None):
                raise InputError(
                    f"{self.path}: the voxels are to be scaled ({tag} = {self.tags[tag]}), which no reader does; store the "
                    "scaled intensities, or take the tag away if the stored numbers are the intensities."
                )

    def check_complete(self) -> None:
        """Refuse voxels that end too early.

        Raises:
            InputError: they do, are damaged, or their file is missing.
        """
        needed = self._bytes()
        name = self.tags["ElementDataFile"]
        if needed is None or name.upper().startswith("LIST") or "%" in name:  # one file for each slice: the reader's affair
            return
        local = name.upper() == "LOCAL"
        path = self.path if local else self.path.parent / name
        check_present(self.path, path, "ElementDataFile")
        skipped = self.tags.get("HeaderSize", "0")
        if not re.fullmatch("-1|[0-9]{1,12}", skipped):
            raise InputError(f"{self.path}: HeaderSize is {skipped[:20]!r}; a number of bytes, or -1, would be right.")
        start = self.length if local else max(0, int(skipped))
        if self.tags.get("CompressedData", "").lower() in ("true", "1", "t"):
            check_zlib(path, start, needed)
        else:
            check_plain(path, start, needed)

    def _bytes(self) -> int | None:
        """The voxels' number of bytes, if it can be told."""
        kind = self.tags.get("ElementType", "").upper().removeprefix("MET_").removesuffix("_ARRAY")
        count = math.prod(map(int, self.tags["DimSize"].split())) * int(self.tags.get("ElementNumberOfChannels", "1"))
        if self.tags.get("BinaryData", "True").lower() in ("false", "0", "f"):
            return count  # a number as text has one digit
        return count * _BYTES[kind] if kind in _BYTES else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
