"""The search for the worst change of an image within the budgets of some transforms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from SegAdversarialLib.attacks.attack import Found
from SegAdversarialLib.attacks.engine.dice import DiceMeter
from SegAdversarialLib.attacks.engine.momentum import Momentum
from SegAdversarialLib.attacks.engine.moving import Extent, MovedLoss, MovedMasks
from SegAdversarialLib.attacks.engine.transforms import Bias, Change, Transform
from SegAdversarialLib.attacks.engine.watch import Score, Seen, Watch
from SegAdversarialLib.changes.fields import limited_displacement
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.objectives import Objective

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.budget_search import Resumed
    from SegAdversarialLib.attacks.engine.run import AttackRun

Controls = list[torch.Tensor]


@dataclass(frozen=True)
class SearchPlan:
    """What is searched for, and how long.

    Attributes:
        title: what people call the attack.
        transforms: what may be done, in order.
        objective: gives the loss that is climbed, by the masks (N, K, J, I) that the network should give.
        against_label: whether these are the reference, not the network's own clean answer.
        outputs: the positions of the outputs that count.
        enough: the lost share of Dice at which it stops; None: it goes on to the end.
        steps: along the gradient, in each restart; 0: the restarts are random draws.
        restarts: independent tries.
        first_draws: random changes, of which the steps begin at the worst.
        step_size: length of the first step, as a multiple of each transform's pace.
        snapshot_every: keep every k-th iteration; 0: none.
    """

    title: str
    transforms: Sequence[Transform]
    objective: Callable[[np.ndarray], Objective]
    against_label: bool
    outputs: Sequence[int]
    enough: float | None
    steps: int
    restarts: int
    first_draws: int
    step_size: float
    snapshot_every: int

    def length(self, step: int) -> float:
        """How long a step is, as a multiple of each kind's first one: along half a cosine down to 0."""
        return self.step_size * (1 + math.cos(math.pi * step / self.steps)) / 2

    def progress_text(self, restart: int, step: int) -> str:
        """What is going on."""
        doing = f"step {step + 1} of {self.steps}" if self.steps else f"draw {restart + 1} of {self.restarts}"
        again = f", restart {restart + 1} of {self.restarts}" if self.steps and self.restarts > 1 else ""
        return f"{self.title}: {doing}{again}"


class ChangeSearch:
    """One attack on one case.

    Args:
        plan: what is searched for.
        run: what it works with.
    """

    def __init__(self, plan: SearchPlan, run: AttackRun) -> None:
        self._plan, self._run, self.transforms = plan, run, plan.transforms
        self._moves = any(x.moves for x in self.transforms)
        label, affine, dtype = run.case.label, run.case.affine, run.original.dtype
        wanted = run.label_masks if plan.against_label else run.clean_masks
        self._extent = Extent(run.original, affine)
        self._wanted = MovedMasks(wanted, affine, dtype)
        apart = not plan.against_label and label is not None
        self._traced = MovedMasks(run.label_masks, affine, dtype) if apart else self._wanted
        self._bound = plan.objective(wanted.cpu().numpy()).bind(run.head, run.device, dtype)
        self._loss = MovedLoss(self._bound)
        self._watch = Watch(
            run,
            lambda loss, logits: self._score(self._targets, loss, logits),
            best_step=True,
            enough=plan.enough,
            steps=plan.steps,
            snapshot_every=plan.snapshot_every,
        )
        self._targets = self._wanted.hard(None)
        """What Dice counts against, where the last image has it."""

    def found(self) -> Found:
        """What the search comes back with."""
        plan, run = self._plan, self._run
        for restart in range(plan.restarts):
            self._watch.begin(restart)
            self._climb(restart)
            if self._watch.is_enough:
                break
        seen = self._watch.result()
        change, controls = seen.state
        displacement, log_bias = (
            None if x is None else x.to("cpu", torch.float32).numpy() for x in (change.displacement, change.log_bias)
        )
        adversarial = run.case.with_image(run.finished_image(seen.image))
        perturbation = Perturbation.between(run.case, adversarial, log_bias=log_bias, displacement=displacement)
        label = Perturbation(displacement=displacement).apply(run.case, warp_label=True).label if self._moves else None
        return Found(seen.image, perturbation, label, state=controls)

    def start(self, which: object, share: float | None = None) -> Controls:
        """Random controls that use a share of each budget (None: what suits it); each restart and each draw has its own."""
        found = []
        for transform in self.transforms:
            suited = transform.begins if which == 0 else Transform.begins
            generator = self._run.generator(f"{transform.name} {which}")
            found.append(transform.random(generator, suited if share is None else share))
        return found

    def momenta(self) -> list[Momentum]:
        """What remembers the gradients of one restart."""
        return [Momentum(x.decay) for x in self.transforms]

    def step(self, step: int, controls: Controls, momenta: list[Momentum]) -> None:
        """Differentiate, write the iteration down, and move: new controls in the list, as the old ones say what was found."""
        gradients = self._see_and_differentiate(step, controls)
        if self._watch.is_enough:
            return
        with torch.no_grad():
            for n, (transform, gradient, momentum) in enumerate(zip(self.transforms, gradients, momenta)):
                length = transform.pace * self._plan.length(step)
                controls[n] = transform.project((length * transform.direction(momentum(gradient))).add_(controls[n]))

    def _climb(self, restart: int) -> None:
        """One restart."""
        plan, run, steps = self._plan, self._run, self._plan.steps
        if not steps:
            run.report(restart / plan.restarts, plan.progress_text(restart, 0))
        controls, momenta = self._beginning(restart), self.momenta()
        for step in range(steps):
            run.report((restart * steps + step) / (plan.restarts * steps), plan.progress_text(restart, step))
            self._bound.progress = step / steps
            self.step(step, controls, momenta)
            if self._watch.is_enough:
                return
        self._arrive(steps, controls)

    def _beginning(self, restart: int) -> Controls:
        """What the steps begin with: the worst of some random draws, as smooth changes have many local optima."""
        plan, run = self._plan, self._run
        worst, lowest = self.start(restart, None if plan.steps else 1.0), float("inf")
        if run.begins_at is not None and restart == 0:
            before: Resumed = run.begins_at
            worst = [x.project(x.rescaled(y, before.share).clone()) for x, y in zip(self.transforms, before.state)]
            if not (plan.steps and plan.first_draws and before.has_rivals):
                return worst
            lowest = self._dice(worst)
        for draw in range(plan.first_draws if plan.steps else 0):
            run.report(restart / plan.restarts, f"{plan.title}: draw {draw + 1} of {plan.first_draws}")
            drawn = self.start(f"{restart} {draw}", 1.0)
            if (dice := self._dice(drawn)) < lowest:
                worst, lowest = drawn, dice
        return worst

    def _dice(self, controls: Controls) -> float:
        """The mean Dice that the network's answer has left."""
        run = self._run
        with torch.no_grad():
            change = self._changed(controls)
            answer = run.head.predicted(run.ask(run.finish(self._image(change))))
        return DiceMeter(self._wanted.hard(change.displacement), self._plan.outputs).mean(answer)

    def _see_and_differentiate(self, step: int, controls: Controls) -> Controls:
        """Write an iteration down; the gradients by the controls."""
        run = self._run
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_(True) for x in controls]  # in the controls' own memory
            change = self._changed(leaves)
            image = self._image(change)
            results = [image]
            if change.displacement is not None:
                box = self._wanted.extent.box(change.displacement)
                soft = self._wanted.soft(change.displacement, box)
                results.append(soft)
                self._bound.targets = self._wanted.around(soft, box)
        seen = run.finish(image)
        loss = self._loss if change.displacement is not None else self._bound
        value, gradient, logits = run.differentiate(seen, loss)
        self._see(step, value, logits, seen, change, controls)
        for transform in self.transforms:
            if (own := transform.own_gradient(seen)) is not None:
                gradient = own.add_(gradient)
        seeds = [gradient]
        if change.displacement is not None:
            seeds.append(self._loss.target_gradient[:, *box])
        return list(torch.autograd.grad(results, leaves, seeds))

    def _arrive(self, iteration: int, controls: Controls) -> None:
        """The end of a restart, which no gradient has seen yet."""
        run = self._run
        with torch.no_grad():
            change = self._changed(controls)
            image = run.finish(self._image(change))
            self._bound.progress = 1.0
            logits = run.ask(image)
            self._see(iteration, self._loss_of(change, 1.0, logits), logits, image, change, controls, last=True)

    def _changed(self, controls: Controls) -> Change:
        """What the controls do. Where that would fold, those that move the anatomy are made smaller, in place."""
        change = self._joined(controls)
        if change.displacement is None:
            return change
        field = change.displacement.detach()

        def at(scale: float) -> torch.Tensor:
            if scale == 1:
                return field
            moved = self._joined([scale * x if t.moves else x for t, x in zip(self.transforms, controls)]).displacement
            assert moved is not None
            return moved

        _, scale = limited_displacement(at, self._run.case.affine, float("inf"))
        if scale == 1:
            return change
        with torch.no_grad():
            for transform, control in zip(self.transforms, controls):
                if transform.moves:
                    control *= scale
        return self._joined(controls)

    def _joined(self, controls: Controls) -> Change:
        change = Change()
        for transform, control in zip(self.transforms, controls):
            change = transform.add_to(change, control)
        bias = next((x for x in self.transforms if isinstance(x, Bias)), None)
        if bias is None or change.log_bias is None:
            return change
        return Change(change.displacement, bias.limited(change.log_bias), change.added)

    def _image(self, change: Change) -> torch.Tensor:
        """The original with a change carried out."""
        run, field = self._run, change.displacement
        image = change.of(run.original, run.case.affine, None if field is None else self._extent.box(field))
        return run.keep_to_range(image)

    def _see(
        self,
        iteration: int,
        loss: float,
        logits: torch.Tensor,
        image: torch.Tensor,
        change: Change,
        controls: Controls,
        last: bool = False,
    ) -> None:
        traced, self._targets = self._masks_of(change)
        again = partial(self._again, self._bound.progress, list(controls))
        self._watch.see(iteration, loss, logits, image, last=last, targets=traced, again=again)

    def _again(self, progress: float, controls: Controls) -> Seen:
        """What was seen with these controls, made anew: they are mostly few, where an image is a volume."""
        with torch.no_grad():
            change = self._joined(controls)
            image = self._run.finish(self._image(change))
        traced, targets = self._masks_of(change)
        return Seen(
            image, partial(self._loss_of, change, progress), partial(self._score, targets), traced, state=(change, controls)
        )

    def _masks_of(self, change: Change) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Where a change leaves what the trace counts against (None: where it was), and what the search does."""
        traced = self._traced.hard(change.displacement)
        targets = traced if self._traced is self._wanted else self._wanted.hard(change.displacement)
        return traced if self._moves else None, targets

    def _loss_of(self, change: Change, progress: float, logits: torch.Tensor) -> float:
        """The loss of logits, where a change leaves the reference."""
        with torch.no_grad():
            if change.displacement is not None:
                box = self._wanted.extent.box(change.displacement)
                self._bound.targets = self._wanted.around(self._wanted.soft(change.displacement, box), box)
            self._bound.progress = progress
            return float(self._bound(logits))

    def _score(self, targets: torch.Tensor, loss: float, logits: torch.Tensor) -> Score:
        """How well an image serves: one minus the mean Dice against the reference where it lies in it."""
        run, plan = self._run, self._plan
        if plan.against_label or run.case.label is None:  # the trace has counted it
            return 1 - run.traced_dice(plan.outputs), loss
        return 1 - DiceMeter(targets, plan.outputs).mean(run.head.predicted(logits)), loss
