"""The gradient with respect to a network's input, and why there is none: each cause has a sentence of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.errors import InputError, detail_of

if TYPE_CHECKING:
    import torch

_LOOKED_AT = 100_000
"""So many numbers tell a threshold from what varies."""

_CAUSES = (
    (
        "use_reentrant",
        "part of it runs under torch.utils.checkpoint with use_reentrant=True, which cannot give the gradient of an input; "
        "switch its checkpointing off, or use use_reentrant=False",
    ),
    (
        "modified by an inplace operation",
        "it overwrites, in place, numbers that its own gradient is made from; use a version of it without inplace=True there",
    ),
    ("is not implemented", "one of its steps has no derivative in PyTorch ({detail}); use the network without that step"),
    ("to not have been used in the graph", "its answer does not depend on its input; use another output of it"),
)
"""What a message of PyTorch's holds, and what it means to somebody who has a network and no stack trace."""


def input_gradient(value: torch.Tensor, leaf: torch.Tensor, seed: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """The gradient of `value` (times `seed`) with respect to `leaf`.

    Raises:
        InputError: the network passes no gradient on.
    """
    import torch

    try:
        return torch.autograd.grad(value, leaf, seed)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        said = str(error)
        cause = next((cause for sign, cause in _CAUSES if sign in said), "PyTorch says: {detail}")
        raise InputError(f"The network passes no gradient on: {cause.format(detail=detail_of(error))}.") from error


def check_graph(logits: torch.Tensor) -> torch.Tensor:
    """`logits` that were computed with a graph, if they have one.

    Raises:
        InputError: they have none; it says what has most probably cut it off.
    """
    if logits.requires_grad:
        return logits
    some = logits.detach().flatten()[:_LOOKED_AT]
    if len(some.unique()) <= 2 or bool((some == some.round()).all()):
        cause = "it ends in a threshold or an argmax; use it without that last step"
    else:
        cause = (
            "it computes, at least in part, without one (torch.no_grad, inference_mode, detach or numpy inside it); use it "
            "without that"
        )
    raise InputError(f"The network passes no gradient on: {cause}.")


def check_answers(logits: torch.Tensor, name: str) -> torch.Tensor:
    """`logits`, if they are numbers.

    Raises:
        InputError: some are NaN or infinite.
    """
    if not _is_finite(logits):
        raise InputError(
            f"The network {name} gives NaN or infinite numbers for this case; check its preprocessing, the order of the "
            "channels and its weights."
        )
    return logits


def check_gradient(gradient: torch.Tensor, name: str) -> torch.Tensor:
    """`gradient` (C, K, J, I) of finite logits, if it is numbers.

    Raises:
        InputError: at some voxels it is not.
    """
    if not _is_finite(gradient):
        wrong = ~gradient.isfinite()
        channel, k, j, i = np.unravel_index(int(wrong.byte().argmax()), wrong.shape)
        raise InputError(
            f"The answers of the network {name} are finite, but its gradient is NaN or infinite at {int(wrong.sum())} of "
            f"{wrong.numel()} voxels (first in channel {channel + 1}, slice {k}, row {j}, column {i}); most often a square "
            "root, a norm or a division inside it meets 0 there: add a small number to what it is taken of."
        )
    return gradient


def power_of_two_that_saves(upstream: torch.Tensor) -> float:
    """A factor that brings the largest gradient near 1, so that half precision does not flush the small ones to 0."""
    largest = float(upstream.abs().max())
    return 2.0 ** -math.floor(math.log2(largest)) if largest > 0 else 1.0


def _is_finite(tensor: torch.Tensor) -> bool:
    # the sum shows it at a fraction of the cost of looking at every element; it may be infinite by itself
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())
