"""Volumes taken a few slices at a time.

Work that goes over a whole volume several times costs most where each time makes a new volume: memory fresh from the system is
several times slower than memory that was just used. Slabs of a few slices stay in the processor's cache, and so do all
intermediate results. A GPU is quicker with the volume in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_VOXELS = 1 << 18
"""Voxels of a slab on a CPU: 1 MiB in single precision, so that some of them fit into the cache of one core."""


def slabs(volume: torch.Tensor, voxels: int | None = None) -> list[slice]:
    """Ranges of the third axis from the end, which together are all of it: (..., K, J, I) in pieces of some slices.

    Args:
        volume: its shape and device say how it is cut.
        voxels: of a slab on a CPU, if it has more than one slice; None: the usual number.
    """
    slices, rows, columns = volume.shape[-3:]
    if volume.device.type != "cpu":
        return [slice(0, slices)]
    step = max(1, (voxels or _VOXELS) // max(1, rows * columns))
    return [slice(start, min(start + step, slices)) for start in range(0, slices, step)]


def flip_in_place(volumes: torch.Tensor, axes: Sequence[int]) -> None:
    """Turn volumes (C, K, J, I) round along some of their axes (0 for K, 1 for J, 2 for I), in their own memory."""
    if not axes:
        return
    slices, all_axes, in_plane = volumes.shape[1], [1 + axis for axis in axes], [1 + axis for axis in axes if axis != 0]
    swapped = slices // 2 if 0 in axes else 0
    for piece in slabs(volumes[:, :swapped]):
        here, there = volumes[:, piece], volumes[:, slices - piece.stop : slices - piece.start]
        moved = here.flip(all_axes)
        here.copy_(there.flip(all_axes))
        there.copy_(moved)
    own = volumes[:, swapped : slices - swapped]
    for piece in slabs(own) if in_plane else ():
        own[:, piece].copy_(own[:, piece].flip(in_plane))
