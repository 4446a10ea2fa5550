"""What volumes and segmentations will hold, made beside the scene: in the background thread, or in one go.

Images own their memory: neither a change of the arrays nor one of the nodes shows in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from SegAdversarialLib.volumes.writing import stored

_LARGEST_BYTE = 255


@dataclass(frozen=True, eq=False)
class Voxels:
    """A volume's voxels as its node will hold them.

    Attributes:
        image: the vtkImageData.
        low, high: the intensities that are shown darkest and brightest.
    """

    image: Any
    low: float = 0.0
    high: float = 0.0


def voxels(array: np.ndarray) -> Voxels:
    """An array (K, J, I), of any integer or float type, as it is."""
    return Voxels(_image(array, array.dtype))


def input_voxels(array: np.ndarray) -> Voxels:
    """A channel as it came from the scanner, from its darkest to nearly its brightest voxel."""
    low, high = np.percentile(array, (0.1, 99.95))
    return Voxels(_image(array, array.dtype), float(low), float(high))


def change_voxels(array: np.ndarray) -> Voxels:
    """A change (K, J, I), zero in the middle; both ends are 0 where nothing changed."""
    largest = max(float(array.max()), -float(array.min()))
    return Voxels(_image(array, array.dtype), -largest, largest)


def stored_voxels(values: np.ndarray, dtype: str) -> Voxels:
    """A channel (K, J, I) in the integer type `dtype` if every voxel survives it, else as float32."""
    return voxels(stored(values, dtype))


def label_image(labels: np.ndarray, affine: np.ndarray) -> Any:
    """A label map (K, J, I) as the vtkOrientedImageData that segments share, in bytes where the values allow it."""
    import slicer
    import slicer.util

    byte = labels.min() >= 0 and labels.max() <= _LARGEST_BYTE
    image = _image(labels, np.dtype(np.uint8 if byte else np.int16), slicer.vtkOrientedImageData())
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    return image


def copy_of(image: Any) -> Any:
    """An image of the same kind with memory of its own."""
    from vtk.util.numpy_support import vtk_to_numpy

    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    copy = _image(array, array.dtype, image.NewInstance())
    if image.IsA("vtkOrientedImageData"):
        copy.CopyDirections(image)
        copy.SetSpacing(image.GetSpacing())
        copy.SetOrigin(image.GetOrigin())
    return copy


def _image(array: np.ndarray, kind: np.dtype, image: Any = None) -> Any:
    import vtk
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    image = vtk.vtkImageData() if image is None else image
    image.SetDimensions(*array.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(kind), 1)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape)
    np.copyto(target, array, casting="unsafe")
    return image
