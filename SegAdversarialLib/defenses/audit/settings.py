"""How thoroughly a network is audited."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from pydantic import ConfigDict, Field, field_validator

from SegAdversarialLib.attacks.documentation import Documented
from SegAdversarialLib.attacks.settings import LossName, one_or_many, some_or_none

FULL_RANGE = 1.0
"""The relative epsilon with which any voxel may take any value of its channel."""

FEWEST_RESTARTS = FEWEST_LOSSES = 3
"""With fewer, nothing is known about how much chance, or the choice of a loss, decides."""


class Effort(NamedTuple):
    """What a level of effort means: steps of iterative attacks, restarts, queries of the black box, directions in which the
    gradient is tried, draws of a random network, and the epsilons."""

    steps: int
    restarts: int
    queries: int
    directions: int
    expectation: int
    epsilons: tuple[float, ...]


EFFORTS = {
    "quick": Effort(10, 3, 50, 4, 4, (0.01, 0.05)),
    "usual": Effort(40, 3, 300, 6, 8, (0.01, 0.02, 0.05)),
    "thorough": Effort(100, 10, 2000, 10, 16, (0.005, 0.01, 0.02, 0.05, 0.1)),
}


class AuditSettings(Documented):
    """How a network is audited; what is not given follows from the effort."""

    name: ClassVar[str] = "audit"
    title: ClassVar[str] = "Audit"

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    effort: Literal["quick", "usual", "thorough"] = Field(
        "usual",
        description="quick: a first look; usual: what a figure in a paper needs at least; thorough: for a claim of "
        "robustness.",
    )
    epsilons: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        description="Sizes of the attacks, as shares of each channel's largest intensity, above 0 and below 1; 0 and 1 (the "
        "full range) always join them.",
    )
    steps: int | None = Field(
        None, ge=1, le=10000, description="Steps of the iterative attacks; twice as many are tried, too."
    )
    restarts: int | None = Field(None, ge=1, le=1000, description="Restarts of the iterative attack.")
    queries: int | None = Field(None, ge=0, le=10**6, description="Questions of the attack without gradients; 0: left out.")
    temperatures: tuple[float | Literal["auto", "deviation"], ...] = Field(
        ("auto", "deviation", 10.0, 100.0),
        description="What logits are divided by where gradients may be hidden: numbers, auto (measured), or deviation (their "
        "own standard deviation).",
    )
    losses: tuple[LossName, ...] = Field(
        ("soft_dice", "cross_entropy", "balanced_masked_cross_entropy", "margin"),
        min_length=1,
        description="Losses of which the worst counts; all of them together are tried, too.",
    )
    directions: int | None = Field(None, ge=1, le=1000, description="Random directions in which the gradient is tried.")
    expectation: int | None = Field(None, ge=1, le=1000, description="Draws of a network that answers at random.")
    channels: tuple[str, ...] | None = Field(None, min_length=1, description="Channels to attack; none: all.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of every random draw.")

    @field_validator("channels", mode="before")
    @classmethod
    def _one_channel_is_a_list(cls, channels: object) -> object:
        return None if channels is None else some_or_none("channel", channels)

    @field_validator("losses", mode="before")
    @classmethod
    def _one_loss_is_a_list(cls, losses: object) -> object:
        return some_or_none("loss", losses)

    @field_validator("epsilons", "temperatures", mode="before")
    @classmethod
    def _one_number_is_a_list(cls, numbers: object) -> object:
        return (numbers,) if isinstance(numbers, float) else None if numbers is None else one_or_many(numbers)

    @field_validator("epsilons")
    @classmethod
    def _epsilons_are_between(cls, epsilons: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if epsilons is None:
            return None
        kept = tuple(sorted(set(epsilons) - {0.0, FULL_RANGE}))
        if not kept or kept[0] < 0 or kept[-1] > FULL_RANGE:
            raise ValueError(
                "epsilons must hold a number above 0 and below 1, and none outside: shares of the largest intensity"
            )
        return kept

    @field_validator("temperatures")
    @classmethod
    def _temperatures_are_positive(cls, temperatures: tuple[float | str, ...]) -> tuple[float | str, ...]:
        if any(isinstance(x, (int, float)) and x <= 0 for x in temperatures):
            raise ValueError("temperatures must be above 0")
        return tuple(dict.fromkeys(temperatures))

    def complete(self) -> AuditSettings:
        """The same with every number said, as the effort has it."""
        usual = EFFORTS[self.effort]._asdict()
        return self.model_copy(update={key: value for key, value in usual.items() if getattr(self, key) is None})
