"""The search for the least budget at which Dice has fallen: bisection, each attack beginning where the one before ended.

Budgets are shares of the largest that is allowed. An attack that succeeds may use less of its budget than it was given, and
its change can often be made smaller still: the network is asked how much smaller. An attack that fails raises the lower end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from SegAdversarialLib.attacks.attack import Found
from SegAdversarialLib.attacks.engine.looking import Look, Seen
from SegAdversarialLib.attacks.engine.run import AttackRun

SHRINKS = 4
"""How often the network is asked how much smaller a change may be made."""

ROUNDING = 1e-9
"""0.8 to 0.56 is a drop of 30 %, although floating-point numbers make it 0.2999999."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """An image, what was done to get there, and with which share of the budget it can be had."""

    share: float
    found: Found
    seen: Seen


Try = Callable[[float, Attempt | None], Found]
"""An attack with this share of the budget, which may begin where another one ended."""

Shrink = Callable[[Found, float, float], Found | None]
"""What was found with the first share made so much smaller that the second one allows it; None: it cannot be done."""


@dataclass(frozen=True)
class BisectionPlan:
    """How the least budget is looked for.

    Attributes:
        outputs: the positions of the outputs whose mean Dice has to fall.
        enough: the Dice down to which it has to.
        probes: how many attacks there may be.
        precision: how wide the bracket may be in the end, as a share of its upper end.
        least: the least share with which the attack can be made.
    """

    outputs: Sequence[int]
    enough: float
    probes: int
    precision: float
    least: float

    def succeeds(self, seen: Seen) -> bool:
        """Whether Dice has fallen enough."""
        return seen.mean(self.outputs) <= self.enough + ROUNDING


class Bisection:
    """One search.

    Args:
        plan: how it is done.
        attempt: makes the attack with a share of its budget.
        shrink: makes a change smaller.
        look: asks the network.
        tell: told of each image that was looked at.

    Attributes:
        lower: the largest share at which the attack has failed; 0: at none.
        upper: the attempt with the least share that has succeeded; None: there is none.
        last: the attempt that was made last.
    """

    def __init__(self, plan: BisectionPlan, attempt: Try, shrink: Shrink, look: Look, tell: Callable[[Attempt], None]) -> None:
        self._plan, self._attempt, self._shrink, self._look, self._tell = plan, attempt, shrink, look, tell
        self.lower = 0.0
        self.upper: Attempt | None = None
        self.last: Attempt | None = None

    def run(self, begin: Attempt | None = None) -> None:
        """Search; `begin` is an image that may already do, found by another search."""
        plan = self._plan
        if begin is not None and plan.succeeds(begin.seen):
            self.last = begin
            self._succeeded(begin)
        for _ in range(plan.probes):
            share = self._next()
            if share is None:
                return
            made = self._made(share, self._attempt(share, self.last))
            self.last = made
            if plan.succeeds(made.seen):
                self._succeeded(made)
            else:
                self.lower = share
                if self.upper is None:
                    return

    def _next(self) -> float | None:
        """The share that is tried next; None: the bracket is narrow enough."""
        plan, upper = self._plan, self.upper
        if upper is None:
            return 1.0
        if upper.share <= plan.least or upper.share - self.lower <= plan.precision * upper.share:
            return None
        middle = (self.lower * upper.share) ** 0.5 if self.lower else upper.share / 2
        return max(middle, plan.least)

    def _made(self, share: float, found: Found) -> Attempt:
        attempt = Attempt(share, found, self._look(found))
        self._tell(attempt)
        return attempt

    def _succeeded(self, made: Attempt) -> None:
        """Keep it, made as small as it may be."""
        self.upper, low = made, self.lower
        for _ in range(SHRINKS):
            share = (low + self.upper.share) / 2
            smaller = self._shrink(made.found, made.share, share)
            if smaller is None:
                return
            tried = self._made(share, smaller)
            if self._plan.succeeds(tried.seen):
                self.upper = tried
            else:
                low = share


def scaled(run: AttackRun, found: Found, ratio: float) -> Found:
    """What was added to the image, so much smaller or larger, within the run's budget."""
    image = found.image.to(run.original)
    return Found(run.finish(run.project((image - run.original).mul_(ratio).add_(run.original))))


def resumed(run: AttackRun, last: Attempt | None, share: float) -> object:
    """What an attack with a share of the budget begins from, after another one: its state, or its image made to fit."""
    if last is None:
        return None
    if last.found.state is not None:
        return last.found.state
    return scaled(run, last.found, share / last.share).image
