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
        searched: how many of the gradients may be of low precision, where that is faster: those of a search but its first.
    """

    gradients: int = 0
    answers: int = 0
    searched: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.gradients + other.gradients, self.answers + other.answers, self.searched + other.searched)

    def times(self, count: int) -> Cost:
        """The same several times."""
        return Cost(count * self.gradients, count * self.answers, count * self.searched)

    def part(self, share: float) -> Cost:
        """A share of it, rounded up."""
        return Cost(*(math.ceil(share * x) for x in (self.gradients, self.answers, self.searched)))

    def seconds(self, gradient: float, answer: float, searched: float | None = None) -> float:
        """How long that takes, from the seconds that one gradient, one answer and one gradient of a search take.

        Args:
            gradient: of the network as it stands.
            answer: without a gradient.
            searched: of a search; None: as any gradient.
        """
        faster = 0.0 if searched is None else self.searched * (gradient - searched)
        return self.gradients * gradient + self.answers * answer - faster


def duration(seconds: float) -> str:
    """A time in words: "40 seconds", "12 minutes", "3.5 hours"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} second{'s' if seconds >= 1.5 else ''}"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
