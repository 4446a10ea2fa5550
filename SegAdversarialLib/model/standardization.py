"""Standardisation inside a mask with its gradient in closed form.

Autograd through mean, variance and division keeps several volumes alive and goes over them many times; a whole multi-modal
scan has no memory to spare, and an attack's step no time. The mask is taken as it stands: it is a step function of the
image, flat wherever it has a derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from SegAdversarialLib.volumes.slabs import slabs

Inside = Callable[[torch.Tensor, slice], torch.Tensor]
"""Some slices of a volume, and which they are, to the voxels that count: 1 or 0 in the volume's own type."""


@dataclass(frozen=True)
class _Memory:
    """What autograd need not know: the memory for a result that counts as new, and then for the gradient."""

    volume: torch.Tensor | None


class _Standardize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, volume: torch.Tensor, inside: Inside | None, background: float | None, memory: _Memory
    ) -> torch.Tensor:
        pieces = slabs(volume)
        count, mean = _count_and_mean(volume, inside, pieces)
        scores = torch.empty_like(volume) if memory.volume is None else memory.volume
        lengths = []
        for piece in pieces:
            centred = torch.sub(volume[piece], mean, out=scores[piece])
            if inside is None:
                counted = centred
            elif background is None:
                counted = centred * inside(volume[piece], piece)
            else:
                counted = centred.mul_(inside(volume[piece], piece))
            # slice by slice: in one go, torch's single-precision norm of millions of numbers is off in the third digit
            lengths.append(torch.linalg.vector_norm(counted, dim=(1, 2)))
        deviation = torch.linalg.vector_norm(torch.cat(lengths)) / count**0.5
        # below what rounding of the mean leaves, the channel is constant: all its scores, and its gradient, are 0
        deviation = torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.full_like(deviation, torch.inf))
        for piece in pieces:
            scores[piece].div_(deviation)
            if inside is not None and background:
                scores[piece].masked_fill_(inside(volume[piece], piece) == 0, background)
        ctx.save_for_backward(None if inside is None else volume, scores, deviation)
        ctx.inside, ctx.count, ctx.background, ctx.lent = inside, count, background, memory.volume is not None
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        volume, scores, deviation = ctx.saved_tensors
        (gradient,) = upstream
        # autograd sees that the scores were written over, and refuses to come here again
        pieces, passed = slabs(scores), scores.detach() if ctx.lent else torch.empty_like(scores)
        # what reaches the scores of voxels outside the mask is lost where these are a fixed number
        fixed = ctx.inside is not None and ctx.background is not None
        sums, products = [], []
        for piece in pieces:
            arriving = gradient[piece] * ctx.inside(volume[piece], piece) if fixed else gradient[piece]
            sums.append(arriving.sum())
            products.append((arriving * scores[piece]).sum())
        through_mean, through_deviation = torch.stack(sums).sum() / ctx.count, torch.stack(products).sum() / ctx.count
        for piece in pieces:
            part = torch.mul(scores[piece], -through_deviation, out=passed[piece]).sub_(through_mean)
            if fixed:
                part.add_(gradient[piece]).mul_(ctx.inside(volume[piece], piece))
            elif ctx.inside is not None:
                part.mul_(ctx.inside(volume[piece], piece)).add_(gradient[piece])
            else:
                part.add_(gradient[piece])
            part.div_(deviation)
        return passed, None, None, None


def _count_and_mean(volume: torch.Tensor, inside: Inside | None, pieces: list[slice]) -> tuple[float, torch.Tensor]:
    """How many voxels count, and their mean."""
    if inside is None:
        return float(volume.numel()), torch.stack([volume[piece].sum() for piece in pieces]).sum() / volume.numel()
    counts, totals = [], []
    for piece in pieces:
        counted = inside(volume[piece], piece)
        counts.append(counted.sum())
        totals.append((volume[piece] * counted).sum())
    count = max(float(torch.stack(counts).sum()), 1.0)
    return count, torch.stack(totals).sum() / count


def standardize(
    volume: torch.Tensor,
    inside: Inside | None = None,
    background: float | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """(volume - mean) / standard deviation, both over the voxels that count (population formula; constant: all 0).

    Args:
        volume: (K, J, I), floating.
        inside: tells, for some slices of the volume, the voxels that count; None: all. It must say the same each time.
        background: what the other voxels become; None: they are standardised with the same numbers.
        out: where the result is written, and later its gradient, which is computed from it once: until then it must stay as
            it is. None: new memory.
    """
    # .data: what is written into other parts of the same memory is no change of this result, which detach() would say
    return _Standardize.apply(volume, inside, background, _Memory(None if out is None else out.data))
