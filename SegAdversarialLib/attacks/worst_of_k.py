"""The worst of several random changes: what bad luck alone does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import WithJsonSchema, field_serializer, model_validator

from SegAdversarialLib.attacks.attack import Attack, Found
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.nested import AsItsMethod, inner_attack
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.attacks.transforming import TransformingAttack
from SegAdversarialLib.attacks.untargeted import AgainstReference
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_COMMON = frozenset(Attack.model_fields)
"""What all attacks have: said here, and handed on to the attack that draws; each draw has a seed of its own."""


class WorstOfK(AsItsMethod, AgainstReference):
    """Worst of K: draws one random attack several times, and keeps the draw with the lowest Dice.

    The fair opponent of an adversarial image: not one random image, but the worst of as many as the attack has asked for.
    Where a draw moves the anatomy, Dice is against the reference moved with it.
    """

    name: ClassVar[str] = "worst-of-k"
    title: ClassVar[str] = "Worst of K"
    groups: ClassVar[tuple[Group, ...]] = ("random",)
    works_itself: ClassVar[bool] = True
    citation: ClassVar[str] = "Engstrom et al. 2019, ICML (worst-of-k)"

    method: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter(
        "physics-artefact",
        'Attack to draw: its name, or its settings as JSON, such as {"attack": "physics-artefact", "kind": "motion"}.',
        choose="random-attack",
        label="Attack",
    )
    draws: int = parameter(20, "How often it is drawn.", "draws", ge=1, le=10000)

    @model_validator(mode="before")
    @classmethod
    def _method_is_a_random_attack(cls, data: Any) -> Any:
        """Turn the method, however it was given, into an attack that has no common settings of its own."""
        if not isinstance(data, dict):
            return data
        method, common = inner_attack(data, "physics-artefact", _COMMON, "the worst of K")
        if isinstance(method, TransformingAttack) and not {"steps", "restarts"} & method.model_fields_set:
            method = method.model_copy(update={"steps": 0})
        if not cls.can_draw(type(method)) or getattr(method, "steps", 0) > 0 or getattr(method, "restarts", 1) > 1:
            raise ValueError(
                f"{method.title}, as it is set, is not one random draw; choose noise, an artefact or a bias field"
            )
        usual = {key: getattr(method, key) for key in _COMMON}  # such as a bias field's, which is not clipped
        return {**usual, **data, **common, "method": method}

    @field_serializer("method")
    def _method_as_data(self, method: Attack) -> dict[str, Any]:
        return {key: value for key, value in method.describe().items() if key not in _COMMON}

    @classmethod
    def can_draw(cls, kind: type[Attack]) -> bool:
        """Whether a kind of attack draws at random: it asks no network, or can do without its gradient."""
        return not kind.asks_network or issubclass(kind, TransformingAttack)

    @property
    def is_random(self) -> bool:
        """Whether what is drawn is."""
        return bool(self.method.is_random)

    @property
    def cost(self) -> Cost:
        """What each draw takes, and an answer to it."""
        drawn: Cost = self.draw(0).cost + Cost(answers=1)
        return drawn.times(self.draws) + self._cost_of_reference

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that are attacked: those of the attack that is drawn."""
        return list(self.draw(0).attacked_channels(model, case))

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the attack that is drawn fits."""
        super().check(model, case)
        self.draw(0).check(model, case)

    def draw(self, number: int) -> Attack:
        """The attack whose result is one draw."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint32)[0])
        common = {key: getattr(self, key) for key in _COMMON}
        drawn: Attack = self.method.model_copy(update={**common, "seed": seed})
        if isinstance(drawn, AgainstReference):
            drawn = drawn.model_copy(update={"against": self.against, "classes": self.classes})
        return drawn

    def summary(self) -> str:
        """One line for names of nodes and rows: "Worst of 20: Physics artefact, blur, severity 3 of 5, all channels"."""
        return f"Worst of {self.draws}: {self.draw(0).summary()}"

    def _search(self, run: AttackRun) -> Found:
        import torch

        from SegAdversarialLib.attacks.engine.looking import Look
        from SegAdversarialLib.attacks.engine.watch import Watch

        # what is called the loss is the share of Dice that is lost
        watch = Watch(run, lambda loss, logits: (loss, 0.0), best_step=True, enough=None, steps=1, snapshot_every=0)
        counted = self._counted(run)
        look, kept = Look(run, self.against, counted), None
        for number in range(self.draws):
            run.report(number / self.draws, f"{self.title}: draw {number + 1} of {self.draws}")
            drawn, before = self.draw(number)(run.model, run.case), watch.best
            run.gradient_evaluations += drawn.gradient_evaluations
            run.forward_evaluations += drawn.forward_evaluations
            seen = look(Found(torch.from_numpy(drawn.adversarial.image), drawn.perturbation))
            watch.begin(number)
            watch.see(0, 1 - seen.mean(counted), seen.logits, seen.image, last=True, targets=seen.targets)
            if watch.best != before:
                kept = drawn
        image = watch.result().image
        assert kept is not None
        moved = kept.perturbation.displacement is not None
        return Found(image, kept.perturbation, kept.adversarial.label if moved else None)
