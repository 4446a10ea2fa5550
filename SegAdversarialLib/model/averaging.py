"""The mean of several networks' probabilities, or logits, as one torch network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from SegAdversarialLib.model.treatment import Treatment


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

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window) for (B, C, *window)."""
        logits = torch.stack([_asked(x, place, batch) for x, place in zip(self.members, self.places)])
        if self.head == "softmax":
            return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))
        present, absent = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
        return present.logsumexp(0) - absent.logsumexp(0)


class MeanLogits(torch.nn.Module):
    """Several networks that take and give the same as one, whose logits are the mean of theirs."""

    def __init__(self, networks: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(networks)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window) for (B, C, *window)."""
        return torch.stack([x(batch) for x in self.members]).mean(0)


def _asked(network: torch.nn.Module, place: Place, batch: torch.Tensor) -> torch.Tensor:
    """A member's logits (B, N, *window), its outputs in the ensemble's order, in at least single precision."""
    seen = batch[:, list(place.channels)].to(place.dtype)
    logits = place.treatment.outputs.logits(network(seen.clone() if place.treatment.in_place else seen), seen)
    # the mean is finer than half precision
    return logits[:, list(place.classes)].to(torch.promote_types(logits.dtype, torch.float32))
