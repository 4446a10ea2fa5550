"""How far a voxel may be moved, in the intensities that a network sees in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Units = Literal["relative", "range", "absolute"]

UNITS_DESCRIPTION = (
    "relative: a share of each channel's largest absolute intensity as the network sees it, after preprocessing (Liu et al.: "
    "of the largest pixel magnitude of the input image); range: a share of the distance from its least to its largest "
    "intensity, which standardising does not change, and so, where a scan's background is 0, what an attack's epsilon is on "
    "the scan itself; absolute: in the network's own units, standard deviations after standardisation."
)
UNITS_TEXTS = {"relative": "share of largest intensity", "range": "share of intensity range", "absolute": "network's units"}
SIZE_UNIT = "share of the largest intensity, of the range, or network's units"


def unit_of(images: torch.Tensor, units: Units) -> torch.Tensor | float:
    """What 1 is in each channel of each sample: (B, C, 1, ...) for images (B, C, *network axes), or 1."""
    if units == "absolute":
        return 1.0
    seen = images.detach()
    axes = tuple(range(2, seen.ndim))
    if units == "range":
        return seen.amax(axes, keepdim=True) - seen.amin(axes, keepdim=True)
    return seen.abs().amax(axes, keepdim=True)
