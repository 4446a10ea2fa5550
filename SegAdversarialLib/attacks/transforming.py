"""What attacks have in common that change an image as a scanner, a body or a compressed file could have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from SegAdversarialLib.attacks.attack import Found
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import LOSS_TEXTS, KeepsSnapshots, ScalesLogits, parameter
from SegAdversarialLib.attacks.untargeted import StopsAtDrop
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.objectives import OBJECTIVES
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.change_search import SearchPlan
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.attacks.engine.transforms import Place, Transform
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

SmoothLoss = Literal["soft_dice", "cross_entropy", "masked_cross_entropy", "balanced_masked_cross_entropy"]
"""Losses that say how they change with the reference, too."""


class TransformingAttack(KeepsSnapshots, ScalesLogits, StopsAtDrop):
    """Searches for the worst of some smooth changes along the gradient by their few parameters.

    Where the anatomy moves, the reference moves with it: the loss and the trace's Dice are against the moved one, and the
    gradient counts how it moves, so that merely moving the anatomy gains nothing.
    """

    groups: ClassVar[tuple[Group, ...]] = ("realistic",)
    works_itself: ClassVar[bool] = True

    loss: SmoothLoss = parameter(
        "soft_dice",
        "Loss whose gradient is followed.",
        advanced=True,
        texts={key: text for key, text in LOSS_TEXTS.items() if key in SmoothLoss.__args__},  # type: ignore[attr-defined]
    )
    steps: int = parameter(
        20,
        "Number of steps along the gradient; 0: random draws that use the whole budget, one for each restart.",
        unit="steps",
        ge=0,
        le=10000,
    )
    first_draws: int = parameter(
        8,
        "Random changes that use the whole budget, of which the steps begin at the worst; 0: they begin near the original.",
        "draws",
        advanced=True,
        label="First draws",
        ge=0,
        le=10000,
    )
    step_size: float = parameter(
        1.0,
        "Length of the steps: 1 is what suits each kind of change, at first all of the budget for a bias field or "
        "compression, 0.2 for noise, 0.15 for movements; later steps are shorter, down to 0.",
        "times the usual",
        advanced=True,
        gt=0,
        le=100,
    )
    restarts: int = parameter(
        1,
        "Independent tries, each from another random change; the one with the lowest Dice is kept.",
        advanced=True,
        ge=1,
        le=1000,
    )

    @property
    def is_random(self) -> bool:
        """Whether there is anything to draw."""
        return not self.does_nothing

    @property
    def cost(self) -> Cost:
        """The first draws, the steps and the end of all restarts, and what the reference takes."""
        draws, steps = self.first_draws if self.steps else 0, self.steps * self.restarts
        answers = Cost(answers=(draws + 1) * self.restarts)
        return answers + Cost(steps, searched=max(0, steps - 1)) + self._cost_of_reference

    @property
    def moves(self) -> bool:
        """Whether it moves the anatomy, and so all channels."""
        return False

    @property
    def followed_losses(self) -> tuple[str, ...]:
        """The loss, unless changes are only drawn."""
        return (self.loss,) if self.steps else ()

    @property
    def by_channel(self) -> bool:
        """Whether single channels can be attacked."""
        return not self.moves

    @abstractmethod
    def transforms(self, place: Place) -> list[Transform]:
        """What may be done, in the order in which it is done."""

    def changed_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the channels whose intensities may be changed, beyond moving along."""
        return super().attacked_channels(model, case)

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that may differ afterwards: all of them where the anatomy moves.

        Raises:
            InputError: the case or the network has no such channel, or some are to move and others not.
        """
        chosen = self.changed_channels(model, case)
        if not self.moves:
            return chosen
        if self.channels is not None and len(chosen) < len(case.channels):
            raise InputError(
                f"{self.title} moves the anatomy, and so all channels of {case.name or 'the case'} "
                f"({', '.join(case.channels)}); choose no channels, or all of them."
            )
        return list(range(len(case.channels)))

    def _search(self, run: AttackRun) -> Found:
        from SegAdversarialLib.attacks.engine.change_search import ChangeSearch

        if self.against == "prediction":
            self._check_prediction(run)
        return ChangeSearch(self.plan_on(run), run).found()

    def plan_on(self, run: AttackRun) -> SearchPlan:
        """What is searched for on a case."""
        from SegAdversarialLib.attacks.engine.change_search import SearchPlan
        from SegAdversarialLib.attacks.engine.transforms import Place

        kind = OBJECTIVES[self.loss]
        return SearchPlan(
            title=self.title,
            transforms=self.transforms(Place.of(run, self.changed_channels(run.model, run.case))),
            objective=partial(kind, classes=self.classes, temperature=self.temperature),
            against_label=self.against == "label",
            outputs=self._counted(run),
            enough=self._enough(run),
            steps=self.steps,
            restarts=self.restarts,
            first_draws=self.first_draws,
            step_size=self.step_size,
            snapshot_every=self.snapshot_every,
        )

    def _in_words(self, parts: Sequence[str]) -> str:
        """A budget, and whether it is only drawn from."""
        drawn = [] if self.steps else [f"{self.restarts} random draw{'s' if self.restarts > 1 else ''}"]
        return ", ".join([*parts, *drawn])
