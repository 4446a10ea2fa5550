"""A number of a tensor whose gradient was worked out already."""

from __future__ import annotations

from typing import Any

import torch


class KnownGradient(torch.autograd.Function):
    """A value (a scalar) of a tensor, and its gradient by it, which is handed out as it is."""

    @staticmethod
    def forward(context: Any, of: torch.Tensor, value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """The value; nobody else may need the gradient's memory."""
        context.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, *seeds: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient, times what the value counts."""
        (gradient,) = context.saved_tensors
        return gradient if bool(seeds[0] == 1) else gradient * seeds[0], None, None
