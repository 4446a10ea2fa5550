"""The states of an attack as sequence nodes, which one browser plays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.scene.application import add_node
from SegAdversarialLib.scene.segmentations import fill_segmentation, show_clearly
from SegAdversarialLib.scene.volumes import display_like, fill_volume, give_display
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.writing import stored

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import Snapshot
    from SegAdversarialLib.scene.runs import Run

ITERATION_MEMORY = 1 << 30
"""How many bytes the states of one attack may take in a scene, unless told otherwise."""

_log = logging.getLogger(__name__)


def add_iterations(
    run: Run,
    case: Case,
    snapshots: Sequence[Snapshot],
    inputs: Mapping[str, Any],
    classes: Mapping[int, str],
    memory: int = ITERATION_MEMORY,
) -> tuple[Any, list[Any], list[Any]]:
    """Add a sequence for each channel in `inputs` and one of segmentations, and the browser that scrubs through them.

    Args:
        run: the run that they are added to.
        memory: how many bytes the states may take. Where all of them need more, an even choice of them is kept, always the
            first and the last; the browser's description and a warning say so.

    Returns:
        The browser, the sequences, and the nodes in which the browser shows the selected iteration.
    """
    kinds = {channel: _voxel_type(case, channel, snapshots) for channel in inputs}
    kept, left_out = _within(snapshots, sum(x.itemsize for x in kinds.values()), memory)
    if left_out:
        _log.warning("%s: %s", run.summary, left_out)
    sequences = []
    for channel, volume in inputs.items():
        name = f"{volume.GetName()} iterations - {run.summary}"
        sequence = _volume_sequence(run.scene, name, case, channel, kinds[channel], kept)
        sequences.append(run.file(sequence, "iterations", channel))
    name = f"segmentation iterations - {run.summary}"
    sequences.append(run.file(_segmentation_sequence(run.scene, name, case, kept, classes), "iterations"))
    browser = run.file(add_node(run.scene, "vtkMRMLSequenceBrowserNode", f"iterations - {run.summary}"), "iterations")
    browser.SetDescription(left_out)
    browser.SetAndObserveMasterSequenceNodeID(sequences[0].GetID())
    for sequence in sequences[1:]:
        browser.AddSynchronizedSequenceNode(sequence)
    browser.SelectLastItem()
    proxies = _dressed_proxies(browser, sequences, list(inputs.values()))
    # last, because they lose their marks whenever the browser fills them anew
    run.file_all(proxies, "iterations")
    return browser, sequences, proxies


def _dressed_proxies(browser: Any, sequences: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """The nodes that show the selected iteration, displayed and transformed as the inputs."""
    proxies = []
    # the sequences logic makes these nodes when it hears of the browser; a scene without that logic has none
    for sequence, like in zip(sequences, [*inputs, None]):
        proxy = browser.GetProxyNode(sequence)
        if proxy is None:
            continue
        if like is not None:
            give_display(browser.GetScene(), proxy)
            display_like(proxy, like)
        else:
            proxy.CreateDefaultDisplayNodes()
            show_clearly(proxy.GetDisplayNode())
            proxy.GetDisplayNode().SetVisibility(False)
        proxy.SetAndObserveTransformNodeID(inputs[0].GetTransformNodeID())
        proxies.append(proxy)
    return proxies


def _within(snapshots: Sequence[Snapshot], voxel: int, memory: int) -> tuple[Sequence[Snapshot], str]:
    """As many states as the memory holds, evenly chosen, never fewer than the first and the last; and what was left out.

    Args:
        voxel: bytes that a voxel takes in all channels.
    """
    fitting = max(2, memory // (snapshots[0].segmentation.size * (voxel + 1)))
    if len(snapshots) <= fitting:
        return snapshots, ""
    kept = [snapshots[n] for n in np.rint(np.linspace(0, len(snapshots) - 1, fitting)).astype(int)]
    return kept, (
        f"{fitting} of {len(snapshots)} iterations are kept, evenly chosen, because all of them need more than the "
        f"{memory / 2**20:.4g} MiB that the iterations of one run may take."
    )


def _voxel_type(case: Case, channel: str, snapshots: Sequence[Snapshot]) -> np.dtype:
    """A sequence file holds one voxel type: the channel's own only if every state survives it."""
    position = case.channel_index(channel)
    assert case.dtypes is not None
    kinds = {stored(x.image[position], case.dtypes[position]).dtype for x in snapshots}
    return kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)


def _volume_sequence(scene: Any, name: str, case: Case, channel: str, kind: np.dtype, snapshots: Sequence[Snapshot]) -> Any:
    import slicer

    position = case.channel_index(channel)
    sequence = _sequence(scene, name)
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
