"""Parts of cases, as training sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from SegAdversarialLib.volumes.case import Case


def patch_of(case: Case, size: Sequence[int] | None, source: np.random.Generator) -> Case:
    """A random part of a case: a case of its own, where it was.

    Args:
        case: the subject.
        size: slices, rows and columns; axes that are shorter are taken whole. None: the whole case.
        source: where the place is drawn from. The part lies around a labelled voxel where there is one, else around one that
            is above 0 in some channel, else anywhere.
    """
    if size is None or all(have <= want for have, want in zip(case.shape, size)):
        return case
    candidates = np.flatnonzero(case.label) if case.label is not None else np.empty(0, np.int64)
    if not len(candidates):
        candidates = np.flatnonzero((case.image > 0).any(0))
    number = candidates[source.integers(len(candidates))] if len(candidates) else source.integers(case.image[0].size)
    centre = np.unravel_index(int(number), case.shape)
    start = [min(max(int(c) - want // 2, 0), max(have - want, 0)) for c, want, have in zip(centre, size, case.shape)]
    place = tuple(slice(a, a + want) for a, want in zip(start, size))
    affine = case.affine.copy()
    affine[:3, 3] = (case.affine @ [*reversed(start), 1])[:3]
    label = None if case.label is None else case.label[place]
    return replace(case, image=case.image[(slice(None), *place)], affine=affine, label=label)
