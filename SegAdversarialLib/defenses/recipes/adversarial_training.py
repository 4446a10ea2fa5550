"""Training on what an attack makes of the training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

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
from SegAdversarialLib.defenses.recipes.epsilon import SIZE_UNIT, UNITS_DESCRIPTION, UNITS_TEXTS, Units, unit_of
from SegAdversarialLib.defenses.recipes.free_steps import FreeStepper
from SegAdversarialLib.defenses.recipes.samples import AskedNetwork
from SegAdversarialLib.defenses.recipes.steps import Stateless, learn, loss_of
from SegAdversarialLib.training.recipe import Batch, Learner, Recipe, Stepper
from SegAdversarialLib.training.standard import Standard

if TYPE_CHECKING:
    import torch

Order = Literal["together", "alternating", "free"]

ORDER_TEXTS = {
    "together": "one update with both losses",
    "alternating": "adversarial batch, then clean batch",
    "free": "free: replayed batches",
}


class AdversarialTraining(Recipe):
    """Adversarial training: each batch is learned together with what an attack on the network makes of it.

    beta L(x, y) + (1 - beta) L(x + epsilon * sign(grad L(x, y)), y) (Liu et al. 2021, eq. 9). FGSM takes the images' gradient
    from the very backward pass that gives the clean loss's gradient by the weights, so that an update costs two passes. The
    paper, for lack of memory, had an update with the adversarial batch and then one with the clean batch (order=alternating:
    three passes for two updates). Free adversarial training (Shafahi et al. 2019) replays each batch, and every backward pass
    moves the weights and the perturbation: one pass for each update, all of them adversarial; divide the epochs by them.

    Trained with FGSM alone a network may learn to recognise FGSM (label leaking) instead of withstanding attacks: Dice under
    FGSM is then higher than without; attack it with PGD, too.
    """

    name: ClassVar[str] = "adversarial-training"
    title: ClassVar[str] = "Adversarial training"
    source: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 8 and 9; free: Shafahi et al. 2019, algorithm 1"

    epsilon: float = parameter(
        0.05,
        "Largest change of a voxel, of attacks that do not say their own; the paper's are 0.01, 0.05, 0.1.",
        SIZE_UNIT,
        ge=0,
    )
    beta: float = parameter(
        0.5, "Weight of the clean loss; 1 is standard training. Free training knows no other value of it.", "share", ge=0, le=1
    )
    attack: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter("fgsm", ATTACK_DESCRIPTION, choose="attack")
    order: Order = parameter(
        "together",
        "together: one update with the weighted sum of both losses (eq. 9); alternating (the paper's way): an update with the "
        "adversarial batch, then one with the clean batch, the smaller weight as a share of the larger; free: replays.",
        texts=ORDER_TEXTS,
    )
    replays: int = parameter(4, "How often free training learns from each batch.", "updates for each batch", ge=1, le=100)
    epsilon_units: Units = parameter("relative", UNITS_DESCRIPTION, advanced=True, texts=UNITS_TEXTS)

    @field_validator("attack", mode="after")
    @classmethod
    def _attack_is_one(cls, given: Any) -> Any:
        return as_data(attack_of(given))

    @model_validator(mode="after")
    def _fits_together(self) -> AdversarialTraining:
        attack = self._chosen()
        if self.order == "free" and not is_plain(attack):
            raise ValueError(
                f"free training reuses the gradient of FGSM; choose the attack fgsm without settings, or another order for "
                f"{attack.name}"
            )
        return self

    def begin(self, learner: Learner) -> Stepper:
        """The recipe at work on a network."""
        if self.beta == 1:
            return Standard().begin(learner)
        attack = self._chosen()
        if self.order == "free":
            return FreeStepper(self.replays, sign_of(attack) * self.epsilon, self.epsilon_units, learner)
        steps: type[_Together] | type[_Alternating] = _Together if self.order == "together" else _Alternating
        return steps(self, attack, learner)

    def _chosen(self) -> Attack:
        return with_epsilon(attack_of(self.attack), self.epsilon, self.epsilon_units)


class _Adversarial(Stateless):
    """What both orders have in common: the adversarial batch."""

    def __init__(self, recipe: AdversarialTraining, attack: Attack, learner: Learner) -> None:
        self._beta, self._learner, self._attack = recipe.beta, learner, attack
        self._step, self._units = sign_of(attack) * recipe.epsilon, recipe.epsilon_units
        self._asked = None if is_plain(attack) else AskedNetwork(learner.network, learner, "network in training")

    def _report(self, clean: float, adversarial: float) -> Mapping[str, float]:
        loss = self._beta * clean + (1 - self._beta) * adversarial
        return {"loss": loss, "clean loss": clean, "adversarial loss": adversarial}

    def _along(self, batch: Batch, gradient: torch.Tensor) -> torch.Tensor:
        """The images after one step along the gradient's sign; scaling of half precision does not matter to it, unless it
        overflows: what is no number has no sign."""
        sign = gradient.nan_to_num(nan=0.0).sign().to(batch.images)
        return batch.images + self._step * unit_of(batch.images, self._units) * sign

    def _for_the_gradient_only(self, batch: Batch) -> torch.Tensor:
        """The gradient by the images, of a backward pass whose gradient by the weights is thrown away."""
        images = batch.images.detach().requires_grad_()
        self._learner.backward(loss_of(self._learner, images, batch.targets))
        for weight in self._learner.network.parameters():
            weight.grad = None
        assert images.grad is not None
        return images.grad


class _Together(_Adversarial):
    def step(self, batch: Batch) -> Mapping[str, float]:
        """One update with the weighted sum of both losses (eq. 9)."""
        learner, asked = self._learner, self._asked
        images = batch.images.detach()
        if asked is not None:
            attacked, targets = asked.attacked(batch, self._attack)
        else:
            images.requires_grad_()
        clean = loss_of(learner, images, batch.targets)
        learner.backward(self._beta * clean if self._beta else clean)
        if asked is None:
            assert images.grad is not None
            attacked, targets = self._along(batch, images.grad), batch.targets
        if not self._beta:  # the clean loss gave its gradient by the images, and has no weight
            for weight in learner.network.parameters():
                weight.grad = None
        adversarial = loss_of(learner, attacked, targets)
        learner.backward((1 - self._beta) * adversarial)
        learner.update()
        return self._report(float(clean.detach()), float(adversarial.detach()))


class _Alternating(_Adversarial):
    def step(self, batch: Batch) -> Mapping[str, float]:
        """An update with the adversarial batch, then one with the clean batch."""
        if self._asked is not None:
            images, targets = self._asked.attacked(batch, self._attack)
        else:
            images, targets = self._along(batch, self._for_the_gradient_only(batch)), batch.targets
        larger = max(self._beta, 1 - self._beta)
        adversarial = learn(self._learner, images, targets, weight=(1 - self._beta) / larger)
        clean = 0.0
        if self._beta:
            clean = learn(self._learner, batch.images, batch.targets, weight=self._beta / larger)
        return self._report(clean, adversarial)
