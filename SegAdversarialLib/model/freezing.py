"""A network while it is asked, never trained: in evaluation mode, with weights that stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import torch


def dtype_of(network: torch.nn.Module) -> torch.dtype:
    """What a network computes in: the type of its weights."""
    import torch

    return next((x.dtype for x in network.parameters() if x.is_floating_point()), torch.float32)


def check_weights(network: torch.nn.Module, name: str) -> None:
    """Refuse a network that has no weights yet.

    Raises:
        InputError: a layer takes their size from its first input (torch.nn.LazyConv3d), or they lie on torch's "meta" device.
    """
    import torch

    for place, module in network.named_modules():
        weights = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        layer = f"{place} ({type(module).__name__})" if place else type(module).__name__
        if any(torch.nn.parameter.is_lazy(x) for x in weights):
            raise InputError(
                f"The network {name} has a layer, {layer}, whose size is still open, and so no weights; run it once on an "
                "example, or load its weights, before."
            )
        if any(x.is_meta for x in weights):
            raise InputError(
                f'The network {name} has no weights in the layer {layer}, which lies on torch\'s "meta" device; load them '
                "before."
            )


@contextmanager
def frozen(network: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, no parameter gradients, and repeatable single precision on a GPU inside; all as it was outside.

    Frozen parameters spare convolutions from keeping their inputs, which is most of a graph's memory.
    """
    import torch

    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    training = [module for module in network.modules() if getattr(module, "training", False)]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        network.eval()
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
