"""What the attacks that follow the network's gradient have in common: steps of a fixed length, restarts, a trace."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from SegAdversarialLib.attacks.attack import Attack, parameter, some_or_none
from SegAdversarialLib.attacks.untargeted import AgainstReference
from SegAdversarialLib.case import Case
from SegAdversarialLib.objectives import OBJECTIVES, BoundObjective
from SegAdversarialLib.result import Snapshot

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model import SegmentationModel

LossName = Literal["soft_dice", "cross_entropy", "masked_cross_entropy"]

LOSS_TEXTS = {"soft_dice": "soft Dice", "cross_entropy": "cross-entropy", "masked_cross_entropy": "masked cross-entropy"}

MOST_SNAPSHOTS = 50
"""Snapshots are whole images: however many steps there are, no more than this are kept."""


class GradientAttack(Attack):
    """Takes steps along the gradient of a loss, each of them projected back into the budget.

    A subclass says how many steps of what length (`plan`) and what the loss compares with (`_reference`), and may say
    another direction or start. Of several restarts the one with the best final loss is kept.
    """

    ascends: ClassVar[bool] = True
    """Whether the loss is climbed (to break the segmentation) or descended."""

    loss: LossName = parameter("soft_dice", "Loss whose gradient is followed.", advanced=True, texts=LOSS_TEXTS)
    temperature: Annotated[float, Field(gt=0)] | Literal["auto"] = parameter(
        1.0,
        'Logits are divided by this first; "auto" measures it; above 1 it revives the gradients of saturated networks.',
        advanced=True,
    )
    classes: tuple[str | int, ...] | None = parameter(
        None,
        "Structures (names or labels) that the loss counts; none: all.",
        choose="classes",
        advanced=True,
        label="Structures",
        min_length=1,
    )
    restarts: int = parameter(
        1, "Independent tries; all but the first start at a random point of the budget.", advanced=True, ge=1, le=1000
    )
    snapshot_every: int = parameter(
        0,
        f"Keep image and segmentation of every k-th iteration, {MOST_SNAPSHOTS} at most; 0: none.",
        unit="steps",
        label="Keep every",
        ge=0,
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _one_class_is_a_list(cls, classes: Any) -> Any:
        return None if classes is None else some_or_none("structure", classes)

    @property
    @abstractmethod
    def plan(self) -> tuple[int, float]:
        """Number of steps, and the length of each in epsilon's units."""

    @abstractmethod
    def _reference(self, run: AttackRun) -> np.ndarray:
        """What the loss compares with: a label map (K, J, I), or one mask for each output (N, K, J, I)."""

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the network has the classes."""
        super().check(model, case)
        if model is not None:
            if case.label is not None:
                model.head.check_label(case.label)
            for structure in self.classes or ():
                model.head.output(structure)

    def _search(self, run: AttackRun) -> torch.Tensor:
        loss = OBJECTIVES[self.loss](self._reference(run), classes=self.classes, temperature=self.temperature)
        bound = loss.bind(run.head, run.device, run.original.dtype)
        best: tuple[float, torch.Tensor, list[Snapshot]] | None = None
        for restart in range(self.restarts):
            image, value, snapshots = self._climb(run, bound, restart)
            score = value if self.ascends else -value
            if best is None or score > best[0]:
                best, run.kept_restart = (score, image, snapshots), restart
        assert best is not None
        run.snapshots = best[2]
        return best[1]

    def _climb(self, run: AttackRun, loss: BoundObjective, restart: int) -> tuple[torch.Tensor, float, list[Snapshot]]:
        """One restart: the image that it ends at, its loss, and the snapshots on the way."""
        steps, length = self.plan
        every = max(self.snapshot_every, -(-steps // (MOST_SNAPSHOTS - 1))) if self.snapshot_every else steps + 1
        image, snapshots = self._start(run, restart), []
        for step in range(steps):
            run.report((restart * steps + step) / (self.restarts * steps), self._progress_text(restart, step))
            value, gradient, logits = run.differentiate(image, loss)
            run.record(restart, step, value, logits, image)
            if self.snapshot_every and step % every == 0:
                snapshots.append(run.keep_snapshot(step, image, logits))
            image = run.project(self._step(run, image, gradient, length if self.ascends else -length))
        image = run.finish(image)
        logits = run.ask(image)
        value = float(loss(logits))
        run.record(restart, steps, value, logits, image)
        if self.snapshot_every:
            snapshots.append(run.keep_snapshot(steps, image, logits))
        return image, value, snapshots

    def _step(self, run: AttackRun, image: torch.Tensor, gradient: torch.Tensor, length: float) -> torch.Tensor:
        """The next image, not yet projected, in the gradient's memory; the steepest direction of the norm, and nowhere where
        the gradient is zero."""
        import torch

        if self.bounded_norm == "linf":
            return gradient.sign_().mul_(run.unit * length).add_(image)
        gradient.mul_(run.unit)
        if run.allowed is not None:
            gradient.mul_(run.allowed)
        norm = torch.linalg.vector_norm(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
        return gradient.mul_(run.unit * (length / norm)).add_(image)

    def _start(self, run: AttackRun, restart: int) -> torch.Tensor:
        """Where a restart begins: the image itself, then random points of the budget."""
        return run.original if restart == 0 else self._random_point(run, restart)

    def _random_point(self, run: AttackRun, restart: int) -> torch.Tensor:
        import torch

        generator = run.generator(restart)
        if self.bounded_norm == "linf":
            noise = torch.rand(run.original.shape, generator=generator).mul_(2).sub_(1)
        else:
            noise = torch.randn(run.original.shape, generator=generator)
            length = float(torch.rand((), generator=generator, dtype=torch.float64)) ** (1 / noise.numel())
            noise *= length / torch.linalg.vector_norm(noise)
        return run.project(run.original + noise.to(run.original) * run.unit * self.epsilon)

    def _progress_text(self, restart: int, step: int) -> str:
        steps, _ = self.plan
        again = f", restart {restart + 1} of {self.restarts}" if self.restarts > 1 else ""
        return f"{self.title}: step {step + 1} of {steps}{again}"


class UntargetedAttack(AgainstReference, GradientAttack):
    """A gradient attack that leads away from (or, descending, towards) the reference or the network's own answer."""
