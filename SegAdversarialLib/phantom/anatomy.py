"""The healthy brain: a shape of its own, folded cortex over white matter, deep nuclei, ventricles, sulci, vessels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from SegAdversarialLib.phantom.fields import (
    Grid,
    Noise,
    Position,
    distance_to_zero,
    ellipsoid,
    soft_inside,
    tube,
    union,
)

TISSUES = (
    "CSF",
    "grey matter",
    "white matter",
    "deep grey matter",
    "vessel",
    "choroid plexus",
    "white-matter lesion",
    "oedema",
    "necrosis",
    "non-enhancing tumour",
    "enhancing tumour",
)


@dataclass
class Tissues:
    """How much of each voxel is which tissue.

    Attributes:
        brain: (K, J, I) bool, what is left after skull stripping.
        inward: (K, J, I) distance in mm to the folded surface of the cerebrum, positive inwards.
        room: (K, J, I) the same to the outline and the fissure between the hemispheres, sulci left out.
        fractions: (K, J, I) in [0, 1] for each tissue that was painted; they sum to 1.
    """

    brain: np.ndarray
    inward: np.ndarray
    room: np.ndarray
    fractions: dict[str, np.ndarray] = field(default_factory=dict)

    def paint(self, tissue: str, share: np.ndarray) -> None:
        """Put a tissue over what is there; `share` (K, J, I) in [0, 1] of each voxel."""
        rest = 1 - share
        for fraction in self.fractions.values():
            fraction *= rest
        self.fractions[tissue] = self.fractions.get(tissue, 0) + share.astype(np.float32)

    def share(self, *names: str) -> np.ndarray:
        """(K, J, I): how much of each voxel is one of these tissues."""
        return sum((self.fractions[x] for x in names if x in self.fractions), np.zeros(self.brain.shape, np.float32))


@dataclass(frozen=True)
class Build:
    """What differs between one healthy brain and the next; lengths in mm."""

    scale: tuple[float, float, float]
    front_narrowing: float
    cortex: float
    sulcus: float
    sulcus_depth: float
    ventricle: float
    lesions: int

    @classmethod
    def random(cls, generator: np.random.Generator) -> Build:
        atrophy = generator.uniform(0, 1)
        return cls(
            scale=tuple(generator.uniform(0.94, 1.04, 3).tolist()),
            front_narrowing=generator.uniform(0.08, 0.2),
            cortex=generator.uniform(3.0, 3.8),
            sulcus=0.5 + 0.7 * atrophy,
            sulcus_depth=generator.uniform(14, 19),
            ventricle=0.75 + 0.6 * atrophy + generator.uniform(-0.1, 0.15),
            lesions=int(generator.integers(2, 6 + int(8 * atrophy))),
        )


def healthy_brain(generator: np.random.Generator, grid: Grid, position: Position) -> Tissues:
    """Paint a brain without tumour.

    Args:
        generator: decides on the subject's anatomy.
        grid: the volume.
        position: where each voxel lies, in mm (displaced by the tumour's mass effect, if there is one).
    """
    build = Build.random(generator)
    position = _own_shape(generator, grid, position, build)
    cerebrum = _cerebrum(position, build)
    cerebellum = ellipsoid(position, (0, -45, -40), (46, 28, 20))
    stem = tube(position, (0, -14, -16), (0, -30, -66), (14, 9))
    outline = union(union(cerebrum, cerebellum, blend=6), stem, blend=6)

    inward, room = _cortical_depth(generator, grid, position, cerebrum, build)
    tissues = Tissues(brain=outline < 0.3, inward=inward, room=room)
    tissues.paint("CSF", np.ones_like(inward))
    tissues.paint("grey matter", soft_inside(np.maximum(build.sulcus - inward, cerebrum), grid.width))
    tissues.paint("white matter", soft_inside(build.sulcus + build.cortex - inward, grid.width))
    _paint_hindbrain(tissues, generator, grid, position, cerebellum, stem, cerebrum)
    _paint_deep_grey(tissues, grid, position)
    _paint_ventricles(tissues, generator, grid, position, build)
    _paint_lesions(tissues, generator, grid, position, build)
    _paint_vessels(tissues, generator, grid, position, outline)
    return tissues


def _own_shape(generator: np.random.Generator, grid: Grid, position: Position, build: Build) -> Position:
    """Where a voxel of this subject lies in the common brain: scaled and smoothly deformed."""
    bent = [p / np.float32(s) for p, s in zip(position, build.scale)]
    for sigma, size in ((14.0, 1.3), (32.0, 2.1)):
        bent = [b + np.float32(size) * Noise.random(generator, sigma).on(grid) for b in bent]
    return bent[0], bent[1], bent[2]


def _cerebrum(position: Position, build: Build) -> np.ndarray:
    """Distance to the outline of both hemispheres with their temporal lobes, sulci closed."""
    x, y, z = position
    narrow = 1 - build.front_narrowing * np.clip(y / 77, -0.6, 1)
    squeezed = (x / narrow, y, np.where(z < 6, (z - 6) * 1.75 + 6, z))
    parts = [np.abs(p - c) / np.float32(a) for p, c, a in zip(squeezed, (0, 0, 6), (63, 76, 58))]
    rounded = sum(p**2.35 for p in parts) ** (1 / 2.35)
    upper = (rounded - 1) * 62
    temporal = ellipsoid((np.abs(x), y, z + 0.12 * y), (41, 4, -27), (20, 40, 19))
    return union(upper, temporal, blend=8)


def _cortical_depth(
    generator: np.random.Generator, grid: Grid, position: Position, cerebrum: np.ndarray, build: Build
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm inwards: from the folded surface (outline, sulci and great fissures), and from that without sulci."""
    x, y, z = position
    between = np.abs(x + 1.5 * Noise.random(generator, 18.0).on(grid))
    bridge = ellipsoid(position, (0, -4, 2), (60, 37, 23))
    room = np.minimum(-cerebrum, np.hypot(between, np.maximum(-bridge, 0)))

    below = np.maximum(-cerebrum, 0)
    sulci = distance_to_zero(_sulcal_pattern(generator, position), grid)
    reach = build.sulcus_depth * np.clip(1 + 0.35 * Noise.random(generator, 10.0).on(grid), 0.3, 1.6)
    inward = np.minimum(room, np.hypot(sulci, np.maximum(below - reach, 0)))
    lateral = np.abs(z + 6 - 0.3 * np.abs(y - 22) + 2.0 * Noise.random(generator, 12.0).on(grid))
    beyond = np.maximum(np.maximum(36 - np.abs(x), np.abs(y - 4) - 32), 0)
    return np.minimum(inward, np.hypot(lateral, beyond)), room


def _sulcal_pattern(generator: np.random.Generator, position: Position) -> np.ndarray:
    """A field whose zero crossings are the sulci: noise that hardly changes along the way to each hemisphere's middle, so
    that the sulci stand upright on the surface; each hemisphere has its own."""
    x, y, z = position
    out = (np.abs(x) - 24, y * 0.8, z - 2)
    length = np.sqrt(sum(p * p for p in out)) + 1
    side = np.where(x > 0, np.float32(0), np.float32(45))
    folded = tuple(44 * p / length + 0.4 * p + side for p in out)
    return Noise.random(generator, 4.0, band=True).at((folded[0], folded[1], folded[2]))


def _paint_hindbrain(
    tissues: Tissues,
    generator: np.random.Generator,
    grid: Grid,
    position: Position,
    cerebellum: np.ndarray,
    stem: np.ndarray,
    cerebrum: np.ndarray,
) -> None:
    """Cerebellum with its leaves, and the brain stem."""
    x, y, z = position
    leaves = (z + 0.35 * (y + 45) + 2 * Noise.random(generator, 9.0).on(grid)) / 8
    to_groove = 8 * np.abs(leaves - np.round(leaves))
    inward = np.minimum(-cerebellum, np.hypot(to_groove, np.maximum(-cerebellum - 9, 0)))
    below = np.maximum(cerebellum, 1.0 - cerebrum)
    tissues.paint("CSF", soft_inside(below, grid.width))
    tissues.paint("grey matter", soft_inside(np.maximum(0.3 - inward, below), grid.width))
    tissues.paint("white matter", soft_inside(np.maximum(2.6 - inward, below), grid.width))
    tissues.paint("white matter", soft_inside(stem + 1, grid.width))
    tissues.paint("CSF", soft_inside(ellipsoid(position, (0, -36, -36), (6, 3, 7)), grid.width))


def _paint_deep_grey(tissues: Tissues, grid: Grid, position: Position) -> None:
    """Thalamus, caudate nucleus, and putamen with pallidum, on both sides."""
    x, y, z = position
    half = (np.abs(x), y, z)
    thalamus = ellipsoid(half, (11, -10, 3), (8, 14, 9))
    caudate = tube(half, (13, 22, 5), (19, -12, 18), (6.0, 2.2))
    slanted = (half[0] - 0.25 * np.abs(y - 4), y, z)
    putamen = ellipsoid(slanted, (24, 4, 1), (6, 16, 9))
    for nucleus in (thalamus, caudate, putamen):
        tissues.paint("deep grey matter", soft_inside(nucleus, grid.width))


def _ventricles(position: Position, size: float) -> np.ndarray:
    """Distance to the lateral ventricles (horns and body) and the third ventricle."""
    x, y, z = position
    half = (np.abs(x), y, z)
    front = tube(half, (6, 30, 6), (8, 6, 14), (3.4 * size, 4.2 * size))
    body = tube(half, (8, 6, 14), (17, -30, 12), (4.2 * size, 5.2 * size))
    back = tube(half, (17, -30, 12), (20, -50, 4), (5.2 * size, 1.6 * size))
    lower = tube(half, (18, -30, 10), (31, -8, -20), (3.4 * size, 1.3 * size))
    third = ellipsoid(position, (0, -8, 0), (1.8 * size, 12, 9))
    return union(union(union(front, body, 2), union(back, lower, 2), 2), third)


def _paint_ventricles(tissues: Tissues, generator: np.random.Generator, grid: Grid, position: Position, build: Build) -> None:
    """Ventricles with the bright caps that age leaves around them, and the choroid plexus inside."""
    x, y, z = position
    distance = _ventricles(position, build.ventricle)
    caps = distance - 1.5 - 2.0 * np.maximum(Noise.random(generator, 8.0).on(grid) - 0.4, 0)
    white = tissues.share("white matter")
    tissues.paint("white-matter lesion", 0.7 * soft_inside(caps, 2 * grid.width) * white)
    tissues.paint("CSF", soft_inside(distance, grid.width))
    plexus = tube((np.abs(x), y, z), (13, -14, 10), (18, -33, 8), (1.2, 2.6))
    tissues.paint("choroid plexus", soft_inside(np.maximum(plexus, distance + 0.5), grid.width))


def _paint_lesions(tissues: Tissues, generator: np.random.Generator, grid: Grid, position: Position, build: Build) -> None:
    """Small white-matter lesions, bright on FLAIR and T2, that belong to no tumour."""
    spots = np.full(tissues.brain.shape, np.inf, np.float32)
    for _ in range(build.lesions):
        centre = generator.uniform((14, -52, 4), (40, 48, 36)) * (generator.choice((-1, 1)), 1, 1)
        spots = union(spots, ellipsoid(position, tuple(centre), tuple(generator.uniform(1.8, 4.2, 3))))
    tissues.paint("white-matter lesion", soft_inside(spots, grid.width) * tissues.share("white matter"))


def _paint_vessels(
    tissues: Tissues, generator: np.random.Generator, grid: Grid, position: Position, outline: np.ndarray
) -> None:
    """The upper sagittal sinus and a net of vessels in the sulci, both bright after contrast agent."""
    x, y, z = position
    sinus = np.maximum(np.abs(x) - 2.2, np.maximum(-outline - 3.5, -10 - z))
    lines = np.hypot(Noise.random(generator, 9.0).on(grid), Noise.random(generator, 9.0).on(grid)) * 9 - 1.1
    in_sulci = np.maximum(lines, tissues.inward - 2.5)
    tissues.paint("vessel", 0.8 * soft_inside(union(sinus, in_sulci), grid.width))
