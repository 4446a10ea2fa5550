"""The parts of a perturbation as nodes, where something else was done to an image than adding to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.scene.runs import RUN, Run
from SegAdversarialLib.scene.segmentations import add_segmentation
from SegAdversarialLib.scene.transforms import add_displacement
from SegAdversarialLib.scene.volumes import SCANNER_UNITS, add_perturbation_volume

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import AttackResult


def add_parts(run: Run, result: AttackResult, classes: Mapping[int, str]) -> dict[str, Any]:
    """Add the displacement as a grid transform, and bias field and additive part as volumes, as far as they are there.

    Where the perturbation only adds, the change of the image shows it already. Reference labels that moved with the anatomy
    are added, too, hidden.

    Returns:
        "added", "bias", "displacement" and "moved_reference", as in `ResultNodes`.
    """
    parts, case, first = result.perturbation.parts(), result.original, next(iter(run.inputs.values()))
    found: dict[str, Any] = {"added": {}, "bias": {}, "displacement": None, "moved_reference": None}
    if result.moved_label is not None:
        node = add_segmentation(run.scene, f"moved reference - {run.summary}", result.moved_label, case.affine, classes, first)
        node.GetDisplayNode().SetVisibility(False)
        found["moved_reference"] = run.file(node, "moved reference")
    if not parts.keys() & {"displacement", "log_bias"}:
        return found
    if "displacement" in parts:
        name = f"{case.name} displacement - {run.summary}".strip()
        node = add_displacement(run.scene, name, parts["displacement"], case.affine, first)
        # removed with the run; it is no node that anybody looks for
        node.GetDisplayNode().GetColorNode().SetAttribute(RUN, run.identifier)
        found["displacement"] = run.file(node, "displacement")
    if "log_bias" in parts:
        found["bias"] = _add_bias(run, parts["log_bias"], result)
    if "additive" in parts:
        for channel, volume in run.inputs.items():
            values = parts["additive"][case.channel_index(channel)]
            if values.any():
                name = f"{volume.GetName()} added - {run.summary}"
                node = add_perturbation_volume(
                    run.scene, name, f"{channel} added, {SCANNER_UNITS}", values, case.affine, volume
                )
                found["added"][channel] = run.file(node, "added", channel)
    return found


def _add_bias(run: Run, log_bias: np.ndarray, result: AttackResult) -> Mapping[str, Any]:
    """The bias fields in percent: one volume for each channel, or a single one that stands under all of them."""
    case, first = result.original, next(iter(run.inputs.values()))
    percent = 100 * np.expm1(log_bias)
    if len(percent) == 1:
        name = f"{case.name} bias field - {run.summary}".strip()
        node = add_perturbation_volume(run.scene, name, "bias field (%)", percent[0], case.affine, first)
        return dict.fromkeys(run.inputs, run.file(node, "bias"))
    found = {}
    for channel, volume in run.inputs.items():
        values = percent[case.channel_index(channel)]
        if values.any():
            name = f"{volume.GetName()} bias field - {run.summary}"
            node = add_perturbation_volume(run.scene, name, f"bias field of {channel} (%)", values, case.affine, volume)
            found[channel] = run.file(node, "bias", channel)
    return found
