"""How many windows go through a network at once on a CPU: measured where nobody says, and kept.

Together, windows take more memory and rarely less time. But in programs (TorchScript) torch is several times slower with the
small inner levels of a network in single precision for one window than for two; see `quick_convolutions`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import torch

from SegAdversarialLib.errors import detail_of
from SegAdversarialLib.model.graph_memory import with_its_bytes

_log = logging.getLogger(__name__)

NUMBERS = {2: (1, 2, 4, 8, 16), 3: (1, 2, 4)}
"""How many slices, or windows, are tried; a larger number only where the one before was clearly faster."""
CLEARLY_FASTER = 0.9
"""More at once are taken where a window needs at most this share of the time: they give other bits, and noise is less."""
TOGETHER = 1 << 30
"""Bytes that the graphs of windows that go at once may take."""
MANY = {2: 17, 3: 32}
"""Where fewer slices, or windows, make up the volume, measuring takes too long beside them."""
WORTH_MEASURING = 2**17
"""Where fewer voxels than these go through the network for an answer, nothing is measured."""
LONG = 0.5
"""Seconds of an answer that are measured well enough by one call."""
ROUNDS = 3
"""How often shorter ones are measured."""
_SAME = 1e-3
"""Largest difference of two answers that are the same but for rounding, as a share of what the answer varies by."""

Decided = dict[tuple[str, tuple[int, ...]], int]
"""What was found, by the hash of the network's file and the shape of the windows."""

_decided: Decided = {}
"""What was found in this process for networks from files."""


def number_for(network: Callable[[torch.Tensor], torch.Tensor], crops: torch.Tensor, file_hash: str, decided: Decided) -> int:
    """How many windows go at once, or what was decided for the same network and size of windows in this process.

    Args:
        network: (B, C, *window) to logits (B, N, *window); frozen.
        crops: windows in the network's own type, as many as may go at once.
        file_hash: of the file that the network is from; "": unknown.
        decided: what was found for this network, where it is from no file.
    """
    known, key = _decided if file_hash else decided, (file_hash, tuple(crops.shape[1:]))
    if key not in known:
        numbers = [n for n in NUMBERS[crops.ndim - 2] if n <= len(crops)]
        with torch.random.fork_rng(devices=[]):  # networks that draw numbers go on as if they had not been asked
            known[key] = quickest(network, crops, numbers)
    return known[key]


def quickest(
    network: Callable[[torch.Tensor], torch.Tensor],
    crops: torch.Tensor,
    numbers: Sequence[int],
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """The number of windows at once with which each takes clearly the least time; 1 where its answer depends on the others.

    Args:
        network, crops: see `number_for`.
        numbers: those that are tried, from 1 on.
        clock: in seconds.
    """

    def timed(number: int) -> tuple[torch.Tensor, float]:
        started = clock()
        with torch.no_grad():
            answers = network(crops[:number])
        return answers, (clock() - started) / number

    best = 1
    try:
        alone, least = timed(1)
        leaf = crops[:1].detach().requires_grad_(True)
        with torch.enable_grad():
            # an answer alone must not need the memory of a large graph: two of those do not go at once anyhow
            taken = with_its_bytes(lambda: network(leaf), lambda logits: (leaf, logits), TOGETHER / 2)[1]
        for number in numbers[1:]:
            if number * taken > TOGETHER:
                break
            answers, needed = timed(number)
            if not _is_same(answers[:1], alone):
                return 1
            for _ in range(0 if least > LONG else ROUNDS):
                least, needed = min(least, timed(best)[1]), min(needed, timed(number)[1])
            _log.info("A window takes %.3f s beside others, %d at a time, and %.3f s with %d.", needed, number, least, best)
            if needed > CLEARLY_FASTER * least:
                break
            best, least = number, needed
    except Exception as error:  # a stranger's network may raise anything
        _log.debug("The network is not asked about more than %d windows at once: %s", best, detail_of(error))
    return best


def _is_same(answer: torch.Tensor, alone: torch.Tensor) -> bool:
    spread = float((alone.amax() - alone.amin()).float())
    return bool((answer - alone).abs().amax().float() <= _SAME * spread)
