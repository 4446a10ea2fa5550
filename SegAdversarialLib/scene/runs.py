"""Runs: which nodes of a scene belong together, written on the nodes themselves, so that it is saved with the scene."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import (
    add_node,
    current_scene,
    hierarchy_item,
    nodes_of,
    put_in_folder,
    subject_hierarchy,
)
from SegAdversarialLib.scene.nodes import CertificateNodes, FigureNodes, ResultNodes, SegmentationNodes

ROLE = "SegAdversarial.Role"
"""The node attribute that says what a node of ours is: "input", "adversarial", "perturbation", "reference", ...; here the
change of a channel as a whole has the role "perturbation", its parts have "added", "bias" and "displacement"."""

RUN = "SegAdversarial.Run"
"""The node attribute that holds the identifier of the run that made a node."""

SUMMARY = "SegAdversarial.Summary"
"""The node attribute that says in a few words what the run was."""

CHANNEL = "SegAdversarial.Channel"
"""The node attribute of volumes, and of their sequences, that names the channel."""

_CHANNELS = "SegAdversarial.Channels"
_KIND = "SegAdversarial.Kind"
_MADE = "SegAdversarial.Made"
_RESTART = "SegAdversarial.Restart"
_INPUT = "SegAdversarial.Input"
_ADVERSARIAL = "SegAdversarial.Adversarial"
_REFERENCE = "SegAdversarial.Reference"

RESULT, SEGMENTATION, CERTIFICATE = "result", "segmentation", "certificate"
"""Kinds of runs: those that are `ResultNodes`, what a network says of a case, and what of that is certain."""

AUDIT, TRAINING, STUDY = "audit", "training", "study"
"""Kinds of runs that have figures and no volumes."""

AnyRun = ResultNodes | SegmentationNodes | CertificateNodes | FigureNodes


class Run:
    """A run that is being put into a scene: its identifier, its folder, and the marks on its nodes."""

    def __init__(self, scene: Any, kind: str, summary: str, inputs: Mapping[str, Any], reference: Any = None) -> None:
        """Begin a run in a new folder beside the first input, or, without inputs, at the top."""
        self.scene, self.summary, self.inputs = scene, summary, dict(inputs)
        self.identifier = uuid.uuid4().hex
        self._kind, self.reference = kind, reference
        self._made = datetime.now(UTC).isoformat(timespec="microseconds")
        hierarchy = subject_hierarchy(scene)
        first = next(iter(self.inputs.values()), None)
        place = hierarchy.GetSceneItemID() if first is None else hierarchy.GetItemParent(hierarchy_item(scene, first))
        self.folder: int = hierarchy.CreateFolderItem(place, summary)

    def file(self, node: Any, role: str, channel: str = "") -> Any:
        """Mark a node as the run's, and move it into the run's folder."""
        marks = {RUN: self.identifier, SUMMARY: self.summary, ROLE: role, _KIND: self._kind, _MADE: self._made}
        # one event for all of them: a volume takes long to answer each
        modifying = node.StartModify()
        for name, value in {**marks, CHANNEL: channel}.items():
            if value:
                node.SetAttribute(name, value)
        node.EndModify(modifying)
        put_in_folder(self.scene, self.folder, node)
        return node

    def file_all(self, nodes: Sequence[Any], role: str) -> None:
        """Mark and move several nodes."""
        for node in nodes:
            self.file(node, role)

    def file_traces(self, tables: Mapping[int, Any]) -> None:
        """Mark and move the trace's table of each restart."""
        for restart, table in tables.items():
            self.file(table, "trace").SetAttribute(_RESTART, str(restart))

    def file_table(self, table: Any, adversarial: Mapping[str, Any] | None = None) -> Any:
        """Mark and move the table of metrics, and let it refer to the images that it speaks of.

        Args:
            adversarial: the images after an attack that this run has not made.
        """
        self.file(table, "metrics")
        self._refer(table, adversarial)
        return table

    def add_configuration(self, record: Mapping[str, Any], adversarial: Mapping[str, Any] | None = None) -> Any:
        """Add the text node that says how the result was made: JSON, with null for numbers that JSON lacks."""
        node = add_node(self.scene, "vtkMRMLTextNode", f"configuration - {self.summary}")
        strict = json.loads(json.dumps(record), parse_constant=lambda _: None)
        node.SetText(json.dumps(strict, indent=2, ensure_ascii=False))
        self.file(node, "configuration")
        self._refer(node, adversarial)
        return node

    def _refer(self, node: Any, adversarial: Mapping[str, Any] | None) -> None:
        """Remember the nodes that the run has not made. Names of channels may hold any character, names of roles may not."""
        node.SetAttribute(_CHANNELS, json.dumps(list(self.inputs)))
        for n, (channel, volume) in enumerate(self.inputs.items()):
            node.SetNodeReferenceID(f"{_INPUT}.{n}", volume.GetID())
            if adversarial and channel in adversarial:
                node.SetNodeReferenceID(f"{_ADVERSARIAL}.{n}", adversarial[channel].GetID())
        if self.reference is not None:
            node.SetNodeReferenceID(_REFERENCE, self.reference.GetID())


def find_results(scene: Any = None) -> list[ResultNodes]:
    """All results of attacks and evaluations in a scene, in the order in which they were made; see `find_runs`."""
    return [x for x in find_runs(scene) if isinstance(x, ResultNodes)]


def find_runs(scene: Any = None) -> list[AnyRun]:
    """All that runs have left in a scene (attacks, evaluations, segmentations, certificates, audits, trainings, studies), in
    the order in which they were made.

    They are found by the marks on their nodes, so also in a scene that was read from a file. A run counts as long as its
    table or its configuration is there; whatever else the user has deleted is None or absent.

    Args:
        scene: Slicer's own unless given.
    """
    scene = current_scene(scene)
    runs: dict[str, list[Any]] = {}
    for node in nodes_of(scene):
        if node.GetAttribute(RUN) and node.GetAttribute(_KIND) in _FOUND:
            runs.setdefault(node.GetAttribute(RUN), []).append(node)
    ordered = sorted(runs.values(), key=lambda x: x[0].GetAttribute(_MADE) or "")
    found = [_FOUND[nodes[0].GetAttribute(_KIND)](scene, nodes) for nodes in ordered]
    return [x for x in found if x is not None]


def configuration_of(nodes: AnyRun) -> dict[str, Any]:
    """How a result was made, as plain JSON data.

    Raises:
        InputError: the configuration's text was deleted from the scene, or is damaged.
    """
    what = f'The configuration of "{nodes.summary}"'
    if nodes.configuration is None:
        raise InputError(f"{what} was deleted from the scene; run it again.")
    try:
        record = json.loads(nodes.configuration.GetText() or "")
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise InputError(f"{what} is damaged: the text of {nodes.configuration.GetName()} is no JSON object; run it again.")
    return record


def _found_result(scene: Any, nodes: Sequence[Any]) -> ResultNodes | None:
    first: dict[str, Any] = {}
    volumes: dict[str, dict[str, Any]] = {"adversarial": {}, "perturbation": {}, "added": {}, "bias": {}}
    for node in nodes:
        role = node.GetAttribute(ROLE)
        if role in volumes:
            # a copy that the user made has the same marks; the run's own node is the first
            volumes[role].setdefault(node.GetAttribute(CHANNEL) or "", node)
        else:
            first.setdefault(role, node)
    if (anchor := _anchor(first)) is None:
        return None
    traced = [x for x in nodes if x.GetAttribute(ROLE) == "trace"]
    tables = {int(x.GetAttribute(_RESTART)): x for x in reversed(traced) if (x.GetAttribute(_RESTART) or "").isdecimal()}
    browser, sequences, proxies = _found_iterations(nodes)
    inputs, bias = _referred(anchor, _INPUT), volumes["bias"]
    return ResultNodes(
        **_about(scene, anchor, first),
        inputs=inputs,
        adversarial=volumes["adversarial"] or _referred(anchor, _ADVERSARIAL),
        perturbation=volumes["perturbation"],
        added=volumes["added"],
        # a single bias field, which names no channel, is that of all
        bias=dict.fromkeys([*inputs, *volumes["adversarial"]], bias[""]) if "" in bias else bias,
        displacement=first.get("displacement"),
        moved_reference=first.get("moved reference"),
        reference=anchor.GetNodeReference(_REFERENCE),
        clean=first.get("clean"),
        attacked=first.get("attacked"),
        metrics=first.get("metrics"),
        traces=dict(sorted(tables.items())),
        chart=next((x for x in traced if x.IsA("vtkMRMLPlotChartNode")), None),
        series=[x for x in traced if x.IsA("vtkMRMLPlotSeriesNode")],
        browser=browser,
        sequences=sequences,
        proxies=proxies,
    )


def _found_segmentation(scene: Any, nodes: Sequence[Any]) -> SegmentationNodes | None:
    first = _by_role(nodes)
    if (anchor := _anchor(first)) is None:
        return None
    return SegmentationNodes(
        **_about(scene, anchor, first),
        inputs=_referred(anchor, _INPUT),
        segmentation=first.get("segmentation"),
        table=first.get("metrics"),
    )


def _found_certificate(scene: Any, nodes: Sequence[Any]) -> CertificateNodes | None:
    first = _by_role(nodes)
    if (anchor := _anchor(first)) is None:
        return None
    return CertificateNodes(
        **_about(scene, anchor, first),
        inputs=_referred(anchor, _INPUT),
        segmentation=first.get("certified"),
        votes=first.get("votes"),
        table=first.get("metrics"),
    )


def _found_figures(scene: Any, nodes: Sequence[Any]) -> FigureNodes | None:
    first = _by_role(nodes)
    if (anchor := _anchor(first)) is None:
        return None
    return FigureNodes(
        **_about(scene, anchor, first),
        table=first.get("metrics"),
        numbers=first.get("numbers") or first.get("metrics"),
        chart=first.get("chart"),
        series=[x for x in nodes if x.IsA("vtkMRMLPlotSeriesNode")],
    )


def _anchor(first: Mapping[str, Any]) -> Any:
    """The node of a run that tells of all others; None where the user has deleted what could."""
    return first.get("metrics") or first.get("configuration")


def _about(scene: Any, anchor: Any, first: Mapping[str, Any]) -> dict[str, Any]:
    """What all kinds of runs have."""
    return {
        "run": anchor.GetAttribute(RUN),
        "summary": anchor.GetAttribute(SUMMARY) or "",
        "folder": _folder_of(scene, anchor),
        "configuration": first.get("configuration"),
    }


def _by_role(nodes: Sequence[Any]) -> dict[str, Any]:
    """The first node of each role."""
    first: dict[str, Any] = {}
    for node in nodes:
        first.setdefault(node.GetAttribute(ROLE), node)
    return first


_FOUND: dict[str, Callable[[Any, Sequence[Any]], AnyRun | None]] = {
    RESULT: _found_result,
    SEGMENTATION: _found_segmentation,
    CERTIFICATE: _found_certificate,
    AUDIT: _found_figures,
    TRAINING: _found_figures,
    STUDY: _found_figures,
}


def _folder_of(scene: Any, node: Any) -> int:
    """The subject hierarchy item that holds a node; that of the scene where the node has none."""
    hierarchy = subject_hierarchy(scene)
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemParent(item) if item != hierarchy.GetInvalidItemID() else hierarchy.GetSceneItemID()


def _found_iterations(nodes: Sequence[Any]) -> tuple[Any, list[Any], list[Any]]:
    mine = [x for x in nodes if x.GetAttribute(ROLE) == "iterations"]
    sequences = [x for x in mine if x.IsA("vtkMRMLSequenceNode")]
    browser = next((x for x in mine if x.IsA("vtkMRMLSequenceBrowserNode")), None)
    if browser is None:
        return None, sequences, []
    proxies = [browser.GetProxyNode(x) for x in sequences]
    return browser, sequences, [x for x in proxies if x is not None]


def _referred(anchor: Any, role: str) -> dict[str, Any]:
    """The nodes of each channel that are still there."""
    try:
        channels = [str(x) for x in json.loads(anchor.GetAttribute(_CHANNELS) or "[]")]
    except (ValueError, TypeError):
        return {}
    found = {channel: anchor.GetNodeReference(f"{role}.{n}") for n, channel in enumerate(channels)}
    return {channel: node for channel, node in found.items() if node is not None}
