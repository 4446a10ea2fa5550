"""The structures that are measured: a network's own and further regions, as masks of its answer and of the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.brats import brats_regions
from SegAdversarialLib.structures.output_head import OutputHead

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction


def check_regions(head: OutputHead, regions: Mapping[str, Sequence[int]] | None) -> dict[str, tuple[int, ...]]:
    """The regions to measure beside a model's own outputs, as sets of reference labels: the caller's, or else BraTS'.

    Raises:
        InputError: a region does not fit the model's classes.
    """
    names = {head.names[n] for n in head.foreground}
    if regions is None:
        return brats_regions(head)
    taken = sorted(names & set(regions))
    if taken:
        raise InputError(f"The region name(s) {', '.join(taken)} are names of the model's own outputs; give other names.")
    wanted = {str(name): tuple(int(x) for x in values) for name, values in regions.items()}
    for name, values in wanted.items():
        _check_region(head, name, set(values))
    return wanted


def _check_region(head: OutputHead, name: str, values: set[int]) -> None:
    unknown = sorted(values - set(head.labels).union(*head.regions))
    if unknown or not values:
        raise InputError(
            f"The region {name} needs label values that the model knows ({head.describe()}); it has {sorted(values)}."
        )
    for label, region in zip(head.labels, head.regions):
        if head.kind == "softmax" and values & set(region) and not values >= set(region):
            raise InputError(
                f"The region {name} {sorted(values)} takes only a part of the labels {sorted(region)}, which the model's "
                f"class {label} does not tell apart; take all of them or none."
            )


def claimed(prediction: Prediction, head: OutputHead, regions: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The mask of each structure as the model's answer claims it."""
    masks = {head.names[n]: np.asarray(prediction.masks[n], dtype=bool) for n in head.foreground}
    for name, values in regions.items():
        masks[name] = np.isin(prediction.labels, written_labels(head, values))
    return masks


def written_labels(head: OutputHead, values: Sequence[int]) -> list[int]:
    """The values in the model's label maps that stand for a set of reference labels; they differ where classes are merged."""
    if head.kind == "sigmoid":
        return list(values)
    return [label for label, region in zip(head.labels, head.regions) if set(region) & set(values)]


def wanted_masks(label: np.ndarray, head: OutputHead, regions: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The mask of each structure in a reference label map (K, J, I)."""
    wanted = {**{head.names[n]: head.regions[n] for n in head.foreground}, **regions}
    return {name: np.isin(label, values) for name, values in wanted.items()}


def extent(mask: np.ndarray) -> int:
    """The number of voxels in the bounding box of a mask, by which measuring it takes long; 0 for an empty one."""
    sizes = []
    for axis in range(mask.ndim):
        there = np.flatnonzero(mask.any(axis=tuple(n for n in range(mask.ndim) if n != axis)))
        sizes.append(int(there[-1] - there[0]) + 1 if there.size else 0)
    return math.prod(sizes)
