"""What an attack will ask of its network, known before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

ANSWER = 0.4
"""What an answer costs beside a gradient, where nobody has measured it: a gradient is an answer or two and a backward pass."""


@dataclass(frozen=True)
class Cost:
    """How often an attack will differentiate its network and ask it without a gradient, if it goes on to its end.

    Attributes:
        gradients: as `AttackResult.gradient_evaluations` counts them.
        answers: as `AttackResult.forward_evaluations` counts them; one more may come where a result is rounded, and up to
            three, and one for each time that a search finds it enough, where a search in low precision is judged.
    """

    gradients: int = 0
    answers: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.gradients + other.gradients, self.answers + other.answers)

    def times(self, count: int) -> Cost:
        """The same several times."""
        return Cost(count * self.gradients, count * self.answers)

    def part(self, share: float) -> Cost:
        """A share of it, rounded up."""
        return Cost(math.ceil(share * self.gradients), math.ceil(share * self.answers))

    def seconds(self, gradient: float, answer: float) -> float:
        """How long that takes, from the seconds that one gradient and one answer take."""
        return self.gradients * gradient + self.answers * answer


def duration(seconds: float) -> str:
    """A time in words: "40 seconds", "12 minutes", "3.5 hours"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} second{'s' if seconds >= 1.5 else ''}"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
