"""A case as a network in training sees it: preprocessed as the finished network's cases are, with what it should say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.task import Task
    from SegAdversarialLib.volumes.case import Case


@dataclass(frozen=True, eq=False)
class Sample:
    """A case, or a part of it, on the network's grid.

    Attributes:
        image: (C, *axes) float32; for a 2D network the whole case is (C, slices, *axes).
        targets: (N, *axes) uint8, 1 where an output should claim the voxel; for a softmax one of them in each voxel.
        spacing: mm along the network's axes.
        name: the subject's.
    """

    image: torch.Tensor
    targets: torch.Tensor
    spacing: tuple[float, ...]
    name: str


def sample_of(case: Case, task: Task) -> Sample:
    """A whole case as the network sees it.

    The image is exactly what the finished network will see of the case. The reference is resampled output by output, as
    shares of a voxel, of which the largest wins (a sigmoid output claims half a voxel or more).

    Raises:
        InputError: see `Task.check`.
    """
    import torch

    task.check(case)
    assert case.label is not None
    channels = [torch.from_numpy(case.channel(name)) for name in task.channels]
    on_grid = task.preprocessing.on_grid(case.shape, case.affine).on_image(channels)
    image = torch.stack([on_grid.forward_channel(x, n).contiguous() for n, x in enumerate(channels)])
    masks = on_grid.shares(task.head.masks(torch.from_numpy(case.label.astype(np.int64))).float()).contiguous()
    if task.head.kind == "softmax":
        claimed = torch.zeros_like(masks, dtype=torch.uint8).scatter_(0, masks.argmax(0, keepdim=True), 1)
        claimed *= masks.sum(0) >= 0.5  # a label that belongs to no class is nobody's
    else:
        claimed = (masks >= 0.5).to(torch.uint8)
    return Sample(image, claimed, on_grid.network_spacing[3 - on_grid.dimensions :], case.name)


@dataclass(frozen=True)
class Cut:
    """What one step sees of a case.

    Attributes:
        dimensions: of the network; for 2 it is a slice.
        patch: sizes along the network's axes; shorter axes are taken whole. None: everything.
        structures: the outputs that patches, and slices drawn at random, are laid around.
    """

    dimensions: int
    patch: tuple[int, ...] | None
    structures: tuple[int, ...]

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The size of a part of a case of `shape` (its slices first for a 2D network)."""
        axes = shape[-self.dimensions :]
        return axes if self.patch is None else tuple(min(a, b) for a, b in zip(axes, self.patch))

    def __call__(self, sample: Sample, slice_number: int | None, source: np.random.Generator) -> Sample:
        """A part of a whole case.

        Args:
            sample: the case.
            slice_number: which slice; None: a random one, of those with a structure where there are any.
            source: where places are drawn from.
        """
        image, targets = sample.image, sample.targets
        there = targets[list(self.structures)].amax(0) > 0
        if self.dimensions == 2:
            number = slice_number
            if number is None:
                labelled = np.flatnonzero(there.flatten(1).any(1).numpy())
                number = int(source.choice(labelled)) if len(labelled) else int(source.integers(len(there)))
            image, targets, there = image[:, number], targets[:, number], there[number]
        if self.patch is not None:
            place = _place(there, self.patch, source)
            image, targets = image[(slice(None), *place)], targets[(slice(None), *place)]
        return Sample(image, targets, sample.spacing, sample.name)


def _place(there: torch.Tensor, patch: tuple[int, ...], source: np.random.Generator) -> tuple[slice, ...]:
    """Where a patch lies: around a voxel that is there, or around any where none is."""
    shape = there.shape
    candidates = np.flatnonzero(there.numpy())
    number = candidates[source.integers(len(candidates))] if len(candidates) else source.integers(math.prod(shape))
    centre = np.unravel_index(int(number), shape)
    start = [min(max(int(c) - want // 2, 0), max(have - want, 0)) for c, want, have in zip(centre, patch, shape)]
    return tuple(slice(a, a + want) for a, want in zip(start, patch))
