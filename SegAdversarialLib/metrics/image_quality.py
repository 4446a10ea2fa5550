"""How much an image changed.

Every function takes one channel before and after, (K, J, I), in the same intensity units. PSNR, SSIM and RMSE follow Liu et
al. 2021: both images are put on the range [0, 1] by the minimum and the maximum of the original (the changed image may leave
that range). Padding outside the field of view counts for no range, and as no voxel in means; but SSIM's windows lie over it,
too, so that more padding brings it nearer to 1. An original of one single intensity has no range: these metrics are then
undefined (nan), unless the images are identical.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.intensity import IntensityRange

_WINDOW = 11
_SIGMA_PER_RADIUS = 0.3


def psnr(original: np.ndarray, changed: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, the peak being the original's range; infinite for identical images.

    Raises:
        InputError: the images differ in shape.
    """
    error = rmse(original, changed)
    return math.inf if error == 0 else -20 * math.log10(error)


def mean_psnr(ratios: Iterable[float]) -> float:
    """What is called the mean PSNR of an image of several channels: the mean over those that changed.

    Args:
        ratios: the PSNR of each channel in dB; infinite ones did not change, undefined ones (nan) are left out.

    Returns:
        The mean in dB; infinite if no channel changed; nan if only such channels did whose PSNR is undefined.
    """
    changed = [x for x in ratios if x != math.inf]
    known = [x for x in changed if not math.isnan(x)]
    return sum(known) / len(known) if known else math.nan if changed else math.inf


def rmse(original: np.ndarray, changed: np.ndarray) -> float:
    """Root mean squared error as a fraction of the original's range; 0 for identical images.

    Raises:
        InputError: the images differ in shape.
    """
    return _relative(original, changed, lambda before, change, span: np.sqrt(np.mean(change**2)) / span)


def ssim(original: np.ndarray, changed: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), at most 1; 1 for identical images.

    A Gaussian window of 11 voxels along each axis with a standard deviation of 1.5 voxels, K1 = 0.01, K2 = 0.03, averaged
    over the places where the whole window lies in the image. Where an axis is shorter than 11 voxels, the window shrinks to
    the largest odd number of voxels that fits the shortest axis, its standard deviation in proportion. Axes of one or
    two voxels have no window: along them the slices are compared one by one and averaged. If no axis has three voxels the
    similarity is undefined (nan).

    Raises:
        InputError: the images differ in shape.
    """
    if _identical(original, changed):
        return 1.0
    found = IntensityRange.of(original)
    low, high = found.low, found.high
    long_axes = [axis for axis, size in enumerate(original.shape) if size > 2]
    if low == high or not long_axes:
        return math.nan
    scaled = [(np.subtract(x, low, dtype=np.float64) / (high - low)).astype(np.float32) for x in (original, changed)]
    before, after = (_slices(x, long_axes) for x in scaled)
    return float(np.mean([_ssim_of(x, y) for x, y in zip(before, after)]))


def perceptibility(original: np.ndarray, changed: np.ndarray) -> float:
    """Mean absolute change in standard deviations of the original (Chen et al. 2019, eq. 7, whose images are standardised).

    0 for identical images; undefined (nan) for a changed image whose original has one single intensity.

    Raises:
        InputError: the images differ in shape.
    """
    return _relative(
        original, changed, lambda before, change, span: np.mean(np.abs(change)) / np.std(before, dtype=np.float64)
    )


def largest_change(original: np.ndarray, changed: np.ndarray) -> float:
    """The largest absolute change of a voxel, in intensity units.

    Raises:
        InputError: the images differ in shape.
    """
    return 0.0 if _identical(original, changed) else float(np.abs(np.subtract(changed, original, dtype=np.float64)).max())


def _identical(original: np.ndarray, changed: np.ndarray) -> bool:
    if np.shape(original) != np.shape(changed):
        raise InputError(f"The images have the shapes {np.shape(original)} and {np.shape(changed)}; they must be the same.")
    return np.array_equal(original, changed)


def _relative(
    original: np.ndarray, changed: np.ndarray, measure: Callable[[np.ndarray, np.ndarray, float], np.floating]
) -> float:
    """What is measured of the voxels that count, before and by how much they change, and of the original's range; 0 for
    identical images, nan where there is no range."""
    if _identical(original, changed):
        return 0.0
    found = IntensityRange.of(original)
    if found.low == found.high:
        return math.nan
    if found.padding is not None:
        counted = original != found.padding
        original, changed = original[counted], changed[counted]
    return float(measure(original, np.subtract(changed, original, dtype=np.float64), found.high - found.low))


def _slices(image: np.ndarray, long_axes: list[int]) -> np.ndarray:
    """One entry for each slice along the short axes; with no short axis, the image as the only entry."""
    short_axes = [axis for axis in range(image.ndim) if axis not in long_axes]
    return image.transpose(*short_axes, *long_axes).reshape(-1, *(image.shape[axis] for axis in long_axes))


def _ssim_of(original: np.ndarray, changed: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    radius = (min(_WINDOW, *original.shape) - 1) // 2
    return structural_similarity(
        original,
        changed,
        gaussian_weights=True,
        sigma=_SIGMA_PER_RADIUS * radius,
        use_sample_covariance=False,
        data_range=1.0,
    )
