"""How quickly cells are done, and how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from SegAdversarialLib.attacks.cost import duration
from SegAdversarialLib.studies.records import Cell

_Sort = tuple[str, str, str]

_RECENT = 60.0
"""Seconds over which the rate is counted."""


class Pace:
    """Rate and time left, from how long cells of each sort (kind, network, attack) took.

    Args:
        cells: what is to be done.
        clock: seconds that go on.
    """

    def __init__(self, cells: Iterable[Cell], clock: Callable[[], float] = time.monotonic) -> None:
        self._left = Counter(_sort(cell) for cell in cells)
        self._total, self._done, self._clock, self._begun = self._left.total(), 0, clock, clock()
        self._took: dict[tuple[str, ...], tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        self._finished: list[float] = []

    def finished(self, cell: Cell, seconds: float | None) -> None:
        """A cell is done; in so many seconds of a worker, None where it came to nothing."""
        self._left[_sort(cell)] -= 1
        self._done += 1
        now = self._clock()
        self._finished = [x for x in self._finished if x > now - _RECENT] + [now]
        if seconds is not None:
            for alike in _alike(_sort(cell)):
                count, total = self._took[alike]
                self._took[alike] = count + 1, total + seconds

    @property
    def fraction(self) -> float:
        """The share of the cells that is done."""
        return self._done / self._total if self._total else 1.0

    @property
    def per_minute(self) -> float:
        """Cells that were done in the last minute, or the rate so far."""
        now = self._clock()
        span = min(now - self._begun, _RECENT)
        return 60 * sum(x > now - _RECENT for x in self._finished) / span if span > 0 else 0.0

    def left(self, workers: int) -> float | None:
        """Seconds until those are done by so many workers of whose kind some are; None where that is nothing."""
        known = [(count, self._expected(sort)) for sort, count in self._left.items() if count > 0]
        seconds = [count * each for count, each in known if each is not None]
        return sum(seconds) / workers if workers and (seconds or (self._took and not known)) else None

    @property
    def is_least(self) -> bool:
        """Whether others are left, of whose kind none is done: an attack takes as long as others do, but not as a training."""
        return any(count > 0 and self._expected(sort) is None for sort, count in self._left.items())

    def sentence(self, workers: int) -> str:
        """How far it is: "12 of 40 jobs, 31 a minute, about 1 min left"; of the time that is left also that nobody knows."""
        text = f"{self._done:,} of {self._total:,} jobs"
        if (rate := self.per_minute) > 0:  # where single jobs take minutes it says nothing
            text += f", {rate:.3g} a minute"
        left = self.left(workers)
        about = "more than" if self.is_least else "about"
        if self._done == self._total:
            return text
        return f"{text}, not known yet how much is left" if left is None else f"{text}, {about} {duration(left)} left"

    def _expected(self, sort: _Sort) -> float | None:
        """Seconds of one cell: as those of its sort took, or else those most like it; None where there are none."""
        count, total = next((self._took[alike] for alike in _alike(sort) if alike in self._took), (0, 0.0))
        return total / count if count else None


def _sort(cell: Cell) -> _Sort:
    return cell.kind, cell.network, cell.attack


def _alike(sort: _Sort) -> tuple[tuple[str, ...], ...]:
    """What is like a sort, from the most to the least: the same attack on any network, the same kind."""
    kind, _, attack = sort
    return sort, (kind, attack), (kind,)
