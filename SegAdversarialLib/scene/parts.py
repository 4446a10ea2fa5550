"""The parts of a perturbation as nodes, where something else was done to an image than adding to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.scene.runs import RUN, Run
from SegAdversarialLib.scene.segmentations import add_segmentation
from SegAdversarialLib.scene.steps import Steps
from SegAdversarialLib.scene.transforms import Vectors, add_displacement, vectors
from SegAdversarialLib.scene.volumes import SCANNER_UNITS, add_perturbation_volume
from SegAdversarialLib.scene.voxels import Voxels, change_voxels, label_image
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import AttackResult


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a perturbation as their nodes will hold them; made without the scene.

    Attributes:
        moved: the label image of the reference labels that moved with the anatomy, or None.
        displacement: or None.
        bias: in percent, of each channel; under "" a single one that stands under all of them.
        added: the additive part of each channel, where the change has other parts too.
    """

    moved: Any = None
    displacement: Vectors | None = None
    bias: Mapping[str, Voxels] = field(default_factory=dict)
    added: Mapping[str, Voxels] = field(default_factory=dict)


def parts_of(result: AttackResult, channels: Sequence[str]) -> Parts:
    """The parts, as far as they are there. Where the perturbation only adds, the change of the image shows it already."""
    parts, case = result.perturbation.parts(), result.original
    moved_label = result.moved_label
    moved = None if moved_label is None else label_image(moved_label, case.affine)
    if not parts.keys() & {"displacement", "log_bias"}:
        return Parts(moved)
    positions = {channel: case.channel_index(channel) for channel in channels}
    bias, added = {}, {}
    if "log_bias" in parts:
        single = len(parts["log_bias"]) == 1
        for channel, n in {"": 0}.items() if single else positions.items():
            percent = 100 * np.expm1(parts["log_bias"][n])
            if single or percent.any():
                bias[channel] = change_voxels(percent)
    if "additive" in parts:
        added = {x: change_voxels(parts["additive"][n]) for x, n in positions.items() if parts["additive"][n].any()}
    displacement = vectors(parts["displacement"], case.affine) if "displacement" in parts else None
    return Parts(moved, displacement, bias, added)


def add_parts(run: Run, parts: Parts, case: Case, classes: Mapping[int, str]) -> Steps[dict[str, Any]]:
    """Add the displacement as a grid transform, and bias field and additive part as volumes, as far as they are there.

    Reference labels that moved with the anatomy are added, too, hidden.

    Returns:
        "added", "bias", "displacement" and "moved_reference", as in `ResultNodes`.
    """
    first = next(iter(run.inputs.values()))
    found: dict[str, Any] = {"added": {}, "bias": {}, "displacement": None, "moved_reference": None}
    if parts.moved is not None:
        node = add_segmentation(run.scene, f"moved reference - {run.summary}", parts.moved, case.affine, classes, first)
        node.GetDisplayNode().SetVisibility(False)
        found["moved_reference"] = run.file(node, "moved reference")
        yield None
    if parts.displacement is not None:
        name = f"{case.name} displacement - {run.summary}".strip()
        node = add_displacement(run.scene, name, parts.displacement, case.affine, first)
        # removed with the run; it is no node that anybody looks for
        node.GetDisplayNode().GetColorNode().SetAttribute(RUN, run.identifier)
        found["displacement"] = run.file(node, "displacement")
        yield None
    for channel, content in parts.bias.items():
        volume = run.inputs[channel] if channel else first
        name = f"{volume.GetName() if channel else case.name} bias field - {run.summary}".strip()
        title = f"bias field of {channel} (%)" if channel else "bias field (%)"
        node = run.file(add_perturbation_volume(run.scene, name, title, content, case.affine, volume), "bias", channel)
        found["bias"] |= {channel: node} if channel else dict.fromkeys(run.inputs, node)
        yield None
    for channel, content in parts.added.items():
        volume = run.inputs[channel]
        name = f"{volume.GetName()} added - {run.summary}"
        node = add_perturbation_volume(run.scene, name, f"{channel} added, {SCANNER_UNITS}", content, case.affine, volume)
        found["added"][channel] = run.file(node, "added", channel)
        yield None
    return found
