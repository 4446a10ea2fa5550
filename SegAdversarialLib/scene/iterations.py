"""The states of an attack as sequence nodes, which one browser plays."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.scene.application import add_node, put_node
from SegAdversarialLib.scene.segmentations import fill_segmentation, new_segmentation, show_clearly
from SegAdversarialLib.scene.steps import Steps, in_background
from SegAdversarialLib.scene.volumes import display_like, fill_volume, give_display
from SegAdversarialLib.scene.voxels import Voxels, copy_of, label_image, voxels
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.writing import stored

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import Snapshot
    from SegAdversarialLib.scene.runs import Run

ITERATION_MEMORY = 1 << 30
"""How many bytes the states of one attack may take in a scene, unless told otherwise."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class States:
    """The states of an attack that are kept, as the nodes will hold them; made without the scene.

    Attributes:
        iterations: the number of each state's iteration.
        volumes: each state's image of each channel.
        labels: each state's label image.
        left_out: what was left out, in words; empty if nothing was.
    """

    iterations: tuple[int, ...]
    volumes: Mapping[str, Sequence[Voxels]]
    labels: Sequence[Any]
    left_out: str


def states_of(case: Case, snapshots: Sequence[Snapshot], channels: Sequence[str], memory: int) -> States:
    """The states of some channels. Where all of them need more than `memory` bytes, an even choice, with first and last."""
    kinds = {channel: _voxel_type(case, channel, snapshots) for channel in channels}
    kept, left_out = _within(snapshots, sum(x.itemsize for x in kinds.values()), memory)
    positions = {channel: case.channel_index(channel) for channel in channels}
    return States(
        iterations=tuple(x.iteration for x in kept),
        volumes={x: [voxels(state.image[n].astype(kinds[x])) for state in kept] for x, n in positions.items()},
        labels=[label_image(state.segmentation, case.affine) for state in kept],
        left_out=left_out,
    )


def add_iterations(
    run: Run, states: States, inputs: Mapping[str, Any], affine: np.ndarray, classes: Mapping[int, str]
) -> Steps[tuple[Any, list[Any], list[Any]]]:
    """Add a sequence for each channel in `inputs` and one of segmentations, and the browser that scrubs through them.

    Returns:
        The browser, the sequences, and the nodes in which the browser shows the selected iteration.
    """
    if states.left_out:
        _log.warning("%s: %s", run.summary, states.left_out)
    sequences = []
    for channel, volume in inputs.items():
        sequence = _new_sequence(f"{volume.GetName()} iterations - {run.summary}")
        for iteration, content in zip(states.iterations, states.volumes[channel]):
            fill_volume(_new_state(sequence, "vtkMRMLScalarVolumeNode", iteration), content, affine)
        sequences.append(run.file(put_node(run.scene, sequence), "iterations", channel))
        yield None
    sequence = _new_sequence(f"segmentation iterations - {run.summary}")
    for iteration, image in zip(states.iterations, states.labels):
        fill_segmentation(_new_state(sequence, "vtkMRMLSegmentationNode", iteration), image, affine, classes)
    sequences.append(run.file(put_node(run.scene, sequence), "iterations"))
    yield None
    browser = run.file(add_node(run.scene, "vtkMRMLSequenceBrowserNode", f"iterations - {run.summary}"), "iterations")
    browser.SetDescription(states.left_out)
    yield None
    proxies = yield from _add_proxies(browser, sequences)
    _synchronize(browser, sequences)
    yield None
    images = [*(contents[-1].image for contents in map(states.volumes.__getitem__, inputs)), states.labels[-1]]
    yield from _fill_proxies(proxies, images, list(inputs.values()), classes)
    # last, because they lose their marks whenever the browser fills them anew
    run.file_all(proxies, "iterations")
    return browser, sequences, proxies


def _new_sequence(name: str) -> Any:
    """A sequence that is in no scene yet: there, each state that it gets would be an event for everybody."""
    import slicer

    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetName(name)
    sequence.SetIndexName("iteration")
    sequence.SetIndexUnit("")
    sequence.SetIndexType(sequence.NumericIndex)
    return sequence


def _new_state(sequence: Any, class_name: str, iteration: int) -> Any:
    """The empty node of a state. A sequence copies what it is given: what the state holds it gets afterwards."""
    import slicer

    sequence.SetDataNodeAtValue(getattr(slicer, class_name)(), str(iteration))
    return sequence.GetDataNodeAtValue(str(iteration))


def _add_proxies(browser: Any, sequences: Sequence[Any]) -> Steps[list[Any]]:
    """The nodes in which a browser will show the selected iteration, still empty. Making them itself, it copies all voxels."""
    import slicer

    proxies, scene = [], browser.GetScene()
    for sequence in sequences:
        proxy = getattr(slicer, sequence.GetDataNodeClassName())()
        proxy.SetName(sequence.GetName())
        proxy = put_node(scene, proxy)
        proxy.AddDefaultStorageNode()
        browser.DisableModifiedEventOn()
        if sequence is sequences[0]:
            browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
            browser.SelectLastItem()
        else:
            browser.AddSynchronizedSequenceNode(sequence)
        browser.AddProxyNode(proxy, sequence, False)
        browser.SetSaveChanges(sequence, True)
        browser.DisableModifiedEventOff()
        proxies.append(proxy)
        yield None
    return proxies


def _synchronize(browser: Any, sequences: Sequence[Any]) -> None:
    """Let a browser take its proxies up, which share the voxels with the sequences for this moment: otherwise all of them
    would be copied at once."""
    browser.Modified()
    browser.DisableModifiedEventOn()
    for sequence in sequences:
        browser.SetSaveChanges(sequence, False)
    browser.DisableModifiedEventOff()


def _fill_proxies(
    proxies: Sequence[Any], images: Sequence[Any], inputs: Sequence[Any], classes: Mapping[int, str]
) -> Steps[None]:
    """Give the proxies the last state, with voxels of their own, displayed and transformed as the inputs."""
    for proxy, image, like in zip(proxies, images, [*inputs, None]):
        own = yield from in_background(functools.partial(copy_of, image))
        if like is not None:
            proxy.SetAndObserveImageData(own)
            give_display(proxy.GetScene(), proxy)
            display_like(proxy, like)
        else:
            proxy.SetAndObserveSegmentation(new_segmentation(own, classes))
            proxy.CreateDefaultDisplayNodes()
            show_clearly(proxy.GetDisplayNode())
            proxy.GetDisplayNode().SetVisibility(False)
        proxy.SetAndObserveTransformNodeID(inputs[0].GetTransformNodeID())
        yield None


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
