"""Steps of free adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.defenses.recipes.epsilon import Units, unit_of
from SegAdversarialLib.defenses.recipes.steps import loss_of

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.recipe import Batch, Learner


class FreeStepper:
    """Replays each batch; every backward pass gives the gradient by the weights, which move, and by the perturbation.

    delta <- clip(delta + epsilon * sign(grad L(x + delta)), -epsilon, epsilon) after each update (Shafahi et al. 2019,
    algorithm 1); the next batch goes on with the perturbation of the last, as there, unless it has another shape.

    Args:
        replays: updates for each batch.
        epsilon: the step and the bound; negative: the loss is descended.
        units: what epsilon is measured in.
        learner: the network in training.
    """

    def __init__(self, replays: int, epsilon: float, units: Units, learner: Learner) -> None:
        self._replays, self._epsilon, self._units, self._learner = replays, epsilon, units, learner
        self._kept: torch.Tensor | None = None
        """The perturbation as a share of epsilon, from -1 to 1."""

    def step(self, batch: Batch) -> Mapping[str, float]:
        """The updates on one batch."""
        learner, limit = self._learner, self._epsilon * unit_of(batch.images, self._units)
        share, losses = self._begin_with(batch.images), []
        for _ in range(self._replays):
            images = (batch.images + limit * share).detach().requires_grad_()
            loss = loss_of(learner, images, batch.targets)
            learner.backward(loss)
            assert images.grad is not None
            sign = images.grad.nan_to_num(nan=0.0).sign().to(share)
            learner.update()
            share = (share + sign).clamp_(-1, 1)
            losses.append(float(loss.detach()))
        self._kept = share
        return {"loss": sum(losses) / len(losses)}

    def state_dict(self) -> dict[str, Any]:
        """The perturbation that the next batch goes on with."""
        return {} if self._kept is None else {"perturbation": self._kept.cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._kept = state.get("perturbation")

    def _begin_with(self, images: torch.Tensor) -> torch.Tensor:
        import torch

        if self._kept is None or self._kept.shape != images.shape:
            return torch.zeros_like(images)
        return self._kept.to(images)
