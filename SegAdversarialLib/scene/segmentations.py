"""Label maps as segmentation nodes: the same class has the same name, colour and terminology wherever it appears."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from SegAdversarialLib.scene.application import add_node
from SegAdversarialLib.scene.voxels import label_image
from SegAdversarialLib.structures.terminology import entry_of

# Red, green, blue and yellow for the values 1 to 4 (BraTS: necrotic core, oedema, unused, enhancing tumour), further ones
# as far from these as they get; they begin anew after the last.
_PALETTE = (
    (0.90, 0.22, 0.27),
    (0.16, 0.72, 0.50),
    (0.26, 0.52, 0.96),
    (0.99, 0.82, 0.18),
    (0.68, 0.40, 0.90),
    (0.97, 0.55, 0.16),
    (0.36, 0.84, 0.95),
    (0.96, 0.52, 0.74),
    (0.60, 0.78, 0.22),
    (0.70, 0.52, 0.40),
)


def color_of(value: int) -> tuple[float, float, float]:
    """The colour (red, green, blue from 0 to 1) of a label value, everywhere in this software's scenes and pictures."""
    return _PALETTE[(value - 1) % len(_PALETTE)]


def classes_of(names: Mapping[int, str] | None, maps: Iterable[np.ndarray | None]) -> dict[int, str]:
    """The foreground classes that are named or occur in any of the label maps, by value, each with a name."""
    values = {int(x) for x in names or () if x > 0}
    for labels in maps:
        if labels is not None:
            values.update(np.flatnonzero(np.bincount(np.maximum(labels, 0).ravel())).tolist())
    values.discard(0)
    return {value: (names or {}).get(value) or f"label {value}" for value in sorted(values)}


def add_segmentation(scene: Any, name: str, labels: Any, affine: np.ndarray, classes: Mapping[int, str], grid: Any) -> Any:
    """Add a segmentation.

    Args:
        labels: (K, J, I) label map, or the `label_image` of one.
        affine: (i, j, k) to RAS, in mm.
        classes: name by label value; each gets a segment, an empty one where the class does not occur.
        grid: the volume node that gives the reference geometry and, where it has one, the transform.
    """
    node = add_node(scene, "vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    node.SetAndObserveTransformNodeID(grid.GetTransformNodeID())
    fill_segmentation(node, labels, affine, classes)
    show_clearly(node.GetDisplayNode())
    return node


def fill_segmentation(node: Any, labels: Any, affine: np.ndarray, classes: Mapping[int, str]) -> None:
    """Give a segmentation node one segment for each class; all of them share one label map, as Slicer stores them."""
    image = label_image(labels, affine) if isinstance(labels, np.ndarray) else labels
    _fill(node.GetSegmentation(), image, classes)


def new_segmentation(image: Any, classes: Mapping[int, str]) -> Any:
    """The content of a segmentation node, from the `label_image` of a label map."""
    import slicer

    segmentation = slicer.vtkSegmentation()
    _fill(segmentation, image, classes)
    return segmentation


def _fill(segmentation: Any, image: Any, classes: Mapping[int, str]) -> None:
    import slicer

    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation.SetSourceRepresentationName(representation)
    for value, name in classes.items():
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetColor(*color_of(value))
        segment.SetLabelValue(value)
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry_of(name))
        segment.AddRepresentation(representation, image)
        segmentation.AddSegment(segment, segment_id(value))


def segment_id(value: int) -> str:
    """The identifier of a class's segment in every segmentation."""
    return f"Segment_{value}"


def show_clearly(display: Any) -> None:
    """Let the anatomy shine through the filled segments."""
    display.SetOpacity2DFill(0.35)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2)
