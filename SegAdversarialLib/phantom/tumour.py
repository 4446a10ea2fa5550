"""The tumour: necrotic core inside an enhancing rim inside oedema, all of irregular shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SegAdversarialLib.phantom.anatomy import Tissues
from SegAdversarialLib.phantom.fields import Grid, Noise, Position, ellipsoid, moved, soft_inside, union

LABELS = {1: ("necrosis", "non-enhancing tumour"), 2: ("oedema",), 4: ("enhancing tumour",)}


@dataclass(frozen=True)
class Tumour:
    """Where one tumour sits, and how it grew; lengths in mm.

    Attributes:
        centre: in RAS mm.
        axes: 3x3, the rotation into the tumour's own axes.
        half_axes: of the core, enhancing rim included.
        lobes: centres and radii of knobs that the core has.
        rim: mean thickness of the enhancing rim.
        oedema: how far the oedema reaches beyond the core.
        push: how much of the distance to the centre is squeezed away around the core (mass effect), 0 to 1.
    """

    centre: tuple[float, float, float]
    axes: np.ndarray
    half_axes: tuple[float, float, float]
    lobes: tuple[tuple[tuple[float, float, float], float], ...]
    rim: float
    oedema: float
    push: float

    @classmethod
    def random(cls, generator: np.random.Generator) -> Tumour:
        """Draw a tumour in the white matter of one hemisphere."""
        half_axes = generator.uniform(10, 19) * generator.uniform(0.75, 1.2, 3)
        axes, _ = np.linalg.qr(generator.standard_normal((3, 3)))
        smallest = float(half_axes.min())
        lobes = []
        for _ in range(int(generator.integers(1, 4))):
            direction = generator.standard_normal(3)
            direction *= generator.uniform(0.7, 1.1) * half_axes / np.linalg.norm(direction)
            lobes.append((tuple(direction.tolist()), smallest * generator.uniform(0.35, 0.6)))
        rim = min(generator.uniform(3.2, 6.5), 0.5 * smallest)
        if generator.random() < 0.2:
            rim = 0.62 * smallest
        return cls(
            centre=_place(generator),
            axes=axes,
            half_axes=tuple(half_axes.tolist()),
            lobes=tuple(lobes),
            rim=float(rim),
            oedema=generator.uniform(6, 20),
            push=generator.uniform(0.1, 0.35),
        )


def _place(generator: np.random.Generator) -> tuple[float, float, float]:
    """A place in the white matter, 16 mm or more below the brain's surface and off the midline."""
    while True:
        x, y, z = generator.uniform((16, -54, -8), (44, 52, 40))
        if (x / 47) ** 2 + (y / 60) ** 2 + ((z - 4) / 40) ** 2 < 1:
            return float(x * generator.choice((-1, 1))), float(y), float(z)


def with_mass_effect(tumour: Tumour, position: Position) -> Position:
    """Where the tissue at each position was before the tumour pushed it outwards."""
    relative = moved(position, tumour.centre)
    reach = np.float32(1.7 * max(tumour.half_axes))
    squeeze = 1 - np.float32(tumour.push) * np.exp(-sum(p * p for p in relative) / reach**2)
    x, y, z = (p * squeeze + np.float32(c) for p, c in zip(relative, tumour.centre))
    return x, y, z


def paint_tumour(tissues: Tissues, tumour: Tumour, generator: np.random.Generator, grid: Grid) -> None:
    """Paint oedema, then the core with its rim."""
    local = _in_own_axes(tumour, grid.position)
    core = np.maximum(_core(tumour, generator, grid, local), 1.0 - tissues.room)
    _paint_oedema(tissues, tumour, generator, grid, core)

    thickness = tumour.rim * (1 + 0.45 * Noise.random(generator, 6.0).on(grid))
    gaps = Noise.random(generator, 5.0).on(grid) > 1.5
    inner = core + np.clip(np.where(gaps, 0, thickness), 0, 1.4 * tumour.rim)
    a, b, c = tumour.half_axes
    inner = union(inner, ellipsoid(local, (0, 0, 0), (0.32 * a, 0.32 * b, 0.32 * c)))
    solid = np.clip(0.5 + 1.2 * (Noise.random(generator, 5.0).on(grid) - 0.5), 0, 1)
    tissues.paint("enhancing tumour", soft_inside(core, grid.width))
    inside = soft_inside(np.maximum(inner, core), grid.width)
    tissues.paint("necrosis", inside)
    tissues.paint("non-enhancing tumour", inside * solid)


def _in_own_axes(tumour: Tumour, position: Position) -> Position:
    """Positions relative to the tumour's centre, along its own axes."""
    x, y, z = moved(position, tumour.centre)
    first, second, third = (np.float32(a) * x + np.float32(b) * y + np.float32(c) * z for a, b, c in tumour.axes)
    return first, second, third


def _core(tumour: Tumour, generator: np.random.Generator, grid: Grid, local: Position) -> np.ndarray:
    """Distance to the uneven outer surface of the enhancing rim."""
    core = ellipsoid(local, (0, 0, 0), tumour.half_axes)
    for centre, radius in tumour.lobes:
        core = union(core, ellipsoid(local, centre, (radius,) * 3), blend=4)
    return core + 1.6 * Noise.random(generator, 6.0).on(grid) + 0.7 * Noise.random(generator, 3.0).on(grid)


def _paint_oedema(tissues: Tissues, tumour: Tumour, generator: np.random.Generator, grid: Grid, core: np.ndarray) -> None:
    """Oedema spreads in white matter and hardly enters cortex and nuclei, which gives it fingers."""
    uneven = 0.45 * Noise.random(generator, 12.0).on(grid) + 0.2 * Noise.random(generator, 5.0).on(grid)
    reach = tumour.oedema * np.clip(1 + uneven, 0.1, 2)
    white = tissues.share("white matter", "white-matter lesion")
    grey = tissues.share("grey matter", "deep grey matter")
    near = soft_inside(core - 3.5, grid.width) * (white + grey)
    tissues.paint("oedema", np.maximum(soft_inside(core - reach, 1.5 * grid.width) * (white + 0.1 * grey), near))


def label_map(tissues: Tissues) -> np.ndarray:
    """(K, J, I) int16: of healthy, 1, 2 and 4 the one that fills most of each voxel."""
    shares = {label: tissues.share(*names) for label, names in LABELS.items()}
    healthy = 1 - sum(shares.values())
    winner = np.argmax(np.stack([healthy, *shares.values()]), axis=0)
    return np.where(tissues.brain, np.array([0, *shares], np.int16)[winner], 0).astype(np.int16)
