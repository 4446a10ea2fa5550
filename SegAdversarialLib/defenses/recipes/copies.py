"""What the recipes have in common that learn from changed copies of the training images beside these."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.defenses.recipes.steps import Stateless, learn, numbers_of
from SegAdversarialLib.training.recipe import Batch, Learner, Recipe, Stepper

if TYPE_CHECKING:
    import torch

Copier = Callable[[Batch], "tuple[torch.Tensor, torch.Tensor]"]
"""Makes the copies of a batch: images and targets, of the batch's shapes."""


class Augmentation(Recipe):
    """Each batch is learned from twice, first as a changed copy, then as it is: the copies join the training set."""

    share: float = parameter(
        1.0,
        "Share of the steps that also learn from a copy of their batch, drawn for each step by itself.",
        "share of the steps",
        ge=0,
        le=1,
    )
    originals: bool = parameter(
        True, "Learn from each batch as it is, too; else its copy takes its place.", label="Originals too", advanced=True
    )

    def begin(self, learner: Learner) -> Stepper:
        """The recipe at work on a network."""
        return CopyStepper(self, self.copier(learner), learner)

    @abstractmethod
    def copier(self, learner: Learner) -> Copier:
        """What makes the copies, for a network in training.

        Raises:
            InputError: it does not fit the network.
        """


class CopyStepper(Stateless):
    """Learns from batches and their copies.

    Args:
        recipe, learner: how, and what learns.
        copier: makes the copies.
        meet: told of each batch, also of one that is not copied, before anything is learned from it.
    """

    def __init__(
        self, recipe: Augmentation, copier: Copier, learner: Learner, meet: Callable[[Batch], None] = lambda batch: None
    ) -> None:
        self._recipe, self._copier, self._learner, self._meet = recipe, copier, learner, meet

    def step(self, batch: Batch) -> Mapping[str, float]:
        """An update with the copy, where there is to be one, and an update with the batch."""
        copied = {}
        self._meet(batch)
        if numbers_of(self._learner, batch, "share").random() < self._recipe.share:
            images, targets = self._copier(batch)
            copied["copies' loss"] = learn(self._learner, images, targets)
            if not self._recipe.originals:
                return {"loss": copied["copies' loss"]}
        return {"loss": learn(self._learner, batch.images, batch.targets), **copied}
