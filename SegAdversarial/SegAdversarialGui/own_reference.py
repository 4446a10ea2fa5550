"""The user's own reference segmentation: which one is guessed, and that it does not cover the results while they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import slicer

from SegAdversarialGui import grids
from SegAdversarialGui.result_nodes import ROLE, RUN, alive

_HIDDEN = "SegAdversarial.HiddenForResults"
_WORDS = {
    *("seg", "segs", "segmentation", "segmentations", "label", "labels", "labelmap", "gt", "groundtruth", "truth"),
    *("reference", "manual", "annotation", "annotations"),
}


def guessReference(scene: Any, volumes: Sequence[Any]) -> Any:
    """The reference of volumes, or None: the one that was added with them; else a segmentation or label map that was loaded
    from a file, lies on their grid, and says by its name that it is one. Of several, the one that is named most like them.
    """
    identifiers = {x.GetID() for x in volumes}
    grid = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    segmentations, labelMaps = (_nodes(scene, f"vtkMRML{x}Node") for x in ("Segmentation", "LabelMapVolume"))
    for node in segmentations:
        if node.GetAttribute(ROLE) == "reference" and node.GetNodeReferenceID(grid) in identifiers:
            return node
    whole = [x for x in volumes if grids.hasVoxels(x)]
    found = [x for x in segmentations + labelMaps if whole and _mayBeReference(x) and grids.liesOn(x, whole[0])]
    names = [x.GetName() or "" for x in volumes]
    return max(found, key=lambda x: (_alike(x.GetName(), names), -found.index(x)), default=None)


def hide(node: Any) -> None:
    """Hide the user's segmentation, which would cover the network's answers, while results are shown.

    Once: a segmentation that the user has made visible meanwhile stays so. Ours are shown as outlines.
    """
    if not _isUsers(node) or node.GetAttribute(_HIDDEN):
        return
    display = node.GetDisplayNode()
    if display is not None and display.GetVisibility():
        node.SetAttribute(_HIDDEN, "true")
        display.SetVisibility(False)


def bringBack(scene: Any, besides: Any = None) -> bool:
    """Show again what was hidden, because no results are shown any more or another reference was chosen.

    Args:
        besides: what stays hidden.

    Returns:
        Whether anything was.
    """
    found = False
    for node in _nodes(scene, "vtkMRMLSegmentationNode"):
        if node is not besides and node.GetAttribute(_HIDDEN):
            node.SetAttribute(_HIDDEN, None)
            if node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(True)
            found = True
    return found


def _isUsers(node: Any) -> bool:
    return alive(node) and node.IsA("vtkMRMLSegmentationNode") and not node.GetAttribute(ROLE)


def _mayBeReference(node: Any) -> bool:
    storage = node.GetStorageNode()
    loaded = storage is not None and bool(storage.GetFileName())
    ours = node.GetAttribute(ROLE) or node.GetAttribute(RUN) or node.GetHideFromEditors()
    return loaded and not ours and bool(_WORDS & _words(node.GetName() or ""))


def _words(name: str) -> set[str]:
    """The words in a name, in small letters: also those that only a capital letter or a digit parts."""
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()))


def _alike(name: str, names: Sequence[str]) -> int:
    """How many letters a name has in common with the beginning of the volumes' names."""
    folded = name.casefold()
    return max((_sameLetters(folded, x.casefold()) for x in names), default=0)


def _sameLetters(a: str, b: str) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _nodes(scene: Any, className: str) -> list[Any]:
    return [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]
