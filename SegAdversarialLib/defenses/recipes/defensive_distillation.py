"""Training on another network's softened answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.defenses.recipes.network_setting import TRUST_DESCRIPTION, NetworkSetting, TrustSetting
from SegAdversarialLib.defenses.recipes.samples import AskedNetwork, opened
from SegAdversarialLib.defenses.recipes.steps import Stateless, learn
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.training.recipe import Batch, Learner, Recipe, Stepper

if TYPE_CHECKING:
    import torch

TEMPERATURE = "What the logits are divided by in training; the answers are those of temperature 1."


class Tempered(Recipe):
    """Training at a temperature: standard training with logits divided by T, as a teacher for distillation is trained.

    F(X) = softmax(z(X) / T) in the loss (Liu et al. 2021, eq. 4); a sigmoid head has sigmoid(z / T).
    """

    name: ClassVar[str] = "tempered"
    title: ClassVar[str] = "At a temperature"
    source: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 4"

    temperature: float = parameter(100.0, TEMPERATURE, "factor", gt=0)

    def begin(self, learner: Learner) -> Stepper:
        """The recipe at work on a network."""
        return _TemperedStepper(self.temperature, learner)


class DefensiveDistillation(Recipe):
    """Defensive distillation: the network learns a teacher's softened answers, both at temperature T.

    The teacher F is trained on the labels with softmax(z / T) in the loss (eq. 4); the student then learns F's probabilities
    at T in the labels' place, with its own logits divided by T (eq. 7); it answers at T = 1. A sigmoid head, of which the
    paper does not speak, has sigmoid(z / T) in all places. High T want more epochs and larger steps: the paper has 400 epochs
    at 5e-4 instead of 100 at 1e-4.

    Caution: the student's logits come out about T times larger, so that at T = 1 its probabilities saturate and gradients
    vanish. That hides its weakness from gradient attacks and does not remove it (Carlini & Wagner 2017): attack it on logits
    divided by T as well (temperature=T), and see what the audit says.
    """

    name: ClassVar[str] = "defensive-distillation"
    title: ClassVar[str] = "Defensive distillation"
    source: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 4 and 7, after Papernot et al. 2016"

    temperature: float = parameter(100.0, f"{TEMPERATURE} The paper's are 20, 100, 500 and 5000.", "factor", gt=0)
    teacher: NetworkSetting = parameter(
        None,
        "File of the teacher, which should have been trained at the same temperature (recipe tempered) on images prepared in "
        "the same way; none: it is trained first, in the same way as the student.",
        choose="network",
    )
    trust: TrustSetting = parameter(False, TRUST_DESCRIPTION, choose="trust", advanced=True, exclude=True)

    @property
    def first(self) -> Recipe | None:
        """The teacher's training, unless there is a teacher."""
        return Tempered(temperature=self.temperature) if self.teacher is None else None

    def begin(self, learner: Learner) -> Stepper:
        """The recipe at work on a network.

        Raises:
            InputError: there is no teacher, or it has other channels or classes.
        """
        if self.teacher is not None:
            return _Student(self.temperature, opened(self.teacher, learner, "teacher", self.trust), learner)
        if learner.before is None:
            raise InputError(f"{self.title} needs a teacher that was trained before, and there is none.")
        return _Student(self.temperature, AskedNetwork(learner.before, learner, "teacher"), learner)


class _TemperedStepper(Stateless):
    def __init__(self, temperature: float, learner: Learner) -> None:
        self._temperature, self._learner = temperature, learner

    def step(self, batch: Batch) -> Mapping[str, float]:
        """An update at the temperature."""
        return {"loss": learn(self._learner, batch.images, batch.targets, temperature=self._temperature)}


class _Student(Stateless):
    def __init__(self, temperature: float, teacher: AskedNetwork, learner: Learner) -> None:
        self._temperature, self._teacher, self._learner = temperature, teacher, learner

    def step(self, batch: Batch) -> Mapping[str, float]:
        """An update towards the teacher's answer."""
        soft = softened(self._teacher.logits(batch), self._temperature, self._learner.head.kind)
        return {"loss": learn(self._learner, batch.images, soft.to(batch.targets), temperature=self._temperature)}


def softened(logits: torch.Tensor, temperature: float, kind: str) -> torch.Tensor:
    """The probabilities of logits (B, N, *network axes) at a temperature (Liu et al. 2021, eq. 4)."""
    cooled = logits.float() / temperature
    return cooled.softmax(1) if kind == "softmax" else cooled.sigmoid()
