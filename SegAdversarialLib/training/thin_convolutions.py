"""Keeps 3D convolutions over few voxels out of bfloat16 on a CPU, where their weights' gradient is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DILATION = {torch.conv3d: 3, torch.conv_transpose3d: 5}
"""The convolutions, and where among the arguments after input and weight, which begin with the bias, their dilation stands."""


class ThinConvolutionsInSinglePrecision(TorchFunctionMode):
    """Within it, on a CPU, a 3D convolution whose kernel is longer than its input along some axis computes in float32.

    torch 2.13's gradient by such a convolution's weights in bfloat16 (oneDNN, on processors with AVX512-bf16) is NaN or off by
    many orders of magnitude. The answer and its gradient by the input are right. U-Nets meet it at their lowest level. Those
    volumes are small, so that single precision costs next to nothing there.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        place = _DILATION.get(func)
        if place is None or not torch.is_autocast_enabled("cpu") or not _is_thin(place, *args, **given):
            return func(*args, **given)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_exact, args), **{name: _exact(x) for name, x in given.items()})


def _exact(argument: Any) -> Any:
    return argument.float() if isinstance(argument, torch.Tensor) else argument


def _is_thin(place: int, input: torch.Tensor, weight: torch.Tensor, *others: Any, **named: Any) -> bool:
    """Whether a kernel is longer than its input along some axis of it; the names are torch's own."""
    dilation = others[place] if len(others) > place else named.get("dilation", 1)
    steps = tuple(dilation) if isinstance(dilation, (tuple, list)) else (dilation,)
    steps *= 3 // len(steps)
    lengths = [(kernel - 1) * step + 1 for kernel, step in zip(weight.shape[2:], steps)]
    return input.device.type == "cpu" and any(size < length for size, length in zip(input.shape[2:], lengths))
