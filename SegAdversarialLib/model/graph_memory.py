"""What autograd's graph takes of memory, and where that is too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from SegAdversarialLib.errors import InputError

_Graph = TypeVar("_Graph")


class WindowsTooLarge(torch.OutOfMemoryError):
    """The device has not enough memory for what the network makes of its windows, whatever lies around them."""


@contextmanager
def of_the_network() -> Iterator[None]:
    """Too little memory inside is told from too little around the network."""
    try:
        yield
    except WindowsTooLarge:
        raise
    except torch.OutOfMemoryError as error:
        raise WindowsTooLarge(str(error)) from error


class GraphTooLarge(Exception):
    """A graph takes more memory than it may."""


def with_its_bytes(
    make: Callable[[], _Graph], ends: Callable[[_Graph], Iterable[torch.Tensor]], most: float = math.inf
) -> tuple[_Graph, float]:
    """A graph, and what it takes in bytes: what it saves for the way back, and both its `ends`.

    Networks that do not let themselves be watched take infinitely much.

    Raises:
        GraphTooLarge: it saves more than `most` bytes; so much at least was taken.
    """
    held: dict[int, int] = {}
    taken = 0

    def note(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal taken
        try:
            memory = tensor.untyped_storage()
            place, size = memory.data_ptr(), memory.nbytes()
        except (NotImplementedError, RuntimeError):  # sparse, for example
            place, size = id(tensor), tensor.numel() * tensor.element_size()
        taken += size - held.get(place, 0)
        held[place] = size
        if taken > most:
            raise GraphTooLarge
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            graph = make()
    except InputError:
        return make(), math.inf
    for tensor in ends(graph):
        note(tensor)
    return graph, taken
