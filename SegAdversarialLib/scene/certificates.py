"""A certificate as nodes of a scene: the smoothed answer, where it abstains, and how the noisy copies voted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import added_whole, current_scene
from SegAdversarialLib.scene.nodes import CertificateNodes
from SegAdversarialLib.scene.results import case_steps
from SegAdversarialLib.scene.runs import CERTIFICATE, Run
from SegAdversarialLib.scene.segmentations import add_segmentation, classes_of, segment_id
from SegAdversarialLib.scene.steps import Steps, finished, in_background
from SegAdversarialLib.scene.tables import add_metrics_table
from SegAdversarialLib.scene.volumes import add_color_legend, add_volume, color_table
from SegAdversarialLib.scene.voxels import Voxels, label_image, voxels
from SegAdversarialLib.volumes.case import Case

COLOR_NODE_NAME = "SegAdversarial votes"
ABSTAINED = "abstained"
"""The name of the segment of voxels for which nothing is certain."""

_STRIKING = (0.95, 0.25, 0.85)
"""The colour of abstained voxels, which no class and no image has."""

# From a warning orange at half of the votes to a quiet dark at all of them: what is undecided stands out in Slicer's views.
_VOTES = np.array([(1.00, 0.78, 0.36), (0.86, 0.42, 0.26), (0.56, 0.20, 0.36), (0.24, 0.12, 0.32), (0.05, 0.05, 0.08)])
_NUMBER_OF_COLORS = 255
_LEAST_SHOWN = 0.5
"""The share of votes at which the colours begin: with less than half there is no answer to speak of."""


def add_certificate(
    case: Case,
    labels: np.ndarray,
    abstained: np.ndarray,
    vote_share: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Any] | None = None,
    scene: Any = None,
    *,
    title: str = "certificate",
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
) -> CertificateNodes:
    """Add a certificate to a scene, in a subject hierarchy folder beside the input.

    Args:
        case: the subject.
        labels: (K, J, I) label map of the smoothed answer.
        abstained: (K, J, I) bool, where it is not certain.
        vote_share: (K, J, I) float32 in [0, 1].
        rows: the certificate's table.
        inputs: the volume node of each channel; without them the case is added first (`add_case`).
        scene: Slicer's own unless given.
        title: the folder's name, which the nodes' names end with.
        names: the label values' names; the case's own unless given.
        record: how it was made, as plain JSON data; its rows unless given.

    Raises:
        InputError: an array lies on another grid than the image, or the labels use up all values. The scene is then as it was.
    """
    steps = certificate_steps(
        case, labels, abstained, vote_share, rows, inputs, scene, title=title, names=names, record=record
    )
    return finished(steps)


def certificate_steps(
    case: Case,
    labels: np.ndarray,
    abstained: np.ndarray,
    vote_share: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Any] | None = None,
    scene: Any = None,
    *,
    title: str = "certificate",
    names: Mapping[int, str] | None = None,
    record: Mapping[str, Any] | None = None,
) -> Steps[CertificateNodes]:
    """`add_certificate` in steps."""
    scene = current_scene(scene)
    for what, values in (("label map", labels), ("map of abstained voxels", abstained), ("share of votes", vote_share)):
        if values.shape != case.shape:
            raise InputError(f"The {what} has the shape {values.shape}, the image {case.shape}; it belongs to another case.")
    classes = yield from in_background(lambda: classes_of(names or case.label_names, [case.label, labels]))
    value = max(classes, default=0) + 1
    if value > np.iinfo(np.int16).max:
        raise InputError("The labels leave no value for the abstained voxels; use smaller label values.")
    image = yield from in_background(
        lambda: label_image(np.where(abstained, np.int16(value), labels).astype(np.int16), case.affine)
    )
    share = yield from in_background(lambda: voxels(vote_share.astype(np.float32)))

    def add() -> Steps[CertificateNodes]:
        given = inputs
        if given is None:
            given = (yield from case_steps(case, scene, names=classes)).channels
        run = Run(scene, CERTIFICATE, title, given)
        segmentation = run.file(_add_answer(run, case, image, classes, value), "certified")
        yield None
        votes = run.file(_add_votes(run, case, share), "votes")
        yield None
        return CertificateNodes(
            run=run.identifier,
            summary=title,
            folder=run.folder,
            inputs=run.inputs,
            segmentation=segmentation,
            votes=votes,
            table=run.file_table(add_metrics_table(scene, f"metrics - {title}", rows)),
            configuration=run.add_configuration(record or {"case": case.name, "evaluation": list(rows)}),
        )

    return (yield from added_whole(scene, add()))


def _add_answer(run: Run, case: Case, image: Any, classes: Mapping[int, str], abstained: int) -> Any:
    """The smoothed answer where it is certain; the other voxels, of this value, are a segment of their own."""
    every = {**classes, abstained: ABSTAINED}
    first = next(iter(run.inputs.values()))
    node = add_segmentation(run.scene, f"certified segmentation - {run.summary}", image, case.affine, every, first)
    node.GetSegmentation().GetSegment(segment_id(abstained)).SetColor(*_STRIKING)
    return node


def _add_votes(run: Run, case: Case, share: Voxels) -> Any:
    """The share of votes in colours, with a legend."""
    node = add_volume(run.scene, f"share of votes - {run.summary}", share, case.affine)
    node.SetAndObserveTransformNodeID(next(iter(run.inputs.values())).GetTransformNodeID())
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_color_node(run.scene).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(_LEAST_SHOWN, 1.0)
    display.SetInterpolate(False)  # every voxel was certified by itself
    add_color_legend(run.scene, node, "share of votes")
    return node


def _color_node(scene: Any) -> Any:
    """The colour table of all shares of votes in a scene."""
    places, stops = np.linspace(0, 1, _NUMBER_OF_COLORS), np.linspace(0, 1, len(_VOTES))
    colors = np.stack([np.interp(places, stops, part) for part in _VOTES.T], axis=1)
    return color_table(scene, COLOR_NODE_NAME, colors, [f"{_LEAST_SHOWN + x * (1 - _LEAST_SHOWN):.3f}" for x in places])
