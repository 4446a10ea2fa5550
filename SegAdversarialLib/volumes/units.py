"""Units of length, as headers name them."""

from __future__ import annotations

from pathlib import Path

from SegAdversarialLib.errors import InputError

_MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(
        ("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"), 0.001
    ),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e-6),
    **dict.fromkeys(("?", "???", ""), 1.0),
}


def millimetres(unit: str, path: Path, field: str) -> float:
    """Millimetres in a unit; one that is not known to the file itself ("?") is taken for mm, as readers do.

    Raises:
        InputError: it is no unit of length that is known here.
    """
    found = _MILLIMETRES.get(unit.strip().lower())
    if found is None:
        raise InputError(f'{path}: {field} is "{unit}", which is no known unit of length; mm, cm, m, um or nm are right.')
    return found
