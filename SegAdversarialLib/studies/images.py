"""Images of a study, read again for its figures: the cohort's own, and those of attacks whose volumes were kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.attacks.files import changed_image
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.files import ATTACKED, CLEAN
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.volumes.files import RESULT_MARKER
from SegAdversarialLib.volumes.reading import read_label

if TYPE_CHECKING:
    from SegAdversarialLib.volumes.case import Case


@dataclass(frozen=True, eq=False)
class Kept:
    """An attack whose volumes were kept.

    Attributes:
        original, adversarial: the case before and after; with the reference where its labels are those of the answers.
        before, after: the network's label maps (K, J, I).
    """

    original: Case
    adversarial: Case
    before: np.ndarray
    after: np.ndarray


def cases_of(cells: Iterable[Cell], most: int) -> Iterator[Case]:
    """The cases that a study attacks, each once, evenly chosen where they are more; those that cannot be read are left out."""
    entries = {cell.case: cell.work["case"] for cell in cells if cell.kind == "attack" and "case" in cell.work}
    names = list(entries)
    for place in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)):
        try:
            yield Entry.model_validate(entries[names[place]]).read()
        except InputError:  # its files may have been moved since it was attacked: the results stand without them
            continue


def read_kept(cell: Cell, folder: Path) -> Kept:
    """The kept volumes of an attack.

    Raises:
        InputError: the case or the volumes cannot be read.
    """
    case = Entry.model_validate(cell.work["case"]).read()
    try:
        record = json.loads((folder / RESULT_MARKER).read_text(encoding="utf-8"))
        ending = record["ending"]
        image = changed_image(folder, "", case, record["changed"], ending)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The volumes in {folder} are damaged ({type(error).__name__}: {error}).") from error
    before, after = (read_label(folder / f"{name}{ending}", case.grid) for name in (CLEAN, ATTACKED))
    answered = set(np.unique(before).tolist()) | set(np.unique(after).tolist())
    named = set(case.label_names or ()) | set(() if case.label is None else np.unique(case.label).tolist())
    if not answered <= named:  # the network numbers its classes otherwise: the same colour would mean two things
        case = replace(case, label=None)
    return Kept(case, case.with_image(image), before, after)
