"""Which attacks' volumes are kept, as it follows from the store: a study that was interrupted keeps the same as any other."""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from SegAdversarialLib import metrics
from SegAdversarialLib.studies.grouping import counts_in_mean
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.work import volumes_folder
from SegAdversarialLib.volumes.files import RESULT_MARKER

Keep = Literal["tables", "worst", "all"]


class Kept(Protocol):
    """What is needed of the study's store."""

    def planned(self) -> Iterable[Cell]:
        """All cells of the study."""

    def results(self) -> Iterable[dict[str, Any]]:
        """A row for each structure of each finished attack."""

    def keep(self, cell: Cell, kept: Iterable[str]) -> None:
        """Say which volumes of a cell are kept now."""


def volumes_missing(store: Kept, folder: Path, keep: Keep) -> list[Cell]:
    """The finished attacks whose volumes are to be kept and are not there; what is no longer to be kept goes.

    The worst case of a network and an attack is known when all its cases are in: it is attacked once more, instead of all
    volumes being written.
    """
    if keep == "tables":
        return []
    left = mean_dice(store.results())
    done = [cell for cell in store.planned() if cell.key in left]
    wanted = done if keep == "all" else worst(done, left)
    there = {x.parent.relative_to(folder).as_posix() for x in folder.glob(f"volumes/*/*/*/{RESULT_MARKER}")}
    if keep == "worst":
        keys = {cell.key for cell in wanted}
        for cell in done:
            if volumes_folder(cell) in there and cell.key not in keys:
                shutil.rmtree(folder / volumes_folder(cell), ignore_errors=True)
                store.keep(cell, ())
        for cell in wanted:
            if volumes_folder(cell) in there:  # perhaps written, but not told any more, by a run that was ended
                store.keep(cell, (volumes_folder(cell),))
    return [cell for cell in wanted if volumes_folder(cell) not in there]


def most_again(cells: Iterable[Cell], keep: Keep) -> int:
    """How many attacks at most are made once more for their volumes when all cells are done."""
    return len({(x.network, x.attack) for x in cells if x.kind == "attack"}) if keep == "worst" else 0


def mean_dice(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """By key of the attack the mean Dice that it left; infinite where nothing is defined."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = row["dice_after"]
        found[row["key"]] += [] if value is None or not counts_in_mean(row) else [float(value)]
    means = {key: metrics.mean_dice(values) for key, values in found.items()}
    return {key: math.inf if math.isnan(mean) else mean for key, mean in means.items()}


def worst(cells: Iterable[Cell], left: dict[str, float]) -> list[Cell]:
    """Of each network and attack the cell that left the lowest mean Dice; of equal ones the first by key."""
    found: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        of = cell.network, cell.attack
        if of not in found or (left[cell.key], cell.key) < (left[found[of].key], found[of].key):
            found[of] = cell
    return list(found.values())
