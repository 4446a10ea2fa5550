"""What the user has left empty on purpose, and guesses for what was never chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import slicer

from SegAdversarialGui.guess import guessChannels
from SegAdversarialGui.result_nodes import ROLE, RUN, proxiesOf

_EMPTIED = "Emptied"
_INPUT, _BROWSER = "input", "vtkMRMLSequenceBrowserNode"
_BASE_NAME = "Sequences.BaseName"
"""What Slicer writes on the nodes in which sequences are shown; everything else that was written on them gets lost."""


@contextmanager
def oneChange(state: Any) -> Iterator[None]:
    """Everything that the block changes in the state is one Modified event."""
    node = state.node
    before = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(before)


def emptied(state: Any) -> set[str]:
    """The node references that the user has set to none; no guess may fill them. They are kept with the scene."""
    try:
        roles = json.loads(state.node.GetParameter(_EMPTIED) or "[]")
    except ValueError:
        return set()
    return {x for x in roles if isinstance(x, str)} if isinstance(roles, list) else set()


def setEmptied(state: Any, roles: set[str]) -> None:
    """Say which node references the user has set to none."""
    text = json.dumps(sorted(roles)) if roles else ""
    if text != (state.node.GetParameter(_EMPTIED) or ""):
        state.node.SetParameter(_EMPTIED, text)


def guessVolumes(scene: Any, channels: Sequence[str], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """A volume of the scene for each channel that can be guessed; the fixed ones keep theirs.

    Nothing that a run of this software has made is ever guessed.
    """
    volumes, shown = list(fixed.values()), _shownByOthers(scene)
    volumes += [x for x in _nodes(scene, "vtkMRMLScalarVolumeNode") if _mayBeInput(x, shown) and x not in volumes]
    guessed = guessChannels(
        channels,
        [x.GetName() or "" for x in volumes],
        groups=[_folderOf(scene, x) for x in volumes],
        fixed={channel: volumes.index(node) for channel, node in fixed.items()},
    )
    return {channel: volumes[n] for channel, n in guessed.items() if n is not None}


def _nodes(scene: Any, className: str) -> list[Any]:
    """The nodes of a class, without those of its derived classes."""
    found = [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]
    return [x for x in found if x.GetClassName() == className]


def _mayBeInput(volume: Any, shownByOthers: set[Any]) -> bool:
    if volume.GetAttribute(RUN) or volume.GetAttribute(ROLE) not in (None, _INPUT) or volume.GetHideFromEditors():
        return False
    # an item of the user's own sequence may be an input, one of our iterations, or what is left of them, is none
    return not volume.GetAttribute(_BASE_NAME) or volume in shownByOthers


def _shownByOthers(scene: Any) -> set[Any]:
    """The nodes in which the user's own sequence browsers show the selected items."""
    return {x for browser in _nodes(scene, _BROWSER) if not browser.GetAttribute(RUN) for x in proxiesOf(browser)}


def _folderOf(scene: Any, node: Any) -> int | None:
    """The subject hierarchy item that holds the node; None at the top."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return None
    item = hierarchy.GetItemByDataNode(node)
    parent = hierarchy.GetItemParent(item) if item else 0
    return parent if parent and parent != hierarchy.GetSceneItemID() else None
