"""Pictures of results as Slicer's slice views show them, made outside Slicer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.metrics import perceptibility
from SegAdversarialLib.scene.montage import DOTS_PER_INCH, Scale, Tile, montage
from SegAdversarialLib.scene.results import attacked_channels
from SegAdversarialLib.scene.segmentations import add_segmentation, classes_of
from SegAdversarialLib.scene.transforms import add_displacement, displacement_colors
from SegAdversarialLib.scene.view import Frame, Stage, frame_of, stage
from SegAdversarialLib.scene.volumes import (
    SCANNER_UNITS,
    add_input_volume,
    add_perturbation_volume,
    add_volume_like,
    diverging_colors,
)
from SegAdversarialLib.volumes.files import whole_file

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import AttackResult
    from SegAdversarialLib.evaluation.evaluation import Evaluation


def picture(
    result: AttackResult,
    evaluation: Evaluation,
    path: str | Path,
    *,
    channel: str | None = None,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Write a picture of a result: six or eight axial slice views of Slicer's with the same section of the body.

    Above: the original, the adversarial image, what was done with its scale. Below: the reference, what the network says of
    the original, what it says of the adversarial image. What was done is the change of the intensities or, where there is
    one, the displacement in mm, as grid lines that were straight before the tissue moved, or the bias field in percent;
    where several things were done, a fourth column shows them. A reference that moved with the anatomy is an outline
    around the network's last answer. The section, and what of it is seen, depend on the original alone, so that pictures of
    several attacks on a case compare: it is the one with the largest area in the reference, else in the network's first
    answer, else where its answers differ. The patient's right is on the left. For outside Slicer only: it draws in a Slicer
    without a window; inside Slicer, take a screenshot of its own views.

    Args:
        path: a PNG file; it is written whole or not at all.
        channel: the channel to show; of those attacked the one that changed most, in its own standard deviations, unless
            given.
        names: the label values' names; the case's own unless given.

    Raises:
        InputError: there is no such channel, this process is Slicer, views cannot be drawn on this machine, or the file cannot
            be written.
    """
    path, case = Path(path), result.original
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} must end in .png.")
    attacked = attacked_channels(result)
    shown = case.channels[case.channel_index(channel)] if channel else most_changed(result)
    if shown not in attacked:
        raise InputError(f"Channel {shown} was not attacked; show one of {', '.join(attacked)}.")
    frame = frame_of(case.image, _labelled(result, evaluation), case.affine)
    classes = classes_of(names or case.label_names, [case.label, evaluation.clean, evaluation.attacked])
    tiles = _draw_tiles(result, evaluation, shown, frame, classes)
    which = f"{shown} (changed most of {len(attacked)})" if len(attacked) > 1 and not channel else shown
    subtitle = ", ".join(x for x in (case.name, which, f"axial section at S {frame.center[2]:.0f} mm") if x)
    outlines = "" if result.moved_label is None else "reference, moved along"
    with whole_file(path) as temporary:
        figure = montage(tiles, title_of(result), subtitle, classes, outlines)
        figure.savefig(temporary, dpi=DOTS_PER_INCH)
    return path


def title_of(result: AttackResult) -> str:
    """The attack in a line; of a search for the least budget, with that of the image that is shown."""
    from SegAdversarialLib.attacks.least_budget import LeastBudget

    attack, found = result.attack, next(iter(result.thresholds), None)
    if found is None or found.upper is None or not isinstance(attack, LeastBudget):
        return attack.summary()
    return attack.summary_at(found.upper / found.largest)


def most_changed(result: AttackResult) -> str:
    """Of the attacked channels the one that changed most, by its mean change in its own standard deviations."""
    case, after = result.original, result.adversarial
    sizes = {x: perceptibility(case.channel(x), after.channel(x)) for x in attacked_channels(result)}
    return max(sizes, key=lambda x: math.inf if math.isnan(sizes[x]) else sizes[x])  # a flat one that is flat no more


def _labelled(result: AttackResult, evaluation: Evaluation) -> np.ndarray:
    """The voxels that the section is chosen by."""
    label = result.original.label
    for labels in (label, evaluation.clean):
        if labels is not None and (labels > 0).any():
            return labels > 0
    differs: np.ndarray = evaluation.clean != evaluation.attacked
    return differs


def _draw_tiles(
    result: AttackResult, evaluation: Evaluation, channel: str, frame: Frame, classes: Mapping[int, str]
) -> list[Tile]:
    """The tiles, row by row; what was done stands in the last columns."""
    case, rows = result.original, evaluation.rows
    with stage() as place:
        before = add_input_volume(place.scene, "before", case.channel(channel), case.affine)
        after = add_volume_like(place.scene, "after", result.adversarial.channel(channel), case.affine, before)

        def tile(title: str, note: str, volume: Any, labels: np.ndarray | None = None, outline: Any = None) -> Tile:
            over = [
                add_segmentation(place.scene, title, x, case.affine, classes, volume)
                for x in (labels, outline)
                if x is not None
            ]
            if outline is not None:
                _as_answer_and_outline(*over)
            place.show(volume, over)
            return Tile(title, note, place.draw(frame))

        done = _draw_what_was_done(place, result, channel, frame, before, after)
        above = [tile("Original", channel, before), tile("Adversarial", _quality(rows, channel), after)]
        below = [
            tile("Reference", "" if case.label is not None else "none", before, case.label),
            tile("Network on the original", dice_in_words(evaluation, "before"), before, evaluation.clean),
            tile(
                "Network on the adversarial",
                dice_in_words(evaluation, "after"),
                after,
                evaluation.attacked,
                result.moved_label,
            ),
        ]
    first = max(1, len(done) - 1)
    return [*above, *done[:first], *below, *done[first:]]


def _as_answer_and_outline(answer: Any, reference: Any) -> None:
    answer.GetDisplayNode().SetVisibility2DOutline(False)
    display = reference.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetSliceIntersectionThickness(4)


def _draw_what_was_done(place: Stage, result: AttackResult, channel: str, frame: Frame, before: Any, after: Any) -> list[Tile]:
    """One tile for each part of the perturbation that changed this channel; with exactly two of them, also the change."""
    case, parts, tiles = result.original, result.perturbation.parts(), list[Tile]()
    position = case.channel_index(channel)

    def colored(title: str, values: np.ndarray, unit: str = SCANNER_UNITS) -> Tile:
        node, largest = (
            add_perturbation_volume(place.scene, title, "", values, case.affine, before),
            float(np.abs(values).max()),
        )
        place.show(node, [])
        scale = Scale(diverging_colors(), f"\N{MINUS SIGN}{largest:.4g}", f"+{largest:.4g}", unit)
        return Tile(title, "" if largest else "none", place.draw(frame), scale if largest else None)

    change = result.adversarial.channel(channel) - case.channel(channel)
    if not parts.keys() & {"displacement", "log_bias"}:
        return [colored("Change", change)]
    if "displacement" in parts:
        node = add_displacement(place.scene, "displacement", parts["displacement"], case.affine, after)
        place.show(after, [node])
        scale = Scale(displacement_colors(), "0", f"{result.perturbation.max_displacement():.3g}", "mm")
        tiles.append(Tile("Displacement", "", place.draw(frame), scale))
    if "log_bias" in parts:
        fields = 100 * np.expm1(parts["log_bias"])
        tiles.append(colored("Bias field", fields[position if len(fields) > 1 else 0], "%"))
    if "additive" in parts:
        tiles.append(colored("Added", parts["additive"][position]))
    return [*tiles, colored("Change", change)] if len(tiles) == 2 else tiles


def dice_in_words(evaluation: Evaluation, when: Literal["before", "after"]) -> str:
    """Dice of up to three structures, or the mean Dice, which is that of the network's own ones."""
    values = {str(x["structure"]): x.get(when) for x in evaluation.rows if x.get("metric") == "Dice"}
    known = {name: float(x) for name, x in values.items() if x is not None and np.isfinite(x)}
    if len(known) == 1:
        return f"Dice {next(iter(known.values())):.3f}"
    if len(known) > 3:
        return f"mean Dice {evaluation.mean_dice[when == 'after']:.3f}"
    return "Dice " + ", ".join(f"{name} {value:.2f}" for name, value in known.items()) if known else ""


def _quality(rows: Sequence[Mapping[str, Any]], channel: str) -> str:
    """PSNR of a channel, where it was measured."""
    for row in rows:
        if row.get("channel") == channel and str(row.get("metric", "")).lower().startswith("psnr"):
            return f"{channel}, PSNR {float(row['value']):.1f} dB"
    return channel
