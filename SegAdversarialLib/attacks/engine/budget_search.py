"""The search for the least budget at which Dice has fallen: bisection, each attack beginning where the one before ended.

Budgets are shares of the largest that is allowed. An attack that succeeds may use less of its budget than it was given, and
its change can often be made smaller still: the network is asked how much smaller. An attack that fails raises the lower end.
It begins with the largest budget, or with smaller ones that grow until an attack succeeds, each from where the one before
ended. What was found within a smaller budget is within the largest, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from SegAdversarialLib.attacks.attack import Found
from SegAdversarialLib.attacks.engine.looking import Look, Seen
from SegAdversarialLib.attacks.engine.run import AttackRun

SHRINKS = 4
"""How often the network is asked how much smaller a change may be made."""

ROUNDING = 1e-9
"""0.8 to 0.56 is a drop of 30 %, although floating-point numbers make it 0.2999999."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """An image, what was done to get there, and with which share of the budget it can be had.

    Attributes:
        anew: the attack began from nothing.
        shrunk: it is no attack's, but one whose change was made smaller.
    """

    share: float
    found: Found
    seen: Seen
    anew: bool = False
    shrunk: bool = False


Try = Callable[[float, Attempt | None], Found]
"""An attack with this share of the budget, which may begin where another one ended."""

Shrink = Callable[[Found, float, float], Found | None]
"""What was found with the first share made so much smaller that the second one allows it; None: it cannot be done."""


@dataclass(frozen=True, eq=False)
class Resumed:
    """Where a search goes on that another one, with another budget, has begun.

    Attributes:
        state: that one's `Found.state`, in units of the budget.
        share: how much of it is wanted, from 0 to 1.
        has_rivals: it begins at the best of its own first draws instead, where that is better.
    """

    state: Any
    share: float
    has_rivals: bool


@dataclass(frozen=True)
class BisectionPlan:
    """How the least budget is looked for.

    Attributes:
        outputs: the positions of the outputs whose mean Dice has to fall.
        enough: the Dice down to which it has to.
        probes: how many attacks there may be.
        precision: how wide the bracket may be in the end, as a share of its upper end.
        least: the least share with which the attack can be made.
        shares: those that are tried, one after another, until the attack succeeds.
        confirms: the lower end only counts once the attack has failed there from nothing, too.
    """

    outputs: Sequence[int]
    enough: float
    probes: int
    precision: float
    least: float
    shares: Sequence[float] = (1.0,)
    confirms: bool = False

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
        upper: the attempt with the least share that has succeeded; None: there is none.
        made: the attacks that were made, in order.
    """

    def __init__(self, plan: BisectionPlan, attempt: Try, shrink: Shrink, look: Look, tell: Callable[[Attempt], None]) -> None:
        self._plan, self._attempt, self._shrink, self._look, self._tell = plan, attempt, shrink, look, tell
        self.upper: Attempt | None = None
        self.made: list[Attempt] = []
        self._begin: Attempt | None = None
        self._is_misled = False
        """The attack has succeeded from nothing where it had failed on from another one: only what begins anew counts then."""

    @property
    def lower(self) -> float:
        """The largest share, below that of `upper`, at which the attack has failed; 0: at none."""
        below = 1.0 if self.upper is None else self.upper.share
        failed = (x.share for x in self.made if not self._plan.succeeds(x.seen) and (x.anew or not self._is_misled))
        return max((x for x in failed if x < below or self.upper is None), default=0.0)

    @property
    def lowest(self) -> Attempt:
        """Of the attacks that were made the one that has lowered Dice most."""
        return min(self.made, key=lambda x: x.seen.mean(self._plan.outputs))

    def run(self, begin: Attempt | None = None) -> None:
        """Search; `begin` is an image that may already do, found by another search."""
        plan = self._plan
        if begin is not None and plan.succeeds(begin.seen):
            self._begin = begin
            self._succeeded(begin)
        while len(self.made) < plan.probes:
            share = self._next()
            if share is None:
                return
            start = self._start(share)
            found = self._attempt(share, start)
            made = Attempt(share, found, self._look(found), anew=start is None)
            self._tell(made)
            self.made.append(made)
            if plan.succeeds(made.seen):
                self._is_misled |= made.anew and any(x.share == share for x in self.made[:-1])
                self._succeeded(made)

    def _next(self) -> float | None:
        """The share that is tried next; None: the bracket is narrow enough, or there is nothing left to try."""
        plan, upper, lower = self._plan, self.upper, self.lower
        if upper is None:
            return next(iter(plan.shares[len(self.made) :]), None)
        narrow = upper.share <= plan.least or upper.share - lower <= plan.precision * upper.share
        if self._is_doubtful and (narrow or len(self.made) == plan.probes - 1):
            return lower
        if narrow:
            return None
        middle = (lower * upper.share) ** 0.5 if lower else upper.share / 2
        return max(middle, plan.least)

    @property
    def _is_doubtful(self) -> bool:
        """Whether the attack has failed at the lower end only where it went on from another one."""
        lower = self.lower
        return self._plan.confirms and lower > 0 and not any(x.anew for x in self.made if x.share == lower)

    def _start(self, share: float) -> Attempt | None:
        """The attempt from which the next one goes on; None: it begins anew."""
        last = self.made[-1] if self.made else self._begin
        if last is None or self.upper is not None:
            return None if share == self.lower or self._is_misled else last
        return last if last.share <= share else None

    def _succeeded(self, made: Attempt) -> None:
        """Keep it, made as small as it may be."""
        self.upper, low = made, self.lower
        for _ in range(SHRINKS):
            share = (low + self.upper.share) / 2
            smaller = self._shrink(made.found, made.share, share)
            if smaller is None:
                return
            tried = Attempt(share, smaller, self._look(smaller), shrunk=True)
            self._tell(tried)
            if self._plan.succeeds(tried.seen):
                self.upper = tried
            else:
                low = share


def scaled(run: AttackRun, found: Found, ratio: float) -> Found:
    """What was added to the image, so much smaller or larger, within the run's budget."""
    image = found.image.to(run.original)
    return Found(run.finish(run.project((image - run.original).mul_(ratio).add_(run.original))))


def resumed(run: AttackRun, last: Attempt | None, share: float, has_rivals: bool) -> object:
    """What an attack with a share of the budget begins from, after another one: its image made to fit, or its state.

    A larger budget has at first no more of a state than there was.

    Args:
        run: of the attack that begins.
        last: the one before; None: it begins anew.
        share: of the budget.
        has_rivals: see `Resumed`.
    """
    if last is None:
        return None
    if last.found.state is not None:
        return Resumed(last.found.state, min(1.0, last.share / share), has_rivals)
    return scaled(run, last.found, share / last.share).image
