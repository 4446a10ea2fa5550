"""The phantom cohort: reproducible, with anatomy, contrasts and labels as a reader of brain MR expects them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.phantom import CHANNELS, LABEL_NAMES, cohort, subject, tissues_of
from SegAdversarialLib.phantom.anatomy import Tissues
from SegAdversarialLib.phantom.fields import Grid, Noise, ellipsoid, soft_inside, tube
from SegAdversarialLib.phantom.scanner import bias_field
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.geometry import orientation_of

SHAPE = (48, 48, 48)
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def cases() -> dict[int, Case]:
    return {seed: subject(seed, SHAPE) for seed in SEEDS}


def mean_in(case: Case, channel: str, where: np.ndarray) -> float:
    return float(case.channel(channel)[where].mean())


@cache
def parts(seed: int) -> Tissues:
    return tissues_of(seed, SHAPE)[0]


def mostly(seed: int, tissue: str) -> np.ndarray:
    """The 200 brain voxels that hold most of a tissue."""
    share = parts(seed).share(tissue) * parts(seed).brain
    return share >= np.sort(share, axis=None)[-200]


def test_same_seed_gives_the_same_arrays(cases):
    again = subject(1, SHAPE)
    assert np.array_equal(again.image, cases[1].image)
    assert np.array_equal(again.label, cases[1].label)
    assert np.array_equal(again.affine, cases[1].affine)


def test_different_seeds_differ_in_image_outline_and_tumour(cases):
    for first, second in zip(SEEDS, SEEDS[1:]):
        assert not np.array_equal(cases[first].image, cases[second].image)
        assert not np.array_equal(cases[first].image > 0, cases[second].image > 0)
        assert not np.array_equal(cases[first].label, cases[second].label)


def test_cohort_yields_the_subjects_in_order(cases):
    made = list(cohort((2, 0), SHAPE))
    assert [case.name for case in made] == ["phantom-002", "phantom-000"]
    assert np.array_equal(made[0].image, cases[2].image)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_subject_looks_like_a_brats_case(cases, seed):
    case = cases[seed]
    assert case.channels == CHANNELS == ("T1", "T1ce", "T2", "FLAIR")
    assert case.name == f"phantom-{seed:03d}"
    assert case.dtypes == ("int16",) * 4
    assert case.label_names == LABEL_NAMES
    assert orientation_of(case.affine) == "LPS"
    middle = case.affine @ [*((n - 1) / 2 for n in reversed(SHAPE)), 1]
    assert np.allclose(middle[:3], 0)
    assert set(np.unique(case.label)) == {0, 1, 2, 4}


@pytest.mark.parametrize("seed", SEEDS)
def test_intensities_are_whole_numbers_of_an_mr_scanner_on_exact_zero(cases, seed):
    image = cases[seed].image
    assert np.array_equal(image, image.astype(np.int16))
    brain = image > 0
    assert (brain == brain[0]).all(), "one brain mask for all channels"
    assert (image[:, ~brain[0]] == 0).all()
    assert 0.15 < brain[0].mean() < 0.4
    for channel in image:
        assert 100 < channel[brain[0]].mean() < 1000
        assert channel.max() < 4000


@pytest.mark.parametrize("seed", SEEDS)
def test_brain_is_one_piece_inside_the_field_of_view(cases, seed):
    brain = cases[seed].image[0] > 0
    pieces, count = ndimage.label(brain)
    sizes = ndimage.sum_labels(brain, pieces, range(1, count + 1))
    assert max(sizes) > 0.999 * brain.sum()
    for axis in range(3):
        assert not brain.take(0, axis).any() and not brain.take(-1, axis).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_contrasts_of_healthy_tissue(cases, seed):
    case = cases[seed]
    white, grey, fluid = (mostly(seed, x) for x in ("white matter", "grey matter", "CSF"))
    t1 = [mean_in(case, "T1", x) for x in (white, grey, fluid)]
    t2 = [mean_in(case, "T2", x) for x in (fluid, grey, white)]
    flair = [mean_in(case, "FLAIR", x) for x in (grey, white, fluid)]
    for ordered in (t1, t2, flair):
        assert ordered == sorted(ordered, reverse=True)
    assert t2[0] > 1.5 * t2[1], "cerebrospinal fluid is by far the brightest on T2"
    assert flair[2] < 0.6 * flair[1], "and suppressed on FLAIR"


@pytest.mark.parametrize("seed", SEEDS)
def test_tumour_is_visible_where_a_radiologist_expects_it(cases, seed):
    case = cases[seed]
    oedema, rim = case.label == 2, case.label == 4
    white = mostly(seed, "white matter")
    assert mean_in(case, "FLAIR", oedema) > 1.3 * mean_in(case, "FLAIR", white)
    assert mean_in(case, "T2", oedema) > 1.3 * mean_in(case, "T2", white)
    assert mean_in(case, "T1", oedema) < mean_in(case, "T1", white)
    enhancement = case.channel("T1ce") / np.maximum(case.channel("T1"), 1)
    assert enhancement[rim].mean() > 1.3 * enhancement[white].mean()
    assert mean_in(case, "T1ce", rim) > 1.3 * mean_in(case, "T1ce", case.label == 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_tumour_parts_are_nested(seed):
    label = subject(seed).label
    around = ndimage.generate_binary_structure(3, 3)
    necrosis, core, whole = label == 1, np.isin(label, (1, 4)), label > 0
    outside = ~whole
    touching = (necrosis & ndimage.binary_dilation(outside, around)).sum() / necrosis.sum()
    assert touching < 0.25, "rim and oedema hold the necrotic core, but for gaps"
    filled = ndimage.binary_fill_holes(core)
    assert (filled & ~core).sum() < 0.05 * core.sum()
    centre = [c.mean() for c in np.nonzero(core)]
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(np.indices(label.shape), centre)))
    assert distance[label == 1].mean() < distance[label == 4].mean() < distance[label == 2].mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_some_bright_tissue_is_no_tumour(cases, seed):
    """Vessels and plexus enhance, old lesions are bright on FLAIR: a threshold on one channel is not enough."""
    for harmless in ("white-matter lesion", "vessel", "choroid plexus"):
        share = parts(seed).share(harmless)
        assert share.sum() > 1
        assert (cases[seed].label[share > 0.5] == 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_fractions_share_each_voxel(seed):
    fractions = np.stack(list(parts(seed).fractions.values()))
    assert fractions.min() >= -1e-6
    assert np.allclose(fractions.sum(0), 1, atol=1e-4)


def test_same_anatomy_at_another_resolution():
    coarse, fine = subject(3, (40, 40, 40)), subject(3, (80, 80, 80))
    for what in (lambda case: case.image[0] > 0, lambda case: case.label > 0):
        small = what(coarse).astype(float)
        large = what(fine).reshape(40, 2, 40, 2, 40, 2).mean((1, 3, 5))
        overlap = 2 * np.minimum(small, large).sum() / (small.sum() + large.sum())
        assert overlap > 0.85


@pytest.mark.parametrize("shape", [(32, 32, 32), (36, 60, 44)])
def test_shape_is_respected_and_holds_the_whole_head(shape):
    case = subject(5, shape)
    assert case.shape == shape
    assert case.label.shape == shape
    assert np.allclose(case.spacing, case.spacing[0]), "cubic voxels unless a spacing is given"
    assert not case.image[:, 0].any() and not case.image[:, :, -1].any() and not case.image[..., -1].any()


def test_spacing_is_respected():
    assert np.allclose(subject(0, (32, 32, 40), spacing=(3.0, 4.0, 5.0)).spacing, (3, 4, 5))
    assert np.allclose(subject(0, (32, 32, 32), spacing=4).spacing, 4)


@pytest.mark.parametrize("shape", [(31, 64, 64), (64, 64), (64, 64, 64.5), 64, "64x"])
def test_bad_shape_is_refused(shape):
    with pytest.raises(InputError, match="shape must be three whole numbers"):
        subject(0, shape)


@pytest.mark.parametrize("spacing", [0, -1, float("nan"), (1, 2), "wide"])
def test_bad_spacing_is_refused(spacing):
    with pytest.raises(InputError, match="spacing must be one or three numbers"):
        subject(0, (32, 32, 32), spacing)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "a"])
def test_bad_seed_is_refused(seed):
    with pytest.raises(InputError, match="seed must be a whole number"):
        subject(seed, (32, 32, 32))


def test_bias_field_is_smooth_and_mild():
    grid = Grid((40, 40, 40), (4.0, 4.0, 4.0))
    for seed in range(5):
        field = bias_field(np.random.default_rng(seed), grid)
        assert field.shape == grid.shape
        assert field.min() > 0.4 and field.max() < 2.5
        steepest = max(np.abs(np.diff(np.log(field), axis=axis)).max() for axis in range(3))
        assert steepest / 4.0 < 0.02, "changes by less than 2 % for each mm"


def test_noise_is_standardised_and_the_same_on_a_grid_as_at_its_points():
    noise = Noise.random(np.random.default_rng(0), 8.0)
    grid = Grid((30, 44, 38), (3.0, 2.5, 4.0))
    on_grid = noise.on(grid)
    assert abs(on_grid.mean()) < 0.2 and 0.8 < on_grid.std() < 1.2
    assert np.abs(on_grid - noise.at(grid.position)).max() < 0.25
    assert np.corrcoef(on_grid.ravel(), noise.at(grid.position).ravel())[0, 1] > 0.998


def test_bodies_have_the_distances_of_geometry():
    grid = Grid((41, 41, 41), (1.0, 1.0, 1.0))
    x, y, z = grid.position
    assert np.allclose(
        ellipsoid(grid.position, (1, 2, 3), (9, 9, 9)), np.sqrt((x - 1) ** 2 + (y - 2) ** 2 + (z - 3) ** 2) - 9, atol=1e-2
    )
    along = np.clip(z, -5, 5)
    assert np.allclose(
        tube(grid.position, (0, 0, -5), (0, 0, 5), (3, 3)), np.sqrt(x**2 + y**2 + (z - along) ** 2) - 3, atol=1e-4
    )
    volume = soft_inside(ellipsoid(grid.position, (0.3, 0, 0), (9, 9, 9)), 1.0).sum()
    assert volume == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.01)
