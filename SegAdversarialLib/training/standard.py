"""The usual way to train: one step down the loss of each batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from SegAdversarialLib.training.recipe import Batch, Learner, Recipe, Stepper


class Standard(Recipe):
    """Train on the cases as they are: one step down the loss of each batch."""

    name: ClassVar[str] = "standard"
    title: ClassVar[str] = "Standard training"

    def begin(self, learner: Learner) -> Stepper:
        """The recipe at work on a network."""
        return _Standard(learner)


class _Standard:
    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def step(self, batch: Batch) -> Mapping[str, float]:
        """One step down the loss."""
        logits, own = self._learner.ask(batch.images)
        loss = self._learner.measure(logits, batch.targets)
        self._learner.backward(loss if own is None else loss + own)
        self._learner.update()
        return {"loss": float(loss.detach())}

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
