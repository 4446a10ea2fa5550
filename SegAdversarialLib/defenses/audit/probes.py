"""The attacks that an audit makes on each case, and what each of them is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from SegAdversarialLib.attacks.additive import AdditiveAttack
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.fgsm import FGSM
from SegAdversarialLib.attacks.noise import UniversalRandomPerturbation
from SegAdversarialLib.attacks.pgd import PGD
from SegAdversarialLib.attacks.settings import LOSS_TEXTS
from SegAdversarialLib.attacks.square import SquareAttack
from SegAdversarialLib.attacks.transfer import Transfer
from SegAdversarialLib.attacks.worst_case import WorstCase
from SegAdversarialLib.defenses.audit.settings import FULL_RANGE, AuditSettings
from SegAdversarialLib.model.segmentation_model import SegmentationModel

NOISE, SINGLE, ITERATIVE, LONGER = "random signs", "FGSM", "PGD", "PGD, twice the steps"
ALL_LOSSES, BLACK_BOX, TRANSFERRED = "worst case", "square", "transfer"
PLAIN_LOSS = "soft_dice"
"""What the plain attacks climb, as people mostly do."""

WITHOUT_GRADIENTS = (NOISE, BLACK_BOX, TRANSFERRED)


@dataclass(frozen=True)
class Probe:
    """One attack of an audit.

    Attributes:
        name: what tables call it.
        attack: what is run.
        temperature: what its logits are divided by, where it is there to find hidden gradients.
        loss: the loss that it climbs, where it is there to compare losses.
    """

    name: str
    attack: AdditiveAttack
    temperature: float | str | None = None
    loss: str | None = None


def probes(settings: AuditSettings, against: str, surrogate: SegmentationModel | None = None) -> list[Probe]:
    """All attacks on one case, those of small epsilons first.

    Args:
        settings: complete ones.
        against: "label" or "prediction".
        surrogate: a similar network from which attacks are transferred.
    """
    assert settings.epsilons is not None and settings.steps is not None and settings.restarts is not None
    common: dict[str, Any] = {"channels": settings.channels, "seed": settings.seed}
    led: dict[str, Any] = {**common, "against": against}
    found = [Probe(SINGLE, FGSM(epsilon=0, **led)), Probe(ITERATIVE, PGD(epsilon=0, steps=1, **led))]
    for epsilon in settings.epsilons:
        found += _at(epsilon, settings, led, common, surrogate)
    return [*found, Probe(ITERATIVE, PGD(epsilon=FULL_RANGE, steps=settings.steps, **led))]


def cost_of(asked: Sequence[Probe]) -> Cost:
    """What the probes of one case ask of the network; each is measured once more."""
    return sum((x.attack.cost + Cost(answers=1) for x in asked), Cost())


def _at(
    epsilon: float, settings: AuditSettings, led: dict[str, Any], common: dict[str, Any], surrogate: SegmentationModel | None
) -> list[Probe]:
    steps, size = settings.steps or 1, {"epsilon": epsilon}
    plain = PGD(steps=steps, **size, **led)
    found = [
        # one sign for each voxel, as large as the attacks' own
        Probe(NOISE, UniversalRandomPerturbation(radius=0, epsilon_units="relative", clip=True, **size, **common)),
        Probe(SINGLE, FGSM(**size, **led)),
        Probe(ITERATIVE, plain.model_copy(update={"restarts": settings.restarts})),
        Probe(LONGER, plain.model_copy(update={"steps": 2 * steps})),
    ]
    for value in settings.temperatures:
        found.append(Probe(f"PGD, {_scale(value)}", plain.model_copy(update={"temperature": value}), temperature=value))
    for loss in settings.losses:
        if loss != PLAIN_LOSS:
            found.append(Probe(f"PGD, {LOSS_TEXTS[loss]}", plain.model_copy(update={"loss": loss}), loss=loss))
    found.append(Probe(ALL_LOSSES, WorstCase(gradient_budget=2 * steps, losses=settings.losses, **size, **led)))
    if settings.queries:
        found.append(Probe(BLACK_BOX, SquareAttack(queries=max(3, settings.queries), **size, **led)))
    if surrogate is not None:
        found.append(
            Probe(TRANSFERRED, Transfer(source=surrogate, method=PGD(steps=steps, against=led["against"]), **size, **common))
        )
    return found


def _scale(temperature: float | str) -> str:
    """What is done to the logits, in words."""
    if temperature == "auto":
        return "logits to a margin of 2"
    return "logits on unit scale" if temperature == "deviation" else f"logits / {temperature:g}"
