"""The least budget at which a network's Dice falls, as an answer in numbers and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

SHARE = "share of the intensity"
"""The unit of settings that people say in percent."""

MEAN = "mean"
"""What answers about the mean Dice are called."""

AT_BUDGET = "at budget"
"""The column of a trace that says with which budget an image was made; its rows are attacks, not steps of one."""


SHRUNK = "made smaller"
"""The column of such a trace that is 1 where an image is no attack's, but one whose change was made smaller; else 0."""


@dataclass(frozen=True)
class Threshold:
    """An upper bound of what a network tolerates, and what the search knows from below.

    Attributes:
        structure: whose Dice it is about; "mean" for the mean Dice, or for that of the structures in `chosen`.
        setting: the attack's setting that bounds it, such as "epsilon"; where several do, all shrink in proportion.
        unit: what the numbers are measured in.
        lower: the largest budget at which the search has failed; 0: it failed at none.
        upper: the least budget at which it has succeeded; None: not within `largest`.
        largest: the largest budget that was allowed.
        drop: the share of the clean Dice by which it had to fall.
        before, after: Dice of the clean image, and of the image at `upper` (or at `largest`).
        searched: whether the search was for this structure; False: it is what the images that were tried for the mean
            Dice have shown of it, which costs nothing and may be far above what a search of its own would find.
        tried: what the search has tried, in words, where it did not find anything.
        chosen: the structures that the attack was told to lower; empty: all that the network has.
    """

    structure: str
    setting: str
    unit: str
    lower: float
    upper: float | None
    largest: float
    drop: float
    before: float
    after: float
    searched: bool = True
    tried: str = ""
    chosen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "chosen", tuple(self.chosen))  # JSON has lists

    @property
    def whose(self) -> str:
        """What has to fall, in words: "mean Dice", "mean Dice of core, oedema", "Dice of core"."""
        if self.structure != MEAN:
            return f"Dice of {self.structure}"
        if len(self.chosen) == 1:
            return f"Dice of {self.chosen[0]}"
        return f"mean Dice of {', '.join(self.chosen)}" if self.chosen else "mean Dice"

    @property
    def within(self) -> str:
        """The bracket in words: "between 0.0061 and 0.0066", "not within 0.02"; "at most 0.0066" where nobody searched."""
        if self.upper is None:
            return f"not {'within' if self.searched else 'seen up to'} {self._number(self.largest)}"
        if not self.searched:
            return f"at most {self._number(self.upper)}"
        return f"between {self._shown(self.lower)} and {self._number(self.upper)}"

    @property
    def sentence(self) -> str:
        """What was found, and what it is: "Mean Dice fell by 30 % or more (0.902 to 0.607): least epsilon ..."."""
        whose = self.whose[0].upper() + self.whose[1:]
        words = self.setting.replace("_", " ")
        if not self.searched:
            whose = f"On the way, {whose}"
        fell = f"{100 * self.drop:g} %"
        if self.upper is None:
            return (
                f"{whose} did not fall by {fell} ({self.before:.3f} to {self.after:.3f}): the least {words} is {self.within}"
                f"{f'; {self.tried}' if self.tried else ''}."
            )
        return (
            f"{whose} fell by {fell} or more ({self.before:.3f} to {self.after:.3f}): least {words} {self.within}, an upper "
            "bound of what the network tolerates."
        )

    def in_words(self, shares: Sequence[float]) -> str:
        """What was tried, from the shares of the largest budget that each attack was allowed, in order."""
        if len(shares) == 1:
            return "one attack was tried"
        if len(set(shares)) == 1:
            return f"{len(shares)} attacks were tried with {self._number(shares[0] * self.largest)}, the second from the first"
        *first, last = (share * self.largest for share in shares)
        with_these = f"{', '.join(map(self._shown, first))} and {self._number(last)}"
        how = "a smaller budget from nothing, others from the one before"
        return f"{len(shares)} attacks were tried, with {with_these}, {how}"

    def describe(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)

    def _shown(self, value: float) -> str:
        return f"{100 * value if self.unit == SHARE else value:.3g}"

    def _number(self, value: float) -> str:
        return f"{self._shown(value)} {'%' if self.unit == SHARE else self.unit}".strip()
