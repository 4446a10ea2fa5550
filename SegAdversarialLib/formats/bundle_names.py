"""The names of MONAI's classes in a bundle's configuration, and what is said of settings that none of them takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from SegAdversarialLib.errors import InputError, detail_of

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


@contextmanager
def as_written(entry: str) -> Iterator[None]:
    """What cannot be done with a part's settings, since they are of other kinds than the part takes, in a sentence."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"The bundle's {entry} has a setting of another kind than is taken there ({detail_of(error)}); check its numbers "
            "and words."
        ) from None
