"""The grids of volume nodes: in words, and whether they are the same."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

_LARGEST_DISTANCE = 1e-3
"""How far corners may lie apart, as a share of the smallest voxel side: what the library calls the same grid."""


def hasVoxels(volume: Any) -> bool:
    """Whether the node holds an image."""
    return volume.GetImageData() is not None and volume.GetImageData().GetNumberOfPoints() > 0


def gridInWords(volume: Any) -> str:
    """Size and voxel size: "240 x 240 x 155 voxels of 1 x 1 x 1 mm"."""
    size = " x ".join(str(n) for n in volume.GetImageData().GetDimensions())
    spacing = " x ".join(f"{mm:.4g}" for mm in volume.GetSpacing())
    return _("{size} voxels of {spacing} mm").format(size=size, spacing=spacing)


def sameGrid(a: Any, b: Any) -> bool:
    """Whether two volumes have the same size, and their voxels lie at the same places, parent transforms aside."""
    size = a.GetImageData().GetDimensions()
    if size != b.GetImageData().GetDimensions():
        return False
    return _samePlaces(_matrixOf(a), _matrixOf(b), size, min(a.GetSpacing()))


def liesOn(node: Any, volume: Any) -> bool:
    """Whether a label map volume, or the image that a segmentation was drawn on, has a volume's grid and transform."""
    if node.GetTransformNodeID() != volume.GetTransformNodeID():
        return False
    if not node.IsA("vtkMRMLSegmentationNode"):
        return hasVoxels(node) and sameGrid(node, volume)
    geometry, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = node.GetSegmentation().GetConversionParameter(name)
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, geometry, False):
        return False
    first, size = geometry.GetExtent()[::2], geometry.GetDimensions()
    if tuple(first) != (0, 0, 0) or size != volume.GetImageData().GetDimensions():
        return False
    geometry.GetImageToWorldMatrix(matrix)
    return _samePlaces(matrix, _matrixOf(volume), size, min(volume.GetSpacing()))


def _samePlaces(here: Any, there: Any, size: tuple[int, ...], side: float) -> bool:
    """Whether two matrices put the corners of a grid to the same places, as far as its smallest voxel side goes."""
    for corner in product(*((0, n) for n in size)):
        places = zip(here.MultiplyPoint((*corner, 1.0)), there.MultiplyPoint((*corner, 1.0)))
        if max(abs(x - y) for x, y in places) > _LARGEST_DISTANCE * side:
            return False
    return True


def gridProblems(volumes: Mapping[str, Any]) -> list[str]:
    """What is wrong with the volumes of a network's channels: a sentence for each that cannot be used with the first."""
    chosen = list(dict.fromkeys(volumes.values()))
    problems = [
        _("The volume {name} holds no voxels; choose another one.").format(name=volume.GetName())
        for volume in chosen
        if not hasVoxels(volume)
    ]
    whole = [volume for volume in chosen if hasVoxels(volume)]
    return problems + [problem for volume in whole[1:] if (problem := _difference(whole[0], volume))]


def gridHints(volumes: Mapping[str, Any]) -> list[str]:
    """What may be a mistake in the choice of a network's channels, and may be meant: a sentence for each."""
    found = []
    for volume in dict.fromkeys(volumes.values()):
        channels = [channel for channel, node in volumes.items() if node is volume]
        if len(channels) > 1:
            sentence = _("{name} is chosen for several channels ({channels}).")
            found.append(sentence.format(name=volume.GetName(), channels=", ".join(channels)))
        if hasVoxels(volume) and (value := _onlyValue(volume)) is not None:
            sentence = _("All voxels of {name} ({channels}) have the same value, {value}.")
            found.append(sentence.format(name=volume.GetName(), channels=", ".join(channels), value=f"{value:g}"))
    return found


def _onlyValue(volume: Any) -> float | None:
    """The value that all voxels have, if it is one; found without reading on, as a range would, once there are two."""
    voxels = slicer.util.arrayFromVolume(volume)
    first = voxels.reshape(-1)[0]
    return None if any((piece != first).any() for piece in voxels) else float(first)


def _difference(first: Any, other: Any) -> str:
    """How the second volume's grid differs from the first one's, as a sentence; empty where it does not."""
    names = {"first": first.GetName(), "name": other.GetName()}
    if not sameGrid(first, other):
        grids = {"firstGrid": gridInWords(first), "grid": gridInWords(other)}
        if grids["grid"] == grids["firstGrid"]:
            sentence = _(
                "The voxels of {name} lie at other places than those of {first} ({grid}); resample one onto the other."
            )
        else:
            sentence = _("{name} has another grid ({grid}) than {first} ({firstGrid}); resample one onto the other.")
        return sentence.format(**names, **grids)
    if first.GetTransformNodeID() != other.GetTransformNodeID():
        return _("{name} and {first} are under different transforms; harden the transforms or put both under one.").format(
            **names
        )
    return ""


def _matrixOf(volume: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix
