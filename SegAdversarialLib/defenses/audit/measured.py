"""What the attacks of an audit left of Dice, as a table that checks are made from; nothing here knows of networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class Row:
    """One attack on one case.

    Attributes:
        case: the subject's name.
        epsilon: the attack's size, relative.
        attack: its name.
        mean: the mean Dice over the network's structures that it left.
        dice: by structure, further regions included.
        restarts: the lowest mean Dice of each restart; empty where there are none.
        temperature, loss: see `Probe`.
    """

    case: str
    epsilon: float
    attack: str
    mean: float
    dice: dict[str, float] = field(default_factory=dict)
    restarts: tuple[float, ...] = ()
    temperature: float | str | None = None
    loss: str | None = None

    @property
    def alone(self) -> float:
        """What the first restart left, which is what attacks of one restart are compared with."""
        return self.restarts[0] if self.restarts else self.mean

    def as_dict(self) -> dict[str, Any]:
        """A row of a file."""
        about = {"case": self.case, "epsilon": self.epsilon, "attack": self.attack, "mean Dice": self.mean}
        return {**about, **{f"{name} Dice": value for name, value in self.dice.items()}}


@dataclass(frozen=True)
class Measured:
    """All attacks of an audit.

    Attributes:
        clean: the unchanged cases: rows of epsilon 0 and no attack.
        rows: the attacks.
    """

    clean: tuple[Row, ...]
    rows: tuple[Row, ...]

    @property
    def cases(self) -> list[str]:
        """Their names, each once."""
        return list(dict.fromkeys(x.case for x in self.clean))

    @property
    def structures(self) -> list[str]:
        """What Dice was counted of."""
        return list(dict.fromkeys(name for row in self.clean for name in row.dice))

    @cached_property
    def clean_mean(self) -> float:
        """Mean Dice of the unchanged cases."""
        return _mean(x.mean for x in self.clean)

    def attacks(self, epsilon: float | None = None) -> list[str]:
        """Names of attacks, at one size or at all."""
        return list(dict.fromkeys(x.attack for x in self.rows if epsilon is None or x.epsilon == epsilon))

    def epsilons(self, attack: str | None = None) -> list[float]:
        """Sizes, from small to large, of one attack or of all."""
        return sorted({x.epsilon for x in self.rows if attack is None or x.attack == attack})

    def sizes(self, *attacks: str) -> list[float]:
        """The sizes above 0 at which all of these attacks were made."""
        return [e for e in self.epsilons() if e > 0 and all(self.of(x, e) for x in attacks)]

    def of(self, attack: str, epsilon: float) -> list[Row]:
        """One attack at one size, on all cases."""
        return [x for x in self.rows if (x.attack, x.epsilon) == (attack, epsilon)]

    def mean(self, attack: str, epsilon: float) -> float:
        """Mean Dice over the cases; nan where the attack was not made."""
        return _mean(x.mean for x in self.of(attack, epsilon))

    def alone(self, attack: str, epsilon: float) -> float:
        """The same of the first restart alone."""
        return _mean(x.alone for x in self.of(attack, epsilon))

    def named(self, which: Callable[[Row], bool]) -> list[str]:
        """The attacks of which some row is such."""
        return list(dict.fromkeys(x.attack for x in self.rows if which(x)))

    def worst(self, epsilon: float) -> list[Row]:
        """For each case what the strongest attack within an epsilon left: those of smaller sizes, and none, count too."""
        return [
            min((x for x in (*self.clean, *self.rows) if x.case == case and x.epsilon <= epsilon), key=lambda x: x.mean)
            for case in self.cases
        ]

    def audited(self, epsilon: float) -> dict[str, float]:
        """The audited Dice: mean over the cases of what the strongest attack left, by structure, the mean ("mean") first."""
        found = self.worst(epsilon)
        return {
            "mean": _mean(x.mean for x in found),
            **{s: _mean(x.dice.get(s, math.nan) for x in found) for s in self.structures},
        }

    def strongest(self, epsilon: float) -> str:
        """The attack that was the strongest on most cases."""
        names = [x.attack or "none" for x in self.worst(epsilon)]
        return max(dict.fromkeys(names), key=names.count)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return fmean(found) if found else math.nan
