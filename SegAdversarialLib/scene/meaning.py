"""The segments of a segmentation node, as a network's reference is read from them (`structures.matching`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.rasterization import segment_ids, segment_masks, voxels_of
from SegAdversarialLib.scene.steps import Steps, in_background
from SegAdversarialLib.structures.matching import match
from SegAdversarialLib.structures.segments import Overlay, Segment, named_values, renamed, values_in

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead


def painted_segments(node: Any, like: Any, answers: Mapping[Any, str] | None) -> Steps[tuple[np.ndarray, tuple[Segment, ...]]]:
    """The segments of a node on a volume's grid, in one label map (`structures.segments.Overlay`).

    Args:
        node: the segmentation node.
        like: the volume node that gives the grid.
        answers: what a network calls segments, by their identifiers, names or label values.

    Returns:
        (K, J, I) int16, and the segments with their values in it.

    Raises:
        InputError: there are no segments, or all of them lie outside the volume.
    """
    described = _described(node, answers)
    if not described:
        raise InputError(f"The reference {node.GetName()} has no segments; draw them or choose another.")
    masks, overlay = segment_masks(node, like), Overlay(like.GetImageData().GetDimensions()[::-1])

    def paint() -> tuple[np.ndarray, tuple[Segment, ...]]:
        for identifier, mask in masks:
            overlay.add(described[identifier], mask)
        return overlay.finished()

    labels, segments = yield from in_background(paint)
    if not labels.any():
        _check_within(node, like)
    return labels, segments


def segments_of_reference(node: Any) -> dict[str, Segment]:
    """What a reference holds, by the segments' identifiers; nothing is painted.

    Args:
        node: a segmentation node, or a label map volume, whose label values are its segments' identifiers.

    Returns:
        Segments whose values say no more than whether they have voxels.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        described = _described(node, None)
        return {x: replace(segment, values=(1,) if _is_full(node, x) else ()) for x, segment in described.items()}
    image = node.GetImageData() if node.IsA("vtkMRMLLabelMapVolumeNode") else None
    if image is None or image.GetPointData().GetScalars() is None:
        return {}
    return {str(x.number): x for x in named_values(None, values_in(voxels_of(image)))}


def undecided_segments(
    segments: Mapping[str, Segment], head: OutputHead, answers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The segments, by their identifiers, of which it is not known what they are to a network, and why.

    Args:
        segments: as `segments_of_reference` gives them.
        head: the network's classes.
        answers: what the user says that segments are, by their identifiers.
    """
    said = {x: name for x, name in (answers or {}).items() if x in segments}
    known = [replace(x, name=said[key], said=True) if key in said else x for key, x in segments.items()]
    return {list(segments)[n]: why for n, why in match(known, head).undecided.items()}


def _described(node: Any, answers: Mapping[Any, str] | None) -> dict[str, Segment]:
    """The segments by their identifiers, as they are called; they have no values yet."""
    found = {}
    for identifier in segment_ids(node):
        segment = node.GetSegmentation().GetSegment(identifier)
        found[identifier] = Segment(segment.GetName() or "", (), int(segment.GetLabelValue()), _terminology(segment))
    others = {key: name for key, name in (answers or {}).items() if key not in found}
    found = dict(zip(found, renamed(list(found.values()), others)))
    for identifier in set(found) & set(answers or {}):
        found[identifier] = replace(found[identifier], name=str((answers or {})[identifier]), said=True)
    return found


def _terminology(segment: Any) -> str:
    import vtk

    tag = vtk.reference("")
    return str(tag) if segment.GetTag(segment.GetTerminologyEntryTagName(), tag) else ""


def _check_within(node: Any, like: Any) -> None:
    """Refuse a reference whose content lies beside the volume. One without content is a healthy subject's."""
    if any(_is_full(node, identifier) for identifier in segment_ids(node)):
        raise InputError(
            f"No segment of the reference {node.GetName()} lies within {like.GetName()}; "
            "check that both belong to the same subject, and the transforms above them."
        )


def _is_full(node: Any, identifier: str) -> bool:
    """Whether a segment has content, wherever it lies."""
    segment = node.GetSegmentation().GetSegment(identifier)
    stored = segment.GetRepresentation(node.GetSegmentation().GetSourceRepresentationName())
    if stored is None:
        return False
    if not stored.IsA("vtkImageData"):
        return bool(stored.GetNumberOfPoints())
    return not stored.IsEmpty() and bool((voxels_of(stored) == segment.GetLabelValue()).any())
