"""3D convolutions of a single image in single precision, with which PyTorch is slow on a CPU.

PyTorch 2.13 hands a convolution of one float32 image to oneDNN only where channels x first size x second size are above
20,480; the third size does not count. The others copy each voxel's neighbourhood out and multiply matrices, which takes two to
fifteen times as long. These are most layers of a network with windows of 32^3, and the lower half of a U-Net with any window.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_LEFT_OUT = 20480
"""channels x first size x second size up to which torch does not ask oneDNN for a single image."""


class SingleImageConvolutions(TorchFunctionMode):
    """Within it, oneDNN computes the 3D convolutions of single images, too: the same answer and gradients, but for rounding.

    Convolutions of several images, with groups, in other precisions, on other devices or within a TorchScript program, and
    those that a processor other than x86 computes, stay as they are.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function's answer."""
        given = kwargs or {}
        if func is not torch.conv3d or not _ONEDNN:
            return func(*args, **given)
        return _convolved(*args, **given)


_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine().lower() in ("x86_64", "amd64")
"""Whether this was measured to be quicker on such a processor."""


def _convolved(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> torch.Tensor:
    """`torch.conv3d`, whose names the arguments have."""
    if isinstance(padding, str) or groups != 1 or not _is_left_out(input, weight):
        return torch.conv3d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]
    answer: torch.Tensor = _Convolution.apply(input, weight, bias, _three(stride), _three(padding), _three(dilation))
    return answer


def _is_left_out(input: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether torch would not ask oneDNN."""
    plain = (
        type(x) in (torch.Tensor, torch.nn.Parameter) and x.ndim == 5 and x.layout is torch.strided for x in (input, weight)
    )
    if not all(plain) or {input.dtype, weight.dtype} != {torch.float32} or {input.device.type, weight.device.type} != {"cpu"}:
        return False
    if torch.is_autocast_enabled("cpu") or not torch.backends.mkldnn.enabled:
        return False
    few = len(input) == 1 and 0 < input.shape[:4].numel() <= _LEFT_OUT and input.numel() > 0
    return few and weight.shape[2:].numel() > 1


def _three(sizes: int | tuple[int, ...]) -> list[int]:
    found = [sizes] if isinstance(sizes, int) else list(sizes)
    return found * 3 if len(found) == 1 else found


class _Convolution(torch.autograd.Function):
    """It keeps for the way back what torch keeps: the graph takes no more memory, and a network may compute it again."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        ctx.how = None if bias is None else list(bias.shape), stride, padding, dilation, False, [0, 0, 0], 1
        return torch.conv3d(input.to_mkldnn(), weight, bias, stride, padding, dilation).to_dense()  # type: ignore[arg-type]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad[:3]
        outputs, channels = weight.shape[:2]
        # oneDNN is slow with gradients of few channels by many
        if channels > 1 and 8 * channels >= outputs:
            gradient = gradient.to_mkldnn()
            # of an input that only its own gradient is asked of, nothing but its shape counts
            input = input.to_mkldnn() if of_weight else torch.empty(input.shape, layout=torch._mkldnn)  # type: ignore[attr-defined]
        found = torch.ops.aten.convolution_backward(gradient, input, weight, *ctx.how, [of_input, of_weight, of_bias])
        dense = [
            x.to_dense() if wanted and x.layout is not torch.strided else x for x, wanted in zip(found, ctx.needs_input_grad)
        ]
        return (*(x if wanted else None for x, wanted in zip(dense, ctx.needs_input_grad)), None, None, None)
