"""Several objectives at once, none of which drowns the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from SegAdversarialLib.objectives.objective import BoundObjective, Objective
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.slabs import slabs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Part:
    """One of several objectives.

    Attributes:
        objective: what it is.
        last_weight: how hard it pulls in the end; at first each pulls with 1, and in between it changes evenly.
        last_sharpness: by what its logits are multiplied in the end; at first 1.
    """

    objective: Objective
    last_weight: float = 1.0
    last_sharpness: float = 1.0


class JointObjective:
    """Objectives that pull at the logits together.

    The gradient by the logits is the weighted sum of the parts' gradients, each divided by the sum of its absolute values: a
    loss in thousandths counts as much as one in tens, and one that is stuck (whose gradient is zero) leaves the others alone.

    Args:
        parts: one at least.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def bind(self, head: OutputHead, device: torch.device | str, dtype: torch.dtype) -> BoundJoint:
        """The same for one network; raises what `Objective.bind` raises."""
        return BoundJoint(self.parts, [part.objective.bind(head, device, dtype) for part in self.parts])


class BoundJoint:
    """Objectives that pull together, bound to one network.

    Attributes:
        progress: how much of its gradients an attack has behind it, from 0 to 1.
    """

    def __init__(self, parts: Sequence[Part], bound: Sequence[BoundObjective]) -> None:
        self._parts, self._bound = parts, bound
        self.progress = 0.0

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The mean of the losses, a scalar; its gradient by the logits (N, K, J, I) is what the parts agree on."""
        import torch

        from SegAdversarialLib.objectives.known_gradient import KnownGradient

        differentiated = torch.is_grad_enabled() and logits.requires_grad
        pull, losses = torch.zeros_like(logits, requires_grad=False), []
        room = torch.empty_like(pull) if differentiated else None
        for part, bound in zip(self._parts, self._bound):
            bound.progress = self.progress
            bound.sharpness = 1 + (part.last_sharpness - 1) * self.progress
            leaf = logits.detach().requires_grad_(differentiated)
            loss = bound(leaf)
            losses.append(loss.detach())
            if differentiated and loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss, leaf)
                size = torch.abs(gradient, out=room).sum()
                if size > torch.finfo(size.dtype).tiny:  # below, it is rounding
                    _add(pull, gradient, size, 1 + (part.last_weight - 1) * self.progress)
        mean = torch.stack(losses).mean()
        if not differentiated:
            return mean
        # as if the pull at the logits were all there is, but for the height
        linear = torch.mul(pull, logits.detach(), out=room).sum()
        return KnownGradient.apply(logits, linear + (mean - linear), pull)


def _add(pull: torch.Tensor, gradient: torch.Tensor, size: torch.Tensor, weight: float) -> None:
    """Add to the pull (N, K, J, I) a gradient divided by its size, times the weight."""
    for piece in slabs(pull):
        pull[:, piece].add_(gradient[:, piece].div_(size), alpha=weight)
