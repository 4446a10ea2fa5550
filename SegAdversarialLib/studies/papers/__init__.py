"""Four papers as studies: what to run, what they printed, what they claim, and what came out here.

segadversarial study run papers:liu2021 [--scale ci|phantom|paper] [--cohort brats:FOLDER]
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.papers.comparing import as_printed
from SegAdversarialLib.studies.papers.judging import Claim
from SegAdversarialLib.studies.papers.measured import Measured, Row
from SegAdversarialLib.studies.papers.scales import SCALES, CohortLike, Scale
from SegAdversarialLib.studies.tables import Table

NAMES = ("cheng2020", "liu2021", "pervin2023", "chen2019")


def study(name: str, scale: Scale = "phantom", cohort: CohortLike | None = None) -> dict[str, Any]:
    """The study of a paper, as what its YAML file would hold.

    Args:
        name: one of NAMES.
        scale: "ci" (a minute), "phantom" (fifteen minutes on two cores), or "paper": its own epochs and sizes.
        cohort: its patients are split, one part to learn from and one to attack; None: phantoms.

    Raises:
        InputError: there is no such paper or scale, or the paper's scale has no cohort.
    """
    if scale not in SCALES:
        raise InputError(f'There is no scale "{scale}"; there are {", ".join(SCALES)}.')
    found: dict[str, Any] = _part(name, "study").study(scale, cohort)
    return found


def printed(name: str) -> list[Table]:
    """A paper's tables, as they were printed.

    Raises:
        InputError: there is no such paper.
    """
    return [as_printed(x) for x in _part(name, "tables").TABLES]


def compared(name: str, results: Iterable[Row], *, channels: Iterable[Row] = (), traces: Iterable[Row] = ()) -> list[Table]:
    """A paper's tables with what came out here beside each figure, and the difference.

    Args:
        name: one of NAMES.
        results, channels, traces: the rows of the study, as its store gives them.

    Raises:
        InputError: there is no such paper.
    """
    found: list[Table] = _part(name, "comparing").compare(Measured(results, channels, traces))
    return found


def claims(name: str, results: Iterable[Row], *, channels: Iterable[Row] = (), traces: Iterable[Row] = ()) -> list[Claim]:
    """A paper's claims, each judged on what came out here; the rule is in `judging`.

    Args:
        name: one of NAMES.
        results, channels, traces: the rows of the study, as its store gives them.

    Raises:
        InputError: there is no such paper.
    """
    found: list[Claim] = _part(name, "claims").judge(Measured(results, channels, traces))
    return found


def _part(name: str, part: str) -> Any:
    if name not in NAMES:
        raise InputError(f'There is no paper "{name}"{nearest(name, NAMES)}')
    return import_module(f"{__name__}.{name}.{part}")
