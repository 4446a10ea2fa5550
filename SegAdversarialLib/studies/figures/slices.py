"""The slice in which an attack changed the answer most, with reference and answers drawn over the images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.figures.style import LABEL_COLORS, add_legend, new_figure, own_style
from SegAdversarialLib.volumes.geometry import orientation_of, spacing_of

if TYPE_CHECKING:
    from SegAdversarialLib.volumes.case import Case

_PANEL = 2.5
_WINDOW = 0.5, 99.8
_OPACITY = 0.45


def worst_slice(
    original: Case, adversarial: Case, before: np.ndarray, after: np.ndarray, *, channel: str = "", title: str = ""
) -> Any:
    """The axial slice in which most voxels have another label after the attack than before it.

    From the left: the image with the reference (where the case has one), with the network's answer, the adversarial image
    with the answer to that, and what was done to the image. Anterior is up and the patient's right at the left.

    Args:
        original, adversarial: the case before and after, on one grid.
        before, after: the network's label maps (K, J, I).
        channel: which is shown; the one that was changed most, measured by its range, unless given.
        title: what stands above.

    Raises:
        InputError: the label maps and cases do not lie on one grid, or there is no such channel.
    """
    _check(original, adversarial, before, after, channel)
    plane = _Axial(original.affine)
    labels = [before, after] if original.label is None else [original.label, before, after]
    number = _worst(plane, labels)
    place = original.channels.index(channel) if channel else _most_changed(original, adversarial)
    image, changed = (plane.of(x.image[place], number).astype(np.float64) for x in (original, adversarial))
    low, high = np.percentile(original.image[place], _WINDOW)
    heads = ["reference", "answer before", "answer after"][-len(labels) :]
    with own_style():
        pictures = [image] * (len(labels) - 1) + [changed]
        size = _panel_size(image.shape, plane.spacing)
        values = sorted({int(x) for y in labels for x in np.unique(y)} - {0})
        figure = new_figure((len(labels) + 1) * size[0] + 0.6, size[1] + 0.7)
        _name(figure, values, original.label_names or {})
        axes = figure.subplots(1, len(labels) + 1)
        for axis, picture, label, head in zip(axes, pictures, labels, heads):
            _show(axis, picture, head, plane, {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-9)})
            _overlay(axis, plane.of(label, number), values, plane)
        most = float(np.abs(changed - image).max()) or 1.0
        drawn = _show(axes[-1], changed - image, "change", plane, {"cmap": "PuOr_r", "vmin": -most, "vmax": most})
        figure.colorbar(drawn, ax=axes[-1], shrink=0.8, pad=0.02)
        axes[0].text(0.02, 0.5, "R", transform=axes[0].transAxes, color="white", va="center", weight="bold")
        words = f"{original.channels[place]}, slice {number + 1} of {plane.count(before)}"
        figure.suptitle(f"{title}: {words}" if title else words, fontsize=11)
    return figure


class _Axial:
    """Axial slices of an array (K, J, I), turned so that anterior is up and the patient's right at the left."""

    def __init__(self, affine: np.ndarray) -> None:
        codes = orientation_of(affine)[::-1]
        along = {frozenset(pair): next(n for n, x in enumerate(codes) if x in pair) for pair in ("SI", "AP", "RL")}
        self._slices, self._rows, self._columns = (along[frozenset(x)] for x in ("SI", "AP", "RL"))
        self._flips = codes[self._rows] == "A", codes[self._columns] == "R"
        sizes = spacing_of(affine)[::-1]
        self.spacing = sizes[self._rows], sizes[self._columns]

    def of(self, array: np.ndarray, number: int) -> np.ndarray:
        """One slice (rows, columns)."""
        found = np.take(array, number, axis=self._slices)
        if self._rows > self._columns:
            found = found.T
        return found[tuple(slice(None, None, -1 if x else 1) for x in self._flips)]

    def count(self, array: np.ndarray) -> int:
        """How many slices there are."""
        return array.shape[self._slices]

    def sums(self, mask: np.ndarray) -> np.ndarray:
        """How many voxels of a mask lie in each slice."""
        counts: np.ndarray = np.count_nonzero(mask, axis=tuple(x for x in range(3) if x != self._slices))
        return counts


def _check(original: Case, adversarial: Case, before: np.ndarray, after: np.ndarray, channel: str) -> None:
    if original.image.shape != adversarial.image.shape or not original.shape == before.shape == after.shape:
        raise InputError(
            f"Cases and answers must lie on one grid; the cases have the shapes {original.image.shape} and "
            f"{adversarial.image.shape}, the answers {before.shape} and {after.shape}."
        )
    if channel and channel not in original.channels:
        raise InputError(f"There is no channel {channel}; there are {', '.join(original.channels)}.")


def _worst(plane: _Axial, labels: list[np.ndarray]) -> int:
    """Where most voxels changed; where none did, where the reference, or else the answer, is largest; else the middle."""
    for mask in (labels[-1] != labels[-2], labels[0] != 0, labels[-1] != 0):
        counts = plane.sums(mask)
        if counts.any():
            return int(np.argmax(counts))
    return plane.count(labels[0]) // 2


def _most_changed(original: Case, adversarial: Case) -> int:
    ranges = [float(np.ptp(x)) or 1.0 for x in original.image]
    changes = [np.abs(y - x).mean() / r for x, y, r in zip(original.image, adversarial.image, ranges)]
    return int(np.argmax(changes))


def _panel_size(shape: tuple[int, ...], spacing: tuple[float, float]) -> tuple[float, float]:
    """In inches: as wide as all others, and as high as the slice's sides ask for."""
    ratio = shape[0] * spacing[0] / (shape[1] * spacing[1])
    return _PANEL, _PANEL * min(max(ratio, 0.4), 1.8)


def _show(axis: Any, picture: np.ndarray, title: str, plane: _Axial, how: Mapping[str, Any]) -> Any:
    axis.set_title(title)
    axis.set_axis_off()
    return axis.imshow(picture, aspect=plane.spacing[0] / plane.spacing[1], interpolation="nearest", **how)


def _overlay(axis: Any, label: np.ndarray, values: Iterable[int], plane: _Axial) -> None:
    from matplotlib.colors import to_rgba

    colors = np.zeros((*label.shape, 4))
    for value in values:
        colors[label == value] = (*to_rgba(color_of(value))[:3], _OPACITY)
        if (label == value).any() and min(label.shape) > 1:
            axis.contour(label == value, levels=[0.5], colors=[color_of(value)], linewidths=0.9)
    axis.imshow(colors, aspect=plane.spacing[0] / plane.spacing[1], interpolation="nearest")


def _name(figure: Any, values: Iterable[int], names: Mapping[int, str]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=color_of(x), label=names.get(x) or f"label {x}") for x in values]
    add_legend(figure, patches)


def color_of(value: int) -> str:
    """The colour of a label value in the figures."""
    return LABEL_COLORS[(value - 1) % len(LABEL_COLORS)]
