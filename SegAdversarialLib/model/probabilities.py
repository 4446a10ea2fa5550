"""Probabilities that are interpolated between voxels, taken from logits and handed on as logits, with the exact gradient.

MONAI brings probabilities back onto a case's grid, and only then takes the most probable class. Their interpolation is a sum
of positive numbers, worked out here on their logarithms: log(sum of w p) comes from log w and log p without either being
formed. So nothing becomes 0 or 1 by rounding, and there is a gradient wherever the network is sure of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import logsigmoid

Places = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each voxel that is wanted along an axis: the lower and the upper one that it lies between, and the upper one's share."""


def interpolate_probabilities(
    logits: torch.Tensor, head: Literal["softmax", "sigmoid"], places: Sequence[Places | None]
) -> torch.Tensor:
    """Logits on a new grid whose probabilities are those of the given ones, interpolated linearly.

    Args:
        logits: (N, K, J, I).
        head: "softmax", where they come back as log p, or "sigmoid", as log p - log(1 - p).
        places: for each of the axes K, J, I where the new voxels lie; None: it stays as it is.

    Returns:
        (N, *new grid); differentiable, with the graph of a single output at a time.
    """
    lines = [None if x is None else _Line(x, logits) for x in places]
    result: torch.Tensor = _Interpolated.apply(logits, head == "softmax", lines)
    return result


class _Line:
    """An axis' places as tensors, with the logarithms of the shares."""

    def __init__(self, places: Places, like: torch.Tensor) -> None:
        low, high, share = places
        self.low = torch.from_numpy(np.ascontiguousarray(low)).to(like.device)
        self.high = torch.from_numpy(np.ascontiguousarray(high)).to(like.device)
        with np.errstate(divide="ignore"):  # a share of 0 counts nothing
            logs = np.log1p(-share), np.log(share)
        self.shares = [torch.from_numpy(x).to(like.device, like.dtype) for x in logs]

    def between(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        """Logarithms (K, J, I) of what is interpolated along this axis."""
        along = [1, 1, 1]
        along[axis] = -1
        lower, upper = (x.reshape(along) for x in self.shares)
        return torch.logaddexp(values.index_select(axis, self.low) + lower, values.index_select(axis, self.high) + upper)


class _Interpolated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, softmax: bool, lines: list[_Line | None]) -> torch.Tensor:
        total = logits.logsumexp(0) if softmax else None
        ctx.save_for_backward(logits, total)
        ctx.lines = lines
        return torch.stack([_one(x, total, lines) for x in logits])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, total = ctx.saved_tensors
        (gradients,) = upstream
        passed = torch.empty_like(logits)
        for n, (output, gradient) in enumerate(zip(logits, gradients)):
            with torch.enable_grad():
                leaf = output.detach().requires_grad_(True)
                (passed[n],) = torch.autograd.grad(_one(leaf, total, ctx.lines), leaf, gradient)
        if total is not None:  # log p is the logit less the logarithm of the sum over all classes
            sums = passed.sum(0)
            for n, output in enumerate(logits):
                passed[n].addcmul_((output - total).exp_(), sums, value=-1)
        return passed, None, None


def _one(output: torch.Tensor, total: torch.Tensor | None, lines: list[_Line | None]) -> torch.Tensor:
    """One output (K, J, I) on the new grid."""
    if total is not None:
        return _between(output - total, lines)
    return _between(logsigmoid(output), lines) - _between(logsigmoid(-output), lines)


def _between(values: torch.Tensor, lines: list[_Line | None]) -> torch.Tensor:
    for axis, line in enumerate(lines):
        if line is not None:
            values = line.between(values, axis)
    return values
