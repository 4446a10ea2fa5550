"""How long work will still take, from how far it has come when."""

from __future__ import annotations

import time
from collections.abc import Callable

_SOONEST = 0.03
"""A forecast from less of the work than this is worth nothing."""


def says_time_left(message: str) -> bool:
    """Whether a message of progress says itself how much time is left, or that nobody knows: nothing is to be added to it."""
    return message.endswith(" left")


class TimeLeft:
    """Forecasts from the pace of the later half of what is done: what came before, such as opening a network or a first guess
    of the parts' shares, says little about what comes.

    Args:
        clock: gives the seconds.
        working: the work has begun already; otherwise it does when its fraction first grows.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, working: bool = False) -> None:
        self._clock, self._working = clock, working
        self._seen = [(0.0, clock())]

    def after(self, fraction: float) -> float | None:
        """Note how much of the work is done now, from 0 to 1.

        Returns:
            The seconds that are left, or None where nobody can know yet.
        """
        now = self._clock()
        if fraction <= self._seen[0][0]:
            if not self._working:
                # still at the beginning: what has passed so far is no work
                self._seen = [(fraction, now)]
            return None
        if fraction > self._seen[-1][0]:
            self._seen.append((fraction, now))
        half = (fraction + self._seen[0][0]) / 2
        begun, since = next(x for x in reversed(self._seen) if x[0] <= half)
        if fraction < _SOONEST or now <= since:
            return None
        return (now - since) * (1 - fraction) / (fraction - begun)
