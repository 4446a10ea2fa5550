"""A study's figures: functions on rows or arrays that return a matplotlib figure; `save` writes it as SVG and PNG."""

from SegAdversarialLib.studies.figures.bars import modality_bars
from SegAdversarialLib.studies.figures.curves import by_budget, by_iteration, by_least_budget
from SegAdversarialLib.studies.figures.intensities import foreground_intensities, histograms, quantile_plots
from SegAdversarialLib.studies.figures.slices import worst_slice
from SegAdversarialLib.studies.figures.style import save

__all__ = [
    "by_budget",
    "by_iteration",
    "by_least_budget",
    "foreground_intensities",
    "histograms",
    "modality_bars",
    "quantile_plots",
    "save",
    "worst_slice",
]
