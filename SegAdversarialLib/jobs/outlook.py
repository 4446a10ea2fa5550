"""How long a job's attacks will still take: the forecast, corrected by all that has been measured since."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from SegAdversarialLib.errors import ProgressCallback
from SegAdversarialLib.jobs.forecast import Forecast
from SegAdversarialLib.jobs.time_left import TimeLeft

SEARCHING = "searching"
PARTS = (SEARCHING, "answering", "measuring", "writing")
"""What an attack of a job goes through: the network answers once more for the changed image before that is measured."""

_TRUSTED = 0.15
"""The share of a part from which on its own pace says all about its rest, and what was expected nothing. Where that was
measured twice, it is twice as much, as the first gradient of an attack also gets memory for the others; not of attacks that do
much by themselves."""

_ALMOST = 0.9999


class _Part(NamedTuple):
    """A part of an attack: its kind, the kind of attack whose pace alone says something of it ("": any), what is expected."""

    kind: str
    of: str
    seconds: float


class Outlook:
    """Follows the attacks of a job through their parts.

    A part that goes on is judged by its own pace, one that has not begun by the latest of its kind that has ended, or else by
    the forecast; where that has measured the network, it is corrected by how much slower or faster the network is now, as
    attacks show that do little else than ask it. A network that is faster now says nothing of other work, as a first gradient
    also gets memory for the others; what makes it slower, such as other programs, makes all slower.

    Args:
        expected: the forecast.
        tell: told the finished fraction, what is done, and the seconds that are left. The fraction never falls.
        clock: gives the seconds.
    """

    def __init__(
        self,
        expected: Forecast,
        tell: Callable[[float, str, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected, self._tell, self._clock = expected, tell, clock
        self._parts = [
            _Part(kind, expected.own_paces.get(name, "") if kind == SEARCHING else "", expected.seconds_of(name)[kind])
            for name in expected.costs
            for kind in PARTS
        ]
        self._pace: dict[tuple[str, str], float] = {}
        self._fraction = 0.0
        self._begun = clock()
        self._begin(0)

    def within(self, share: float, message: str) -> None:
        """So much of the present part is done."""
        part = self._parts[self._at]
        expected, searches = part.seconds, part.kind == SEARCHING
        measured = self._left.after(share)
        left = (1 - share) * expected * self._expected_pace
        if measured is not None:
            trusted = _TRUSTED * (1 + (searches and not part.of and self._expected.measured_gradients > 1))
            weight = min(1.0, share / trusted) if expected else 1.0
            left = weight * measured + (1 - weight) * left
            if searches and expected:
                self._pace[part.kind, part.of] = self._ratio(left)
        left += sum(later.seconds * self._pace_of(later) for later in self._parts[self._at + 1 :])
        spent = self._clock() - self._begun
        self._fraction = max(self._fraction, min(spent / (spent + left) if spent else 0.0, _ALMOST))
        self._tell(self._fraction, message, left)

    def progress(self, message: str) -> ProgressCallback:
        """`within` for what tells its progress in other words."""
        return lambda share, _message: self.within(share, message)

    def end(self) -> None:
        """The present part is done, and the next one begins."""
        part = self._parts[self._at]
        if part.seconds:
            self._pace[part.kind, part.of] = self._ratio()
        if self._at + 1 < len(self._parts):
            self._begin(self._at + 1)

    def _begin(self, part: int) -> None:
        self._at, self._part_begun = part, self._clock()
        self._expected_pace = self._pace_of(self._parts[part])
        # an attack gets its things together before it asks the network: that says nothing about its pace
        self._left = TimeLeft(self._clock, working=self._parts[part].kind != SEARCHING)

    def _ratio(self, left: float = 0.0) -> float:
        """What the present part has taken, and will take, of what was expected for it."""
        return (self._clock() - self._part_begun + left) / self._parts[self._at].seconds

    def _pace_of(self, part: _Part) -> float:
        """What a part takes of what is expected for it."""
        drift = self._pace.get((SEARCHING, ""), 1.0) if self._expected.measured_gradients else 1.0
        if part.kind != SEARCHING:
            drift = max(1.0, drift)
        return self._pace.get((part.kind, part.of), drift)
