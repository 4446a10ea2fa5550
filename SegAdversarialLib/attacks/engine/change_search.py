"""The search for the worst change of an image within the budgets of some transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from SegAdversarialLib.attacks.attack import Found
from SegAdversarialLib.attacks.engine.dice import DiceMeter
from SegAdversarialLib.attacks.engine.momentum import Momentum
from SegAdversarialLib.attacks.engine.moving import Extent, MovedLoss, MovedMasks
from SegAdversarialLib.attacks.engine.transforms import Bias, Change, Place
from SegAdversarialLib.attacks.engine.watch import Score, Watch
from SegAdversarialLib.changes.fields import limited_displacement
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.objectives import OBJECTIVES

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.attacks.transforming import TransformingAttack

START = 0.1
"""Share of the budget of the random change that a search without draws begins with: where nothing moves, the slope of
interpolated values is that towards one neighbour."""

DECAY = 0.75
"""Weight of the earlier gradients: steps that turn round with every gradient waste most of them."""

Controls = list[torch.Tensor]


class ChangeSearch:
    """One attack on one case.

    Attributes:
        transforms: what may be done, in order.
    """

    def __init__(self, attack: TransformingAttack, run: AttackRun) -> None:
        self._attack, self._run = attack, run
        self.transforms = attack.transforms(Place.of(run, attack.changed_channels(run.model, run.case)))
        self._moves = any(x.moves for x in self.transforms)
        label, affine, dtype = run.case.label, run.case.affine, run.original.dtype
        wanted = run.label_masks if attack.against == "label" else run.clean_masks
        self._extent = Extent(run.original, affine)
        self._wanted = MovedMasks(wanted, affine, dtype)
        apart = attack.against != "label" and label is not None
        self._traced = MovedMasks(run.label_masks, affine, dtype) if apart else self._wanted
        objective = OBJECTIVES[attack.loss](wanted.cpu().numpy(), classes=attack.classes, temperature=attack.temperature)
        self._bound = objective.bind(run.head, run.device, dtype)
        self._loss = MovedLoss(self._bound)
        self._watch = Watch(
            run,
            self._score,
            best_step=True,
            enough=attack._enough(run),
            steps=attack.steps,
            snapshot_every=attack.snapshot_every,
        )
        self._change = self._kept = Change()

    def found(self) -> Found:
        """What the search comes back with."""
        attack, run = self._attack, self._run
        for restart in range(attack.restarts):
            self._watch.begin(restart)
            self._climb(restart)
            if self._watch.is_enough:
                break
        image = self._watch.result()
        displacement, log_bias = (
            None if x is None else x.to("cpu", torch.float32).numpy() for x in (self._kept.displacement, self._kept.log_bias)
        )
        adversarial = run.case.with_image(run.finished_image(image))
        perturbation = Perturbation.between(run.case, adversarial, log_bias=log_bias, displacement=displacement)
        label = Perturbation(displacement=displacement).apply(run.case, warp_label=True).label if self._moves else None
        return Found(image, perturbation, label)

    def start(self, which: object, share: float) -> Controls:
        """Random controls that use a share of each budget; each restart and each draw has its own."""
        return [x.random(self._run.generator(f"{x.name} {which}"), share) for x in self.transforms]

    def momenta(self) -> list[Momentum]:
        """What remembers the gradients of one restart."""
        return [Momentum(DECAY) for _ in self.transforms]

    def step(self, step: int, controls: Controls, momenta: list[Momentum]) -> None:
        """Differentiate, write the iteration down, and move the controls, in place."""
        gradients = self._see_and_differentiate(step, controls)
        if self._watch.is_enough:
            return
        with torch.no_grad():
            for transform, control, gradient, momentum in zip(self.transforms, controls, gradients, momenta):
                length = transform.pace * self._attack.length(step)
                control += length * transform.direction(momentum(gradient))
                transform.project(control)

    def _climb(self, restart: int) -> None:
        """One restart."""
        attack, run, steps = self._attack, self._run, self._attack.steps
        if not steps:
            run.report(restart / attack.restarts, attack.progress_text(restart, 0))
        controls, momenta = self._beginning(restart), self.momenta()
        for step in range(steps):
            run.report((restart * steps + step) / (attack.restarts * steps), attack.progress_text(restart, step))
            self._bound.progress = step / steps
            self.step(step, controls, momenta)
            if self._watch.is_enough:
                return
        self._arrive(steps, controls)

    def _beginning(self, restart: int) -> Controls:
        """What the steps begin with: the worst of some random draws, as smooth changes have many local optima."""
        attack, run = self._attack, self._run
        if not attack.steps:
            return self.start(restart, 1.0)
        worst, lowest = self.start(restart, START), float("inf")
        for draw in range(attack.first_draws):
            run.report(restart / attack.restarts, f"{attack.title}: draw {draw + 1} of {attack.first_draws}")
            drawn = self.start(f"{restart} {draw}", 1.0)
            with torch.no_grad():
                change = self._changed(drawn)
                answer = run.head.predicted(run.ask(run.finish(self._image(change))))
            dice = DiceMeter(self._wanted.hard(change.displacement), attack._counted(run)).mean(answer)
            if dice < lowest:
                worst, lowest = drawn, dice
        return worst

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
        value, gradient, logits = run.differentiate(seen, self._loss if change.displacement is not None else self._bound)
        self._see(step, value, logits, seen, change.detached())
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
            if change.displacement is not None:
                box = self._wanted.extent.box(change.displacement)
                self._bound.targets = self._wanted.around(self._wanted.soft(change.displacement, box), box)
            self._bound.progress = 1.0
            logits = run.ask(image)
            self._see(iteration, float(self._bound(logits)), logits, image, change, last=True)

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
        return torch.clamp(image, run.lowest, run.highest) if self._attack.clip else image

    def _see(
        self, iteration: int, loss: float, logits: torch.Tensor, image: torch.Tensor, change: Change, last: bool = False
    ) -> None:
        self._change, before = change, self._watch.best
        traced = self._traced.hard(change.displacement)
        self._targets = traced if self._traced is self._wanted else self._wanted.hard(change.displacement)
        self._watch.see(iteration, loss, logits, image, last=last, targets=traced if self._moves else None)
        if self._watch.best != before:
            self._kept = change

    def _score(self, loss: float, logits: torch.Tensor) -> Score:
        """How well an image serves: one minus the mean Dice against the reference where it lies now."""
        run, attack = self._run, self._attack
        if attack.against == "label" or run.case.label is None:  # the trace has counted it
            return 1 - attack._mean_dice(run, logits), loss
        return 1 - DiceMeter(self._targets, attack._counted(run)).mean(run.head.predicted(logits)), loss
