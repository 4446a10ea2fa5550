"""Overlap, surface distance and image quality against hand-computed numbers, SciPy, SimpleITK and MONAI."""

from __future__ import annotations

import math
import sys
import warnings

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.metrics import dice, hd95, iou, largest_change, perceptibility, psnr, rmse, ssim, volume_ml

SPACING = (0.5, 1.25, 3.0)
EMPTY = np.zeros((4, 5, 6), dtype=bool)


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (grid**2).sum(axis=0) <= radius**2


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100.0, 20.0, shape).astype(np.float32)


def masks(maximum: int = 6) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    shapes = array_shapes(min_dims=3, max_dims=3, max_side=maximum)
    return shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def hd95_by_scipy(predicted: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """Whole volume, SciPy's erosion and distance transform."""
    sampling = [s for s, size in zip(spacing[::-1], predicted.shape) if size > 1]
    predicted, reference = predicted.squeeze(), reference.squeeze()
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted, reference)]
    maps = [ndimage.distance_transform_edt(~edge, sampling=sampling) for edge in edges]
    return max(np.percentile(maps[1][edges[0]], 95), np.percentile(maps[0][edges[1]], 95))


def hd95_by_monai(predicted: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...], **options: bool) -> float:
    from monai.metrics import compute_hausdorff_distance

    one, two = (torch.from_numpy(mask)[None, None] for mask in (predicted, reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compute_hausdorff_distance(one, two, include_background=True, percentile=95, spacing=spacing, **options)
    return float(found[0, 0])


class TestOverlap:
    def test_by_hand(self):
        predicted, reference = EMPTY.copy(), EMPTY.copy()
        predicted[0, 0, :4] = True
        reference[0, 0, 1:6] = True
        assert dice(predicted, reference) == pytest.approx(2 * 3 / 9)
        assert iou(predicted, reference) == pytest.approx(3 / 6)

    def test_empty_masks_follow_brats(self):
        full = ~EMPTY
        assert (dice(EMPTY, EMPTY), iou(EMPTY, EMPTY)) == (1.0, 1.0)
        for pair in ((EMPTY, full), (full, EMPTY)):
            assert (dice(*pair), iou(*pair)) == (0.0, 0.0)

    @given(masks())
    def test_laws(self, pair):
        predicted, reference = pair
        both = dice(predicted, reference), iou(predicted, reference)
        assert both == (dice(reference, predicted), iou(reference, predicted))
        assert all(0.0 <= x <= 1.0 and type(x) is float for x in both)
        assert both[0] == pytest.approx(2 * both[1] / (1 + both[1]))
        assert (both[0] == 1.0) == np.array_equal(predicted, reference)
        assert dice(predicted, predicted) == iou(reference, reference) == 1.0

    @given(masks())
    def test_as_simpleitk(self, pair):
        predicted, reference = pair
        if predicted.any() and reference.any():
            truth = SimpleITK.LabelOverlapMeasuresImageFilter()
            truth.Execute(*(SimpleITK.GetImageFromArray(x.astype(np.uint8)) for x in (predicted, reference)))
            assert dice(predicted, reference) == pytest.approx(truth.GetDiceCoefficient())
            assert iou(predicted, reference) == pytest.approx(truth.GetJaccardCoefficient())

    @pytest.mark.parametrize("metric", [dice, iou, lambda a, b: hd95(a, b, SPACING)])
    def test_other_shape_is_refused(self, metric):
        with pytest.raises(InputError, match="one grid"):
            metric(EMPTY, EMPTY[:1])

    def test_volume_by_hand(self):
        mask = EMPTY.copy()
        mask[:2, :2, :2] = True
        assert volume_ml(mask, SPACING) == pytest.approx(8 * 0.5 * 1.25 * 3.0 / 1000)
        assert volume_ml(EMPTY, SPACING) == 0.0


class TestHausdorff:
    @pytest.mark.parametrize(("axis", "millimetres"), [(0, 3.0), (1, 1.25), (2, 0.5)])
    def test_spacing_belongs_to_the_right_axis(self, axis, millimetres):
        first, second = np.zeros((2, 9, 9, 9), dtype=bool)
        first[4, 4, 4] = True
        second[tuple(7 if n == axis else 4 for n in range(3))] = True
        assert hd95(first, second, SPACING) == pytest.approx(3 * millimetres)

    @pytest.mark.parametrize("shape", [(20, 31, 27), (1, 40, 30), (20, 1, 27), (20, 30, 1)])
    def test_balls_as_scipy_and_monai(self, shape):
        centre = tuple(size / 2 if size > 1 else 0 for size in shape)
        first = ball(shape, centre, 6)
        # reaches over the border of the image
        second = ball(shape, tuple(x * 0.4 for x in centre), 9)
        found = hd95(first, second, SPACING)
        assert found == pytest.approx(hd95_by_scipy(first, second, SPACING), rel=1e-5)
        in_array_order = tuple(s for s, size in zip(SPACING[::-1], shape) if size > 1)
        assert found == pytest.approx(hd95_by_monai(first.squeeze(), second.squeeze(), in_array_order), rel=1e-5)

    @settings(max_examples=60, deadline=None)
    @given(masks(7))
    def test_any_masks_as_scipy(self, pair):
        predicted, reference = pair
        found = hd95(predicted, reference, SPACING)
        if not predicted.any() or not reference.any():
            assert math.isnan(found)
        elif predicted.size == 1:
            assert found == 0.0
        else:
            assert found == pytest.approx(hd95_by_scipy(predicted, reference, SPACING), rel=1e-5)
            assert found == pytest.approx(hd95(reference, predicted, SPACING))

    def test_not_above_simpleitks_maximum(self):
        first, second = ball((20, 30, 30), (9, 14, 14), 6), ball((20, 30, 30), (11, 17, 12), 7)
        truth = SimpleITK.HausdorffDistanceImageFilter()
        images = [SimpleITK.GetImageFromArray(x.astype(np.uint8)) for x in (first, second)]
        for image in images:
            image.SetSpacing(SPACING)
        truth.Execute(*images)
        assert 0 < hd95(first, second, SPACING) <= truth.GetHausdorffDistance()

    def test_missing_structure_is_undefined_though_monai_averages_it_away(self):
        from monai.metrics import HausdorffDistanceMetric

        perfect, missed = ball((10, 12, 12), (5, 6, 6), 3), np.zeros((10, 12, 12), dtype=bool)
        metric = HausdorffDistanceMetric(include_background=True, percentile=95)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metric(torch.from_numpy(np.stack([perfect, missed]))[None], torch.from_numpy(np.stack([perfect, perfect]))[None])
        assert float(metric.aggregate()) == 0.0  # the pitfall
        assert hd95(perfect, perfect, SPACING) == 0.0
        for pair in ((missed, perfect), (perfect, missed), (missed, missed)):
            assert math.isnan(hd95(*pair, SPACING))


class TestImageQuality:
    def test_by_hand(self):
        original = np.array([[[10.0, 20.0], [30.0, 50.0]]], dtype=np.float32)
        changed = original + np.array([[[4.0, 0.0], [0.0, -8.0]]], dtype=np.float32)
        expected = math.sqrt((0.1**2 + 0.2**2) / 4)
        assert rmse(original, changed) == pytest.approx(expected)
        assert psnr(original, changed) == pytest.approx(10 * math.log10(1 / expected**2))
        assert perceptibility(original, changed) == pytest.approx(3.0 / original.std())
        assert largest_change(original, changed) == 8.0

    def test_liu_fgsm(self):
        # every voxel moved by 5 % of the largest intensity, and a minimum of 0: RMSE 0.05, PSNR 26 dB
        original = np.append(noise((4, 5, 6)).ravel(), 0).reshape(1, 11, 11)
        signs = np.random.default_rng(1).choice([-1, 1], original.shape)
        changed = original + np.float32(0.05) * original.max() * signs.astype(np.float32)
        assert rmse(original, changed) == pytest.approx(0.05, rel=1e-5)
        assert psnr(original, changed) == pytest.approx(26.0206, abs=1e-3)

    def test_identical_images(self):
        for image in (noise((3, 4, 5)), np.full((2, 2, 2), 7, dtype=np.float32)):
            assert psnr(image, image.copy()) == math.inf
            assert ssim(image, image.copy()) == 1.0
            assert rmse(image, image.copy()) == perceptibility(image, image.copy()) == largest_change(image, image) == 0.0

    def test_identical_images_need_no_scikit_image(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "skimage.metrics", None)
        assert ssim(noise((12, 12, 12)), noise((12, 12, 12))) == 1.0

    def test_changed_constant_image_is_undefined(self):
        original = np.full((3, 12, 12), 7, dtype=np.float32)
        for metric in (psnr, ssim, rmse, perceptibility):
            assert math.isnan(metric(original, original + noise(original.shape)))

    @pytest.mark.parametrize("metric", [psnr, ssim, rmse, perceptibility, largest_change])
    def test_other_shape_is_refused(self, metric):
        with pytest.raises(InputError, match="shapes"):
            metric(noise((1, 3, 3)), noise((3, 3, 1)))

    @settings(deadline=None, max_examples=30)
    @given(st.floats(0.01, 1000), st.floats(-1000, 1000))
    def test_units_do_not_matter(self, gain, offset):
        original, changed = noise((3, 5, 7)).astype(np.float64), noise((3, 5, 7), seed=1).astype(np.float64)
        for metric in (psnr, ssim, rmse, perceptibility):
            found = metric(original * gain + offset, changed * gain + offset)
            assert found == pytest.approx(metric(original, changed), rel=1e-3)

    @pytest.mark.parametrize(
        ("shape", "window"), [((14, 20, 23), 11), ((1, 30, 26), 11), ((8, 20, 20), 7), ((1, 9, 20), 9), ((3, 9, 9), 3)]
    )
    def test_ssim_as_monai(self, shape, window):
        from monai.metrics.regression import KernelType, compute_ssim_and_cs

        original = ndimage.gaussian_filter(noise(shape), 1)
        changed = original + 0.1 * noise(shape, seed=1)
        low, high = original.min(), original.max()
        one, two = (torch.from_numpy((x - low) / (high - low)).squeeze()[None, None] for x in (original, changed))
        dimensions = one.ndim - 2
        truth, _ = compute_ssim_and_cs(
            one,
            two,
            dimensions,
            kernel_size=(window,) * dimensions,
            kernel_sigma=(1.5 * (window - 1) / 10,) * dimensions,
            data_range=1.0,
            kernel_type=KernelType.GAUSSIAN,
        )
        assert 0.05 < ssim(original, changed) < 0.99
        assert ssim(original, changed) == pytest.approx(float(truth.mean()), abs=1e-4)

    def test_ssim_of_two_slices_is_the_mean_of_each(self):
        original, changed = noise((2, 15, 15)), noise((2, 15, 15)) + noise((2, 15, 15), seed=1) / 10
        # one range for both slices
        original[:, 0, 0], original[:, 0, 1] = 0.0, 200.0
        changed[:, 0, :2] = original[:, 0, :2]
        each = [ssim(original[k : k + 1], changed[k : k + 1]) for k in range(2)]
        assert each[0] != pytest.approx(each[1], abs=1e-4)
        assert ssim(original, changed) == pytest.approx(np.mean(each), abs=1e-6)

    def test_ssim_without_any_window_is_undefined(self):
        assert math.isnan(ssim(noise((2, 2, 1)), noise((2, 2, 1), seed=1)))
