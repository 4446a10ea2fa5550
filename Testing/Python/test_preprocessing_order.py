"""Crop, z-scores over a filled mask and cubic splines, in nnU-Net's order, against SciPy and scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network
from scipy.ndimage import binary_fill_holes, map_coordinates
from skimage.transform import resize

from SegAdversarialLib import Case, Preprocessing, SegmentationModel

NNUNET: dict[str, Any] = {
    "order": ("crop", "normalize", "resample"),
    "crop": {"kind": "nonzero"},
    "normalization": {"kind": "zscore", "mask": "filled"},
    "resampling": {"order": 3, "order_through": 0, "clip": True},
    "output_resampling": {"order": 1, "order_through": 0},
}
GRIDS = {
    "alike": ((1.0, 1.0, 1.2), (1.3, 0.8, 1.0)),
    "case apart": ((0.8, 0.9, 5.0), (1.0, 1.0, 2.0)),
    "target apart": ((1.0, 1.1, 1.2), (0.7, 0.8, 4.0)),
    "in i apart": ((6.0, 1.0, 1.1), (4.0, 1.2, 0.9)),
    "two coarse axes": ((1.0, 4.0, 4.0), (1.3, 1.2, 1.1)),
    "one axis kept": ((0.8, 0.9, 5.0), (1.1, 0.7, None)),
    "nothing to do": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
}


def head_in_air(shape: tuple[int, int, int] = (14, 19, 17), spacing: tuple[float, ...] = (1, 1, 1), seed: int = 0) -> Case:
    """Two channels that are 0 around a ball, in a hole of it, and each at other voxels inside it."""
    generator = np.random.default_rng(seed)
    places = np.indices(shape).astype(float)
    middle = np.array([6.0, 8.0, 9.0])
    radius = np.sqrt((((places.T - middle) / np.array([5.0, 6.0, 6.5])) ** 2).sum(-1)).T
    image = generator.normal(300, 80, (2, *shape)) * (radius < 1) * (radius > 0.4)
    image *= generator.random(image.shape) > 0.1
    label = (radius < 0.7).astype(np.int16) + (radius < 0.5)
    affine = np.diag([*spacing, 1.0])
    return Case(image.astype(np.float32), ("A", "B"), affine, label.astype(np.int16), name="head")


def apart(*spacings: np.ndarray) -> int | None:
    """Isensee's rule: the first spacing with a ratio over 3 tells the axis, unless two share it."""
    for spacing in spacings:
        if spacing.max() > 3 * spacing.min():
            coarse = np.flatnonzero(spacing == spacing.max())
            return int(coarse[0]) if len(coarse) == 1 else None
    return None


def resampled(volume: np.ndarray, shape: tuple[int, ...], axis: int | None, order: int, through: int) -> np.ndarray:
    """scikit-image's resize; with an axis apart slice by slice, then SciPy along it."""
    if volume.shape == shape:
        return volume
    if axis is None:
        return resize(volume, shape, order, mode="edge", anti_aliasing=False)
    plane = [n for other, n in enumerate(shape) if other != axis]
    slices = [resize(x, plane, order, mode="edge", anti_aliasing=False) for x in np.moveaxis(volume, axis, 0)]
    stack = np.stack(slices, axis)
    places = np.indices(shape).astype(float)
    places[axis] = (places[axis] + 0.5) * (stack.shape[axis] / shape[axis]) - 0.5
    return map_coordinates(stack, places, order=through, mode="nearest")


def as_nnunet(case: Case, want: tuple[float | None, ...]) -> tuple[np.ndarray, tuple[slice, ...], int | None, int | None]:
    """What the network gets, where the crop lies, and the axes apart on the way there and back."""
    image = case.image.astype(np.float64)
    inside = binary_fill_holes((image != 0).any(0))
    crop = tuple(slice(int(x.min()), int(x.max()) + 1) for x in inside.nonzero())
    image, inside = image[(slice(None), *crop)], inside[crop]
    for channel in image:
        counted = channel[inside]
        channel[inside] = (counted - counted.mean()) / counted.std()
    have = np.array(case.spacing[::-1])
    target = np.array([own if mm is None else mm for own, mm in zip(have, want[::-1])])
    shape = tuple(int(round(a / b * n)) for a, b, n in zip(have, target, inside.shape))
    there, back = apart(have, target), apart(target, have)
    return np.stack([resampled(x, shape, there, 3, 0) for x in image]), crop, there, back


def model_for(settings: dict[str, Any], **more: Any) -> SegmentationModel:
    return SegmentationModel.from_network(
        tiny_network(), channels=("A", "B"), classes=["no", "core", "rim"], preprocessing=Preprocessing(**settings), **more
    )


@pytest.mark.parametrize("grid", GRIDS)
def test_the_network_gets_what_it_gets_from_nnunet(grid: str) -> None:
    have, want = GRIDS[grid]
    case = head_in_air(spacing=have)
    expected, _, there, _ = as_nnunet(case, want)
    assert (there is not None) == grid.endswith("apart") or grid == "one axis kept"
    found = model_for({**NNUNET, "spacing": want}).prepare(case).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS)
def test_answers_come_back_as_nnunets(grid: str) -> None:
    have, want = GRIDS[grid]
    case = head_in_air(spacing=have)
    prepared, crop, _, back = as_nnunet(case, want)
    steps = Preprocessing(**NNUNET, spacing=want).on_grid(case.shape, case.affine)
    steps = steps.on_image(list(torch.from_numpy(case.image)))
    logits = np.random.default_rng(1).normal(size=(3, *prepared.shape[1:]))
    inner = tuple(x.stop - x.start for x in crop)
    expected = np.full((3, *case.shape), -50.0)
    expected[0] = 0
    expected[(slice(None), *crop)] = [resampled(x, inner, back, 1, 0) for x in logits]
    found = steps.restore(torch.from_numpy(logits), (0.0, -50.0, -50.0)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_outside_of_the_crop_is_background() -> None:
    case = head_in_air()
    box = np.zeros(case.shape, dtype=bool)
    box[as_nnunet(case, (1, 1, 1))[1]] = True
    for head in ("softmax", "sigmoid"):
        classes = ["no", "core", "rim"] if head == "softmax" else {1: "core", 2: "rim", 4: "all"}
        model = SegmentationModel.from_network(
            tiny_network(), channels=("A", "B"), classes=classes, head=head, preprocessing=Preprocessing(**NNUNET)
        )
        with model.on(case) as bound:
            logits = bound.logits(bound.image)
        chances = logits.softmax(0)[1:] if head == "softmax" else logits.sigmoid()
        assert not model.segment(case)[~box].any()
        assert float(chances[:, ~box].max()) < 1e-20 < float(chances[:, box].min())


@pytest.mark.parametrize("window", [None, (7, 7, 7)])
def test_the_crop_follows_the_image(window: tuple[int, ...] | None) -> None:
    """A voxel outside of the head makes the box larger, as in nnU-Net; a model asked before gives what a new one gives."""
    case = head_in_air(spacing=(1, 1, 1.5))
    more = case.image.copy()
    more[1, -1, 0, -1] = 1e-3
    noisy = case.with_image(more)
    model = model_for({**NNUNET, "spacing": (1.2, 1.2, 1.2)}, window=window)
    assert model.prepare(noisy).shape != model.prepare(case).shape
    np.testing.assert_allclose(model.prepare(noisy).numpy(), as_nnunet(noisy, (1.2, 1.2, 1.2))[0], atol=1e-9)
    with model.on(case) as bound:
        first = bound.logits(bound.image)
        other = torch.from_numpy(noisy.image).double()
        _, gradient, logits = bound.differentiate(other, lambda x: x.square().mean())
        np.testing.assert_array_equal(logits.numpy(), model.logits(noisy))
        np.testing.assert_array_equal(bound.logits(bound.image).numpy(), first.numpy())
    with model.on(noisy) as bound:
        assert torch.equal(bound.differentiate(other, lambda x: x.square().mean())[1], gradient)


def test_an_image_of_zeros_is_not_cropped() -> None:
    case = head_in_air()
    empty = case.with_image(np.zeros_like(case.image))
    assert model_for(NNUNET).prepare(empty).shape[1:] == case.shape


@pytest.mark.parametrize("order", [("normalize", "crop", "resample"), ("resample", "normalize", "crop")])
def test_every_order(order: tuple[str, ...]) -> None:
    """What a step looks for it finds in what the steps before it made."""
    case = head_in_air(spacing=(1.0, 1.0, 2.0))
    image = case.image.astype(np.float64)
    spline = 1 if order[0] == "resample" else 3  # a cubic spline of zeros beside something is nowhere 0
    for stage in order:
        if stage == "resample":
            shape = (2 * image.shape[1], *image.shape[2:])
            image = np.stack([resize(x, shape, spline, mode="edge", anti_aliasing=False, clip=False) for x in image])
        elif stage == "normalize":
            inside = binary_fill_holes((image != 0).any(0))
            image = np.stack([np.where(inside, (x - x[inside].mean()) / x[inside].std(), 0) for x in image])
        else:
            box = tuple(slice(int(x.min()), int(x.max()) + 1) for x in (image != 0).any(0).nonzero())
            image = image[(slice(None), *box)]
    settings = {**NNUNET, "order": order, "spacing": (1, 1, 1), "resampling": {"order": spline}}
    found = model_for(settings).prepare(case).numpy()
    assert found.shape == image.shape and found.shape[2:] != case.shape[1:]
    np.testing.assert_allclose(found, image, atol=1e-9)


def test_holes_are_filled_as_scipy_fills_them() -> None:
    from SegAdversarialLib.model.crop import fill_holes

    for share in (0.3, 0.6, 0.8, 1.0, 0.0):
        mask = np.random.default_rng(0).random((9, 10, 11)) < share
        np.testing.assert_array_equal(fill_holes(torch.from_numpy(mask)).numpy(), binary_fill_holes(mask))
