"""Which cell a worker does next: what others wait for first, then attacks on the case that the worker holds already."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable

from SegAdversarialLib.studies.records import Cell

_FIRST = {"train": 0, "generator": 0, "audit": 1, "attack": 2}
"""What others wait for comes first, then what takes longest, so that no worker is left with it at the end."""

_Group = tuple[str, str]


class Schedule:
    """Cells that wait for a worker.

    Attacks on one case and one network belong together: one worker does them one after the other, so that the case is read
    once and the clean answer is asked for once; only where nothing else is left do workers share them.

    Args:
        cells: all that are to be done. What they need and is not among them is taken to be there.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._cells = {cell.key: cell for cell in cells}
        self._needs = {key: {x for x in cell.needs if x in self._cells} for key, cell in self._cells.items()}
        self._needed_by: dict[str, list[str]] = defaultdict(list)
        for key, needs in self._needs.items():
            for needed in needs:
                self._needed_by[needed].append(key)
        self._blocked = {key for key, needs in self._needs.items() if needs}
        self._urgent: deque[Cell] = deque()
        self._cases: OrderedDict[str, OrderedDict[_Group, deque[Cell]]] = OrderedDict()
        self._attacks = 0
        self._taken: set[_Group] = set()
        self._last: dict[str, _Group] = {}
        ready = [cell for key, cell in self._cells.items() if key not in self._blocked]
        for cell in sorted(ready, key=lambda x: _FIRST[x.kind]):
            self._add(cell)

    def __len__(self) -> int:
        """How many are not done yet, those that workers are at not counted."""
        return self.ready + len(self._blocked)

    @property
    def ready(self) -> int:
        """How many could be begun at once."""
        return len(self._urgent) + self._attacks

    def next(self, worker: str) -> Cell | None:
        """Take the next cell for a worker; None where there is none that could be begun."""
        if self._urgent:
            return self._urgent.popleft()
        group = self._group_for(worker)
        if group is None:
            return None
        case = group[1]
        groups = self._cases[case]
        cell = groups[group].popleft()
        self._attacks -= 1
        self._taken.add(group)
        self._last[worker] = group
        if not groups[group]:
            del groups[group]
        if not groups:
            del self._cases[case]
        return cell

    def again(self, cell: Cell) -> None:
        """A cell that was taken waits again, before all others of its kind."""
        self._add(cell, first=True)

    def done(self, cell: Cell) -> None:
        """A cell is done: what needs it can be begun once it needs nothing else."""
        for key in self._needed_by.pop(cell.key, ()):
            self._needs[key].discard(cell.key)
            if not self._needs[key] and key in self._blocked:
                self._blocked.discard(key)
                self._add(self._cells[key])

    def failed(self, cell: Cell) -> list[Cell]:
        """A cell came to nothing.

        Returns:
            The cells that cannot be done without it, which are no longer waited for.
        """
        found, lost = [], [cell.key]
        while lost:
            for key in self._needed_by.pop(lost.pop(), ()):
                if key in self._blocked:
                    self._blocked.discard(key)
                    found.append(self._cells[key])
                    lost.append(key)
        return found

    def _add(self, cell: Cell, first: bool = False) -> None:
        if cell.kind != "attack":
            (self._urgent.appendleft if first else self._urgent.append)(cell)
            return
        group = (cell.network, cell.case)
        groups = self._cases.setdefault(cell.case, OrderedDict())
        cells = groups.setdefault(group, deque())
        (cells.appendleft if first else cells.append)(cell)
        self._attacks += 1

    def _group_for(self, worker: str) -> _Group | None:
        """The worker's own; else one that nobody has begun, of the worker's case if there is one; else the largest."""
        last = self._last.get(worker)
        if last is not None:
            here = self._cases.get(last[1], OrderedDict())
            if last in here:
                return last
            if (free := next((x for x in here if x not in self._taken), None)) is not None:
                return free
        begun = None
        for groups in self._cases.values():
            free = next((x for x in groups if x not in self._taken), None)
            if free is not None and not any((x, y) in self._taken for x, y in groups):
                return free
            begun = begun or free
        if begun is not None:
            return begun
        everything = [(len(cells), group) for groups in self._cases.values() for group, cells in groups.items()]
        return max(everything, key=lambda x: x[0], default=(0, None))[1]
