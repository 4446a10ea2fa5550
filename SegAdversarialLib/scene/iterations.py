"""The states of an attack as sequence nodes, which one browser plays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.case import Case, stored
from SegAdversarialLib.scene.application import add_node
from SegAdversarialLib.scene.segmentations import fill_segmentation, show_clearly
from SegAdversarialLib.scene.volumes import display_like, fill_volume

if TYPE_CHECKING:
    from SegAdversarialLib.result import Snapshot


def add_iterations(
    scene: Any,
    summary: str,
    case: Case,
    snapshots: Sequence[Snapshot],
    inputs: Mapping[str, Any],
    classes: Mapping[int, str],
) -> tuple[Any, list[Any], list[Any]]:
    """Add a sequence for each channel in `inputs` and one of segmentations, and the browser that scrubs through them.

    Returns:
        The browser, the sequences, and the nodes in which the browser shows the selected iteration.
    """
    sequences, proxies = [], []
    for channel, volume in inputs.items():
        sequences.append(_volume_sequence(scene, f"{volume.GetName()} iterations - {summary}", case, channel, snapshots))
    sequences.append(_segmentation_sequence(scene, f"segmentation iterations - {summary}", case, snapshots, classes))
    browser = add_node(scene, "vtkMRMLSequenceBrowserNode", f"iterations - {summary}")
    browser.SetAndObserveMasterSequenceNodeID(sequences[0].GetID())
    for sequence in sequences[1:]:
        browser.AddSynchronizedSequenceNode(sequence)
    browser.SelectLastItem()
    # the sequences logic makes these nodes when it hears of the browser; a scene without that logic has none
    for sequence, like in zip(sequences, [*inputs.values(), None]):
        proxy = browser.GetProxyNode(sequence)
        if proxy is None:
            continue
        proxy.CreateDefaultDisplayNodes()
        if like is not None:
            display_like(proxy, like)
            proxy.SetAndObserveTransformNodeID(like.GetTransformNodeID())
        else:
            show_clearly(proxy.GetDisplayNode())
            proxy.GetDisplayNode().SetVisibility(False)
            proxy.SetAndObserveTransformNodeID(next(iter(inputs.values())).GetTransformNodeID())
        proxies.append(proxy)
    return browser, sequences, proxies


def _volume_sequence(scene: Any, name: str, case: Case, channel: str, snapshots: Sequence[Snapshot]) -> Any:
    import slicer

    position = case.channel_index(channel)
    assert case.dtypes is not None
    sequence = _sequence(scene, name)
    # a sequence file holds one voxel type: the channel's own only if every state survives it
    kinds = {stored(x.image[position], case.dtypes[position]).dtype for x in snapshots}
    kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
    for snapshot in snapshots:
        node = slicer.vtkMRMLScalarVolumeNode()
        fill_volume(node, snapshot.image[position].astype(kind), case.affine)
        sequence.SetDataNodeAtValue(node, str(snapshot.iteration))
    return sequence


def _segmentation_sequence(
    scene: Any, name: str, case: Case, snapshots: Sequence[Snapshot], classes: Mapping[int, str]
) -> Any:
    import slicer

    sequence = _sequence(scene, name)
    for snapshot in snapshots:
        node = slicer.vtkMRMLSegmentationNode()
        fill_segmentation(node, snapshot.segmentation, case.affine, classes)
        sequence.SetDataNodeAtValue(node, str(snapshot.iteration))
    return sequence


def _sequence(scene: Any, name: str) -> Any:
    sequence = add_node(scene, "vtkMRMLSequenceNode", name)
    sequence.SetIndexName("iteration")
    sequence.SetIndexUnit("")
    sequence.SetIndexType(sequence.NumericIndex)
    return sequence
