"""N4 bias field correction of MR images (Tustison et al. 2010), as SimpleITK does it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from SegAdversarialLib.volumes.case import Case

_COARSE = 32
"""Voxels along the shortest axes that the field, which is smooth, is fitted on: larger volumes are shrunk to about that."""


def without_bias(case: Case) -> Case:
    """The case with each channel divided by its slow change of brightness.

    The field is fitted to the voxels above Otsu's threshold of the channel shrunk by whole numbers, which it is smooth enough
    for, and then evaluated on the channel's own grid; in a single slice it is one of the plane. A channel without contrast
    stays. What comes out counts as the image as it came from the scanner, in float32.
    """
    image = np.stack([_corrected(channel, case.spacing) for channel in case.image])
    return replace(case, image=image, dtypes=("float32",) * len(case.channels))


def _corrected(channel: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    import SimpleITK

    long = [axis for axis, size in enumerate(channel.shape) if size > 1]
    if channel.min() == channel.max() or len(long) < 2:
        return channel
    whole = SimpleITK.GetImageFromArray(channel.squeeze())  # N4 refuses axes of one voxel
    whole.SetSpacing([spacing[2 - axis] for axis in reversed(long)])
    factors = [max(1, size // _COARSE) for size in whole.GetSize()]
    small = SimpleITK.Shrink(whole, factors)
    corrector = SimpleITK.N4BiasFieldCorrectionImageFilter()
    corrector.Execute(small, SimpleITK.OtsuThreshold(small, 0, 1, 200))
    field = SimpleITK.Cast(corrector.GetLogBiasFieldAsImage(whole), SimpleITK.sitkFloat32)
    return channel / np.exp(SimpleITK.GetArrayViewFromImage(field)).reshape(channel.shape)
