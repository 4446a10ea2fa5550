"""Tiles with titles and scales as one picture: what stands around the views of Slicer's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from SegAdversarialLib.scene.segmentations import color_of
from SegAdversarialLib.scene.view import TILE

DOTS_PER_INCH = 100

_ROWS = 2
_TITLE, _HEAD, _FOOT, _GAP = 64, 76, 16, 16
_BAR_WIDTH, _BAR_HEIGHT = 120, 17
_BACKGROUND, _TEXT, _FAINT = "#16181d", "#f2f3f5", "#a9b0bb"
_BIG, _MIDDLE, _SMALL, _NOTE = 25, 21, 19, 17


@dataclass(frozen=True, eq=False)
class Scale:
    """What a tile's colours mean: (N, 3) from the least to the greatest value, these two in words, and their unit."""

    colors: np.ndarray
    least: str
    greatest: str
    unit: str


@dataclass(frozen=True, eq=False)
class Tile:
    """A view (height, width, 3) uint8 with what stands above it: a title at the left, a note or a scale at the right."""

    title: str
    note: str
    pixels: np.ndarray
    scale: Scale | None = None


def montage(tiles: Sequence[Tile], title: str, subtitle: str, classes: Mapping[int, str], outlines: str = "") -> Any:
    """Tiles in two rows, pixel for pixel, between a line of titles and the classes' colours; nothing covers a tile.

    Args:
        title: what was done; subtitle: to what. Long ones are written smaller.
        classes: name by label value.
        outlines: what outlines in the tiles are; empty: there are none.

    Returns:
        A matplotlib figure, to be saved with `DOTS_PER_INCH`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = TILE
    columns = -(-len(tiles) // _ROWS)
    size = columns * width + (columns + 1) * _GAP, _TITLE + _ROWS * (_HEAD + height) + _FOOT
    figure = Figure(figsize=_inches(*size), dpi=DOTS_PER_INCH, facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    foot = _FOOT + _add_legend(figure, classes, outlines)
    size = size[0], size[1] - _FOOT + foot
    figure.set_size_inches(*_inches(*size))
    sheet = _Sheet(figure, size)
    _write_line(sheet, _GAP, size[0] - _GAP, size[1] - 0.62 * _TITLE, (title, _BIG, "bold"), (subtitle, _SMALL, "normal"))
    for n, tile in enumerate(tiles):
        left = _GAP + (n % columns) * (width + _GAP)
        bottom = size[1] - _TITLE - (n // columns + 1) * (_HEAD + height)
        _draw_tile(sheet, left, bottom, tile)
    return figure


def _inches(width: float, height: float) -> tuple[float, float]:
    return width / DOTS_PER_INCH, height / DOTS_PER_INCH


class _Sheet:
    """A figure on which everything is placed in pixels, from its lower left corner."""

    def __init__(self, figure: Any, size: tuple[float, float]) -> None:
        self.figure, self._size = figure, size

    def text(self, x: float, y: float, text: str, color: str, size: float, **how: Any) -> Any:
        """Write a text; a matplotlib artist."""
        from matplotlib.transforms import IdentityTransform

        how = {"va": "center", "transform": IdentityTransform(), **how}
        return self.figure.text(x, y, text, color=color, size=size, **how)

    def width(self, artist: Any) -> float:
        """How wide an artist is, in pixels."""
        return float(artist.get_window_extent(self.figure.canvas.get_renderer()).width)

    def image(self, left: float, bottom: float, width: float, height: float, pixels: np.ndarray) -> None:
        """Draw an image that fills a rectangle."""
        across, up = self._size
        axes = self.figure.add_axes((left / across, bottom / up, width / across, height / up))
        axes.imshow(pixels, interpolation="none", aspect="auto")
        axes.set_axis_off()


def _write_line(
    sheet: _Sheet, left: float, right: float, middle: float, first: tuple[str, float, str], last: tuple[str, float, str]
) -> None:
    """Two texts (text, size, weight) at the two ends of a line, made smaller where they would meet."""
    artists = [
        sheet.text(x, middle, text, color, size, weight=weight, ha=side)
        for x, color, side, (text, size, weight) in ((left, _TEXT, "left", first), (right, _FAINT, "right", last))
    ]
    needed = sum(sheet.width(x) for x in artists) + 2 * _GAP
    if needed > right - left:
        for artist in artists:
            artist.set_size(artist.get_size() * (right - left) / needed)


def _draw_tile(sheet: _Sheet, left: float, bottom: float, tile: Tile) -> None:
    width, height = TILE
    middle = bottom + height + 0.36 * _HEAD
    sheet.image(left, bottom, width, height, tile.pixels)
    _write_letters(sheet, left, bottom)
    if tile.scale is None:
        _write_line(sheet, left + 2, left + width - 2, middle, (tile.title, _MIDDLE, "normal"), (tile.note, _NOTE, "normal"))
        return
    sheet.text(left + 2, middle, tile.title, _TEXT, _MIDDLE)
    scale = tile.scale
    greatest = sheet.text(left + width - 2, middle, f"{scale.greatest} {scale.unit}", _FAINT, _NOTE, ha="right")
    start = left + width - 2 - sheet.width(greatest) - 8 - _BAR_WIDTH
    sheet.image(start, middle - _BAR_HEIGHT / 2, _BAR_WIDTH, _BAR_HEIGHT, scale.colors[None])
    sheet.text(start - 8, middle, scale.least, _FAINT, _NOTE, ha="right")


def _write_letters(sheet: _Sheet, left: float, bottom: float) -> None:
    """Where the patient's right and front are, in letters that are seen on black, on white and on every colour."""
    from matplotlib.patheffects import withStroke

    width, height = TILE
    seen = {"path_effects": [withStroke(linewidth=4, foreground="black")], "weight": "bold"}
    sheet.text(left + 10, bottom + height / 2, "R", "white", _NOTE, **seen)
    sheet.text(left + width / 2, bottom + height - 8, "A", "white", _NOTE, va="top", ha="center", **seen)


def _add_legend(figure: Any, classes: Mapping[int, str], outlines: str) -> int:
    """The classes' colours below everything, in as many lines as they need; how high it is, in pixels."""
    from matplotlib.patches import Patch

    patches = [Patch(color=color_of(value), label=name) for value, name in classes.items()]
    if outlines:
        patches.append(Patch(facecolor="none", edgecolor=_TEXT, linewidth=3, label=f"outline: {outlines}"))
    for columns in range(len(patches), 0, -1):
        legend = figure.legend(
            handles=patches, loc="lower center", ncols=columns, frameon=False, labelcolor=_TEXT, fontsize=_SMALL,
            borderaxespad=0.4,
        )  # fmt: skip
        extent = legend.get_window_extent(figure.canvas.get_renderer())
        if columns == 1 or extent.width <= figure.bbox.width:
            return math.ceil(extent.height)  # whole pixels: else the views would be smeared over their neighbours
        legend.remove()
    return 0
