"""What the attacks that follow the network's gradient have in common: steps of a fixed length, restarts, a trace."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from SegAdversarialLib.attacks.additive import AdditiveAttack
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import KeepsBest, KeepsSnapshots, ScalesLogits, parameter
from SegAdversarialLib.attacks.untargeted import AgainstReference, CountsStructures, StopsAtDrop
from SegAdversarialLib.objectives import OBJECTIVES, BoundJoint, BoundObjective, JointObjective, Objective

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.attacks.engine.watch import Score, Watch

_SQUARES_ARE_LOST = 1e-15
"""Euclidean norms below this are wrong in single precision."""

RESUMED = 0.6
"""How far along a search is that begins where another one ended: shorter steps keep what that has found."""


class GradientAttack(KeepsSnapshots, ScalesLogits, CountsStructures, AdditiveAttack):
    """Takes steps along the gradient of a loss, each of them projected back into the budget.

    A subclass says how many steps of what length (`plan`) and what the loss is (`_objective`), and may say another direction
    or start. Of several restarts the best is kept: by the loss, unless a subclass has another `_score`.
    """

    groups: ClassVar[tuple[Group, ...]] = ("gradient",)
    ascends: ClassVar[bool] = True
    """Whether the loss is climbed (to break the segmentation) or descended."""
    exact_end: ClassVar[float] = 0.0
    """The share of each try's last steps that are not searched in low precision."""

    restarts: int = parameter(
        1, "Independent tries; all but the first start at a random point of the budget.", advanced=True, ge=1, le=1000
    )

    @property
    @abstractmethod
    def plan(self) -> tuple[int, float]:
        """Number of steps, and the length of each in epsilon's units."""

    @property
    def is_random(self) -> bool:
        """Whether a try starts at a random point."""
        return self.restarts > 1 and not self.does_nothing

    @property
    def cost(self) -> Cost:
        """The steps of all restarts, and an answer at the end of each."""
        steps = list(map(self._steps, range(self.restarts)))
        return Cost(sum(steps), self.restarts, searched=max(0, sum(map(self._searched, steps)) - 1))

    @property
    def loss_name(self) -> str:
        """The objective that is followed."""
        return getattr(self, "loss", "soft_dice")

    @property
    def keeps_best(self) -> bool:
        """Whether the best step is the result, not the last."""
        return getattr(self, "keep", "last") == "best"

    @property
    def looks_everywhere(self) -> bool:
        """Only where its memory of gradients does."""
        return bool(self._memory().looks_everywhere)

    @abstractmethod
    def _reference(self, run: AttackRun) -> np.ndarray:
        """What the loss compares with: a label map (K, J, I), or one mask for each output (N, K, J, I)."""

    def _search(self, run: AttackRun) -> torch.Tensor:
        from SegAdversarialLib.attacks.engine.watch import Watch

        bound = self._objective(run).bind(run.head, run.device, run.original.dtype)
        watch = Watch(
            run,
            partial(self._score, run),
            best_step=self.keeps_best,
            enough=self._enough(run),
            steps=self.plan[0],
            snapshot_every=self.snapshot_every,
        )
        for restart in range(self.restarts):
            watch.begin(restart)
            self._climb(run, bound, watch, restart)
            if watch.is_enough:
                break
        return watch.result().image

    def _objective(self, run: AttackRun) -> Objective | JointObjective:
        kind = OBJECTIVES[self.loss_name]
        return kind(self._reference(run), classes=self.classes, temperature=self.temperature)

    def _score(self, run: AttackRun, loss: float, logits: torch.Tensor) -> Score:
        """How well an image serves the attack, the more the better."""
        return (loss if self.ascends else -loss), 0.0

    def _enough(self, run: AttackRun) -> float | None:
        """The score at which the attack may stop."""
        return None

    def _climb(self, run: AttackRun, loss: BoundObjective | BoundJoint, watch: Watch, restart: int) -> None:
        """One restart."""
        steps, remember = self._steps(restart), self._memory()
        resumed = run.begins_at is not None and restart == 0
        done = RESUMED if resumed else 0.0
        image = run.project(run.begins_at.clone()) if resumed else self._start(run, restart)
        for step in range(steps):
            run.report((restart * steps + step) / (self.restarts * steps), self._progress_text(restart, step))
            loss.progress = done + (1 - done) * step / steps
            exactly = True if step >= self._searched(steps) else None
            value, gradient, logits = run.differentiate(image, loss, exactly=exactly, looks_everywhere=self.looks_everywhere)
            watch.see(step, value, logits, image, counts=step > 0 or resumed, loss_at=loss_at(loss))
            if watch.is_enough:
                return
            length = self._length(loss.progress) if self.ascends else -self._length(loss.progress)
            image = self._step(run, image, remember(gradient), length)
        self._arrive(run, loss, watch, steps, image)

    def _arrive(
        self, run: AttackRun, loss: BoundObjective | BoundJoint, watch: Watch, iteration: int, image: torch.Tensor
    ) -> None:
        """The end of a restart, which no gradient has seen yet."""
        loss.progress = 1.0
        image = run.finish(image)
        logits = run.ask(image)
        watch.see(iteration, float(loss(logits)), logits, image, last=True)

    def _searched(self, steps: int) -> int:
        """How many of a restart's steps may be of low precision, as long as one was exact before."""
        return steps - int(self.exact_end * steps)

    def _steps(self, restart: int) -> int:
        """How many steps a restart has."""
        return self.plan[0]

    def _length(self, progress: float) -> float:
        """How long a step is, in epsilon's units, when this share of the steps has been made."""
        return self.plan[1]

    def _memory(self) -> Any:
        """What makes the direction of a step from gradients (C, K, J, I); works in the gradient's memory, and says whether it
        `looks_everywhere`, also at the gradient where nothing may change."""
        from SegAdversarialLib.attacks.engine.momentum import Momentum

        return Momentum(0.0)

    def _step(
        self, run: AttackRun, image: torch.Tensor, gradient: torch.Tensor, length: float, radius: float = 1.0
    ) -> torch.Tensor:
        """The next image, within a multiple of the budget, in the gradient's memory; the steepest direction of the norm, and
        nowhere where the gradient is zero."""
        from SegAdversarialLib.attacks.engine.stepping import sign_step

        if self.bounded_norm == "linf":
            return sign_step(image, gradient, run.unit * length, run.limits(radius))
        return run.project(self._along(run, image, gradient, length), radius)

    def _along(self, run: AttackRun, image: torch.Tensor, gradient: torch.Tensor, length: float) -> torch.Tensor:
        """The image after a step of a Euclidean length along the gradient, not yet projected, in the gradient's memory."""
        import torch

        gradient.mul_(run.unit)
        if run.allowed is not None:
            gradient.mul_(run.allowed)
        norm = torch.linalg.vector_norm(gradient)
        if norm < _SQUARES_ARE_LOST:
            largest = torch.linalg.vector_norm(gradient, ord=torch.inf)
            if largest == 0:
                return gradient.copy_(image)
            norm = torch.linalg.vector_norm(gradient.div_(largest))
        return gradient.mul_(run.unit * (length / norm)).add_(image)

    def _start(self, run: AttackRun, restart: int) -> torch.Tensor:
        """Where a restart begins: the image itself, then random points of the budget."""
        return run.original if restart == 0 else run.random_point(restart)

    def _progress_text(self, restart: int, step: int) -> str:
        steps = self._steps(restart)
        again = f", restart {restart + 1} of {self.restarts}" if self.restarts > 1 else ""
        return f"{self.title}: step {step + 1} of {steps}{again}"


def loss_at(loss: BoundObjective | BoundJoint) -> Callable[[torch.Tensor], float]:
    """The loss of other logits (N, K, J, I) as it is now; it changes with the progress of the steps."""
    progress = loss.progress

    def value(logits: torch.Tensor) -> float:
        now, loss.progress = loss.progress, progress
        try:
            return float(loss(logits))
        finally:
            loss.progress = now

    return value


class UntargetedAttack(AgainstReference, GradientAttack):
    """A gradient attack that leads away from (or, descending, towards) the reference or the network's own answer."""

    @property
    def cost(self) -> Cost:
        """Also what the reference takes."""
        return super().cost + self._cost_of_reference

    @property
    def followed_losses(self) -> tuple[str, ...]:
        """The loss."""
        return (self.loss_name,)


class LowersDice(StopsAtDrop, UntargetedAttack):
    """Aims at a low mean Dice, and may stop once it has fallen enough."""

    def _score(self, run: AttackRun, loss: float, logits: torch.Tensor) -> Score:
        return 1 - self._mean_dice(run, logits), loss


class IterativeAttack(KeepsBest, LowersDice):
    """An attack of several steps, of which the one with the lowest Dice is kept."""
