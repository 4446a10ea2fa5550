"""The worst case: several losses within one budget of gradients, the lowest Dice kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator, model_validator

from SegAdversarialLib.attacks.additive import EPSILON_UNIT
from SegAdversarialLib.attacks.gradient import LowersDice
from SegAdversarialLib.attacks.settings import LOSS_TEXTS, LossName, parameter, some_or_none
from SegAdversarialLib.objectives import OBJECTIVES, JointObjective, Part

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.momentum import Momentum
    from SegAdversarialLib.attacks.engine.run import AttackRun

DECAY = 0.5
"""Weight of the earlier gradients: steps that turn round with every gradient waste most of them."""

FIRST_STEP = 2.0
"""Length of the first step in epsilon; the steps fall to 0 along half a cosine: they cross the whole budget, then settle."""

LAST_SHARPNESS = {"soft_dice": 3.0}
"""By how much logits are multiplied in the end; soft Dice so becomes the Dice of what the network says."""

LAST_WEIGHT = {"soft_dice": 2.0, "margin": 0.0}
"""How hard a loss pulls in the end, where it is not 1 as at first: losses of single voxels find the way, Dice is the aim."""


class WorstCase(LowersDice):
    """Worst case: several losses pull together within a budget of gradients, and the lowest Dice is kept.

    No loss is the strongest for every network and case, so that a robustness figure is the minimum over several (Croce et al.
    2024, SEA). Here they share each gradient: each loss pulls at the logits as hard as the others, soft Dice harder towards
    the end, and sharpened until it is all but Dice itself. Steps have momentum, and their length falls from 2 epsilon to 0
    along half a cosine. With `classes`, it is the Dice of these structures that is brought down.
    """

    name: ClassVar[str] = "worst-case"
    title: ClassVar[str] = "Worst case"
    citation: ClassVar[str] = "this project, after the ensemble of Croce et al. 2024, ECCV (SEA)"
    exact_end: ClassVar[float] = 0.1  # its short last steps gain what low precision loses

    epsilon: float = parameter(0.02, "Largest change of a voxel.", EPSILON_UNIT, ge=0)
    gradient_budget: int = parameter(
        40, "How often the network is differentiated in all.", "gradients", label="Gradient budget", ge=1, le=10**6
    )
    losses: tuple[LossName, ...] = parameter(
        ("balanced_masked_cross_entropy", "margin", "soft_dice"),
        "Losses that pull together.",
        advanced=True,
        texts=LOSS_TEXTS,
        min_length=1,
    )

    @field_validator("losses", mode="before")
    @classmethod
    def _one_loss_is_a_list(cls, losses: Any) -> Any:
        return some_or_none("loss", losses)

    @model_validator(mode="after")
    def _every_restart_has_gradients(self) -> WorstCase:
        if self.restarts > self.gradient_budget:
            raise ValueError(
                f"{self.restarts} restarts cannot share {self.gradient_budget} gradients; give one for each at least"
            )
        return self

    @property
    def plan(self) -> tuple[int, float]:
        """The most gradients of a restart, and the length of the first step."""
        return -(-self.gradient_budget // self.restarts), FIRST_STEP * self.epsilon

    @property
    def followed_losses(self) -> tuple[str, ...]:
        """Those that pull together."""
        return self.losses

    @property
    def keeps_best(self) -> bool:
        """Always: this is what it is for."""
        return True

    def _objective(self, run: AttackRun) -> JointObjective:
        reference = self._reference(run)
        return JointObjective(
            [
                Part(
                    OBJECTIVES[name](reference, classes=self.classes, temperature=self.temperature),
                    LAST_WEIGHT.get(name, 1.0),
                    LAST_SHARPNESS.get(name, 1.0),
                )
                for name in self.losses
            ]
        )

    def _steps(self, restart: int) -> int:
        share, left = divmod(self.gradient_budget, self.restarts)
        return share + (restart < left)

    def _length(self, progress: float) -> float:
        return self.plan[1] * (1 + math.cos(math.pi * progress)) / 2

    def _memory(self) -> Momentum:
        from SegAdversarialLib.attacks.engine.momentum import Momentum

        return Momentum(DECAY)
