"""The mean of several networks' probabilities, or logits, as one torch network.

For a gradient autograd keeps what every member has computed until the way back. Where that is much memory, it keeps it of one
member at a time: each is asked once more on the way back, with the same numbers, and the sum is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from SegAdversarialLib.model.quick_convolutions import QuickConvolutions
from SegAdversarialLib.model.treatment import Treatment

TOGETHER = 1 << 30
"""Bytes that the graphs of all members may take at once; where they take more, one is kept after another."""


@dataclass(frozen=True)
class Place:
    """How a member is asked.

    Attributes:
        treatment: what is known of it.
        channels: where each of its channels is among the ensemble's.
        classes: where each output of the ensemble is among its own.
        dtype: of its weights.
    """

    treatment: Treatment
    channels: tuple[int, ...]
    classes: tuple[int, ...]
    dtype: torch.dtype


class Ensemble(torch.nn.Module):
    """Several networks as one: (B, C, *window) to logits (B, N, *window) whose probabilities are the mean of the members'.

    For a softmax head it hands out log p, for a sigmoid head log p - log(1 - p), computed from the members' logits without
    ever taking the logarithm of a rounded probability. The gradient goes through all members.
    """

    def __init__(
        self, networks: Sequence[torch.nn.Module], places: Sequence[Place], head: Literal["softmax", "sigmoid"]
    ) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(networks)
        self.places, self.head = tuple(places), head
        self._sizes = dict[torch.Size, int]()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window) for (B, C, *window)."""
        asked = [partial(_asked, x, place) for x, place in zip(self.members, self.places)]
        logits = torch.stack(_answers(asked, batch, self._sizes))
        if self.head == "softmax":
            return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))
        present, absent = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
        return present.logsumexp(0) - absent.logsumexp(0)


class MeanLogits(torch.nn.Module):
    """Several networks that take and give the same as one, whose logits are the mean of theirs."""

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(networks)
        self._sizes = dict[torch.Size, int]()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window) for (B, C, *window)."""
        return torch.stack(_answers(list(self.members), batch, self._sizes)).mean(0)


def _answers(
    members: Sequence[Callable[[torch.Tensor], torch.Tensor]], batch: torch.Tensor, sizes: dict[torch.Size, int]
) -> list[torch.Tensor]:
    """What each member says of (B, C, *window); with a graph whose parts are kept all at once, or one after another.

    Args:
        members: give logits.
        batch: what they are asked about.
        sizes: bytes of the first member's graph, by the shape of what it was asked about, as far as they are known.
    """
    if not (torch.is_grad_enabled() and batch.requires_grad) or torch.compiler.is_compiling():
        return [x(batch) for x in members]
    if batch.shape not in sizes:
        sizes[batch.shape] = _graph_bytes(members[0], batch)
    if sizes[batch.shape] * len(members) <= TOGETHER:
        return [x(batch) for x in members]
    return [_AskedAgain.apply(x, batch) for x in members]


class _AskedAgain(torch.autograd.Function):
    """A member that is asked without a graph, and on the way back once more with one, which goes before the next one's."""

    @staticmethod
    def forward(ctx: Any, member: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
        """What it says of (B, C, *window)."""
        kind = batch.device.type
        ctx.member, ctx.low = member, (torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None)
        ctx.drawn = torch.get_rng_state(), (torch.cuda.get_rng_state(batch.device) if kind == "cuda" else None)
        ctx.save_for_backward(batch)
        with QuickConvolutions():
            return member(batch)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, torch.Tensor]:
        """The gradient with respect to the batch."""
        (batch,) = ctx.saved_tensors
        kind, (drawn, drawn_there) = batch.device.type, ctx.drawn
        devices = [batch.device] if kind == "cuda" else []
        with (
            torch.enable_grad(),
            torch.random.fork_rng(devices),
            torch.autocast(kind, ctx.low, enabled=ctx.low is not None),
            QuickConvolutions(),
        ):
            torch.set_rng_state(drawn)
            if drawn_there is not None:
                torch.cuda.set_rng_state(drawn_there, batch.device)
            leaf = batch.detach().requires_grad_(True)
            answer = ctx.member(leaf)
        return None, *torch.autograd.grad(answer, leaf, gradient)


def _graph_bytes(member: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> int:
    """What a member keeps for the way back, without its weights, which are there anyway; 0 where that cannot be watched."""
    held: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            memory = tensor.untyped_storage()
            held[memory.data_ptr()] = memory.nbytes()
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            member(batch)
    except (NotImplementedError, RuntimeError):  # sparse, for example
        return 0
    return sum(held.values())


def _asked(network: torch.nn.Module, place: Place, batch: torch.Tensor) -> torch.Tensor:
    """A member's logits (B, N, *window), its outputs in the ensemble's order, in at least single precision."""
    seen = batch[:, list(place.channels)].to(place.dtype)
    logits = place.treatment.outputs.logits(network(seen.clone() if place.treatment.in_place else seen), seen)
    # the mean is finer than half precision
    return logits[:, list(place.classes)].to(torch.promote_types(logits.dtype, torch.float32))
