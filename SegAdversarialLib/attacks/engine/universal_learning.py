"""Learning a universal perturbation: stochastic sign steps over a set of cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from SegAdversarialLib.attacks.additive import AdditiveAttack
from SegAdversarialLib.attacks.engine.pattern import Cases, Pattern
from SegAdversarialLib.attacks.engine.run import AttackRun
from SegAdversarialLib.attacks.settings import some_or_none
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel
from SegAdversarialLib.objectives import OBJECTIVES
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import BoundModel, SegmentationModel


class Learning(BaseModel):
    """How a universal perturbation is learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: str = Field("soft_dice", description="Loss that is climbed.")
    against: Literal["label", "prediction"] = Field("label", description="The reference, or the network's clean answer.")
    classes: tuple[str | int, ...] | None = Field(None, description="Structures that the loss counts; none: all.")
    epochs: int = Field(10, ge=1, le=10000, description="How often each case is seen.")
    step_size: float | None = Field(
        None, gt=0, description="Length of the first epoch's steps in epsilon's units, which then shrink; none: epsilon / 10."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Share of the past steps' direction in each step.")

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, loss: str) -> str:
        if loss not in OBJECTIVES:
            raise ValueError(f"there is no such loss; there are {', '.join(OBJECTIVES)}")
        return loss

    @field_validator("classes", mode="before")
    @classmethod
    def _one_class_is_a_list(cls, classes: Any) -> Any:
        return None if classes is None else some_or_none("structure", classes)


def learn_pattern(
    attack: AdditiveAttack,
    how: Learning,
    model: SegmentationModel,
    cases: Cases,
    progress: ProgressCallback | None,
    cancel: CancelCheck | None,
) -> Pattern:
    """The pattern that raises the loss of all cases together; see `UniversalPerturbation.learn`."""
    if isinstance(cases, Iterator) or not (callable(cases) or isinstance(cases, Sequence)):
        raise InputError(
            "Every epoch goes through the cases again: give them as a list, or as a function that gives them anew each time."
        )
    learner = _Learner(attack, how, model, cancel)
    count = len(cases) if isinstance(cases, Sequence) else 0
    rows: list[dict[str, float]] = []
    for epoch in range(how.epochs):
        seen: list[float] = []
        for case in _in_order(cases, attack.seed, epoch):
            check_cancel(cancel)
            if progress is not None:
                part = min(len(seen) / count, 1.0) if count else 0.0
                progress((epoch + part) / how.epochs, f"{attack.title}: epoch {epoch + 1} of {how.epochs}, {case.name}")
            seen.append(learner.step(case, 1 - epoch / how.epochs))
        if not seen:
            raise InputError("There are no cases to learn the perturbation from; give one at least.")
        count = len(seen)  # a function's number of cases is known once it has given them all
        rows.append({"epoch": epoch, "loss": float(np.mean(seen))})
    return learner.pattern(count, rows)


def _in_order(cases: Cases, seed: int, epoch: int) -> Iterable[Case]:
    if not isinstance(cases, Sequence):
        return cases()
    order = np.random.default_rng([seed, epoch]).permutation(len(cases))
    return (cases[int(n)] for n in order)


class _Learner:
    """The pattern while it is learned, on the network's device.

    Each step is that of momentum i-FGSM, with one case's gradient after the other in the place of one case's: gradients in
    epsilon's units, divided by their mean size, so that no case counts more than another, are summed with momentum, and the
    pattern goes a step along the sign of the sum and back into [-1, 1].
    """

    def __init__(self, attack: AdditiveAttack, how: Learning, model: SegmentationModel, cancel: CancelCheck | None) -> None:
        self._attack, self._how, self._model, self._cancel = attack, how, model, cancel
        self._step = 0.1 if how.step_size is None else how.step_size / max(attack.epsilon, torch.finfo(torch.float32).tiny)
        self._channels: list[str] = []
        self._first: tuple[str, tuple[int, int, int]] | None = None
        self._is_first = True
        self._values = self._direction = torch.empty(0)

    def step(self, case: Case, remaining: float) -> float:
        """One step on one case; its loss before it. `remaining` shortens the step."""
        case = case.in_terms_of(self._model.head)
        self._check(case)
        with self._model.on(case, between_windows=lambda done: check_cancel(self._cancel)) as bound:
            return self._step_on(self._run_on(case, bound), bound, remaining)

    def pattern(self, cases: int, rows: list[dict[str, float]]) -> Pattern:
        """What was learned."""
        learned = {
            "network": self._model.name,
            "epsilon": self._attack.epsilon,
            "epsilon_units": self._attack.epsilon_units,
            "seed": self._attack.seed,
            "cases": cases,
            "searches_in": self._model.describe()["acceleration"]["searches_in"],
            **self._how.model_dump(mode="json"),
            "by_epoch": rows,
        }
        return Pattern(self._values.cpu().numpy(), tuple(self._channels), learned)

    def _step_on(self, run: AttackRun, bound: BoundModel, remaining: float) -> float:
        positions = [run.case.channel_index(name) for name in self._channels]
        unit = run.unit[positions]
        if not len(self._values):
            self._values = torch.zeros_like(run.original[positions], dtype=torch.float32)
            self._direction = torch.zeros_like(self._values)
        loss = OBJECTIVES[self._how.loss](self._reference(run), classes=self._how.classes)
        image = run.original.clone()
        image[positions] += self._values * (self._attack.epsilon * unit)
        bound_loss = loss.bind(run.head, run.device, run.original.dtype)
        value, gradient, _ = run.differentiate(run.project(image), bound_loss, exactly=self._is_first)
        self._is_first = False
        slope = gradient[positions] * unit
        if run.allowed is not None:
            slope *= run.allowed[positions]
        slope /= slope.abs().mean().clamp_min(torch.finfo(slope.dtype).tiny)
        self._direction.mul_(self._how.momentum).add_(slope)
        self._values.add_(self._direction.sign(), alpha=self._step * remaining).clamp_(-1, 1)
        return value

    def _run_on(self, case: Case, bound: BoundModel) -> AttackRun:
        budget = self._attack.budget_on(self._model, case)
        return AttackRun(self._attack.title, budget, self._model, bound, case)

    def _reference(self, run: AttackRun) -> np.ndarray:
        if self._how.against == "prediction":
            return run.clean_masks.cpu().numpy()
        assert run.case.label is not None  # as _check has made sure
        return run.case.label

    def _check(self, case: Case) -> None:
        """Whether a case fits the network, the settings and the first case."""
        self._attack.attacked_channels(self._model, case)
        self._attack.region_mask(case)
        if self._how.against == "label" and case.label is None:
            raise InputError(
                f"Learning works against the reference, but {case.called} has no label map; give it one (label), or learn "
                "against the network's own prediction (--set against=prediction)."
            )
        if case.label is not None:
            self._model.head.check_label(case.label)
        if self._first is None:
            for structure in self._how.classes or ():
                self._model.head.output(structure)
            self._channels = [case.channels[n] for n in self._attack.attacked_channels(self._model, case)]
            self._first = case.called, case.shape
        elif case.shape != self._first[1]:
            raise InputError(
                f"A universal perturbation is learned on one grid: {self._first[0]} has the shape "
                f"{self._first[1]}, {case.called} {case.shape}; resample them to one size."
            )
