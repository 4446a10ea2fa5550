"""Changes of what a network learns from, drawn anew each time that it is seen; through MONAI's transforms."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
import torch

from SegAdversarialLib.training.samples import Sample

Kind = Literal["none", "axial", "mirror", "classic"]
_KEYS = ("image", "targets")


class Augmentation:
    """A kind of augmentation for a network with these axes ("kji").

    The same source gives the same change: MONAI's transforms are seeded as a whole before each sample, as a member's own seed
    is lost when a `Compose` is made.
    """

    def __init__(self, kind: Kind, axes: str) -> None:
        self._kind, self._axes = kind, axes

    def __call__(self, sample: Sample, source: np.random.SeedSequence) -> Sample:
        """A changed copy of a sample, of the same shape."""
        if self._kind == "none":
            return sample
        plane = [n for n, axis in enumerate(self._axes) if axis in "ij"]
        square = len(plane) == 2 and len({sample.image.shape[1 + n] for n in plane}) == 1
        transform = _transforms(self._kind, self._axes, square)
        transform.set_random_state(seed=int(source.generate_state(1)[0]))
        # a copy: some of MONAI's transforms write into what they are given
        changed = transform({"image": sample.image.clone(), "targets": sample.targets.clone()})
        image, targets = (_plain(changed[key]) for key in _KEYS)
        return Sample(image.float(), targets.to(torch.uint8), sample.spacing, sample.name)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor without MONAI's records, which would spread into weights and losses."""
    return tensor.as_subclass(torch.Tensor).contiguous()


@cache
def _transforms(kind: Kind, axes: str, square: bool) -> Any:
    from monai.transforms import (
        Compose,
        RandAffined,
        RandFlipd,
        RandGaussianNoised,
        RandRotate90d,
        RandScaleIntensityd,
        RandShiftIntensityd,
    )

    plane = tuple(n for n, axis in enumerate(axes) if axis in "ij")
    flips = [RandFlipd(_KEYS, prob=0.5, spatial_axis=n) for n in (range(len(axes)) if kind == "mirror" else plane)]
    if kind == "mirror":
        return Compose(flips)
    if kind == "axial":
        # quarter turns and flips make all eight placements of a square, transposes among them
        turns = [RandRotate90d(_KEYS, prob=0.75, max_k=3, spatial_axes=(plane[0], plane[-1]))] if square else []
        return Compose([*flips, *turns])
    return Compose(
        [
            *flips,
            RandAffined(
                _KEYS,
                prob=0.5,
                rotate_range=(np.pi / 12,) * (3 if len(axes) == 3 else 1),
                scale_range=(0.1,) * len(axes),
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            RandScaleIntensityd("image", factors=0.1, prob=0.5, channel_wise=True),
            RandShiftIntensityd("image", offsets=0.1, prob=0.5, channel_wise=True),
            RandGaussianNoised("image", prob=0.5, std=0.1),
        ]
    )
