"""How long a study takes, from the cells that are finished already, and which to do first so that this is known soon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from SegAdversarialLib.studies.pace import Pace
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.rows import Rows


class Estimate(NamedTuple):
    """How long the cells that wait will take.

    Attributes:
        waiting: how many they are.
        seconds: how long one worker takes for them; None: nothing alike is finished yet.
        measured: finished cells that this is known from.
        unknown: sorts of cells (their kind, or their attack) of which none is finished. An attack is taken to last as others
            do, other kinds are not counted.
    """

    waiting: int
    seconds: float | None
    measured: int
    unknown: tuple[str, ...]


def estimate(cells: Iterable[tuple[Cell, float | None]]) -> Estimate:
    """How long cells will take, from those of them that are finished.

    Args:
        cells: each with the seconds that it took; None: it is not finished.
    """
    told = list(cells)
    pace = Pace(cell for cell, _ in told)
    waiting: list[Cell] = []
    measured: set[str] = set()
    for cell, seconds in told:
        if seconds is None:
            waiting.append(cell)
        else:
            pace.finished(cell, seconds)
            measured.add(sort_of(cell))
    unknown = dict.fromkeys(sort_of(x) for x in waiting if sort_of(x) not in measured)
    left = pace.left(1) if waiting else 0.0
    return Estimate(len(waiting), left, len(told) - len(waiting), tuple(unknown))


def timed(store: Rows, cells: Iterable[Cell] | None = None) -> Iterator[tuple[Cell, float | None]]:
    """Cells with the seconds that they took, None where they are not finished.

    Args:
        store: an open store; that of an earlier plan will do.
        cells: those of a plan; None: those of the store's plan, of which only kind, network and attack are told.
    """
    rows = store.cells()
    if cells is None:
        for row in rows:
            cell = Cell(kind=row["kind"], network=row["network"], attack=row["attack"])
            yield cell, row["seconds"] if row["state"] == "done" else None
        return
    took = {row["key"]: row["seconds"] for row in rows if row["state"] == "done"}
    for cell in cells:
        yield cell, took.get(cell.key)


def sort_of(cell: Cell) -> str:
    """What a cell is, so that cells of one sort take about as long: the attack, or what else it does."""
    return {"train": "training", "generator": "training a generator", "audit": "audit"}.get(cell.kind, cell.attack)


def first_ones(waiting: Sequence[Cell], count: int) -> list[Cell]:
    """So many of the cells that can be done at once, one of each sort and network before a second of any."""
    open_keys = {cell.key for cell in waiting}
    ready = [cell for cell in waiting if not open_keys & set(cell.needs)]
    turns: dict[tuple[str, str], int] = {}
    ranked = []
    for place, cell in enumerate(ready):
        sort = (sort_of(cell), cell.network)
        turns[sort] = turns.get(sort, -1) + 1
        ranked.append((turns[sort], place, cell))
    return [cell for _, _, cell in sorted(ranked, key=lambda x: x[:2])[:count]]
