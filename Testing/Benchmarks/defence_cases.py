"""What the benchmarks of defences share: parts of phantoms around the tumour, kept in a file, and what is printed of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SegAdversarialLib import Case, phantom
from SegAdversarialLib.volumes.files import whole_file

REGIONS = {"WT": "Whole tumor", "TC": "Tumor core", "ET": "Enhancing tumor"}
"""BraTS' regions, and what Liu et al. call them."""


def tumour_part(case: Case, size: int) -> Case:
    """The cube of `size` voxels a side in the middle of which the tumour lies, or as near to that as the volume reaches."""
    assert case.label is not None
    middle = [round(x.mean()) for x in np.nonzero(case.label)]
    starts = [max(0, min(m - size // 2, have - size)) for m, have in zip(middle, case.shape)]
    part = tuple(slice(start, start + size) for start in starts)
    affine = case.affine.copy()
    affine[:3, 3] = (case.affine @ [*starts[::-1], 1])[:3]
    image, label = (np.ascontiguousarray(x) for x in (case.image[(slice(None), *part)], case.label[part]))
    return Case(image, case.channels, affine, label, label_names=case.label_names, name=case.name)


def parts(seeds: Sequence[int], size: int, part: int, folder: Path) -> list[Case]:
    """Parts of the phantoms of these seeds, from the folder where they lie there already."""
    return [_part(seed, size, part, folder) for seed in seeds]


def mean_and_deviation(values: Sequence[float]) -> str:
    """As the papers print it."""
    found = np.array(values, float)
    return f"{found.mean():.3f} ± {found.std(ddof=1):.3f}" if len(found) > 1 else f"{found.mean():.3f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of a documentation page; the first row is its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body])


def _part(seed: int, size: int, part: int, folder: Path) -> Case:
    path = folder / f"phantom-{seed:03d}-{size}-{part}.npz"
    if not path.is_file():
        made = tumour_part(phantom.subject(seed, (size,) * 3), part)
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, image=made.image, label=made.label, affine=made.affine)
    with np.load(path) as kept:
        image, label, affine = kept["image"], kept["label"], kept["affine"]
    return Case(image, phantom.CHANNELS, affine, label, label_names=phantom.LABEL_NAMES, name=f"phantom-{seed:03d}")
