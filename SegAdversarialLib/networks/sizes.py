"""Sizes that a network cannot halve as it wants: zeros are put behind, and cut off what comes out."""

from __future__ import annotations

import torch


def padded(x: torch.Tensor, least: int, multiple: int = 1) -> torch.Tensor:
    """(B, C, *size) with zeros behind each axis, up to at least `least` and a multiple of `multiple`."""
    padding: list[int] = []
    for size in x.shape[:1:-1]:  # the last axis comes first
        padding += [0, -(-max(int(size), least) // multiple) * multiple - int(size)]
    return torch.nn.functional.pad(x, padding) if max(padding) > 0 else x


def cropped(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The first voxels of (B, C, *size), as many along each axis as `like` has."""
    for axis in range(2, x.ndim):
        x = x.narrow(axis, 0, like.shape[axis])
    return x


def enlarged(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B, C, *size) with each voxel repeated, to the sizes of `like`."""
    return torch.nn.functional.interpolate(x, size=like.shape[2:], mode="nearest")
