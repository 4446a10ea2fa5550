"""A synthetic cohort: four-channel MR of brains with a tumour, with ground truth, made from a seed.

Made for attacks: the segmentation task needs several channels and context, and no patient data are needed to try things out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.phantom.anatomy import Tissues, healthy_brain
from SegAdversarialLib.phantom.fields import Grid
from SegAdversarialLib.phantom.scanner import CHANNELS, acquire
from SegAdversarialLib.phantom.tumour import Tumour, label_map, paint_tumour, with_mass_effect
from SegAdversarialLib.volumes.case import Case

__all__ = ["CHANNELS", "LABEL_NAMES", "REGIONS", "cohort", "subject", "tissues_of"]

LABEL_NAMES = {0: "background", 1: "necrotic core", 2: "oedema", 4: "enhancing tumour"}
REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
"""BraTS' whole tumour, tumour core and enhancing tumour as sets of these labels."""

# mm along k, j, i that every head fits into
_HEAD = (160.0, 172.0, 158.0)
SMALLEST = 32
_ANATOMY, _TUMOUR, _SCANNER = range(3)


@checked(
    seed="a whole number of 0 or more",
    shape="three whole numbers (K, J, I) of 32 or more",
    spacing="one or three numbers of mm above 0",
)
def subject(seed: int = 0, shape: tuple[int, int, int] = (64, 64, 64), spacing: float | Sequence[float] | None = None) -> Case:
    """Make one subject: T1, T1ce, T2 and FLAIR of a skull-stripped brain with a tumour, and its labels as in BraTS
    (1 necrotic core, 2 oedema, 4 enhancing tumour).

    The same seed gives the same arrays; at another shape or spacing it gives the same anatomy with other noise.

    Args:
        seed: 0 or more.
        shape: (K, J, I), 32 or more along each axis.
        spacing: voxel size in mm, one number or three along i, j, k; unless given, cubic voxels as small as lets the
            whole head into the volume.

    Raises:
        InputError: the seed, the shape or the spacing is not of this kind.
    """
    tissues, grid = tissues_of(seed, shape, spacing)
    image = acquire(tissues, _generator(seed, _SCANNER), grid)
    return Case(
        image=image,
        channels=CHANNELS,
        affine=_affine(grid),
        label=label_map(tissues),
        label_names=LABEL_NAMES,
        name=f"phantom-{seed:03d}",
        dtypes=("int16",) * len(CHANNELS),
    )


def cohort(
    seeds: Iterable[int], shape: tuple[int, int, int] = (64, 64, 64), spacing: float | Sequence[float] | None = None
) -> Iterator[Case]:
    """Make subjects one after the other; see `subject`."""
    for seed in seeds:
        yield subject(seed, shape, spacing)


def tissues_of(
    seed: int, shape: tuple[int, int, int] = (64, 64, 64), spacing: float | Sequence[float] | None = None
) -> tuple[Tissues, Grid]:
    """The tissues that a subject is made of, healthy ones included, and the grid on which they lie; see `subject`."""
    shape = _checked_shape(shape)
    grid = Grid(shape, _checked_spacing(spacing, shape))
    growth = _generator(seed, _TUMOUR)
    tumour = Tumour.random(growth)
    tissues = healthy_brain(_generator(seed, _ANATOMY), grid, with_mass_effect(tumour, grid.position))
    paint_tumour(tissues, tumour, growth, grid)
    return tissues, grid


def _generator(seed: int, stream: int) -> np.random.Generator:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"The phantom's seed must be a whole number of 0 or more; it is {seed!r}.")
    return np.random.default_rng([int(seed), stream])


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    sizes = tuple(shape) if isinstance(shape, Sequence | np.ndarray) else ()
    if len(sizes) != 3 or any(not isinstance(n, int | np.integer) or n < SMALLEST for n in sizes):
        raise InputError(f"The phantom's shape must be three whole numbers (K, J, I) of {SMALLEST} or more; it is {shape!r}.")
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _checked_spacing(spacing: float | Sequence[float] | None, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    if spacing is None:
        spacing = max(extent / size for extent, size in zip(_HEAD, shape))
    try:
        i, j, k = (float(x) for x in np.broadcast_to(spacing, 3))
    except (TypeError, ValueError):
        i = j = k = float("nan")
    if not all(np.isfinite(x) and x > 0 for x in (i, j, k)):
        raise InputError(f"The phantom's spacing must be one or three numbers of mm above 0; it is {spacing!r}.")
    return i, j, k


def _affine(grid: Grid) -> np.ndarray:
    """Axes LPS, the volume's centre at the origin."""
    i, j, k = grid.spacing
    affine = np.diag([-i, -j, k, 1.0])
    affine[:3, 3] = [axis[0] for axis in grid.axes]
    return affine


def __dir__() -> list[str]:
    return sorted(__all__)
