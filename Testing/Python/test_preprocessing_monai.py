"""Grids by centres, crops and normalisations against MONAI's own transforms and their inverses."""

from __future__ import annotations

from typing import Any

import monai.transforms as mt
import numpy as np
import pytest
import torch
from conftest import oblique_affine
from monai.data import MetaTensor

from SegAdversarialLib import Case, Preprocessing
from SegAdversarialLib.model.preprocessing_on_grid import PreprocessingOnGrid


def case_of(affine: np.ndarray, shape: tuple[int, int, int] = (11, 16, 13)) -> Case:
    generator = np.random.default_rng(0)
    image = generator.normal(300, 80, (2, *shape))
    image[:, :2] = image[:, :, -3:] = image[:, :, :, :1] = 0
    image[1, :, :5] = -20
    return Case(image.astype(np.float32), ("A", "B"), affine, name="case")


def in_monai(case: Case) -> MetaTensor:
    """The case as LoadImage gives it: (C, i, j, k) with an affine to RAS."""
    return MetaTensor(
        torch.from_numpy(case.image.transpose(0, 3, 2, 1).astype(np.float64)), affine=torch.from_numpy(case.affine)
    )


def ours(case: Case, **settings: Any) -> tuple[np.ndarray, PreprocessingOnGrid]:
    channels = list(torch.from_numpy(case.image).double())
    steps = Preprocessing(axes="ijk", **settings).on_grid(case.shape, case.affine).on_image(channels)
    return torch.stack([steps.forward_channel(x, n) for n, x in enumerate(channels)]).numpy(), steps


AFFINES = {
    "RAS": np.diag([1.0, 1.5, 2.0, 1.0]),
    "LPS": np.diag([-0.9, -1.1, 2.5, 1.0]),
    "oblique": oblique_affine(),
    "turned": np.array([[0, 0, 2.0, 3], [-1.2, 0, 0, 5], [0, 0.8, 0, 7], [0, 0, 0, 1.0]]),
}
SPACINGS = [(1.0, 1.0, 1.0), (1.3, 0.7, 3.1), (2.0, 3.0, 4.0), (0.45, 0.55, 1.25), (0.9005, 1.1, 2.5)]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("axes", AFFINES)
def test_spacing_is_monais(axes: str, spacing: tuple[float, float, float]) -> None:
    """Orientation, number of voxels, their places and, on the way back, the inverse."""
    case = case_of(AFFINES[axes])
    there = mt.Compose([mt.Orientation("RAS", labels=None), mt.Spacing(spacing, mode="bilinear")])
    expected = there(in_monai(case))
    found, steps = ours(case, orientation="RAS", spacing=spacing, grid="centers")
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    expected_spacing = np.linalg.norm(expected.affine.numpy()[:3, :3], axis=0)
    np.testing.assert_allclose(steps.network_spacing, expected_spacing, atol=2e-3)
    answer = np.random.default_rng(1).normal(size=found.shape)
    back = there.inverse(
        MetaTensor(torch.from_numpy(answer), affine=expected.affine, applied_operations=expected.applied_operations)
    )
    np.testing.assert_allclose(steps.restore(torch.from_numpy(answer)), back.numpy().transpose(0, 3, 2, 1), atol=1e-6)


@pytest.mark.parametrize("axes", AFFINES)
def test_splines_and_nearest_voxels_are_monais(axes: str) -> None:
    """Nearest: at spacings that put no new voxel in the middle of two."""
    case = case_of(AFFINES[axes])
    for order, mode, padding in ((3, 3, "nearest"), (0, "nearest", "border")):
        there = mt.Compose(
            [mt.Orientation("RAS", labels=None), mt.Spacing((1.31, 0.73, 1.93), mode=mode, padding_mode=padding)]
        )
        found, _ = ours(case, orientation="RAS", spacing=(1.31, 0.73, 1.93), grid="centers", resampling={"order": order})
        np.testing.assert_allclose(found, there(in_monai(case)).numpy(), atol=1e-4)


def test_an_axis_keeps_its_spacing() -> None:
    case = case_of(AFFINES["RAS"])
    for spacing, monais in [((None, 1.0, None), (-1, 1.0, -1)), ((1.0, None, 1.0), (1.0, -1, 1.0))]:
        found, _ = ours(case, spacing=spacing, grid="centers")
        np.testing.assert_allclose(found, mt.Spacing(monais)(in_monai(case)).numpy(), atol=1e-4)
    kept = mt.Spacing((1.3, 1.3, 1.3), min_pixdim=(0.75 * 1.3,) * 3, max_pixdim=(1.25 * 1.3,) * 3)
    found, _ = ours(case, spacing=(1.3, 1.3, 1.3), spacing_kept=(0.75, 1.25), grid="centers")
    np.testing.assert_allclose(found, kept(in_monai(case)).numpy(), atol=1e-4)
    assert found.shape[1:3] == case.shape[::-1][:2] != found.shape[2:0:-1]


@pytest.mark.parametrize("axes", AFFINES)
@pytest.mark.parametrize("multiple", [1, 4, 16])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("channels", [None, (1,)])
def test_foreground_is_monais(axes: str, multiple: int, padded: bool, channels: tuple[int, ...] | None) -> None:
    case = case_of(AFFINES[axes])
    crop = mt.CropForeground(
        lambda x: x > 20, channel_indices=channels, margin=(1, 3, 2), k_divisible=multiple, allow_smaller=not padded
    )
    there = mt.Compose([mt.Orientation("RAS", labels=None), crop])
    expected = there(in_monai(case))
    given = {"kind": "foreground", "above": 20, "margin": (1, 3, 2), "multiple": multiple, "padded": padded}
    found, steps = ours(case, orientation="RAS", crop={**given, "channels": channels})
    np.testing.assert_array_equal(found, expected.numpy())
    answer = np.random.default_rng(1).normal(size=found.shape)
    back = there.inverse(
        MetaTensor(torch.from_numpy(answer), affine=expected.affine, applied_operations=expected.applied_operations)
    )
    np.testing.assert_array_equal(steps.restore(torch.from_numpy(answer)), back.numpy().transpose(0, 3, 2, 1))


@pytest.mark.parametrize("axes", AFFINES)
@pytest.mark.parametrize("size", [(8, 9, 10), (20, 21, 22), (12, 17, 6), (13, 16, 11)])
def test_crops_to_a_size_are_monais(axes: str, size: tuple[int, int, int]) -> None:
    case = case_of(AFFINES[axes])
    kinds = {None: mt.ResizeWithPadOrCrop, "crop": mt.CenterSpatialCrop, "pad": mt.SpatialPad}
    for only, transform in kinds.items():
        expected = mt.Compose([mt.Orientation("RAS", labels=None), transform(size)])(in_monai(case))
        found, _ = ours(case, orientation="RAS", crop={"kind": "center", "size": size, "only": only})
        np.testing.assert_array_equal(found, expected.numpy())
    found, _ = ours(case, crop={"kind": "center", "size": (size[0], None, None)})
    assert found.shape[1:] == (size[0], *case.shape[1::-1])


def test_a_bundles_usual_order() -> None:
    """Spacing, then the crop, then the intensities."""
    case = case_of(AFFINES["oblique"])
    there = mt.Compose(
        [
            mt.Orientation("RAS", labels=None),
            mt.Spacing((1.2, 1.0, 1.6)),
            mt.CropForeground(margin=2, allow_smaller=False),
            mt.NormalizeIntensity(nonzero=True, channel_wise=True),
        ]
    )
    settings: dict[str, Any] = {
        "order": ("resample", "crop", "normalize"),
        "orientation": "RAS",
        "spacing": (1.2, 1.0, 1.6),
        "grid": "centers",
        "crop": {"kind": "foreground", "margin": (2, 2, 2), "padded": True},
        "normalization": {"kind": "zscore", "mask": "nonzero", "background": 0},
    }
    found, _ = ours(case, **settings)
    np.testing.assert_allclose(found, there(in_monai(case)).numpy(), atol=1e-5)


def test_chains_are_one_after_the_other() -> None:
    case = case_of(AFFINES["RAS"])
    there = mt.Compose([mt.ScaleIntensityRange(100, 400, -1, 1, clip=True), mt.NormalizeIntensity(channel_wise=True)])
    steps = [{"kind": "window", "lower": 100, "upper": 400, "mean": 250, "std": 150}, {"kind": "zscore"}]
    found, _ = ours(case, normalization={"kind": "chain", "steps": steps})
    np.testing.assert_allclose(found, there(in_monai(case)).numpy(), atol=1e-5)
    there = mt.Compose([mt.ScaleIntensityRangePercentiles(1, 99, 0, 1, clip=True, channel_wise=True), mt.ShiftIntensity(-0.5)])
    steps = [{"kind": "rescale", "low": 1, "high": 99, "clip": True}, {"kind": "window", "mean": 0.5}]
    found, _ = ours(case, normalization={"kind": "chain", "steps": steps})
    np.testing.assert_allclose(found, there(in_monai(case)).numpy(), atol=1e-5)


def test_answers_of_a_crop_after_resampling() -> None:
    """Inside of it the answers are interpolated as if the box's edges went on; a voxel beside it says nothing."""
    case = case_of(AFFINES["RAS"])
    settings: dict[str, Any] = {
        "order": ("resample", "crop", "normalize"),
        "crop": {"kind": "foreground"},
        "spacing": (2, 2, 4),
    }
    for grid in ("extent", "centers"):
        found, steps = ours(case, grid=grid, **settings)
        ones = steps.restore(torch.ones((1, *found.shape[1:]), dtype=torch.float64), (-50.0,))[0]
        assert set(ones.unique().tolist()) == {1.0, -50.0}
        foreground = (case.image > 0).any(0)
        assert float((ones[torch.from_numpy(foreground)] == 1).double().mean()) > 0.99
        assert not torch.equal(ones, torch.ones_like(ones))
