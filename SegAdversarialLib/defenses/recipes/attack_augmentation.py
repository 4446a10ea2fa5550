"""Training with copies that an attack has made on a network that was trained before."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import WithJsonSchema, field_validator, model_validator

from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.defenses.recipes.attack_setting import (
    ATTACK_DESCRIPTION,
    as_data,
    attack_of,
    is_plain,
    sign_of,
    with_epsilon,
)
from SegAdversarialLib.defenses.recipes.copies import Augmentation, CopyStepper
from SegAdversarialLib.defenses.recipes.epsilon import SIZE_UNIT, UNITS_DESCRIPTION, UNITS_TEXTS, Units, unit_of
from SegAdversarialLib.defenses.recipes.network_setting import TRUST_DESCRIPTION, NetworkSetting, TrustSetting
from SegAdversarialLib.defenses.recipes.samples import AskedNetwork, opened
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.training.standard import Standard

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.recipe import Batch, Learner, Recipe, Stepper


class AttackAugmentation(Augmentation):
    """Attack augmentation: copies that an attack has made on a trained network join the training set.

    X + epsilon * sign(grad L) (FGSM, eq. 1), X - epsilon * sign(grad L) (Inverse FGSM, eq. 3), L the training's own loss. As
    in the paper's Figure 1 a network is first trained on the original images, the copies are made on it, and a network is
    trained on both from the start; the copies are made anew for each batch, so that they fit its other augmentations.
    """

    name: ClassVar[str] = "attack-augmentation"
    title: ClassVar[str] = "Attack augmentation"
    source: ClassVar[str] = "Pervin et al. 2023, eq. 1 and 3, Figure 1"

    attack: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter("inverse-fgsm", ATTACK_DESCRIPTION, choose="attack")
    epsilon: float = parameter(0.1, "Largest change of a voxel, of attacks that do not say their own.", SIZE_UNIT, ge=0)
    epsilon_units: Units = parameter("relative", UNITS_DESCRIPTION, advanced=True, texts=UNITS_TEXTS)
    network: NetworkSetting = parameter(
        "first",
        "The network on which the copies are made. first: one that is trained before, in the same way on the original images "
        "(the paper); epoch: the network in training as each epoch finds it; or the file of a trained network.",
        choose="network",
    )
    trust: TrustSetting = parameter(False, TRUST_DESCRIPTION, choose="trust", advanced=True, exclude=True)

    @field_validator("attack", mode="after")
    @classmethod
    def _attack_is_one(cls, given: Any) -> Any:
        return as_data(attack_of(given))

    @model_validator(mode="after")
    def _fits_together(self) -> AttackAugmentation:
        if self.network is None:
            raise ValueError('network must be "first", "epoch", or the file of a network')
        self._chosen()
        return self

    @property
    def first(self) -> Recipe | None:
        """Standard training, unless a network is there already."""
        return Standard() if self.network == "first" else None

    def begin(self, learner: Learner) -> Stepper:
        """The recipe at work on a network."""
        copies = self.copier(learner)
        return CopyStepper(self, copies, learner, copies.meet)

    def copier(self, learner: Learner) -> _Copies:
        """Attacks the batches on the network."""
        return _Copies(self, self._chosen(), learner)

    def _chosen(self) -> Attack:
        return with_epsilon(attack_of(self.attack), self.epsilon, self.epsilon_units)


class _Copies:
    """Makes the copies, on a network that was trained before or on the one in training as an epoch found it."""

    def __init__(self, recipe: AttackAugmentation, attack: Attack, learner: Learner) -> None:
        self._recipe, self._attack, self._learner = recipe, attack, learner
        self._asked: AskedNetwork | None = None
        self._epoch = -1
        if recipe.network == "first":
            if learner.before is None:
                raise InputError(f"{recipe.title} needs a network that was trained before (network=first), and there is none.")
            self._asked = AskedNetwork(learner.before, learner, "network that was trained before")
        elif recipe.network != "epoch":
            self._asked = opened(recipe.network, learner, "network for the copies", recipe.trust)

    def meet(self, batch: Batch) -> None:
        """Keep the network as it is where an epoch begins, whichever of its batches is the first to be copied."""
        if self._recipe.network == "epoch" and batch.epoch != self._epoch:
            network = deepcopy(self._learner.network).eval().requires_grad_(False)
            self._asked, self._epoch = AskedNetwork(network, self._learner, "network in training"), batch.epoch

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        asked = self._asked
        assert asked is not None
        if not is_plain(self._attack):
            return asked.attacked(batch, self._attack)
        recipe = self._recipe
        step = sign_of(self._attack) * recipe.epsilon * unit_of(batch.images, recipe.epsilon_units)
        return batch.images + step * asked.gradient(batch).sign(), batch.targets
