"""What the steps of all recipes are made of: a loss, an update, random numbers that a resumed training draws again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.recipe import Batch, Learner


class Stateless:
    """A stepper that keeps nothing from one step to the next."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to do."""


def loss_of(learner: Learner, images: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """The training's loss of some images, with what the network itself adds to it; a scalar with its graph.

    Args:
        learner: the network in training.
        images: (B, C, *network axes).
        targets: (B, N, *network axes).
        temperature: what the logits are divided by.
    """
    logits, own = learner.ask(images)
    loss = learner.measure(logits, targets, temperature)
    return loss if own is None else loss + own


def learn(
    learner: Learner, images: torch.Tensor, targets: torch.Tensor, *, temperature: float = 1.0, weight: float = 1.0
) -> float:
    """One update of the weights, and the loss before it; arguments as of `loss_of`, `weight` is a factor of the loss."""
    loss = loss_of(learner, images, targets, temperature)
    learner.backward(loss if weight == 1 else weight * loss)
    learner.update()
    return float(loss.detach())


def numbers_of(learner: Learner, batch: Batch, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose in one step, the same whenever the training gets there."""
    return np.random.default_rng([learner.seed, batch.step, *purpose.encode()])


def source_of_noise(learner: Learner, batch: Batch, purpose: str) -> torch.Generator:
    """The same as a generator of torch's; always on the CPU, so that every device draws the same."""
    import torch

    return torch.Generator().manual_seed(int(numbers_of(learner, batch, purpose).integers(2**63 - 1)))
