"""Several objectives at once, none of which drowns the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from SegAdversarialLib.objectives.objective import BoundObjective, Objective
from SegAdversarialLib.structures.output_head import OutputHead

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

        differentiated = torch.is_grad_enabled() and logits.requires_grad
        pull, losses = torch.zeros_like(logits, requires_grad=False), []
        for part, bound in zip(self._parts, self._bound):
            bound.progress = self.progress
            bound.sharpness = 1 + (part.last_sharpness - 1) * self.progress
            leaf = logits.detach().requires_grad_(differentiated)
            loss = bound(leaf)
            losses.append(loss.detach())
            if differentiated and loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss, leaf)
                size = gradient.abs().sum()
                if size > torch.finfo(size.dtype).tiny:  # below, it is rounding
                    pull.add_(gradient.div_(size), alpha=1 + (part.last_weight - 1) * self.progress)
        mean = torch.stack(losses).mean()
        if not differentiated:
            return mean
        linear = (pull * logits).sum()
        return linear + (mean - linear.detach())
