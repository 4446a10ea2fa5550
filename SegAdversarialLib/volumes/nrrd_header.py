"""What an NRRD header says that its reader passes over: units of length, and whether the axes mean anything anatomical.

Written after the "Definition of NRRD File Format" (teem, NRRD0001 to NRRD0005), whose field names are used here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.completeness import check_gzip, check_plain, check_present
from SegAdversarialLib.volumes.units import millimetres

_LONGEST = 1 << 20
"""Bytes in which the header has to end; segmentations of hundreds of segments take some tens of thousands."""

_LONGEST_LINE = 512
"""Bytes of a field: the longest that anybody means, the names of sixteen axes, take less. The readers in ITK 5.4 keep words
of a field in places of fixed length, and longer ones end the process."""

_ANATOMICAL = {
    name
    for short, long in (
        ("ras", "right-anterior-superior"),
        ("las", "left-anterior-superior"),
        ("lps", "left-posterior-superior"),
    )
    for name in (short, f"{short}t", long, f"{long}-time")
}
"""Spaces whose axes are the patient's; SimpleITK turns them all to LPS."""

_TYPES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: ("short", "short int", "signed short", "signed short int", "int16", "int16_t")
    + ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t")
    + ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double"),
}
"""Bytes of a voxel, and the names of the types that have them."""


_LEAST = {"raw": 1.0, **dict.fromkeys(("txt", "text", "ascii"), 0.125), "hex": 2.0}
"""Bytes that one of the voxels' bytes takes in a file at least, by the encoding: a number as text has one digit."""


@dataclass(frozen=True)
class NrrdHeader:
    """The text before the voxels.

    Attributes:
        path: the file, for messages.
        fields: what stands behind "name: ", by the name in small letters.
        keys: what stands behind "key:=", by the key as it is written.
        length: bytes of the text, the blank line that ends it included.
    """

    path: Path
    fields: Mapping[str, str]
    keys: Mapping[str, str]
    length: int

    @classmethod
    def read(cls, path: Path) -> NrrdHeader:
        """The header of a .nrrd or .nhdr file.

        Raises:
            InputError: it is no NRRD file, or a field in it is longer than any that means something.
        """
        with path.open("rb") as file:
            block = file.read(_LONGEST)
        if not block.startswith(b"NRRD000"):
            raise InputError(f'{path} cannot be read as an image: it is no NRRD file, which begins with "NRRD000".')
        fields: dict[str, str] = {}
        keys: dict[str, str] = {}
        first, *rest = block.split(b"\n")
        length = len(first) + 1
        for raw in rest:
            length += len(raw) + 1
            line = raw.decode("utf-8", "replace").rstrip("\r")
            if not line:
                break
            if line.startswith("#"):
                continue
            field, colon, value = line.partition(": ")
            key, assigned, text = line.partition(":=")
            if assigned and len(key) < len(field):
                keys[key] = text
            elif len(raw) > _LONGEST_LINE:
                shown = line[:20] if not colon or len(field) > 20 else field
                raise InputError(f"{path} is no sound NRRD file: its field {shown!r} takes {len(raw)} bytes; save it again.")
            elif colon:
                fields[field.strip().lower()] = value.strip()
        return cls(path, fields, keys, length)

    @property
    def oriented(self) -> bool:
        """Whether it says how the axes lie at all."""
        return "space directions" in self.fields

    def check_complete(self) -> None:
        """Refuse voxels that end too early.

        Raises:
            InputError: they do, or are damaged.
        """
        data = self.fields.get("data file", self.fields.get("datafile"))
        encoding, needed = self.fields.get("encoding", "").lower(), self._bytes()
        if needed is None or (data is not None and (data.upper().startswith("LIST") or "%" in data)):
            return  # several files: their reader says which is missing or too short
        path, start = (self.path, self.length) if data is None else (self.path.parent / data, 0)
        check_present(self.path, path, "data file")
        if encoding in ("gzip", "gz"):
            check_gzip(path, start, needed)
        elif encoding in _LEAST:
            check_plain(path, start, int(needed * _LEAST[encoding]))

    def _bytes(self) -> int | None:
        """The voxels' number of bytes, if it can be told."""
        size = next((size for size, names in _TYPES.items() if self.fields.get("type", "").lower() in names), None)
        sizes = self.fields.get("sizes", "").split()
        return size * math.prod(map(int, sizes)) if size and sizes and all(x.isdecimal() for x in sizes) else None

    def unit(self) -> float:
        """Millimetres in the unit of length ("space units", or each axis' "units" where there is no space).

        Raises:
            InputError: the unit is none of length, or axes have different ones.
        """
        field = "space units" if self.oriented else "units"
        words = [x for x in self.fields.get(field, "").split('"')[1::2] if x.strip()]
        units = {millimetres(word, self.path, field) for word in words[:3]}
        if len(units) > 1:
            raise InputError(f"{self.path}: {field} differ between the axes ({', '.join(words[:3])}); mm for all are right.")
        return units.pop() if units else 1.0

    def notes(self) -> list[str]:
        """What the user should know about where the voxels are."""
        space = self.fields.get("space", "").lower()
        if self.oriented and space not in _ANATOMICAL:
            named = f'"{self.fields["space"]}"' if space else "not named"
            return [
                f"{self.path}: its space is {named}, which says nothing about the patient; its axes were taken for left, "
                "posterior and superior, as SimpleITK does."
            ]
        if not self.oriented:
            unsized = f"{self.path} does not say how large its voxels are along each axis (spacings): 1 mm was taken."
            return [
                f"{self.path} says nothing about how its voxels are oriented (there are no space directions): i, j and k were "
                "taken for right, anterior and superior, and NIfTI and NRRD files that are written will not claim more.",
                *([] if self._sized() else [unsized]),
            ]
        return []

    def _sized(self) -> bool:
        """Whether it gives a size along three axes (two of a picture), where there are no directions."""
        given = [x for x in self.fields.get("spacings", "").split() if x.lower() != "nan"]
        return len(given) >= min(3, len(self.fields.get("sizes", "").split()))

    def refuse_flat_in_space(self) -> None:
        """Refuse a slice that lies in three dimensions, which SimpleITK cannot read.

        Raises:
            InputError: it is one.
        """
        directions = self.fields.get("space directions", "")
        if directions.count("(") == 2 and directions.count(",") == 4:
            raise InputError(
                f"{self.path} is a slice (dimension: {self.fields.get('dimension')}) with a place in three dimensions, which "
                "cannot be read; give it a third axis of one voxel, whose direction is its thickness."
            )
