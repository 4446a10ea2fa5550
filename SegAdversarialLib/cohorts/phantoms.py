"""Synthetic subjects: `phantom:32` are those of the seeds 0 to 31, `phantom:0-31@48` the same at 48 voxels a side."""

from __future__ import annotations

import re

from SegAdversarialLib.cohorts.entry import Entry, PhantomSubject
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.phantom import SMALLEST

WORDS = "synthetic subjects (phantom:32, phantom:0-31@48)"

_FORM = re.compile(r"(?P<seeds>\d+|\d+-\d+|\d+(?:,\d+)+)(?:@(?P<size>\d+(?:,\d+,\d+)?))?")
_MOST = 100_000


def entries(text: str) -> list[Entry]:
    """The subjects that a text names: a number of them, from-to, or single seeds, and their size in voxels.

    Raises:
        InputError: it says something else.
    """
    found = _FORM.fullmatch(text.replace(" ", ""))
    if found is None:
        raise InputError(
            f"phantom:{text} is not of the form phantom:COUNT, phantom:FIRST-LAST or phantom:SEED,SEED, each with @SIZE or "
            "@SLICES,ROWS,COLUMNS behind it if wanted, such as phantom:32 or phantom:0-31@48."
        )
    seeds = _seeds(found["seeds"])
    if not 0 < len(seeds) <= _MOST:
        raise InputError(f"phantom:{text} names {len(seeds)} subjects; from 1 to {_MOST} are right.")
    size = [int(x) for x in (found["size"] or "64").split(",")]
    shape = (size[0], size[0], size[0]) if len(size) == 1 else (size[0], size[1], size[2])
    if min(shape) < SMALLEST:
        raise InputError(f"phantom:{text} asks for {min(shape)} voxels along an axis; {SMALLEST} or more are right.")
    return [
        Entry(name=name, patient=name, phantom=PhantomSubject(seed=seed, shape=shape))
        for seed in dict.fromkeys(seeds)
        for name in (f"phantom-{seed:03d}",)
    ]


def _seeds(text: str) -> range | list[int]:
    if "," in text:
        return [int(x) for x in text.split(",")]
    first, dash, last = text.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))
