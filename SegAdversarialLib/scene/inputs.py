"""Cases and regions from nodes that the user has chosen. Nothing here changes the scene."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.meaning import painted_segments
from SegAdversarialLib.scene.rasterization import (
    is_on_grid_of,
    matrix_between,
    segment_ids,
    segment_masks,
    volume_affine,
)
from SegAdversarialLib.scene.steps import Steps, finished, in_background
from SegAdversarialLib.structures.matching import understood
from SegAdversarialLib.structures.segments import Segment, named_values, renamed, values_in
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.geometry import Grid, check_right_angles, describe_two_grids

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead

# on the faces of a region of interest; in mm
_ROUNDING = 1e-6
_LARGEST_WHOLE = 2**24


def case_of_nodes(
    channels: Mapping[str, Any],
    *,
    reference: Any = None,
    head: OutputHead | None = None,
    name: str = "",
    label_names: Mapping[Any, str] | None = None,
) -> Case:
    """A case from a scene's nodes. Its arrays are copies.

    A reference segmentation is put on the volumes' grid (a voxel belongs to a segment if its centre does), whatever
    transforms lie above it. Its segments are the network's classes of the same names, as those of a file are
    (`structures.matching.match`). Nested regions of a network (whole tumour, tumour core, enhancing tumour) may be drawn
    overlapping or one within the other: a voxel gets the label that belongs to exactly the regions that claim it, or else to
    the fewest more.

    Args:
        channels: the scalar volume node of each channel; all on one grid, and under the same parent transform.
        reference: a segmentation node, or a label map volume on the same grid, or None.
        head: the network's classes, which give the reference its meaning; without them segments keep their names and their
            label values (or their order, where two have the same value), and may not overlap.
        name: the subject's name; that of the first volume unless given.
        label_names: what the network calls segments, by their identifiers, names or label values, where these do not say.

    Raises:
        InputError: a volume is missing, has no voxels, more than one component, or values that are not finite; the grids or
            the parent transforms differ; or the reference does not fit the volumes or the network.
    """
    return finished(reading_steps(channels, reference=reference, head=head, name=name, label_names=label_names))


def reading_steps(
    channels: Mapping[str, Any],
    *,
    reference: Any = None,
    head: OutputHead | None = None,
    name: str = "",
    label_names: Mapping[Any, str] | None = None,
) -> Steps[Case]:
    """`case_of_nodes` in steps."""
    if not channels:
        raise InputError("No volume was given; choose one for each channel of the network.")
    missing = [channel for channel, node in channels.items() if node is None]
    if missing:
        raise InputError(f"No volume was given for channel {', '.join(missing)}; choose one.")
    nodes = list(channels.values())
    arrays = [_voxels(node, f"the volume of channel {channel}") for channel, node in channels.items()]
    affine, title = volume_affine(nodes[0]), name or nodes[0].GetName() or ""
    check_right_angles(affine, nodes[0].GetName())
    for channel, node in channels.items():
        _check_place(node, nodes[0], f"the volume of channel {channel}")
    titles = [node.GetName() for node in nodes]
    dtypes = yield from in_background(lambda: tuple(map(_checked_type, titles, arrays)))
    labels, names = None, None
    if reference is not None:
        called = f"The reference {reference.GetName()}"
        labels, segments = yield from _reference(reference, nodes[0], label_names)
        labels, names = yield from in_background(functools.partial(understood, labels, segments, None, head, called))
    image = yield from in_background(lambda: _stacked(arrays))
    # which looks at all voxels
    return (yield from in_background(lambda: Case(image, tuple(channels), affine, labels, names, title, dtypes)))


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    image = np.empty((len(arrays), *arrays[0].shape), np.float32)
    for target, array in zip(image, arrays):
        target[:] = array
    return image


def mask_of_node(node: Any, like: Any, segment: str = "") -> np.ndarray:
    """The voxels of a volume whose centres lie in a region.

    Args:
        node: a segmentation, a label map volume on the same grid (what is not 0), or a markups ROI. Parent transforms are
            honoured.
        like: the volume node.
        segment: a segment's identifier or name; all segments together unless given.

    Returns:
        (K, J, I) bool; at least one voxel is True.

    Raises:
        InputError: the node is none of these, there is no such segment, or the region holds no voxel of the volume.
    """
    return finished(mask_steps(node, like, segment))


def mask_steps(node: Any, like: Any, segment: str = "") -> Steps[np.ndarray]:
    """`mask_of_node` in steps."""
    if node is None:
        raise InputError("No region was given; choose a segmentation, a label map volume or an ROI.")
    _voxels(like, "the volume")
    region, where = node.GetName(), like.GetName()
    if node.IsA("vtkMRMLSegmentationNode"):
        chosen = [_segment_id(node, segment)] if segment else segment_ids(node)
        if segment:
            region = f"{node.GetSegmentation().GetSegment(chosen[0]).GetName()} of {region}"
        masks, shape = segment_masks(node, like, chosen), like.GetImageData().GetDimensions()[::-1]
        mask = yield from in_background(lambda: _any_of(masks, shape))
    elif node.IsA("vtkMRMLLabelMapVolumeNode"):
        labels = _voxels(node, "the region")
        _check_place(node, like, "the region")
        mask = yield from in_background(lambda: labels != 0)
    elif node.IsA("vtkMRMLMarkupsROINode"):
        inside = _inside(node, like)
        mask = yield from in_background(inside)
    else:
        raise InputError(
            f"{region} cannot be a region ({node.GetNodeTagName()}); choose a segmentation, a label map volume or an ROI."
        )
    if not mask.any():
        raise InputError(
            f"The region {region} is empty: no voxel of {where} lies in it; "
            "draw or move it so that it covers a part of the volume."
        )
    return mask


def _any_of(masks: Iterable[tuple[str, np.ndarray]], shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for _, found in masks:
        mask |= found
    return mask


def _voxels(node: Any, what: str) -> np.ndarray:
    """A volume's array (K, J, I), not copied."""
    import slicer.util

    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{node.GetName()}, {what}, is no scalar volume; choose another.")
    image = node.GetImageData()
    if image is None or not image.GetPointData().GetScalars() or 0 in image.GetDimensions():
        raise InputError(f"{node.GetName()}, {what}, holds no voxels; load its image or choose another.")
    count = image.GetNumberOfScalarComponents()
    if count != 1:
        raise InputError(
            f"{node.GetName()}, {what}, has {count} values for each voxel, and one is right; "
            "choose a scalar volume (Slicer's Vector to Scalar Volume module makes one)."
        )
    return slicer.util.arrayFromVolume(node)


def _check_place(node: Any, first: Any, what: str) -> None:
    """Check that two volumes have the same voxels in the same place.

    Raises:
        InputError: they do not.
    """
    if node.GetTransformNodeID() != first.GetTransformNodeID():
        above = [(x.GetParentTransformNode().GetName() if x.GetParentTransformNode() else "none") for x in (node, first)]
        raise InputError(
            f"{node.GetName()}, {what}, lies under another transform ({above[0]}) than {first.GetName()} ({above[1]}); "
            "put all under the same, or harden the transforms and resample."
        )
    if not is_on_grid_of(node, first):
        grids = [Grid(x.GetImageData().GetDimensions()[::-1], volume_affine(x)) for x in (node, first)]
        own, there, apart = describe_two_grids(*grids)
        raise InputError(
            f"{node.GetName()}, {what}, lies on another grid ({own}) than {first.GetName()} ({there}): {apart}; "
            "resample it onto that volume (Slicer's Resample Image (BRAINS) module), or crop both to the same voxels."
        )


def _checked_type(title: str, array: np.ndarray) -> str:
    """The type in which the voxels of a volume are to be stored again."""
    if array.dtype.kind in "iu":
        if max(abs(int(array.min())), abs(int(array.max()))) > _LARGEST_WHOLE:
            raise InputError(f"{title} holds whole numbers beyond 2^24, which the attacks' arithmetic cannot keep.")
        return str(array.dtype)
    count = int(array.size - np.isfinite(array).sum())
    if count:
        raise InputError(
            f"{title} holds {count} voxel(s) that are NaN or infinite; "
            "repair the volume, for example by replacing them by the value of air."
        )
    return "float32"


def _reference(
    node: Any, like: Any, answers: Mapping[Any, str] | None
) -> Steps[tuple[np.ndarray, tuple[Segment, ...] | None]]:
    """The reference's label map on a volume's grid, and its segments where they are named."""
    if node.IsA("vtkMRMLSegmentationNode"):
        return (yield from painted_segments(node, like, answers))
    if not node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(
            f"{node.GetName()} cannot be the reference ({node.GetNodeTagName()}); "
            "choose a segmentation or a label map volume (Slicer's Volumes module converts scalar volumes)."
        )
    voxels = _voxels(node, "the reference")
    _check_place(node, like, "the reference")
    labels = yield from in_background(voxels.copy)
    if not answers:
        return labels, None
    values = yield from in_background(lambda: values_in(labels))
    return labels, renamed(named_values(None, values), answers)


def _segment_id(node: Any, wanted: str) -> str:
    known = segment_ids(node)
    if wanted in known:
        return wanted
    names = [node.GetSegmentation().GetSegment(x).GetName() for x in known]
    found = [x for x, name in zip(known, names) if name.lower() == wanted.lower()]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{node.GetName()} has {'several segments' if found else 'no segment'} {wanted}; it has {', '.join(names) or 'none'}."
    )


def _inside(roi: Any, like: Any) -> Callable[[], np.ndarray]:
    """What finds the voxels (K, J, I) whose centres lie in an oriented box; it may be called in another thread."""
    import slicer.util

    moved = matrix_between(like, roi)
    if moved is None:
        raise InputError(
            f"The region {roi.GetName()} and {like.GetName()} lie under different transforms that are not linear; "
            "harden them, or put both under the same."
        )
    box = slicer.util.arrayFromVTKMatrix(roi.GetObjectToNodeMatrix())
    to_box = np.linalg.inv(box) @ moved @ volume_affine(like)
    shape, sizes = like.GetImageData().GetDimensions()[::-1], roi.GetSize()

    def inside() -> np.ndarray:
        k, j, i = np.ogrid[tuple(slice(0, n) for n in shape)]
        mask = np.full(shape, min(sizes) > 0)
        for (a, b, c, origin), size in zip(to_box[:3], sizes):
            mask &= np.abs(a * i + b * j + c * k + origin) <= size / 2 + _ROUNDING
        return mask

    return inside
