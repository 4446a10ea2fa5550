"""Auto-PGD: projected gradient descent that finds the length of its steps by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from SegAdversarialLib.attacks.gradient import IterativeAttack, loss_at
from SegAdversarialLib.attacks.pgd import NORM_TEXTS
from SegAdversarialLib.attacks.settings import LOSS_TEXTS, LossName, parameter

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.attacks.engine.watch import Watch
    from SegAdversarialLib.objectives import BoundJoint, BoundObjective

RADII = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))
"""Radii of the budget, as multiples of epsilon, and the share of the steps that each gets (Croce et al. 2024, SEA)."""

MOVING_WEIGHTS = ("balanced_masked_cross_entropy", "segpgd", "cospgd")
"""Losses whose weights change with the answer: they fall where voxels are lost, so that their height tells nothing."""

SCHEDULE_TEXTS = {"falling": "falls to 0", "published": "as published"}

_FALL = 1.5
"""A falling step is no longer than this, times the share of steps that is left, times the first: it falls from a third on."""

_MOVE = 0.75
"""How much of a step is new; the rest is the move before it (Croce & Hein 2020)."""

_RISES = 0.75
"""With fewer rises than this share of the steps between two checks, the step is halved (Croce & Hein 2020)."""


class APGD(IterativeAttack):
    """Auto-PGD: steps that are halved when the loss stops rising, and begin anew at the best point; they have momentum.

    The steps begin with 2 epsilon; at fixed checks the length is halved where the loss rose in less than 3/4 of the steps, or
    neither length nor best loss changed since the check before (Croce & Hein 2020). That was made for 100 steps: of 10, a loss
    that rises a little each time leaves all at 2 epsilon, so that from a third of the steps on they are also no longer than a
    line that falls to 0 (`schedule`). With `shrinking`, 30 % of the steps search within 2 epsilon, 30 % within 1.5 epsilon and
    the rest within epsilon, each from the best point of the one before (Croce et al. 2024, SEA, with
    `loss="balanced_masked_cross_entropy"` and `schedule="published"`); only what lies within epsilon can be the result. For
    losses whose weights move, 1 - mean Dice stands in for the loss's height.
    """

    name: ClassVar[str] = "apgd"
    title: ClassVar[str] = "APGD"
    citation: ClassVar[str] = "Croce & Hein 2020, ICML; Croce et al. 2024, ECCV (SEA)"

    norm: Literal["linf", "l2"] = parameter("linf", "Norm that epsilon bounds.", texts=NORM_TEXTS)
    steps: int = parameter(40, "Number of steps.", unit="steps", ge=1, le=10000)
    loss: LossName = parameter(
        "soft_dice", "Loss whose gradient is followed; SEA's are others.", advanced=True, texts=LOSS_TEXTS
    )
    schedule: Literal["falling", "published"] = parameter(
        "falling",
        "Length of the steps; falls to 0: from a third of them on, beside the halving of the published form.",
        advanced=True,
        label="Step length",
        texts=SCHEDULE_TEXTS,
    )
    shrinking: bool = parameter(
        False, "Begin within twice the budget and shrink it to epsilon, as SEA.", advanced=True, label="Shrinking radius"
    )

    @property
    def bounded_norm(self) -> Literal["linf", "l2"]:
        """The norm that epsilon bounds."""
        return self.norm

    @property
    def plan(self) -> tuple[int, float]:
        """`steps` steps, the first of 2 epsilon."""
        return self.steps, 2 * self.epsilon

    def longest(self, step: int) -> float:
        """How long this step may be, as a share of its stage's first."""
        return 1.0 if self.schedule == "published" else min(1.0, _FALL * (1 - step / self.steps))

    @property
    def stages(self) -> list[tuple[float, int]]:
        """The radii, in epsilon, and their numbers of steps; together `steps`."""
        if not self.shrinking:
            return [(1.0, self.steps)]
        first, second = (int(share * self.steps) for _, share in RADII[:2])
        counts = (first, second, self.steps - first - second)
        return [(radius, count) for (radius, _), count in zip(RADII, counts) if count]

    def _climb(self, run: AttackRun, loss: BoundObjective | BoundJoint, watch: Watch, restart: int) -> None:
        done = 0
        image = run.random_point(restart, self.stages[0][0]) if restart else run.original
        if run.begins_at is not None and not restart:
            image = run.begins_at
        for radius, steps in self.stages:
            stage = _Stage(self, run, loss, watch, radius)
            image = stage.climb(run.project(image.clone(), radius), restart, done, steps)
            if watch.is_enough:
                return
            done += steps
        self._arrive(run, loss, watch, self.steps, image)


class _Stage:
    """The steps within one radius."""

    def __init__(self, attack: APGD, run: AttackRun, loss: BoundObjective | BoundJoint, watch: Watch, radius: float) -> None:
        self._attack, self._run, self._loss, self._watch, self._radius = attack, run, loss, watch, radius

    def climb(self, image: torch.Tensor, restart: int, done: int, steps: int) -> torch.Tensor:
        """From an image, `steps` gradients further; the point of the highest loss, or, at the end of all, the next one."""
        attack, run = self._attack, self._run
        first = 2 * attack.epsilon * self._radius
        length, before = first, image
        checks = _Checks(steps)
        best: tuple[float, torch.Tensor, torch.Tensor] | None = None
        for step in range(done, done + steps):
            whole = restart * attack.steps + step
            run.report(whole / (attack.restarts * attack.steps), attack._progress_text(restart, step))
            self._loss.progress = step / attack.steps
            value, gradient, logits = run.differentiate(image, self._loss, looks_everywhere=attack.looks_everywhere)
            counts = step > 0 and self._radius == 1.0
            self._watch.see(step, value, logits, image, counts=counts, loss_at=loss_at(self._loss))
            if self._watch.is_enough:
                return image
            height = 1 - attack._mean_dice(run, logits) if attack.loss in MOVING_WEIGHTS else value
            if best is None or height > best[0]:
                best = height, image, gradient.clone()
            if checks.says_halve(height, best[0]):
                length /= 2
                image, gradient = best[1], best[2].clone()
            reach = min(length, first * attack.longest(step))
            image, before = self._next(image, before, gradient, reach, step > done), image
        assert best is not None
        return image if self._radius == 1.0 else best[1]

    def _next(
        self, image: torch.Tensor, before: torch.Tensor, gradient: torch.Tensor, length: float, moving: bool
    ) -> torch.Tensor:
        """z = P(x + length * direction); x + 3/4 (z - x) + 1/4 (x - before), projected."""
        from SegAdversarialLib.attacks.engine.stepping import mixed

        run, attack = self._run, self._attack
        target = attack._step(run, image, gradient, length, self._radius)
        if not moving:
            return target
        if run.budget.norm == "linf":
            return mixed(target, image, before, _MOVE, run.limits(self._radius))
        return run.project(mixed(target, image, before, _MOVE), self._radius)


class _Checks:
    """When the step is to be halved (Croce & Hein 2020, conditions 1 and 2); a loss may be anything that should rise.

    Args:
        steps: gradients in all; the first check comes after 22 % of them, each interval is 3 % shorter than the one before,
            and none is shorter than 6 %.
    """

    def __init__(self, steps: int) -> None:
        self._interval = max(int(0.22 * steps), 1)
        self._shortest, self._shortening = max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
        self._steps = self._rises = 0
        self._value: float | None = None
        self._best_at_check = float("-inf")
        self._halved_at_check = True

    def says_halve(self, value: float, best: float) -> bool:
        """Whether to halve, after a gradient with this loss; `best` is the highest loss so far."""
        if self._value is None:
            self._value = self._best_at_check = value
            return False
        self._steps += 1
        self._rises += value > self._value
        self._value = value
        if self._steps < self._interval:
            return False
        stuck = not self._halved_at_check and best <= self._best_at_check
        halve = self._rises <= _RISES * self._steps or stuck
        self._halved_at_check, self._best_at_check = halve, best
        self._interval = max(self._interval - self._shortening, self._shortest)
        self._steps = self._rises = 0
        return halve
