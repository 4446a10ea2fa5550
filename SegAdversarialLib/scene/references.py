"""The reference labels beside a case's volumes, once for each case."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from SegAdversarialLib.scene.application import hierarchy_item, nodes_of, put_in_folder, subject_hierarchy
from SegAdversarialLib.scene.rasterization import SegmentMasks, segment_masks
from SegAdversarialLib.scene.runs import ROLE
from SegAdversarialLib.scene.segmentations import add_segmentation
from SegAdversarialLib.scene.steps import Steps, in_background
from SegAdversarialLib.scene.voxels import label_image
from SegAdversarialLib.volumes.case import Case


def reference_beside(scene: Any, case: Case, classes: Mapping[int, str], inputs: Mapping[str, Any]) -> Steps[Any]:
    """The segmentation of the reference labels beside the inputs, added if it is not there yet; None without labels."""
    if case.label is None:
        return None
    found = yield from _reference_of(scene, inputs, case.label)
    if found is not None:
        return found
    label = case.label
    image = yield from in_background(lambda: label_image(label, case.affine))
    node = add_reference(scene, case, image, classes, inputs)
    node.GetDisplayNode().SetVisibility(False)
    yield None
    return node


def add_reference(scene: Any, case: Case, image: Any, classes: Mapping[int, str], inputs: Mapping[str, Any]) -> Any:
    """The reference labels beside the first input."""
    first = next(iter(inputs.values()))
    node = add_segmentation(scene, f"{case.name} reference".strip(), image, case.affine, classes, first)
    hierarchy = subject_hierarchy(scene)
    return file_under(scene, hierarchy.GetItemParent(hierarchy_item(scene, first)), node, "reference")


def _reference_of(scene: Any, inputs: Mapping[str, Any], label: np.ndarray) -> Steps[Any]:
    """The segmentation of these reference labels that was added beside one of these inputs before."""
    import slicer

    own = {volume.GetID(): volume for volume in inputs.values()}
    grid = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    for node in nodes_of(scene):
        if not scene.IsNodePresent(node):
            continue
        volume = own.get(node.GetNodeReferenceID(grid)) if node.GetAttribute(ROLE) == "reference" else None
        if volume is None:
            continue
        masks = segment_masks(node, volume)
        # the user may have drawn in it, or chosen another reference for the same volume
        if (yield from in_background(functools.partial(_is_painted, masks, label))) and scene.IsNodePresent(node):
            return node
    return None


def _is_painted(masks: SegmentMasks, label: np.ndarray) -> bool:
    return bool(np.array_equal(masks.painted(), label))


def file_under(scene: Any, folder: int, node: Any, role: str) -> Any:
    """Mark a node that belongs to no run, and move it into a folder."""
    node.SetAttribute(ROLE, role)
    put_in_folder(scene, folder, node)
    return node


def new_folder(scene: Any, name: str) -> int:
    """A folder at the top. Nobody may hold the hierarchy's node between two steps: of a closed scene it would come back."""
    hierarchy = subject_hierarchy(scene)
    folder: int = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), name)
    return folder
