"""A case, and what an attack did to it, as nodes of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.case import Case, stored
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import (
    all_or_nothing,
    current_scene,
    hierarchy_item,
    nodes_of,
    put_in_folder,
    subject_hierarchy,
)
from SegAdversarialLib.scene.iterations import add_iterations
from SegAdversarialLib.scene.segmentations import add_segmentation, classes_of
from SegAdversarialLib.scene.tables import add_dice_plot, add_metrics_table, add_trace_tables
from SegAdversarialLib.scene.volumes import add_input_volume, add_perturbation_volume, add_volume_like

if TYPE_CHECKING:
    from SegAdversarialLib.evaluation import Evaluation
    from SegAdversarialLib.result import AttackResult

ROLE = "SegAdversarial.Role"
"""The node attribute that says what a node of ours is: "input", "adversarial", "perturbation", "reference", ..."""


@dataclass(frozen=True, eq=False)
class CaseNodes:
    """A case in a scene.

    Attributes:
        channels: the scalar volume of each channel.
        reference: the segmentation of the reference labels, or None.
        folder: the subject hierarchy item that holds them.
    """

    channels: dict[str, Any]
    reference: Any
    folder: int


@dataclass(frozen=True, eq=False)
class ResultNodes:
    """What an attack did to a case, in a scene.

    Attributes:
        folder: the run's subject hierarchy item.
        inputs: the volume of each attacked channel before the attack.
        adversarial: the same channels' volumes after it.
        perturbation: what was added, for each channel that changed.
        reference: the segmentation of the reference labels, or None.
        clean, attacked: what the network says of the input and of the adversarial image.
        metrics: the table of all metrics before and after.
        traces: the trace's table for each restart; empty without a trace.
        chart, series: Dice against iteration; None and empty without a trace.
        browser, sequences, proxies: the iterations, and the nodes that show the selected one; None and empty without
            snapshots.
    """

    folder: int
    inputs: dict[str, Any]
    adversarial: dict[str, Any]
    perturbation: dict[str, Any]
    reference: Any
    clean: Any
    attacked: Any
    metrics: Any
    traces: dict[int, Any] = field(default_factory=dict)
    chart: Any = None
    series: list[Any] = field(default_factory=list)
    browser: Any = None
    sequences: list[Any] = field(default_factory=list)
    proxies: list[Any] = field(default_factory=list)


def add_case(case: Case, scene: Any = None, *, names: Mapping[int, str] | None = None) -> CaseNodes:
    """Add a case's channels and reference labels to a scene, in a subject hierarchy folder with the case's name.

    Args:
        case: the subject. Each channel is stored in its own voxel type.
        scene: Slicer's own unless given.
        names: the label values' names; the case's own unless given.

    Raises:
        InputError: the scene cannot hold the nodes. The scene is then as it was.
    """
    scene = current_scene(scene)
    with all_or_nothing(scene):
        hierarchy = subject_hierarchy(scene)
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), case.name or "case")
        assert case.dtypes is not None
        channels = {}
        for channel, values, dtype in zip(case.channels, case.image, case.dtypes):
            name = f"{case.name} {channel}".strip()
            channels[channel] = add_input_volume(scene, name, stored(values, dtype), case.affine)
            _file_under(scene, folder, channels[channel], "input")
        reference = _add_reference(scene, case, classes_of(names or case.label_names, [case.label]), channels)
        return CaseNodes(channels, reference, folder)


def add_result(
    result: AttackResult,
    evaluation: Evaluation,
    inputs: Mapping[str, Any] | None = None,
    scene: Any = None,
    *,
    names: Mapping[int, str] | None = None,
) -> ResultNodes:
    """Add what an attack did to a scene, in a subject hierarchy folder beside the input that is named after the attack.

    The inputs are left as they are. Of the segmentations only the attacked one starts visible, so that they do not cover
    each other. The reference labels are added beside the input once for each case.

    Args:
        result: what the attack gave back.
        evaluation: the metrics and the network's answers on both images.
        inputs: the volume node of each channel; without them the case is added first (`add_case`).
        scene: Slicer's own unless given.
        names: the label values' names; the case's own unless given.

    Raises:
        InputError: an attacked channel has no input node, or the label maps lie on another grid than the image. Whatever is
            raised, the scene is then as it was.
    """
    scene = current_scene(scene)
    case = result.original
    _check_shapes(case, evaluation)
    with all_or_nothing(scene):
        named = names or case.label_names
        classes = classes_of(named, [case.label, evaluation.clean, evaluation.attacked])
        if inputs is None:
            inputs = add_case(case, scene, names=classes).channels
        attacked = {channel: _input_of(inputs, channel) for channel in attacked_channels(result)}
        reference = None
        if case.label is not None:
            reference = _reference_of(scene, inputs) or _add_reference(scene, case, classes, inputs)
        return _add_run(scene, result, evaluation, attacked, reference, classes)


def attacked_channels(result: AttackResult) -> list[str]:
    """The channels that the attack was told to attack or that it changed; all of them if it neither was nor did."""
    case = result.original
    chosen = {case.channel_index(x) for x in result.attack.channels or ()} | set(changed_positions(result))
    return [case.channels[n] for n in sorted(chosen)] or list(case.channels)


def changed_positions(result: AttackResult) -> list[int]:
    """The positions of the channels to which something other than 0 was added."""
    additive = result.perturbation.additive
    return [] if additive is None else [n for n, values in enumerate(additive) if np.any(values)]


def _add_run(
    scene: Any,
    result: AttackResult,
    evaluation: Evaluation,
    inputs: dict[str, Any],
    reference: Any,
    classes: Mapping[int, str],
) -> ResultNodes:
    summary, affine, first = result.attack.summary(), result.original.affine, next(iter(inputs.values()))
    folder = _run_folder(scene, summary, first)
    adversarial, perturbation = _add_images(scene, folder, result, inputs)
    segmentations = {}
    for role, labels in (("clean", evaluation.clean), ("attacked", evaluation.attacked)):
        node = add_segmentation(scene, f"{role} segmentation - {summary}", labels, affine, classes, first)
        node.GetDisplayNode().SetVisibility(role == "attacked")
        segmentations[role] = _file_under(scene, folder, node, role)
    metrics = _file_under(scene, folder, add_metrics_table(scene, f"metrics - {summary}", evaluation.rows), "metrics")
    traces = add_trace_tables(scene, f"trace - {summary}", result.trace)
    chart: Any = None
    series: list[Any] = []
    if traces:
        name = f"Dice against iteration - {summary}"
        chart, series = add_dice_plot(scene, name, f"Dice against iteration: {summary}", traces, classes)
        _file_all_under(scene, folder, [*traces.values(), chart, *series], "trace")
    browser: Any = None
    sequences: list[Any] = []
    proxies: list[Any] = []
    if result.snapshots:
        changed = {x: inputs[x] for x in perturbation} or inputs
        browser, sequences, proxies = add_iterations(scene, summary, result.original, result.snapshots, changed, classes)
        _file_all_under(scene, folder, [browser, *sequences, *proxies], "iterations")
    return ResultNodes(
        folder, inputs, adversarial, perturbation, reference, segmentations["clean"], segmentations["attacked"], metrics,
        traces, chart, series, browser, sequences, proxies,
    )  # fmt: skip


def _add_images(
    scene: Any, folder: int, result: AttackResult, inputs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The adversarial channels, and what was added to those that changed."""
    case, summary = result.adversarial, result.attack.summary()
    changed = {case.channels[n] for n in changed_positions(result)}
    adversarial, perturbation = {}, {}
    assert case.dtypes is not None
    for channel, volume in inputs.items():
        n = case.channel_index(channel)
        values = stored(case.image[n], case.dtypes[n])
        node = add_volume_like(scene, f"{volume.GetName()} adversarial - {summary}", values, case.affine, volume)
        node.SetDescription(f"{summary}; seed {result.attack.seed}; network {result.model or 'none'}")
        adversarial[channel] = _file_under(scene, folder, node, "adversarial")
        if channel in changed:
            assert result.perturbation.additive is not None
            name, added = f"{volume.GetName()} change - {summary}", result.perturbation.additive[n]
            node = add_perturbation_volume(scene, name, f"change of {channel}", added, case.affine, volume)
            perturbation[channel] = _file_under(scene, folder, node, "perturbation")
    return adversarial, perturbation


def _add_reference(scene: Any, case: Case, classes: Mapping[int, str], inputs: Mapping[str, Any]) -> Any:
    """The reference labels beside the first input, or None where the case has none."""
    if case.label is None:
        return None
    first = next(iter(inputs.values()))
    node = add_segmentation(scene, f"{case.name} reference".strip(), case.label, case.affine, classes, first)
    hierarchy = subject_hierarchy(scene)
    return _file_under(scene, hierarchy.GetItemParent(hierarchy_item(scene, first)), node, "reference")


def _reference_of(scene: Any, inputs: Mapping[str, Any]) -> Any:
    """The reference segmentation that was added beside one of these inputs before."""
    import slicer

    own = {volume.GetID() for volume in inputs.values()}
    grid = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    for node in nodes_of(scene):
        if node.GetAttribute(ROLE) == "reference" and node.GetNodeReferenceID(grid) in own:
            return node
    return None


def _run_folder(scene: Any, summary: str, beside: Any) -> int:
    hierarchy = subject_hierarchy(scene)
    return hierarchy.CreateFolderItem(hierarchy.GetItemParent(hierarchy_item(scene, beside)), summary)


def _file_under(scene: Any, folder: int, node: Any, role: str) -> Any:
    node.SetAttribute(ROLE, role)
    put_in_folder(scene, folder, node)
    return node


def _file_all_under(scene: Any, folder: int, nodes: list[Any], role: str) -> None:
    for node in nodes:
        _file_under(scene, folder, node, role)


def _input_of(inputs: Mapping[str, Any], channel: str) -> Any:
    for name, node in inputs.items():
        if name.lower() == channel.lower():
            return node
    raise InputError(
        f"Channel {channel} was attacked, but its input volume was not given; given: {', '.join(inputs) or 'none'}."
    )


def _check_shapes(case: Case, evaluation: Evaluation) -> None:
    for what, labels in (("clean", evaluation.clean), ("attacked", evaluation.attacked)):
        if labels.shape != case.shape:
            raise InputError(
                f"The {what} segmentation has the shape {labels.shape}, the image {case.shape}; "
                "the evaluation belongs to another case."
            )
