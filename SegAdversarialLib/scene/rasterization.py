"""Segments on the grid of a volume, whatever they are stored as and whatever transforms lie above both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.geometry import same_grid

_SLAB = 8
"""Slices that are resampled in one go."""


def segment_ids(node: Any) -> list[str]:
    """The identifiers of a segmentation's segments, in its own order."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


class SegmentMasks(Iterable[tuple[str, np.ndarray]]):
    """The voxels of a volume whose centres lie in each segment: identifiers and (K, J, I) bool, when they are iterated over.

    That takes long and touches neither the nodes nor the scene, so that another thread can do it.

    Attributes:
        values: the segments' label values.
    """

    def __init__(self, node: Any, like: Any, segments: Sequence[str] | None = None) -> None:
        segmentation, name = _as_label_maps(node, like)
        self._grid, self._name = _grid_of(like, np.eye(4)), like.GetName()
        self._transform = transform_between(node, like)
        self._images: dict[str, Any] = {}
        self.values: dict[str, int] = {}
        for identifier in segment_ids(node) if segments is None else segments:
            segment = segmentation.GetSegment(identifier)
            self._images[identifier] = segment.GetRepresentation(name) if segment is not None else None
            self.values[identifier] = segment.GetLabelValue() if segment is not None else 0

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        drawn: tuple[Any, np.ndarray] | None = None
        for identifier, image in self._images.items():
            if image is None or image.IsEmpty():
                yield identifier, np.zeros(self._grid.GetDimensions()[::-1], bool)
                continue
            # segments that do not overlap share one label map, which is resampled once
            if drawn is None or drawn[0] is not image:
                drawn = image, _on_grid(image, self._grid, self._name, self._transform)
            yield identifier, drawn[1] == self.values[identifier]

    def painted(self) -> np.ndarray:
        """The label values: (K, J, I) int32; of overlapping segments the last one counts."""
        labels = np.zeros(self._grid.GetDimensions()[::-1], np.int32)
        for identifier, mask in self:
            np.copyto(labels, self.values[identifier], where=mask)
        return labels


def segment_masks(node: Any, like: Any, segments: Sequence[str] | None = None) -> SegmentMasks:
    """The voxels of a volume whose centres lie in each segment. The scene is not touched.

    Args:
        node: a segmentation node, stored as label maps, surfaces or contours.
        like: the volume node.
        segments: identifiers of segments; all of them unless given.

    Raises:
        InputError: a segment cannot be turned into voxels; also while the masks are iterated over.
    """
    return SegmentMasks(node, like, segments)


def label_values(node: Any, like: Any) -> np.ndarray:
    """The segments' label values on a volume's grid: (K, J, I) int32; of overlapping segments the last one counts."""
    return segment_masks(node, like).painted()


def volume_affine(node: Any) -> np.ndarray:
    """A volume's (i, j, k) to RAS, in mm, without the transforms above it: 4x4 float64."""
    import slicer.util
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def transform_between(source: Any, target: Any) -> Any:
    """What leads from one node's coordinates to another's, through all transforms above both.

    Returns:
        A vtkTransform where that is linear, otherwise a vtkGeneralTransform.
    """
    import slicer
    import vtk

    whole, linear = vtk.vtkGeneralTransform(), vtk.vtkTransform()
    above = source.GetParentTransformNode(), target.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*above, whole)
    return linear if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(whole, linear) else whole


def matrix_between(source: Any, target: Any) -> np.ndarray | None:
    """The same as a 4x4 matrix, None where it is not linear."""
    import slicer.util

    transform = transform_between(source, target)
    return slicer.util.arrayFromVTKMatrix(transform.GetMatrix()) if transform.IsA("vtkTransform") else None


def is_on_grid_of(node: Any, like: Any) -> bool:
    """Whether two volumes have the same voxels, the transforms above them left out."""
    shapes = [x.GetImageData().GetDimensions()[::-1] for x in (node, like)]
    return same_grid(shapes[0], volume_affine(node), shapes[1], volume_affine(like))


def _as_label_maps(node: Any, like: Any) -> tuple[Any, str]:
    """A segmentation with label maps, and the name of that representation.

    It is the node's own where it has them, otherwise a copy: the node of the user does not change.
    """
    import slicer

    converter = slicer.vtkSegmentationConverter
    name = converter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation = node.GetSegmentation()
    if segmentation.ContainsRepresentation(name) or not segmentation.GetNumberOfSegments():
        return segmentation, name
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(segmentation.GetSourceRepresentationName())
    for identifier in segment_ids(node):
        copy.CopySegmentFromSegmentation(segmentation, identifier)
    grid = converter.SerializeImageGeometry(_grid_in_segmentation(node, like))
    copy.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), grid)
    if not copy.CreateRepresentation(name):
        raise InputError(
            f"The segments of {node.GetName()} cannot be turned into voxels; "
            "create their binary labelmap representation in Slicer's Segmentations module."
        )
    return copy, name


def _grid_in_segmentation(node: Any, like: Any) -> Any:
    """The volume's grid in the segmentation's coordinates, so that surfaces are cut where the voxels are."""
    grid = _grid_of(like, np.eye(4))
    matrix = matrix_between(like, node)
    return grid if matrix is None else _grid_of(like, matrix)


def _grid_of(volume: Any, moved: np.ndarray) -> Any:
    """An image without voxels on a volume's grid, moved by a matrix."""
    import slicer
    import slicer.util

    grid = slicer.vtkOrientedImageData()
    grid.SetExtent(volume.GetImageData().GetExtent())
    grid.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(moved @ volume_affine(volume)))
    return grid


def _on_grid(image: Any, grid: Any, name: str, transform: Any) -> np.ndarray:
    """A label map (K, J, I) on a volume's grid, nearest neighbour."""
    import slicer

    resample = slicer.vtkOrientedImageDataResample
    if _is_identity(transform) and resample.DoGeometriesMatch(image, grid):
        return _pasted(image, grid.GetExtent())
    whole = np.zeros(grid.GetDimensions()[::-1], np.int32)
    extent, slab = grid.GetExtent(), slicer.vtkOrientedImageData()
    slab.DeepCopy(grid)
    # by slabs: while Slicer resamples, no other thread gets its turn
    for first in range(0, len(whole), _SLAB):
        last = min(first + _SLAB, len(whole)) - 1
        slab.SetExtent(*extent[:4], extent[4] + first, extent[4] + last)
        result = slicer.vtkOrientedImageData()
        if not resample.ResampleOrientedImageToReferenceOrientedImage(image, slab, result, False, False, transform):
            raise InputError(f"The segmentation cannot be resampled onto {name}; harden the transforms above both.")
        whole[first : last + 1] = voxels_of(result)
    return whole


def _is_identity(transform: Any) -> bool:
    import slicer.util

    return transform.IsA("vtkTransform") and np.array_equal(slicer.util.arrayFromVTKMatrix(transform.GetMatrix()), np.eye(4))


def _pasted(image: Any, extent: Sequence[int]) -> np.ndarray:
    """A label map whose voxels are those of a grid, of which it may hold a part only, or more."""
    whole = np.zeros([high - low + 1 for low, high in zip(extent[4::-2], extent[5::-2])], np.int32)
    source, target = [], []
    own = image.GetExtent()
    for axis in (2, 1, 0):
        low, high = max(own[2 * axis], extent[2 * axis]), min(own[2 * axis + 1], extent[2 * axis + 1]) + 1
        source.append(slice(low - own[2 * axis], max(high, low) - own[2 * axis]))
        target.append(slice(low - extent[2 * axis], max(high, low) - extent[2 * axis]))
    whole[tuple(target)] = voxels_of(image)[tuple(source)]
    return whole


def voxels_of(image: Any) -> np.ndarray:
    """An image's voxels (K, J, I), not copied; the image must stay."""
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
