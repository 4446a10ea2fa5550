"""PReLU whose weights stay as they are, for the search of an attack.

PyTorch's own works out the gradient by the weight at each voxel as well, whether it is wanted or not, one number at a time: on
a processor that computes in bfloat16 that takes longer than the convolutions. This one gives the same answer and the same
gradient by the input, in passes of which each goes over many numbers at once.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional

OPERATOR = "segadversarial::frozen_prelu"
"""What it is called in programs (TorchScript): takes what `aten::prelu` takes."""


_ROW = 1024
"""So many numbers in a row, the weights of each voxel after the other, are gone over at once: a few channels are too few."""


def frozen_prelu(input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """PReLU of (B, C, *sizes), or of any shape with a single weight; weights (C,) or (1,) have no gradient."""
    if weight.numel() == 1:
        return functional.leaky_relu(input, float(weight))
    weight = weight.detach().to(input.dtype)
    channels_last = input.movedim(1, -1) if input.ndim > 2 else input
    if input.ndim < 3 or not channels_last.is_contiguous():
        return _applied(input, weight)
    voxels = input.numel() // len(weight)
    times = min(voxels & -voxels, 1 << max(0, (_ROW // len(weight)).bit_length() - 1))  # powers of two
    rows = _applied(channels_last.reshape(voxels // times, times * len(weight)), weight.repeat(times))
    return rows.view(channels_last.shape).movedim(-1, 1)


def _applied(input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = _FrozenPrelu.apply(input, weight)
    return answer


class _FrozenPrelu(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, input: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(input, weight)
        return torch.prelu(input, weight)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,), (input, weight) = gradients, context.saved_tensors
        where_positive = torch.ops.aten.threshold_backward(gradient, input, 0)
        elsewhere = gradient - where_positive  # one of the two is 0, and the other the gradient
        return where_positive.addcmul_(elsewhere, weight.view(-1, *(1,) * (input.ndim - 2))), None


def _is_known() -> bool:
    namespace, name = OPERATOR.split("::")
    return hasattr(getattr(torch.ops, namespace), name)


if not _is_known():  # it outlives this module where that is imported anew
    torch.library.define(OPERATOR, "(Tensor input, Tensor weight) -> Tensor")
    torch.library.impl(OPERATOR, "CompositeImplicitAutograd", frozen_prelu)
