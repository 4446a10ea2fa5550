"""Batch norms folded into the convolutions before them while a network is only asked, never trained.

In evaluation mode a batch norm multiplies each channel by a fixed number and adds another. Directly after a convolution it can
be made part of the convolution's weights: one pass over memory less in each direction, and one activation less to keep for the
gradient (Jacob et al. 2018, "Quantization and training of neural networks", section 3.2).

Which norm follows which convolution is read from the network's data flow, traced symbolically on a copy; since such a trace
may take another branch than the network does, output and gradient are also compared, once for each network, on random numbers.
"""

from __future__ import annotations

import copy
import inspect
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx
from torch import nn

_log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest relative difference (Euclidean norm) of output and gradient that folding may make."""

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Pair = tuple[str, str]
"""The names of a convolution and of the batch norm that follows it."""


class Folding:
    """Folds a network's batch norms wherever that changes nothing but the time and memory that it takes.

    Attributes:
        count: how many batch norms were folded the last time.
    """

    def __init__(self) -> None:
        self.count = 0
        self._seen: tuple[int, ...] | None = None
        self._pairs: list[Pair] = []

    @contextmanager
    def of(self, network: nn.Module, channels: int, dimensions: int, multiple: int) -> Iterator[None]:
        """Batch norms of a frozen network in evaluation mode folded inside; outside, the network as it was, bit for bit.

        Nothing is folded in TorchScript, in low-precision networks, or where hooks watch the network.

        Args:
            network: maps (B, channels, *sizes) to logits.
            channels: what it takes.
            dimensions: 2 or 3.
            multiple: sizes that it takes are multiples of this.
        """
        pairs = [] if _is_watched(network) else self._verified_pairs(network, channels, dimensions, multiple)
        with _folded(network, pairs):
            # counted, not len(pairs): a model that is on two cases at once has folded them already
            self.count = sum(module.__dict__.get("forward") is _hand_on for module in network.modules())
            yield

    def _verified_pairs(self, network: nn.Module, channels: int, dimensions: int, multiple: int) -> list[Pair]:
        structure = tuple(id(x) for x in network.modules())
        if structure != self._seen:
            with torch.random.fork_rng(devices=[]):  # a network that draws numbers must not draw others after this
                self._pairs = find_pairs(network)
                if self._pairs and not changes_nothing(network, self._pairs, channels, dimensions, multiple):
                    self._pairs = []
            self._seen = structure
        return [pair for pair in self._pairs if _can_be_folded(*(network.get_submodule(name) for name in pair))]


def find_pairs(network: nn.Module) -> list[Pair]:
    """The batch norms that take a convolution's output, which nothing else takes; none where no data flow is to be seen."""
    if isinstance(network, torch.jit.ScriptModule) or not any(isinstance(x, _NORMS) for x in network.modules()):
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = torch.fx.Tracer().trace(_without_weights(network), _defaults(network))
    except Exception as error:  # a stranger's network may hold anything
        _log.debug("Batch norms are not folded: the network's data flow cannot be traced (%s).", error)
        return []
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    # weights that are used as numbers, not through their module
    touched = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}

    def is_used_once(name: str) -> bool:
        return calls[name] == 1 and name not in touched

    found = []
    for norm in graph.nodes:
        before = norm.args[0] if norm.op == "call_module" and len(norm.args) == 1 and not norm.kwargs else None
        if not isinstance(before, torch.fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        if len(before.args) != 1 or before.kwargs:  # a transposed convolution that is told its output size
            continue
        pair = str(before.target), str(norm.target)
        if all(map(is_used_once, pair)) and _can_be_folded(modules[pair[0]], modules[pair[1]]):
            found.append(pair)
    return found


def changes_nothing(network: nn.Module, pairs: Sequence[Pair], channels: int, dimensions: int, multiple: int) -> bool:
    """Whether output and gradient stay what they are, on random numbers."""
    own = next(network.parameters())
    size = -(-32 // multiple) * multiple
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn((1, channels, *(size,) * dimensions), generator=generator).to(own)
    try:
        expected = _answers(network, numbers)
        with _folded(network, pairs):
            found = _answers(network, numbers)
    except Exception as error:  # such as a network that takes no such size
        _log.debug("Batch norms are not folded: the network cannot be tried out (%s).", error)
        return False
    return all(
        bool(torch.linalg.vector_norm(x - y) <= TOLERANCE * torch.linalg.vector_norm(y)) for x, y in zip(found, expected)
    )


def _answers(network: nn.Module, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = numbers.clone().requires_grad_(True)
    with torch.enable_grad():
        logits = _all_of(network(leaf.clone()))  # the network may write into what it gets
        weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype, device=logits.device).view_as(logits)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), leaf)
    return logits.detach(), gradient


def _all_of(given: Any) -> torch.Tensor:
    """All numbers that a network hands out, whichever of several outputs counts."""
    parts = list(given.values()) if isinstance(given, Mapping) else given if isinstance(given, (tuple, list)) else [given]
    return torch.cat([x.flatten() for x in parts if isinstance(x, torch.Tensor)])


@contextmanager
def _folded(network: nn.Module, pairs: Sequence[Pair]) -> Iterator[None]:
    """The convolutions with other weights, the norms handing on what they get; afterwards the very same parameters again."""
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    before: list[tuple[nn.Module, nn.Module, nn.Parameter | None, nn.Parameter | None]] = []
    try:
        for names in pairs:
            convolution, norm = (network.get_submodule(name) for name in names)
            weight, bias = convolution._parameters["weight"], convolution._parameters["bias"]
            assert isinstance(norm, _NORMS) and weight is not None
            assert norm.running_mean is not None and norm.running_var is not None
            new_weight, new_bias = fuse_conv_bn_weights(
                weight,
                bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
                transpose=isinstance(convolution, (nn.ConvTranspose2d, nn.ConvTranspose3d)),
            )
            before.append((convolution, norm, weight, bias))
            convolution._parameters["weight"] = nn.Parameter(new_weight, requires_grad=False)
            convolution._parameters["bias"] = nn.Parameter(new_bias, requires_grad=False)
            norm.__dict__["forward"] = _hand_on
        yield
    finally:
        for convolution, norm, weight, bias in before:
            convolution._parameters["weight"], convolution._parameters["bias"] = weight, bias
            norm.__dict__.pop("forward", None)


def _hand_on(batch: torch.Tensor) -> torch.Tensor:
    return batch


def _can_be_folded(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether these two, as they are now, do nothing but what their classes say."""
    if type(convolution) not in _CONVOLUTIONS or type(norm) not in _NORMS:
        return False  # also classes made from these, which may do more, such as parametrised ones
    assert isinstance(norm, _NORMS) and isinstance(convolution, _CONVOLUTIONS)
    weight = convolution._parameters.get("weight")
    is_transposed = isinstance(convolution, (nn.ConvTranspose2d, nn.ConvTranspose3d))
    return (
        weight is not None
        and weight.dtype in (torch.float32, torch.float64)
        and not (is_transposed and convolution.groups > 1)
        and not norm.training
        and norm.running_mean is not None
        and norm.running_var is not None
        and norm.running_var.dtype == weight.dtype
        and "forward" not in convolution.__dict__
        and "forward" not in norm.__dict__
    )


def _is_watched(network: nn.Module) -> bool:
    """Whether someone sees, or changes, what goes through the modules one by one."""
    return bool(nn.modules.module._has_any_global_hook()) or any(
        getattr(module, hooks, None) for module in network.modules() for hooks in _HOOKS
    )


def _without_weights(network: nn.Module) -> nn.Module:
    """A copy that shares the weights, so that tracing leaves no traces in the network itself."""
    shared = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(x): x for x in shared})


def _defaults(network: nn.Module) -> dict[str, object] | None:
    """The arguments of `forward` beyond the first that have a default, which a call with images alone leaves as it is."""
    parameters = list(inspect.signature(network.forward).parameters.values())[1:]
    return {x.name: x.default for x in parameters if x.default is not inspect.Parameter.empty} or None
