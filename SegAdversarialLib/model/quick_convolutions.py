"""3D convolutions in single precision on a CPU with which PyTorch is slow, computed in another way that gives the same.

- Of a single image: PyTorch 2.13 hands it to oneDNN only where channels x first size x second size are above 20,480 (the third
  size does not count), or the kernel is longer than three voxels along both last axes. Others copy each voxel's neighbourhood
  out and multiply matrices, which takes two to fifteen times as long where there is much to compute. These are most layers of
  a network with windows of 32^3, and the lower half of a U-Net with any window.
- Of no more channels than a register of AVX-512 holds numbers: oneDNN fills it up for the gradient by the input, but not for
  the convolution with the kernel turned round, which is the same and takes down to a quarter of the time.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_LEFT_OUT = 20480
"""channels x first size x second size up to which torch does not ask oneDNN about a single image."""
_WORTH = 1_000_000
"""Products in a convolution below which the way there takes longer than it saves."""
_REGISTER = 16
"""Numbers in a register of AVX-512."""

_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine().lower() in ("x86_64", "amd64")
"""Whether this was measured to be quicker on such a processor."""
_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"


class QuickConvolutions(TorchFunctionMode):
    """Within it, such convolutions have the same answers and gradients, but for rounding, in less time.

    Plain convolutions alone are meant: those with groups, in other precisions, on other devices, within TorchScript programs
    and compiled parts, under transforms of functions (`torch.func`), and all on other processors than x86 stay PyTorch's own.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function's answer."""
        given = kwargs or {}
        if func is not torch.conv3d or not _ONEDNN:
            return func(*args, **given)
        return _convolved(*args, **given)


def _convolved(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> torch.Tensor:
    """`torch.conv3d`, whose names the arguments have."""
    if not isinstance(padding, str) and groups == 1 and _are_plain(input, weight):
        how = _three(stride), _three(padding), _three(dilation)
        pulled = input.requires_grad and torch.is_grad_enabled()
        if _is_worth_it(input, weight, *how[1:]) and (_is_alone(input, weight) or (pulled and _is_narrow(weight, how[0]))):
            answer: torch.Tensor = _Convolution.apply(input, weight, bias, how)
            return answer
    return torch.conv3d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore[arg-type]


def _are_plain(input: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether they are what is computed otherwise here: float32, in ordinary memory, and nothing watches how."""
    for x in (input, weight):
        if type(x) not in (torch.Tensor, torch.nn.Parameter) or x.ndim != 5 or x.layout is not torch.strided:
            return False
        if x.dtype is not torch.float32 or x.device.type != "cpu":
            return False
    watched = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or _are_transformed()
    return bool(torch.backends.mkldnn.enabled) and not watched


def _are_transformed() -> bool:
    """Whether a transform of functions (vmap, grad, jvp) or forward differentiation is under way."""
    under_way = torch._C._functorch.peek_interpreter_stack() is not None
    return under_way or torch.autograd.forward_ad._current_level >= 0


def _is_worth_it(input: torch.Tensor, weight: torch.Tensor, padding: list[int], dilation: list[int]) -> bool:
    """Whether there is much to compute, by a kernel of ordinary size and padding: oneDNN is not safe with all others."""
    sizes = input.shape[2:]
    reach = [(length - 1) * step for length, step in zip(weight.shape[2:], dilation)]
    ordinary = all(size > x and 2 * there <= x for size, x, there in zip(sizes, reach, padding))
    return ordinary and sum(reach) > 0 and len(input) * sizes.numel() * weight.numel() >= _WORTH


def _is_alone(input: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether PyTorch would not ask oneDNN."""
    return len(input) == 1 and input.shape[:4].numel() <= _LEFT_OUT and min(weight.shape[3:]) <= 3


def _asked_of_onednn(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *how: int | list[int]
) -> torch.Tensor:
    """`torch.conv3d` with stride, padding and dilation, by oneDNN."""
    if _is_alone(input, weight):
        return torch.conv3d(input.to_mkldnn(), weight, bias, *how).to_dense()  # type: ignore[arg-type]
    return torch.conv3d(input, weight, bias, *how)  # type: ignore[arg-type]


def _is_narrow(weight: torch.Tensor, stride: list[int]) -> bool:
    """Whether the gradient by the input is quicker with the kernel turned round."""
    outputs, channels = weight.shape[:2]
    return _AVX512 and max(stride) == 1 and max(channels, outputs) <= _REGISTER and 8 * channels >= outputs


def _turned(weight: torch.Tensor, padding: list[int], dilation: list[int]) -> list[int]:
    """The padding of a gradient by a convolution's input: as many voxels as are lost without any, less those that were not."""
    return [(length - 1) * step - there for length, step, there in zip(weight.shape[2:], dilation, padding)]


def _three(sizes: int | Sequence[int]) -> list[int]:
    found = list(sizes) if isinstance(sizes, Sequence) else [int(sizes)]
    return found * 3 if len(found) == 1 else found


class _Convolution(torch.autograd.Function):
    """It keeps for the way back what torch keeps: the graph takes no more memory, and a network may compute it again."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        how: tuple[list[int], list[int], list[int]],
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        ctx.set_materialize_grads(False)
        ctx.how, ctx.biases = how, None if bias is None else list(bias.shape)
        return _asked_of_onednn(input, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        if gradient is None:
            return None, None, None, None
        input, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        with torch.autocast("cpu", enabled=False):
            if torch.is_grad_enabled() or _are_transformed():  # it is differentiated once more
                return *_by_torch(gradient, input, weight, ctx, wanted), None
            found: list[torch.Tensor | None] = [None, None, None]
            stride, padding, dilation = ctx.how
            if wanted[0] and _is_narrow(weight, stride):
                kernel = weight.flip(2, 3, 4).transpose(0, 1).contiguous()
                found[0] = _asked_of_onednn(gradient, kernel, None, 1, _turned(weight, padding, dilation), dilation)
                wanted[0] = False
            if any(wanted):
                rest = _by_onednn(gradient, input, weight, ctx, wanted)
                found = [x if here else there for x, there, here in zip(rest, found, wanted)]
        return *found, None


def _by_torch(
    gradient: torch.Tensor, input: torch.Tensor, weight: torch.Tensor, ctx: Any, wanted: list[bool]
) -> list[torch.Tensor | None]:
    """The gradients by input, weight and bias that are wanted."""
    how = *ctx.how, False, [0, 0, 0], 1
    found = torch.ops.aten.convolution_backward(gradient, input, weight, ctx.biases, *how, wanted)
    return [x if here else None for x, here in zip(found, wanted)]


def _by_onednn(
    gradient: torch.Tensor, input: torch.Tensor, weight: torch.Tensor, ctx: Any, wanted: list[bool]
) -> list[torch.Tensor | None]:
    """The same, by oneDNN where it is quicker; it is slow with gradients of few channels by many."""
    outputs, channels = weight.shape[:2]
    if not _is_alone(input, weight) or channels == 1 or 8 * channels < outputs:
        return _by_torch(gradient, input, weight, ctx, wanted)
    # for the gradient by the input nothing but its shape counts
    given = input.to_mkldnn() if wanted[1] else torch.empty(input.shape, layout=torch._mkldnn)  # type: ignore[attr-defined]
    found = _by_torch(gradient.to_mkldnn(), given, weight, ctx, wanted)
    return [x if x is None or x.layout is torch.strided else x.to_dense() for x in found]
