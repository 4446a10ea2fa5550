"""The names of MONAI's classes in a bundle's configuration."""

from __future__ import annotations

from SegAdversarialLib.errors import InputError

_ARRAYS_IN_D = ("BorderPad", "SpatialPad", "DivisiblePad", "Pad")
"""Classes for arrays whose names end as those for dictionaries do."""


def base_name(target: str, entry: str) -> str:
    """The name of MONAI's class without the d of its form for dictionaries.

    Raises:
        InputError: it is not one of MONAI's.
    """
    room, _, name = target.rpartition(".")
    if room and room.partition(".")[0] != "monai":
        raise InputError(
            f"The bundle's {entry} is {target}, Python code that comes with the bundle; such a program is not run here: do "
            "what it does to the cases beforehand and take it out of the configuration, or wrap the network in Python "
            "(SegmentationModel.from_network)."
        )
    if name in _ARRAYS_IN_D:
        return name
    for ending in ("Dict", "d", "D"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name
