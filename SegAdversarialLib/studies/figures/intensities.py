"""Intensity histograms and normal QQ plots of each modality, raw and normalised (Cheng's Figs. 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.metrics.normality import quantile_line
from SegAdversarialLib.studies.figures.style import COLORS, new_figure, own_style

if TYPE_CHECKING:
    from SegAdversarialLib.volumes.case import Case

Intensities = Mapping[str, Sequence[np.ndarray]]
"""By channel, the foreground's intensities of each patient."""

MOST_VOXELS = 50_000
"""Of each patient and channel: enough for a histogram, and few enough for a thousand patients."""

_BINS = 60
_POINTS = 200
_TAILS = 0.1, 99.9
"""A histogram shows what lies between these percentiles, so that a few bright voxels do not make it one bar."""


def foreground_intensities(cases: Iterable[Case]) -> dict[str, list[np.ndarray]]:
    """The intensities inside the foreground (above 0 in any channel), by channel; every so many voxels of large cases."""
    found: dict[str, list[np.ndarray]] = {}
    for case in cases:
        inside = (case.image > 0).any(0)
        step = max(1, int(np.count_nonzero(inside)) // MOST_VOXELS)
        for name, channel in zip(case.channels, case.image):
            found.setdefault(name, []).append(np.asarray(channel[inside][::step], dtype=np.float64))
    return found


def histograms(intensities: Intensities) -> Any:
    """The distribution of each channel's intensities, of all patients together: raw, and with each patient normalised."""
    with own_style():
        figure, axes = _grid(intensities)
        for column, (name, values) in enumerate(intensities.items()):
            for axis, shown in zip(axes[:, column], (np.concatenate(values), normalized(values))):
                axis.set_yticks([])
                axis.grid(False)
                if shown.size:
                    low, high = np.percentile(shown, _TAILS)
                    within = (low, high) if low < high else None
                    axis.hist(shown, _BINS, range=within, density=True, color=COLORS[column % len(COLORS)])
            axes[0, column].set_title(name)
            axes[0, column].set_xlabel("intensity (scanner units)")
            axes[1, column].set_xlabel("normalised (SD)")
        for axis, title in zip(axes[:, 0], ("raw", "normalised")):
            axis.set_ylabel(f"{title}: density")
    return figure


def quantile_plots(intensities: Intensities) -> Any:
    """Normal QQ plot of each channel with its least-squares line, slope, intercept and correlation: raw and normalised."""
    with own_style():
        figure, axes = _grid(intensities)
        for column, (name, values) in enumerate(intensities.items()):
            for axis, shown in zip(axes[:, column], (np.concatenate(values), normalized(values))):
                _quantiles(axis, shown, COLORS[column % len(COLORS)])
            axes[0, column].set_title(name)
            axes[1, column].set_xlabel("normal quantiles")
        for axis, title in zip(axes[:, 0], ("raw (scanner units)", "normalised (SD)")):
            axis.set_ylabel(title)
    return figure


def normalized(values: Sequence[np.ndarray]) -> np.ndarray:
    """All patients together, each with mean 0 and standard deviation 1."""
    return np.concatenate([(x - x.mean()) / (x.std() or 1.0) if x.size else x for x in values])


def _grid(intensities: Intensities) -> tuple[Any, Any]:
    count = max(1, len(intensities))
    figure = new_figure(2.3 * count + 0.3, 4.4)
    return figure, figure.subplots(2, count, squeeze=False)


def _quantiles(axis: Any, values: np.ndarray, color: str) -> None:
    """A few hundred of the plot's points, as many lie on each other; the line is that of all."""
    from scipy.stats import probplot

    line = quantile_line(values)
    if values.size < 2:
        return
    theory, ordered = probplot(values, dist="norm", fit=False)
    # the tails by their last points, the middle by evenly spaced quantiles
    chosen = np.searchsorted(theory, np.linspace(theory[0], theory[-1], _POINTS)).clip(0, len(theory) - 1)
    axis.plot(theory[chosen], ordered[chosen], ".", color=color, markersize=3.5)
    ends = theory[[0, -1]]
    axis.plot(ends, line.slope * ends + line.intercept, color="black", linewidth=1)
    # of normalised intensities rounding leaves a mean that is no number to be read
    intercept = 0.0 if abs(line.intercept) < 1e-9 * abs(line.slope) else line.intercept
    words = f"slope {line.slope:.4g}\nintercept {intercept:.4g}\nr {line.correlation:.3f}"
    axis.text(0.04, 0.97, words, transform=axis.transAxes, va="top", fontsize=7.5)
    low, high = sorted((min(ordered[0], line.slope * ends[0] + line.intercept), ordered[-1]))
    axis.set_ylim(low - 0.05 * (high - low), high + 0.35 * (high - low) if high > low else None)
