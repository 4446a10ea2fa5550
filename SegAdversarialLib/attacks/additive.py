"""What attacks that add something to the image have in common: epsilon, and what it is measured in."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.settings import parameter

EPSILON_UNIT = "fraction of the largest intensity, or scanner units"
"""What epsilon and lengths in its units are measured in; `epsilon_units` chooses."""

UNITS_DESCRIPTION = "relative: a fraction of each channel's largest absolute intensity; absolute: scanner units."
UNITS_TEXTS = {"relative": "share of largest intensity", "absolute": "scanner units"}


class AdditiveAttack(Attack):
    """Adds a change to the image whose norm epsilon bounds."""

    bounds: ClassVar[tuple[str, ...]] = ("epsilon",)

    epsilon: float = parameter(
        0.05, "Largest change of a voxel (for L2: Euclidean norm of the whole change).", EPSILON_UNIT, ge=0
    )
    epsilon_units: Literal["relative", "absolute"] = parameter("relative", UNITS_DESCRIPTION, texts=UNITS_TEXTS)

    @model_validator(mode="after")
    def _absolute_has_no_upper_bound(self) -> AdditiveAttack:
        if self.epsilon_units == "relative" and self.bounded_norm == "linf" and self.epsilon > 1:
            raise ValueError(f"epsilon is {self.epsilon}, but relative to the largest intensity it must lie between 0 and 1")
        return self

    @property
    def budget(self) -> float:
        """The largest change of a voxel, in epsilon's units; more than epsilon where an attack adds something else to it."""
        return self.epsilon

    @property
    def is_relative(self) -> bool:
        """Whether epsilon is a fraction of each channel's largest absolute intensity."""
        return self.epsilon_units == "relative"

    @property
    def does_nothing(self) -> bool:
        """Whether epsilon is zero."""
        return self.epsilon == 0

    def _budget_in_words(self) -> str:
        return f"epsilon {self.epsilon:g}{'' if self.is_relative else ' (scanner units)'}"
