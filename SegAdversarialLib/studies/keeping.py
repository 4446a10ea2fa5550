"""Which attacks' volumes are kept, as it follows from the store: a study that was interrupted keeps the same as any other."""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.work import volumes_folder
from SegAdversarialLib.volumes.files import RESULT_MARKER

Keep = Literal["tables", "worst", "all"]


class Results(Protocol):
    """What is needed of the study's store."""

    def cells(self) -> Iterable[Cell]:
        """All cells of the study."""

    def results(self) -> Iterable[dict[str, Any]]:
        """A row for each structure of each attack."""


def volumes_missing(store: Results, folder: Path, keep: Keep) -> list[Cell]:
    """The finished attacks whose volumes are to be kept and are not there.

    The worst case of a network and an attack is known when all its cases are in: it is attacked once more, instead of all
    volumes being written. Volumes of an earlier worst case go.
    """
    if keep == "tables":
        return []
    left = mean_dice(store.results())
    done = {cell.key: cell for cell in store.cells() if cell.key in left}
    wanted = list(done.values()) if keep == "all" else worst(done.values(), left)
    if keep == "worst":
        _remove_others(folder, [volumes_folder(cell) for cell in wanted])
    return [cell for cell in wanted if not (folder / volumes_folder(cell) / RESULT_MARKER).is_file()]


def mean_dice(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """By key of the attack the mean Dice over the structures that it left; a structure that is undefined does not count."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = row["dice_after"]
        found[row["key"]] += [] if value is None or math.isnan(value) else [float(value)]
    return {key: sum(values) / len(values) if values else math.inf for key, values in found.items()}


def worst(cells: Iterable[Cell], left: dict[str, float]) -> list[Cell]:
    """Of each network and attack the cell that left the lowest mean Dice; of equal ones the first by key."""
    found: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        of = cell.network, cell.attack
        if of not in found or (left[cell.key], cell.key) < (left[found[of].key], found[of].key):
            found[of] = cell
    return list(found.values())


def _remove_others(folder: Path, wanted: list[str]) -> None:
    """Remove the volumes of other cases where those of a wanted one are to lie; only what this software has written."""
    for place in {(folder / x).parent for x in wanted}:
        for other in place.iterdir() if place.is_dir() else ():
            ours = (other / RESULT_MARKER).is_file()
            if ours and str(other.relative_to(folder).as_posix()) not in wanted:
                shutil.rmtree(other, ignore_errors=True)
