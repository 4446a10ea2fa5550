"""How far a training is, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from SegAdversarialLib.attacks.cost import duration
from SegAdversarialLib.errors import ProgressCallback

Kind = Literal["step", "validation", "keeping"]
"""What an epoch consists of: steps, cases that are validated, and the files that it leaves."""


class Remaining:
    """Progress of epochs, with the time that the rest will take.

    Each kind of work is judged by its own pace in the later half of what was done of it. The first of a kind, which gets
    memory and compiles, counts only while it is alone, and the first step never: nothing is told before the second has ended.
    As long as no case has been validated that will be, what is told is the least.

    Args:
        epochs: how many there are.
        done: how many were done before.
        part: where the epochs begin and end in the progress of the whole.
        progress: called with the finished fraction, by time, and a text. The fraction never falls.
        steps: of an epoch; 0: not known before the first has ended.
        validations: cases that are validated.
        every: they are after so many epochs, and after the last.
        clock: seconds that go on.
    """

    def __init__(
        self,
        epochs: int,
        done: int,
        part: tuple[float, float],
        progress: ProgressCallback | None,
        *,
        steps: int = 0,
        validations: int = 0,
        every: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._epochs, self._done, self._before, self._part = epochs, done, done, part
        self._progress, self._clock, self._begun = progress, clock, clock()
        self.steps, self._validations, self._every = steps, validations, every
        self._took: dict[Kind, list[float]] = {"step": [], "validation": [], "keeping": []}
        self._now: tuple[Kind, float] | None = None
        self._fraction = 0.0

    def finished(self, epochs: int) -> None:
        """So many epochs are done, and have left their files."""
        self._end()
        self._done = epochs

    def keeping(self) -> None:
        """The present epoch leaves its files now."""
        self._begin("keeping")

    def __call__(self, number: int, text: str, kind: Kind = "step") -> None:
        """A step of the present epoch begins, or the validation of a case: the `number`th of its kind, from 0."""
        self._begin(kind)
        if self._progress is None:
            return
        begin, end = self._part
        counts = self._counts(number, kind)
        left, least = self._left(counts)
        told = ""
        if left is not None:
            spent, done = self._clock() - self._begun, sum(map(len, self._took.values()))
            share = spent / (spent + left) if spent else 0.0
            most = done / (done + sum(counts.values()))  # of what nobody knows yet how long it takes
            self._fraction = max(self._fraction, min(share, most) if least else share)
            told = f", {'at least ' if least else ''}{duration(left)} left"
        share = (self._before + (self._epochs - self._before) * self._fraction) / self._epochs
        self._progress(begin + (end - begin) * share, f"epoch {self._done + 1} of {self._epochs}: {text}{told}")

    def _counts(self, number: int, kind: Kind) -> dict[Kind, int]:
        """How much of each kind of work is left when this begins."""
        epochs = range(self._done, self._epochs)
        validated = [x for x in epochs if (x + 1) % self._every == 0 or x + 1 == self._epochs]
        steps = self.steps * len(epochs) - (number if kind == "step" else self.steps)
        cases = self._validations * len(validated) - (number if kind == "validation" else 0)
        return {"step": steps, "validation": cases, "keeping": len(epochs)}

    def _left(self, counts: dict[Kind, int]) -> tuple[float | None, bool]:
        """Seconds that are left, None where nobody can know yet; and whether it may be more."""
        paces = {x: _pace(self._took[x], x == "step") for x in counts}
        if not self.steps or (paces["step"] is None and counts["step"]):
            return None, False
        left = sum((paces[x] or 0.0) * count for x, count in counts.items())
        return left, bool(counts["validation"]) and paces["validation"] is None

    def _begin(self, kind: Kind) -> None:
        self._end()
        self._now = kind, self._clock()

    def _end(self) -> None:
        if self._now is not None:
            kind, since = self._now
            self._took[kind].append(self._clock() - since)
            self._now = None


def _pace(took: list[float], warms: bool) -> float | None:
    """Seconds of one piece of work as the later half of those took, without the first; None: it is not known yet."""
    later = took[max(1, len(took) // 2) :] or ([] if warms else took)
    return sum(later) / len(later) if later else None
