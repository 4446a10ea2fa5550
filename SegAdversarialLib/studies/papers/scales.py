"""The sizes at which a paper's study is run, and the two parts of its cohort.

A study is a function of its scale, not a file: cohort, sizes and epochs stand in each of up to thirty networks, and two files
that must stay alike would not. Running one writes the file, which can be read, changed and run again like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from SegAdversarialLib.errors import InputError

Scale = Literal["ci", "phantom", "paper"]
"""A minute, to see that all works; fifteen minutes on two cores; the paper's own epochs and sizes."""

SCALES: tuple[Scale, ...] = ("ci", "phantom", "paper")

Data = dict[str, Any]
CohortLike = str | Mapping[str, Any]

OTHER_CHANNELS = {"T1w": "T1", "t1gd": "T1ce", "T1gd": "T1ce", "T2w": "T2", "flair": "FLAIR"}
"""What the Medical Segmentation Decathlon calls BraTS' channels."""


def parts(
    scale: Scale, cohort: CohortLike | None, phantoms: tuple[str, str], held_back: float, **reading: Any
) -> tuple[Data, Data]:
    """What is learned from, and what is attacked.

    Args:
        scale: of the study.
        cohort: whose patients are split; None: phantoms.
        phantoms: to learn from and to attack.
        held_back: the share of the patients that is attacked.
        reading: how a given cohort is read, such as other names for its channels.

    Raises:
        InputError: the paper's scale without a cohort.
    """
    if cohort is None:
        if scale == "paper":
            raise InputError("The paper's scale needs the paper's kind of data; give a cohort, such as brats:FOLDER.")
        learned, attacked = ({"cohort": x} for x in phantoms)
        return learned, attacked
    given = {**reading, **({"cohort": cohort} if isinstance(cohort, str) else cohort)}
    learned, attacked = ({**given, "part": x, "validation": held_back, "seed": 0} for x in ("training", "validation"))
    return learned, attacked
