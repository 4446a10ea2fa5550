"""Where the pieces of a case or of a run are in a scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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

    Of a run that is found in a scene again, what the user has deleted is None, or absent where there are several.

    Attributes:
        run: the run's identifier.
        summary: the attack in a few words; the title of an evaluation.
        folder: the run's subject hierarchy item.
        inputs: the volume of each attacked channel before the attack.
        adversarial: the same channels' volumes after it.
        perturbation: by how much the intensities changed, in whichever way, for each channel that changed.
        reference: the segmentation of the reference labels, or None.
        clean, attacked: what the network says of the input and of the adversarial image.
        metrics: the table of all metrics before and after.
        configuration: the text node that says how the result was made (`configuration_of`).
        traces: the trace's table for each restart; empty without a trace.
        chart, series: Dice against iteration; None and empty without a trace.
        added: the additive part of each channel, where the change has other parts too.
        bias: the bias field in percent of each channel; one for all channels stands under each of them.
        displacement: the grid transform that makes the warped volume of the original, or None.
        moved_reference: the segmentation of the reference labels that moved with the anatomy, or None.
        browser, sequences, proxies: the iterations, and the nodes that show the selected one; None and empty without
            snapshots.
    """

    run: str
    summary: str
    folder: int
    inputs: dict[str, Any]
    adversarial: dict[str, Any]
    perturbation: dict[str, Any]
    reference: Any
    clean: Any
    attacked: Any
    metrics: Any
    configuration: Any
    traces: dict[int, Any] = field(default_factory=dict)
    chart: Any = None
    series: list[Any] = field(default_factory=list)
    added: dict[str, Any] = field(default_factory=dict)
    bias: dict[str, Any] = field(default_factory=dict)
    displacement: Any = None
    moved_reference: Any = None
    browser: Any = None
    sequences: list[Any] = field(default_factory=list)
    proxies: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class SegmentationNodes:
    """What a network says of a case, in a scene.

    Attributes:
        run: the run's identifier.
        summary: the title that the caller gave, such as the network's name.
        folder: the run's subject hierarchy item.
        inputs: the volume of each channel that the network was shown.
        segmentation: the network's answer.
        table: its rows, such as Volume and Dice for each structure.
        configuration: the text node that says how it was made (`configuration_of`).
    """

    run: str
    summary: str
    folder: int
    inputs: dict[str, Any]
    segmentation: Any
    table: Any
    configuration: Any


@dataclass(frozen=True, eq=False)
class CertificateNodes:
    """A certificate in a scene.

    Attributes:
        run: the run's identifier.
        summary: the folder's name.
        folder: the run's subject hierarchy item.
        inputs: the volume of each channel.
        segmentation: the smoothed answer, with the abstained voxels as a segment of their own.
        votes: the share of votes as a volume.
        table: the certified, smoothed and network's own Dice and IoU of each structure.
        configuration: the text node that says how it was made.
    """

    run: str
    summary: str
    folder: int
    inputs: dict[str, Any]
    segmentation: Any
    votes: Any
    table: Any
    configuration: Any


@dataclass(frozen=True, eq=False)
class FigureNodes:
    """Figures that belong to no volume, in a scene: what an audit found, how a training went.

    Attributes:
        run: the run's identifier.
        summary: the folder's name.
        folder: the run's subject hierarchy item.
        table: what is read first: the checks of an audit, the epochs of a training.
        numbers: the table that the chart draws.
        chart, series: the curves.
        configuration: the text node that says how it was made.
    """

    run: str
    summary: str
    folder: int
    table: Any
    numbers: Any
    chart: Any
    series: list[Any]
    configuration: Any
