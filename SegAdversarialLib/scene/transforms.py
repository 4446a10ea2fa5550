"""Displacements as grid transform nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from SegAdversarialLib.scene.application import add_node
from SegAdversarialLib.volumes.geometry import spacing_of

_LINES = 16
"""How many grid lines cross the volume's longest side."""

# from little to much, as Slicer colours displacements
_COLORS = ((0.1, (0.2, 0.2, 0.2)), (0.3, (0.0, 1.0, 0.0)), (0.6, (1.0, 1.0, 0.0)), (1.0, (1.0, 0.0, 0.0)))


@dataclass(frozen=True, eq=False)
class Vectors:
    """A displacement as its node will hold it: the vtkImageData of vectors, and the length of the longest, in mm."""

    image: Any
    longest: float


def vectors(displacement: np.ndarray, affine: np.ndarray) -> Vectors:
    """A displacement (3, K, J, I) in mm, RAS components; made without the scene."""
    longest = max(float(np.sqrt((x.astype(np.float64) ** 2).sum(0)).max()) for x in np.moveaxis(displacement, 1, 0))
    return Vectors(_vector_image(displacement, affine), longest)


def add_displacement(scene: Any, name: str, content: np.ndarray | Vectors, affine: np.ndarray, like: Any) -> Any:
    """Add a grid transform that warps what is put under it as `fields.warp` does.

    It is shown, when made visible, by grid lines in the slice views, coloured by the length of the displacement.

    Args:
        content: (3, K, J, I) in mm, RAS components.
        affine: (i, j, k) to RAS, in mm.
        like: a volume node on the same grid, whose transform is shared.
    """
    import slicer
    import slicer.util

    directions = np.eye(4)
    directions[:3, :3] = affine[:3, :3] / spacing_of(affine)
    grid = slicer.vtkOrientedGridTransform()
    content = content if isinstance(content, Vectors) else vectors(content, affine)
    grid.SetDisplacementGridData(content.image)
    grid.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(directions))
    # as in files, and as resampling wants it, which then needs no inverse
    node = add_node(scene, "vtkMRMLGridTransformNode", name)
    node.SetAndObserveTransformFromParent(grid)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    _add_display(node, content, affine, like)
    return node


def displacement_of(node: Any) -> np.ndarray:
    """The displacement of a grid transform: (3, K, J, I) float32 in mm, RAS components."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetTransformFromParent().GetDisplacementGrid()
    vectors = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*image.GetDimensions()[::-1], 3)
    return np.ascontiguousarray(np.moveaxis(vectors, -1, 0), dtype=np.float32)


def displacement_colors() -> np.ndarray:
    """The colours of grid lines from no displacement to the longest: (255, 3), red, green, blue from 0 to 1."""
    fractions, stops = [fraction for fraction, _ in _COLORS], np.array([color for _, color in _COLORS])
    return np.stack([np.interp(np.linspace(0, 1, 255), fractions, part) for part in stops.T], axis=1)


def _vector_image(displacement: np.ndarray, affine: np.ndarray) -> Any:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = vtk.vtkImageData()
    image.SetDimensions(*displacement.shape[:0:-1])
    image.SetSpacing(*spacing_of(affine))
    image.SetOrigin(*affine[:3, 3].tolist())
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*displacement.shape[1:], 3)
    np.copyto(target, np.moveaxis(displacement, 0, -1))
    return image


def _add_display(node: Any, content: Vectors, affine: np.ndarray, region: Any) -> None:
    """Hidden grid lines over a volume; what makes them visible shows them in the slice views."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    extent = float(np.max(np.array(content.image.GetDimensions()) * spacing_of(affine)))
    distance = max(extent / _LINES, 2 * max(spacing_of(affine)))
    modifying = display.StartModify()
    display.SetVisualizationMode(display.VIS_MODE_GRID)
    display.SetAndObserveRegionNode(region)
    display.SetGridSpacingMm(distance)
    display.SetGridResolutionMm(distance / 4)
    display.SetGridLineDiameterMm(distance / 15)
    display.SetGlyphSpacingMm(distance)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetVisibility(False)
    display.EndModify(modifying)
    largest = content.longest or 1.0
    colors = display.GetColorMap()
    colors.RemoveAllPoints()
    for fraction, color in _COLORS:
        colors.AddRGBPoint(fraction * largest, *color)
