"""The rows of an attack's trace, from logits that the attack has computed anyway.

A row may cost next to nothing beside a gradient. On a CPU, numpy's comparisons and counts of booleans are several times
quicker than torch's, and a slab of the volume that fits into the cache is read from memory once; so the volume is measured
slab by slab, as many at a time as torch has threads. On a GPU, torch does it whole and hands all numbers over at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from SegAdversarialLib.metrics.overlap import mean_dice
from SegAdversarialLib.volumes.slabs import slabs

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead

_SLAB_VOXELS = 65536
"""With four outputs in single precision a slab is 1 MiB, what a core's own cache holds."""


class TraceWriter:
    """Collects one row for each iteration.

    Args:
        head: what the network's outputs stand for.
        targets: (N, K, J, I) bool, what each of them should claim.
        original: (C, K, J, I), with which images are compared.
        positions: of the channels that are.
        scales: what the summed squared change of each of them is divided by: its range squared, for each voxel that counts; 0
            for a channel of one single intensity.
    """

    def __init__(
        self,
        head: OutputHead,
        targets: torch.Tensor,
        original: torch.Tensor,
        positions: Sequence[int],
        scales: Sequence[float],
    ) -> None:
        self.rows: list[dict[str, float]] = []
        self._head, self._original, self._positions, self._scales = head, original, positions, scales
        self._aim_at(targets)
        self._in_slabs = original.device.type == "cpu"
        threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(threads) if self._in_slabs and threads > 1 else None

    def add(
        self,
        restart: int,
        iteration: int,
        loss: float,
        logits: torch.Tensor,
        image: torch.Tensor,
        targets: torch.Tensor | None = None,
    ) -> None:
        """Write the row of one iteration; `targets` (N, K, J, I) bool is the reference from now on, if it has moved."""
        if targets is not None:
            self._aim_at(targets)
        logits, image = logits.detach(), image.detach()
        measure = self._measure_slabs if self._in_slabs else self._measure_whole
        claimed, overlaps, errors = measure(logits, image)
        names = [self._head.names[n] for n in self._head.foreground]
        dice = {
            name: 2 * overlap / (size + count) if size + count else 1.0
            for name, size, count, overlap in zip(names, self._sizes, claimed, overlaps)
        }
        self.rows.append(
            {
                "restart": restart,
                "iteration": iteration,
                "loss": loss,
                "psnr": self._psnr(errors),
                **{f"dice {name}": value for name, value in dice.items()},
                "dice mean": mean_dice(dice.values()),
            }
        )

    def _aim_at(self, masks: torch.Tensor) -> None:
        self._targets = [masks[n] for n in self._head.foreground]
        self._sizes = [int(mask.count_nonzero()) for mask in self._targets]

    def _psnr(self, errors: list[float]) -> float:
        """Peak signal-to-noise ratio over the attacked channels, each on its own [0, 1] range, in dB, from summed squares;
        channels without a range do not count, and if only such have changed, it is undefined (nan)."""
        known = [error / scale for error, scale in zip(errors, self._scales) if scale]
        if known and (total := sum(known)) > 0:
            return -10 * math.log10(total / len(known))
        return math.nan if any(errors) else math.inf

    def _measure_whole(self, logits: torch.Tensor, image: torch.Tensor) -> tuple[list[int], list[int], list[float]]:
        """For each structure the voxels that the network claims, and those of them that it should; for each attacked
        channel the summed squared change."""
        masks = self._head.predicted(logits)
        claimed = [masks[n] for n in self._head.foreground]
        counts = [x.count_nonzero() for x in (*claimed, *(x & y for x, y in zip(claimed, self._targets)))]
        errors = [torch.dist(image[c], self._original[c]) ** 2 for c in self._positions]
        # the GPU is waited for twice, not once for each number
        found = [*torch.stack(counts).tolist(), *torch.stack(errors).tolist()]
        n = len(claimed)
        return found[:n], found[n : 2 * n], found[2 * n :]

    def _measure_slabs(self, logits: torch.Tensor, image: torch.Tensor) -> tuple[list[int], list[int], list[float]]:
        """The same on a CPU."""
        scores, targets = logits.numpy(), [x.numpy() for x in self._targets]
        after, before = image.numpy(), self._original.numpy()

        def measure(slab: slice) -> tuple[list[int], list[int], list[float]]:
            claimed = _claimed(self._head, scores[:, slab])
            counts = [int(np.count_nonzero(x)) for x in claimed]
            overlaps = [int(np.count_nonzero(x & target[slab])) for x, target in zip(claimed, targets)]
            return counts, overlaps, [_squares(after[c, slab] - before[c, slab]) for c in self._positions]

        pieces = slabs(logits, _SLAB_VOXELS)
        found = list(self._pool.map(measure, pieces) if self._pool is not None else map(measure, pieces))
        claimed, overlaps, errors = ([sum(column) for column in zip(*part)] for part in zip(*found))
        return claimed, overlaps, errors


def _claimed(head: OutputHead, scores: np.ndarray) -> list[np.ndarray]:
    """The voxels that each structure claims, as `OutputHead.predicted` says, for a few slices of logits."""
    if head.kind == "sigmoid":
        return [scores[n] > head.limit for n in head.foreground]
    won = scores == scores.max(0)
    if np.count_nonzero(won) != won[0].size:  # of equal logits the first wins
        free = np.ones(won[0].shape, dtype=bool)
        for mask in won[:-1]:
            mask &= free
            free ^= mask
        won[-1] = free
    return [won[n] for n in head.foreground]


def _squares(change: np.ndarray) -> float:
    # not numpy's dot: its BLAS would start threads of its own
    flat = change.reshape(-1)
    return float(np.einsum("i,i->", flat, flat))
