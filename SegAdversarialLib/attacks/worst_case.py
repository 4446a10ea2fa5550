"""The worst case: several losses within one budget of gradients, the lowest Dice kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_validator, model_validator

from SegAdversarialLib.attacks.additive import EPSILON_UNIT
from SegAdversarialLib.attacks.attack import parameter, some_or_none
from SegAdversarialLib.attacks.gradient import LOSS_TEXTS, LossName, LowersDice
from SegAdversarialLib.objectives import OBJECTIVES

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.attacks.engine.watch import Watch
    from SegAdversarialLib.objectives import BoundObjective

DECAY = 0.5
"""Weight of the earlier gradients: steps that turn round with every gradient waste most of them."""

FIRST_STEP = 2.0
"""Length of the first step in epsilon; the steps fall to 0 along half a cosine: they cross the whole budget, then settle."""

SHARPNESS = {"soft_dice": 3.0}
"""By how much logits are multiplied in the end; soft Dice so becomes the Dice of what the network says."""

LEAST_TRIAL = 5
"""Fewer gradients do not show how fast Dice falls."""

FALLING = 0.02
"""Dice that falls by more than this share of itself with each gradient is falling fast."""


class WorstCase(LowersDice):
    """Worst case: several losses and restarts share a budget of gradients, and the lowest Dice is kept.

    No loss is the strongest for every network and case, so that a robustness figure is the minimum over several (Croce et al.
    2024, SEA). The losses have short trials, one after the other, until one of them makes Dice fall fast; the one with the
    lowest Dice goes on. Each restart begins with another of them. Steps have momentum, and their length falls from 2 epsilon
    to 0 along half a cosine; soft Dice is sharpened while it goes on, until it is all but Dice itself. With `classes`, it
    is the Dice of these structures that is brought down.
    """

    name: ClassVar[str] = "worst-case"
    title: ClassVar[str] = "Worst case"
    citation: ClassVar[str] = "this project, after the ensemble of Croce et al. 2024, ECCV (SEA)"

    epsilon: float = parameter(0.02, "Largest change of a voxel.", EPSILON_UNIT, ge=0)
    gradient_budget: int = parameter(
        40, "How often the network is differentiated in all.", "gradients", label="Gradient budget", ge=1, le=10**6
    )
    losses: tuple[LossName, ...] = parameter(
        ("balanced_masked_cross_entropy", "soft_dice", "margin"),
        "Losses that compete, in the order of their trials.",
        advanced=True,
        texts=LOSS_TEXTS,
        min_length=1,
    )
    trial: float = parameter(
        0.1,
        f"Share of the gradients that a trial takes, {LEAST_TRIAL} at least.",
        advanced=True,
        label="Trial share",
        gt=0,
        lt=1,
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
    def loss_name(self) -> str:
        """The loss that comes first."""
        return self.losses[0]

    @property
    def keeps_best(self) -> bool:
        """Always: this is what it is for."""
        return True

    def gradients(self, restart: int) -> int:
        """How many gradients a restart has; together they are the budget."""
        share, left = divmod(self.gradient_budget, self.restarts)
        return share + (restart < left)

    def _climb(self, run: AttackRun, loss: BoundObjective, watch: Watch, restart: int) -> None:
        search = _Search(self, run, watch, restart)
        total = self.gradients(restart)
        trial = max(LEAST_TRIAL, round(self.trial * total))
        best: _Ascent | None = None
        for name in self._order(restart):
            if best is not None and search.done + 2 * trial > total:
                break
            ascent = _Ascent(search, name, self._start(run, restart), total - search.done)
            ascent.advance(min(trial, total))
            if best is None or ascent.dice[-1] < best.dice[-1]:
                best = ascent
            if ascent.falls_fast or watch.is_enough:
                break
        assert best is not None
        best.advance(total - search.done)
        if not watch.is_enough:
            self._arrive(run, best.loss, watch, search.done, best.image)

    def _order(self, restart: int) -> tuple[LossName, ...]:
        first = restart % len(self.losses)
        return self.losses[first:] + self.losses[:first]

    def _progress_text(self, restart: int, step: int) -> str:
        again = f", restart {restart + 1} of {self.restarts}" if self.restarts > 1 else ""
        return f"{self.title}: gradient {step + 1} of {self.gradients(restart)}{again}"


class _Search:
    """The gradients of one restart, whatever they are of; `done` counts them."""

    def __init__(self, attack: WorstCase, run: AttackRun, watch: Watch, restart: int) -> None:
        self.attack, self.run, self.watch, self._restart = attack, run, watch, restart
        self._before = sum(attack.gradients(n) for n in range(restart))
        self.done = 0

    def bound(self, name: LossName) -> BoundObjective:
        """A loss against the attack's reference."""
        attack, run = self.attack, self.run
        loss = OBJECTIVES[name](attack._reference(run), classes=attack.classes, temperature=attack.temperature)
        return loss.bind(run.head, run.device, run.original.dtype)

    def differentiate(self, image: torch.Tensor, loss: BoundObjective) -> tuple[float, torch.Tensor]:
        """Mean Dice and gradient at an image."""
        attack = self.attack
        text = attack._progress_text(self._restart, self.done)
        self.run.report((self._before + self.done) / attack.gradient_budget, text)
        value, gradient, logits = self.run.differentiate(image, loss)
        score = self.watch.see(self.done, value, logits, image, counts=self.done > 0)
        assert score is not None  # the best step is kept, so that every step is judged
        self.done += 1
        return 1 - score[0], gradient


class _Ascent:
    """Steps along the gradients of one loss, which can be interrupted.

    Attributes:
        image: where it is.
        dice: the mean Dice at every step that it has made.
    """

    def __init__(self, search: _Search, name: LossName, start: torch.Tensor, steps: int) -> None:
        from SegAdversarialLib.attacks.engine.momentum import Momentum

        self._search, self._steps, self._remember = search, steps, Momentum(DECAY)
        self.loss, self._sharpness = search.bound(name), SHARPNESS.get(name, 1.0)
        self.image = start
        self.dice: list[float] = []

    @property
    def falls_fast(self) -> bool:
        """Whether Dice is falling in the second half of the steps made so far."""
        middle = len(self.dice) // 2
        steps = len(self.dice) - 1 - middle
        return self.dice[middle] - self.dice[-1] > FALLING * self.dice[middle] * steps

    def advance(self, steps: int) -> None:
        """Make some steps, or fewer where the attack has what it wants."""
        attack, run = self._search.attack, self._search.run
        for _ in range(steps):
            if self._search.watch.is_enough:
                return
            self.loss.progress = len(self.dice) / self._steps
            self.loss.sharpness = 1 + (self._sharpness - 1) * self.loss.progress
            dice, gradient = self._search.differentiate(self.image, self.loss)
            length = attack.plan[1] * (1 + math.cos(math.pi * self.loss.progress)) / 2
            self.image = run.project(attack._step(run, self.image, self._remember(gradient), length))
            self.dice.append(dice)
