"""In which precision attacks search: measured once, where it is left open, and kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch

from SegAdversarialLib.errors import Cancelled, detail_of
from SegAdversarialLib.model.low_precision import computes_in_bfloat16

_log = logging.getLogger(__name__)

SearchPrecision = Literal["full", "tf32", "bfloat16", "float16"]
"""What a network computes in while an attack searches; full: as it stands."""

CLEARLY_FASTER = 0.8
"""A precision is taken where it needs at most this share of the time: what noise makes of equal times is less."""
AGREES = 0.9
"""Least cosine between its gradient and that of the network as it stands."""
WORTH_MEASURING = 2**17
"""Where fewer voxels than these (51 in each direction) go through the network for a gradient, nothing is measured."""
LONG = 2.0
"""Seconds of a gradient that are measured well enough by one call."""
ROUNDS = 3
"""How often shorter ones are measured."""


class Search(NamedTuple):
    """In what attacks search.

    Attributes:
        precision: what the network computes in.
        share: what a gradient takes in it, beside one of the network as it stands.
    """

    precision: SearchPrecision = "full"
    share: float = 1.0


_decided: dict[tuple[str, tuple[int, ...], str], Search] = {}
"""What was found in this process: by the hash of the file, the shape of the window and the device."""


def known(file_hash: str, shape: Sequence[int], device: torch.device) -> Search | None:
    """What was decided in this process for the network of a file; None: nothing, or it is from no file."""
    return _decided.get((file_hash, tuple(shape), str(device))) if file_hash else None


def remember(file_hash: str, shape: Sequence[int], device: torch.device, found: Search) -> None:
    """Keep what was decided, for networks of the same file that are opened later."""
    if file_hash:
        _decided[file_hash, tuple(shape), str(device)] = found


def that_may_do(device: torch.device) -> list[SearchPrecision]:
    """What a device may be quicker in than in single precision."""
    if device.type == "cuda":
        return ["tf32", "bfloat16", "float16"]
    return ["bfloat16"] if device.type == "cpu" and computes_in_bfloat16() else []


def quickest(
    gradient: Callable[[SearchPrecision], torch.Tensor],
    precisions: Sequence[SearchPrecision],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
    at_most: float = CLEARLY_FASTER,
) -> Search:
    """The precision that is clearly quicker than "full" and gives a gradient of about the same direction.

    Args:
        gradient: with respect to a window, in a precision.
        precisions: those that may do.
        device: where it is computed.
        clock: in seconds.
        at_most: the share of the time with which one does.
    """

    def timed(precision: SearchPrecision) -> tuple[torch.Tensor, float]:
        devices = [device.index or 0] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # networks that draw numbers draw the same each time
            _wait(device)
            started = clock()
            found = gradient(precision)
            _wait(device)
            return found, clock() - started

    if not precisions:
        return Search()
    expected, full = timed("full")
    best, least = Search(), at_most
    for precision in precisions:
        try:
            found, needed = timed(precision)  # the first one has some things to do once
            agreement = _cosine(found, expected)
            if not agreement >= AGREES:
                _log.info("A search in %s is not used: the gradient leads elsewhere (cosine %.3f).", precision, agreement)
                continue
            for _ in range(1 if full > LONG else ROUNDS):
                needed = min(needed, timed(precision)[1])
                full = full if full > LONG else min(full, timed("full")[1])
        except Cancelled:
            raise
        except Exception as error:  # a stranger's network may raise anything
            _log.debug("A search in %s fails: %s", precision, detail_of(error))
            continue
        _log.info("A gradient in %s takes %.3f s instead of %.3f s.", precision, needed, full)
        if needed <= least * full:
            least = needed / full
            best = Search(precision, least)
    return best


def _cosine(found: torch.Tensor, expected: torch.Tensor) -> float:
    lengths = torch.linalg.vector_norm(found) * torch.linalg.vector_norm(expected)
    return float((found * expected).sum() / lengths) if lengths > 0 else 0.0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
