"""Pictures of results as Slicer's slice views show them, made outside Slicer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.results import attacked_channels
from SegAdversarialLib.scene.segmentations import add_segmentation, classes_of, color_of
from SegAdversarialLib.scene.transforms import add_displacement, displacement_colors
from SegAdversarialLib.scene.view import TILE, Frame, Stage, frame_of, stage
from SegAdversarialLib.scene.volumes import add_input_volume, add_perturbation_volume, add_volume_like, diverging_colors
from SegAdversarialLib.volumes.files import whole_file

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.result import AttackResult
    from SegAdversarialLib.evaluation.evaluation import Evaluation

_DOTS_PER_INCH = 100
_TITLE, _HEAD, _FOOT, _GAP = 64, 76, 64, 16
_BACKGROUND, _TEXT, _FAINT = "#16181d", "#f2f3f5", "#a9b0bb"


@dataclass(frozen=True, eq=False)
class _Scale:
    """What a tile's colours mean: (N, 3) from the least to the greatest value, and these two in words."""

    colors: np.ndarray
    least: str
    greatest: str


@dataclass(frozen=True, eq=False)
class _Tile:
    title: str
    note: str
    pixels: np.ndarray
    scale: _Scale | None = None


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
    around the network's last answer. The section is the one with the largest area that is labelled or where the network's
    answers differ. The patient's right is on the left. For outside Slicer only: it draws in a Slicer without a window;
    inside Slicer, take a screenshot of its own views.

    Args:
        path: a PNG file; it is written whole or not at all.
        channel: the channel to show; the first attacked one unless given.
        names: the label values' names; the case's own unless given.

    Raises:
        InputError: there is no such channel, this process is Slicer, views cannot be drawn on this machine, or the file cannot
            be written.
    """
    path, case = Path(path), result.original
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} must end in .png.")
    shown = case.channels[case.channel_index(channel)] if channel else attacked_channels(result)[0]
    if shown not in attacked_channels(result):
        raise InputError(f"Channel {shown} was not attacked; show one of {', '.join(attacked_channels(result))}.")
    labels = case.label if case.label is not None and (case.label > 0).any() else evaluation.clean
    frame = frame_of(case.channel(shown), (labels > 0) | (evaluation.clean != evaluation.attacked), case.affine)
    classes = classes_of(names or case.label_names, [case.label, evaluation.clean, evaluation.attacked])
    tiles = _draw_tiles(result, evaluation, shown, frame, classes)
    subtitle = ", ".join(x for x in (case.name, shown, f"axial section at S {frame.center[2]:.0f} mm") if x)
    with whole_file(path) as temporary:
        figure = _montage(tiles, result.attack.summary(), subtitle, classes, _moved_reference(result) is not None)
        figure.savefig(temporary, dpi=_DOTS_PER_INCH)
    return path


def _draw_tiles(
    result: AttackResult, evaluation: Evaluation, channel: str, frame: Frame, classes: Mapping[int, str]
) -> list[_Tile]:
    """The tiles, row by row; what was done stands in the last columns."""
    case, rows = result.original, evaluation.rows
    moved = _moved_reference(result)
    with stage() as place:
        before = add_input_volume(place.scene, "before", case.channel(channel), case.affine)
        after = add_volume_like(place.scene, "after", result.adversarial.channel(channel), case.affine, before)

        def tile(title: str, note: str, volume: Any, labels: np.ndarray | None = None, outline: Any = None) -> _Tile:
            over = [
                add_segmentation(place.scene, title, x, case.affine, classes, volume)
                for x in (labels, outline)
                if x is not None
            ]
            if outline is not None:
                _as_answer_and_outline(*over)
            place.show(volume, over)
            return _Tile(title, note, place.draw(frame))

        done = _draw_what_was_done(place, result, channel, frame, before, after)
        above = [tile("Original", channel, before), tile("Adversarial", _quality(rows, channel), after)]
        below = [
            tile("Reference", "" if case.label is not None else "none", before, case.label),
            tile("Network on the original", _dice(rows, "before"), before, evaluation.clean),
            # what moved must lie on the image that moved
            tile(
                "Network on the adversarial",
                _dice(rows, "after"),
                before if moved is None else after,
                evaluation.attacked,
                moved,
            ),
        ]
    first = max(1, len(done) - 1)
    return [*above, *done[:first], *below, *done[first:]]


def _moved_reference(result: AttackResult) -> np.ndarray | None:
    """The reference where it lies after the anatomy has moved; None where it has not, or there is none."""
    before, after = result.original.label, result.adversarial.label
    return None if before is None or after is None or np.array_equal(before, after) else after


def _as_answer_and_outline(answer: Any, reference: Any) -> None:
    answer.GetDisplayNode().SetVisibility2DOutline(False)
    display = reference.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetSliceIntersectionThickness(4)


def _draw_what_was_done(
    place: Stage, result: AttackResult, channel: str, frame: Frame, before: Any, after: Any
) -> list[_Tile]:
    """One tile for each part of the perturbation that changed this channel; with exactly two of them, also the change."""
    case, parts, tiles = result.original, result.perturbation.parts(), list[_Tile]()
    position = case.channel_index(channel)

    def colored(title: str, values: np.ndarray, unit: str = "") -> _Tile:
        node, largest = (
            add_perturbation_volume(place.scene, title, "", values, case.affine, before),
            float(np.abs(values).max()),
        )
        place.show(node, [])
        scale = _Scale(diverging_colors(), f"\N{MINUS SIGN}{largest:.3g}{unit}", f"+{largest:.3g}{unit}")
        return _Tile(title, "" if largest else "none", place.draw(frame), scale if largest else None)

    change = result.adversarial.channel(channel) - case.channel(channel)
    if not parts.keys() & {"displacement", "log_bias"}:
        return [colored("Change", change)]
    if "displacement" in parts:
        node = add_displacement(place.scene, "displacement", parts["displacement"], case.affine, after)
        place.show(after, [node])
        scale = _Scale(displacement_colors(), "0", f"{result.perturbation.max_displacement():.3g} mm")
        tiles.append(_Tile("Displacement", "", place.draw(frame), scale))
    if "log_bias" in parts:
        fields = 100 * np.expm1(parts["log_bias"])
        tiles.append(colored("Bias field", fields[position if len(fields) > 1 else 0], " %"))
    if "additive" in parts:
        tiles.append(colored("Added", parts["additive"][position]))
    return [*tiles, colored("Change", change)] if len(tiles) == 2 else tiles


def _montage(tiles: Sequence[_Tile], title: str, subtitle: str, classes: Mapping[int, str], outlined: bool) -> Any:
    """Tiles in two rows, pixel for pixel, with titles above and below the classes' colours and what outlines are."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows, (width, height) = 2, TILE
    columns = -(-len(tiles) // rows)
    total_width = columns * width + (columns + 1) * _GAP
    total_height = _TITLE + rows * (_HEAD + height) + _FOOT
    figure = Figure(figsize=(total_width / _DOTS_PER_INCH, total_height / _DOTS_PER_INCH), facecolor=_BACKGROUND)
    middle = 1 - 0.62 * _TITLE / total_height
    # long names of attacks shrink the line, so that its two ends never meet: 20.5 and 13.5 pixels is a letter's mean width
    shrink = min(1.0, (total_width - 60) / (20.5 * len(title) + 13.5 * len(subtitle)))
    figure.text(_GAP / total_width, middle, title, color=_TEXT, size=25 * shrink, weight="bold", va="center")
    figure.text(1 - _GAP / total_width, middle, subtitle, color=_FAINT, size=19 * shrink, va="center", ha="right")
    for n, tile in enumerate(tiles):
        left = _GAP + (n % columns) * (width + _GAP)
        top = _TITLE + (n // columns) * (_HEAD + height) + _HEAD
        place = (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
        _draw_tile(figure, place, tile)
    if classes:
        patches = [Patch(color=color_of(value), label=name) for value, name in classes.items()]
        if outlined:
            patches.append(Patch(facecolor="none", edgecolor=_TEXT, linewidth=3, label="outline: reference, moved along"))
        figure.legend(
            handles=patches, loc="lower center", ncols=min(len(patches), 6), frameon=False, labelcolor=_TEXT, fontsize=19,
            borderaxespad=0.4,
        )  # fmt: skip
    return figure


def _draw_tile(figure: Any, place: tuple[float, float, float, float], tile: _Tile) -> None:
    axes = figure.add_axes(place)
    axes.imshow(tile.pixels, interpolation="none", aspect="auto")
    axes.set_axis_off()
    above = {"textcoords": "offset points", "xycoords": "axes fraction", "va": "bottom"}
    axes.annotate(tile.title, (0, 1), (2, 9), color=_TEXT, size=21, **above)
    axes.annotate(tile.note, (1, 1), (-2, 10), color=_FAINT, size=17, ha="right", **above)
    axes.text(0.015, 0.5, "R", transform=axes.transAxes, color=_FAINT, size=17, va="center")
    axes.text(0.5, 0.985, "A", transform=axes.transAxes, color=_FAINT, size=17, va="top", ha="center")
    if tile.scale is None:
        return
    bar = axes.inset_axes((0.57, 1.027, 0.23, 0.024))
    bar.imshow(tile.scale.colors[None], aspect="auto")
    bar.set_axis_off()
    for end, text, side in ((0.56, tile.scale.least, "right"), (0.81, tile.scale.greatest, "left")):
        axes.text(end, 1.037, text, transform=axes.transAxes, color=_FAINT, size=17, va="center", ha=side)


def _dice(rows: Sequence[Mapping[str, Any]], when: str) -> str:
    """Dice of up to three structures, or their mean."""
    values = {
        str(x["structure"]): x.get(when) for x in rows if str(x.get("metric", "")).lower() == "dice" and "structure" in x
    }
    known = {name: float(x) for name, x in values.items() if x is not None and np.isfinite(x)}
    if len(known) == 1:
        return f"Dice {next(iter(known.values())):.3f}"
    if len(known) > 3:
        return f"mean Dice {np.mean(list(known.values())):.3f}"
    return "Dice " + ", ".join(f"{name} {value:.2f}" for name, value in known.items()) if known else ""


def _quality(rows: Sequence[Mapping[str, Any]], channel: str) -> str:
    """PSNR of a channel, where it was measured."""
    for row in rows:
        if row.get("channel") == channel and str(row.get("metric", "")).lower().startswith("psnr"):
            return f"{channel}, PSNR {float(row['value']):.1f} dB"
    return channel
