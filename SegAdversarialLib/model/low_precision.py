"""A network in low precision, for the search of an attack alone: its gradient leads the way, the network itself judges.

On a processor that computes in bfloat16, convolutions take so little time that what is around them counts: weights that are
cast at each call, and norms that put their input into another memory order and their output back. So weights are cast once,
and the norms and activations that torch is slow with in half precision are asked in another way that gives the same.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from torch.overrides import TorchFunctionMode

from SegAdversarialLib.model.cast_program import cast_program
from SegAdversarialLib.model.frozen_prelu import frozen_prelu

_WEIGHTED = {
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
    functional.linear,
}
"""Called with (input, weight, bias, ...)."""


def computes_in_bfloat16() -> bool:
    """Whether this computer's processor multiplies in bfloat16 (x86 with AMX or AVX512-bf16, Arm with bf16); torch emulates it
    on others, at the speed of single precision or below."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16", "arm_bf16")):
        return True
    if platform.machine().lower() in ("arm64", "aarch64"):
        return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return False


class LowPrecision:
    """A network whose convolutions compute in half precision; norms measure, and sums that need it are made, in single.

    Args:
        network: frozen, in evaluation mode.
        low: torch.bfloat16 or torch.float16.
        device: where it is.
    """

    def __init__(self, network: torch.nn.Module, low: torch.dtype, device: torch.device) -> None:
        self._network, self._low, self._device = network, low, device
        self._casts: dict[int, tuple[torch.nn.Parameter, int, torch.Tensor]] = {}
        self._copy: torch.nn.Module | None = None
        self._weights: tuple[tuple[int, int], ...] | None = None
        if isinstance(network, torch.jit.ScriptModule) and device.type == "cpu":
            self._copy, self._weights = cast_program(network, low), _weights_of(network)

    @property
    def may_stay(self) -> bool:
        """Whether it can be asked again once the network was out of hand: a program's copy while its weights are the same.

        PyTorch makes a program quick in its first calls; a new copy would have to be made quick each time.
        """
        return self._copy is not None and self._weights == _weights_of(self._network)

    def __call__(self, batch: torch.Tensor) -> Any:
        """What the network gives for a batch (B, C, *window), in half precision or single."""
        if self._copy is not None:
            order = torch.channels_last_3d if batch.ndim == 5 else torch.channels_last
            return self._copy(batch.to(self._low).contiguous(memory_format=order))
        with torch.autocast(self._device.type, self._low):
            if self._device.type != "cpu":
                return self._network(batch)
            with _Quick(self._low, self._casts):
                return self._network(batch)


def _weights_of(network: torch.nn.Module) -> tuple[tuple[int, int], ...]:
    """Where a network's weights lie, and how often they were changed."""
    return tuple((x.data_ptr(), x._version) for x in (*network.parameters(), *network.buffers()))


class _Quick(TorchFunctionMode):
    """What a network asks of torch, where there is a quicker way to the same.

    Args:
        low: what weights are cast to.
        casts: those that were, by the parameter's identity, with its version.
    """

    def __init__(self, low: torch.dtype, casts: dict[int, tuple[torch.nn.Parameter, int, torch.Tensor]]) -> None:
        super().__init__()
        self._low, self._casts = low, casts

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """The function's answer."""
        kwargs = kwargs or {}
        # a network may want some of its layers in single precision
        if function in _WEIGHTED and len(args) > 1 and torch.is_autocast_enabled("cpu"):
            rest = [self._cast(x) if n == 0 else x for n, x in enumerate(args[2:])]
            return function(args[0], self._cast(args[1]), *rest, **kwargs)
        if function is functional.instance_norm:
            return _instance_norm(*args, **kwargs)
        if function is torch.prelu and not args[1].requires_grad:
            return frozen_prelu(*args)
        return function(*args, **kwargs)

    def _cast(self, weight: Any) -> Any:
        """A parameter in low precision, in the order that convolutions want; anything else as it is."""
        if not isinstance(weight, torch.nn.Parameter) or weight.requires_grad or weight.dtype != torch.float32:
            return weight
        known = self._casts.get(id(weight))
        if known is None or known[0] is not weight or known[1] != weight._version:
            cast = weight.detach().to(self._low)
            if cast.ndim in (4, 5):
                order = torch.channels_last_3d if cast.ndim == 5 else torch.channels_last
                cast = cast.contiguous(memory_format=order)
            known = self._casts[id(weight)] = weight, weight._version, cast
        return known[2]


def _instance_norm(
    input: torch.Tensor,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """An instance norm as the batch norm of each image, which goes through the input in the memory order that it has."""
    usual = not use_input_stats or running_mean is not None or input.ndim not in (4, 5) or input[0, 0].numel() < 2
    if usual:
        return functional.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    parts = [torch.batch_norm(x, weight, bias, None, None, True, 0.0, eps, False) for x in input.split(1)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
