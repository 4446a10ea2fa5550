"""Smooth fields and warps against SimpleITK, SciPy and autograd's own check."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch
from conftest import oblique_affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.interpolate import BSpline, RegularGridInterpolator
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from SegAdversarialLib.changes import fields
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.geometry import itk_image

SHAPE = (12, 20, 18)
LPS = np.diag([-1.0, -1.0, 1.0])


def random_volume(channels: int = 2, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).uniform(0, 900, (channels, *shape)))


def smooth_vectors(largest: float, shape: tuple[int, int, int] = SHAPE, seed: int = 0, sigma: float = 3) -> torch.Tensor:
    """A random smooth vector field whose longest vector has a length of `largest` mm."""
    noise = np.random.default_rng(seed).normal(size=(3, *shape))
    smooth = gaussian_filter(noise, (0, sigma / 2, sigma, sigma))
    return torch.as_tensor(smooth * largest / np.sqrt((smooth**2).sum(0)).max())


def positions(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """The world point of each voxel centre: (K, J, I, 3)."""
    kji = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return kji[..., ::-1] @ affine[:3, :3].T + affine[:3, 3]


def itk_transform(displacement: torch.Tensor, affine: np.ndarray) -> SimpleITK.DisplacementFieldTransform:
    lps = np.moveaxis(displacement.numpy().astype(np.float64), 0, -1) @ LPS
    image = SimpleITK.GetImageFromArray(lps, isVector=True)
    image.CopyInformation(itk_image(np.zeros(displacement.shape[1:], np.float32), affine))
    return SimpleITK.DisplacementFieldTransform(image)


def interior(field: torch.Tensor, margin: int = 3) -> torch.Tensor:
    return field[..., margin:-margin, margin:-margin, margin:-margin]


# warp


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode, itk_mode", [("linear", SimpleITK.sitkLinear), ("nearest", SimpleITK.sitkNearestNeighbor)])
def test_warp_is_simpleitks_resampling(dtype: torch.dtype, mode: Any, itk_mode: int) -> None:
    affine, volume, displacement = oblique_affine(), random_volume(), smooth_vectors(6.0)
    image = itk_image(volume[1].numpy(), affine)
    outside = -1e6
    wanted = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(image, image, itk_transform(displacement, affine), itk_mode, outside)
    )
    found = fields.warp(volume.to(dtype), displacement.to(dtype), affine, mode)[1]
    inside = wanted != outside
    assert 0.5 < inside.mean() < 1 and found.dtype == dtype
    apart = np.abs(found.numpy() - wanted)[inside]
    limit = 1e-3 * float(volume.max() - volume.min())
    if mode == "linear":
        assert apart.max() < limit
    else:  # a point right between two voxels may fall to either
        assert (apart > limit).mean() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_displacement_changes_no_bit(dtype: torch.dtype) -> None:
    volume = random_volume().to(dtype)
    still = torch.zeros(3, *SHAPE, dtype=dtype, requires_grad=True)
    for mode in ("linear", "nearest"):
        assert torch.equal(fields.warp(volume, still, oblique_affine(), mode), volume)  # type: ignore[arg-type]
    # and voxel by voxel, with a slope to follow all the same
    moved = torch.zeros(3, *SHAPE, dtype=dtype)
    moved[:, 6:] = 1.3
    assert torch.equal(fields.warp(volume, moved, oblique_affine())[:, :6], volume[:, :6])
    fields.warp(volume, still, oblique_affine()).sum().backward()
    assert still.grad is not None and (still.grad != 0).float().mean() > 0.9


def test_a_whole_voxel_of_displacement_shifts_by_one_voxel_and_repeats_the_border() -> None:
    affine, volume = oblique_affine(), random_volume()
    along_i = torch.as_tensor(affine[:3, 0]).reshape(3, 1, 1, 1).expand(3, *SHAPE)
    warped = fields.warp(volume, along_i, affine)
    torch.testing.assert_close(warped[..., :-1], volume[..., 1:], rtol=0, atol=1e-9)
    torch.testing.assert_close(warped[..., -1], volume[..., -1], rtol=0, atol=1e-9)


def test_label_maps_keep_type_and_values() -> None:
    labels = torch.as_tensor(np.random.default_rng(1).choice([0, 1, 2, 4, 1000], SHAPE).astype(np.int16))
    warped = fields.warp(labels[None], smooth_vectors(5.0), oblique_affine(), "nearest")
    assert warped.dtype == torch.int16 and set(warped.unique().tolist()) == {0, 1, 2, 4, 1000}
    assert not torch.equal(warped[0], labels)


def test_volumes_of_one_slice_are_warped_within_it() -> None:
    volume = random_volume(shape=(1, 20, 18))
    warped = fields.warp(volume, smooth_vectors(3.0, (1, 20, 18)), oblique_affine())
    assert torch.isfinite(warped).all() and not torch.equal(warped, volume)


# B-splines


@pytest.mark.parametrize("spacing_mm", [2.0, 7.3, (30.0, 5.0, 11.0), 500.0])
def test_splines_are_scipys(spacing_mm: Any) -> None:
    affine = oblique_affine()
    (a, b, c), control_affine = fields.bspline_grid(SHAPE, affine, spacing_mm)
    control = torch.as_tensor(np.random.default_rng(2).normal(size=(2, a, b, c)))
    found = fields.bspline_field(control, SHAPE, affine, spacing_mm)
    # the voxels in units of control points, by the control points' own affine
    index = np.linalg.inv(control_affine) @ np.c_[positions(SHAPE, affine).reshape(-1, 3), np.ones(np.prod(SHAPE))].T
    bases = [BSpline.basis_element(np.arange(-2, 3), extrapolate=False)] * 3
    weights = [
        np.nan_to_num(basis(index[axis][:, None] - np.arange(n))) for axis, (basis, n) in enumerate(zip(bases, (c, b, a)))
    ]
    wanted = np.einsum("pabc,na,nb,nc->pn", control.numpy(), weights[2], weights[1], weights[0]).reshape(2, *SHAPE)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    # weights that sum to one everywhere: the field covers the whole volume
    ones = fields.bspline_field(torch.ones_like(control), SHAPE, affine, spacing_mm)
    np.testing.assert_allclose(ones.numpy(), 1, atol=1e-12)


def test_control_points_are_as_far_apart_as_asked_and_centred() -> None:
    shape, affine = fields.bspline_grid(SHAPE, oblique_affine(), (7.0, 8.0, 9.0))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (7, 8, 9))
    middle = affine @ [*((np.array(shape[::-1]) - 1) / 2), 1]
    np.testing.assert_allclose(middle, oblique_affine() @ [*((np.array(SHAPE[::-1]) - 1) / 2), 1])


@given(st.integers(0, 2**31), st.sampled_from([3.0, 9.0, 40.0]))
@settings(max_examples=20, deadline=None)
def test_splines_stay_between_their_control_values(seed: int, spacing_mm: float) -> None:
    (a, b, c), _ = fields.bspline_grid(SHAPE, oblique_affine(), spacing_mm)
    control = torch.as_tensor(np.random.default_rng(seed).uniform(-2, 3, (1, a, b, c)))
    field = fields.bspline_field(control, SHAPE, oblique_affine(), spacing_mm)
    assert control.min() - 1e-12 <= field.min() and field.max() <= control.max() + 1e-12


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: fields.bspline_grid(SHAPE, np.eye(4), 0.0), "positive number of mm"),
        (lambda: fields.bspline_grid(SHAPE, np.eye(4), math.nan), "positive number of mm"),
        (lambda: fields.bspline_field(torch.zeros(1, 4, 4, 4), SHAPE, np.eye(4), 2.0), "needs control points"),
        (lambda: fields.diffeomorphism(torch.zeros(3, 4, 4, 4), SHAPE, np.eye(4), 2.0), "needs control points"),
    ],
)
def test_wrong_control_points_are_refused(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


# velocities, composition, Jacobians


def test_integration_follows_the_velocity() -> None:
    affine, velocity = oblique_affine(), smooth_vectors(4.0, sigma=5)
    found = fields.integrate_velocity(velocity, affine, 8)
    axes = [np.arange(n) for n in SHAPE]
    clipped = np.array(SHAPE) - 1
    at = RegularGridInterpolator(axes, np.moveaxis(velocity.numpy(), 0, -1))
    to_voxels = np.linalg.inv(affine)

    def speed(_: float, points: np.ndarray) -> np.ndarray:
        world = points.reshape(-1, 3)
        index = (world @ to_voxels[:3, :3].T + to_voxels[:3, 3])[:, ::-1]
        return at(np.clip(index, 0, clipped)).ravel()

    chosen = np.random.default_rng(3).integers(0, SHAPE, (60, 3))
    start = chosen[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    end = solve_ivp(speed, (0, 1), start.ravel(), rtol=1e-8, atol=1e-8).y[:, -1].reshape(-1, 3)
    moved = found[:, chosen[:, 0], chosen[:, 1], chosen[:, 2]].numpy().T
    assert np.linalg.norm(end - start, axis=1).max() > 2
    assert np.linalg.norm(moved - (end - start), axis=1).max() < 0.05


@given(st.integers(0, 2**31), st.floats(0.1, 5))
@settings(max_examples=20, deadline=None)
def test_the_negative_velocity_goes_back(seed: int, largest: float) -> None:
    affine, velocity = oblique_affine(), smooth_vectors(largest, seed=seed, sigma=5)
    there, back = (fields.integrate_velocity(x, affine, 7) for x in (velocity, -velocity))
    apart = interior(fields.compose(there, back, affine), 4).square().sum(0).sqrt().max()
    assert apart < 0.06 * largest
    assert fields.largest_displacement(there) <= largest * (1 + 1e-9)


@given(st.tuples(*[st.floats(-4, 4)] * 3), st.tuples(*[st.floats(-4, 4)] * 3))
@settings(max_examples=20, deadline=None)
def test_translations_add_up(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    one, two = (torch.tensor(x, dtype=torch.float64).reshape(3, 1, 1, 1).expand(3, *SHAPE).clone() for x in (first, second))
    torch.testing.assert_close(fields.compose(one, two, oblique_affine()), one + two)
    torch.testing.assert_close(fields.integrate_velocity(one, oblique_affine()), one)
    determinant = fields.jacobian_determinant(one, oblique_affine())
    torch.testing.assert_close(determinant, torch.ones_like(determinant))


def test_a_composed_warp_is_two_warps() -> None:
    affine = oblique_affine()
    # linear in the world: interpolating it twice loses nothing
    volume = torch.as_tensor(positions(SHAPE, affine) @ [3.0, -2.0, 5.0])[None]
    first, second = smooth_vectors(2.0, seed=1), smooth_vectors(1.5, seed=2)
    twice = fields.warp(fields.warp(volume, first, affine), second, affine)
    once = fields.warp(volume, fields.compose(first, second, affine), affine)
    torch.testing.assert_close(interior(once), interior(twice), rtol=0, atol=1e-9)


def test_determinants_are_those_of_the_matrix() -> None:
    affine = oblique_affine()
    rotation, shift, scale = (torch.tensor(x, dtype=torch.float64) for x in ([10, -20, 5], [1, 2, -3], [1.1, 0.8, 0.9]))
    displacement = fields.affine_displacement(rotation, shift, scale, SHAPE, affine)
    determinant = fields.jacobian_determinant(displacement, affine)
    torch.testing.assert_close(determinant, torch.full_like(determinant, 1.1 * 0.8 * 0.9))


def test_determinants_are_itks_within_the_volume() -> None:
    # ITK's filter heeds the spacing and not the directions: here these are its own
    affine, displacement = np.diag([-0.9, -1.1, 2.5, 1.0]), smooth_vectors(8.0)
    image = itk_transform(displacement, affine).GetDisplacementField()
    wanted = SimpleITK.GetArrayFromImage(SimpleITK.DisplacementFieldJacobianDeterminant(image))
    found = fields.jacobian_determinant(displacement, affine).numpy()
    assert wanted.min() < 0.5
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], wanted[1:-1, 1:-1, 1:-1], atol=1e-5)


def test_affine_displacements_are_scipys_rotations() -> None:
    affine, centre = oblique_affine(), (5.0, -3.0, 60.0)
    rotation, shift, scale = [12.0, -25.0, 40.0], [1.0, 2.0, -3.0], [1.1, 0.9, 1.2]
    tensors = [torch.tensor(x, dtype=torch.float64) for x in (rotation, shift, scale)]
    found = fields.affine_displacement(*tensors, SHAPE, affine, centre).numpy()
    points = positions(SHAPE, affine)
    turn = Rotation.from_euler("xyz", rotation, degrees=True)
    moved = turn.apply(((points - centre) * scale).reshape(-1, 3)).reshape(points.shape) + centre + shift
    np.testing.assert_allclose(np.moveaxis(found, 0, -1), moved - points, atol=1e-10)


def test_the_identity_is_exactly_zero() -> None:
    still = fields.affine_displacement(torch.zeros(3), torch.zeros(3), torch.ones(3), SHAPE, oblique_affine())
    assert not still.any() and still.dtype == torch.float32
    assert not fields.integrate_velocity(torch.zeros(3, *SHAPE), oblique_affine()).any()


def test_velocities_that_end_at_a_border_move_nothing_beyond_it() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 5:16, 4:15] = True
    window = torch.as_tensor(fields.taper(mask, oblique_affine(), 3.0))
    displacement = fields.integrate_velocity(window * smooth_vectors(6.0).float(), oblique_affine(), 5)
    assert not displacement[:, ~torch.as_tensor(mask)].any()
    assert displacement[:, torch.as_tensor(mask)].square().sum(0).min() > 0


def test_windows_rise_from_the_border_inwards() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[2:10, 4:18, 3:16] = True
    window = fields.taper(mask, oblique_affine(), 4.0)
    assert window.dtype == np.float32 and not window[~mask].any() and (window[mask] > 0).all() and window.max() == 1
    # 1.1 mm apart along j: the window rises with the distance from outside
    assert (np.diff(window[6, 3:8, 9]) > 0).all()
    depth = 1.1 / 4
    assert window[6, 4, 9] == pytest.approx(depth**2 * (3 - 2 * depth))
    assert fields.taper(np.ones(SHAPE), oblique_affine(), 4.0).min() == 1 and not fields.taper(mask * 0, np.eye(4), 1).any()


# limits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("largest, sigma", [(30.0, 5), (60.0, 2), (0.5, 5)])
def test_limits_hold_exactly(dtype: torch.dtype, largest: float, sigma: float) -> None:
    affine, velocity = oblique_affine(), smooth_vectors(largest, sigma=sigma).to(dtype)
    found, scale = fields.limited_displacement(lambda x: fields.integrate_velocity(x * velocity, affine), affine, 3.0, 0.2)
    assert fields.largest_displacement(found) <= 3.0
    assert fields.jacobian_determinant(found, affine).min() > 0.2
    assert 0 < scale <= 1 and (scale == 1) is (largest < 3)
    if sigma == 5 and largest > 3:
        assert fields.largest_displacement(found) > 2.9, "no more was taken away than necessary"
    torch.testing.assert_close(found, fields.integrate_velocity(scale * velocity, affine), rtol=0, atol=0)


@pytest.mark.parametrize("largest, budget", [(5.0, 0.0), (5.0, -1.0), (math.nan, 2.0), (math.inf, 2.0)])
def test_no_budget_or_no_number_is_no_displacement(largest: float, budget: float) -> None:
    broken = smooth_vectors(1.0) * largest
    found, scale = fields.limited_displacement(lambda x: x * broken, oblique_affine(), budget)
    assert scale == 0 and not found.any()


def test_diffeomorphisms_are_smooth_within_the_control_velocities() -> None:
    affine, shape = oblique_affine(), (24, 48, 40)
    a, b, c = fields.diffeomorphism_grid(shape, affine, 14.0)
    control = torch.as_tensor(np.random.default_rng(5).normal(size=(3, a, b, c)))
    control *= 4 / control.square().sum(0).sqrt().max()
    found = fields.diffeomorphism(control, shape, affine, 14.0)
    assert fields.largest_displacement(found) <= 4
    assert fields.jacobian_determinant(found, affine).min() > 0
    # the same velocity, integrated on the voxels
    points, points_affine = fields.bspline_grid(shape, affine, 7.0)
    twice = fields.bspline_field(fields.bspline_field(control, points, points_affine, 14.0), shape, affine, 7.0)
    fine = fields.integrate_velocity(twice, affine, 7)
    assert fields.largest_displacement(found - fine) < 0.15 * fields.largest_displacement(fine)
    assert not fields.diffeomorphism(0 * control, shape, affine, 14.0).any()


# derivatives


def small(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).normal(0, scale, shape)).requires_grad_()


GRID = (4, 5, 3)
DERIVATIVES = {
    "warp": (lambda v, d: fields.warp(v, d, oblique_affine()), lambda: (small(2, *GRID), small(3, *GRID, seed=1))),
    "spline": (
        lambda control: fields.bspline_field(control, GRID, oblique_affine(), 3.0),
        lambda: (small(2, *fields.bspline_grid(GRID, oblique_affine(), 3.0)[0]),),
    ),
    "integration": (lambda v: fields.integrate_velocity(v, oblique_affine(), 3), lambda: (small(3, *GRID),)),
    "composition": (
        lambda one, two: fields.compose(one, two, oblique_affine()),
        lambda: (small(3, *GRID), small(3, *GRID, seed=1)),
    ),
    "diffeomorphism": (
        lambda control: fields.diffeomorphism(control, GRID, oblique_affine(), 9.0, 2),
        lambda: (small(3, *fields.diffeomorphism_grid(GRID, oblique_affine(), 9.0)),),
    ),
    "affine": (
        lambda *parameters: fields.affine_displacement(*parameters, GRID, oblique_affine()),
        lambda: (small(3, scale=20), small(3, seed=1), small(3, seed=2)),
    ),
    "Jacobian": (lambda d: fields.jacobian_determinant(d, oblique_affine()), lambda: (small(3, *GRID),)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name: str) -> None:
    function, arguments = DERIVATIVES[name]
    assert torch.autograd.gradcheck(function, arguments())
