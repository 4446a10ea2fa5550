"""Dice by attacked modality."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from SegAdversarialLib.evaluation.statistics import intervals, summary
from SegAdversarialLib.studies.figures.style import COLORS, PANEL, add_legend, new_figure, own_style
from SegAdversarialLib.studies.grouping import ALL, CLEAN, MEAN, UNCHANGED, Condition, Results, in_order
from SegAdversarialLib.studies.layouts import TITLES, Rows

_HATCHES = ("", "//", "..", "xx", "\\\\", "--", "oo")


def modality_bars(rows: Rows, *, network: str = "", attack: str = "", dose: str = "", metric: str = "dice") -> Any:
    """Dice of each structure where one modality is attacked, some, or all, with bootstrap intervals (95 %) over patients.

    Args:
        network, attack: the first ones unless given.
        dose: budget and other settings as `Condition.dose` says; the largest budget that was used on most choices of
            channels unless given.
    """
    from matplotlib.patches import Patch

    results = Results.of(rows)
    network = network or results.networks[0]
    attack = attack or results.conditions[0].attack
    own = [
        x for x in results.conditions if x.attack == attack and any(results.values(network, x, y) for y in results.structures)
    ]
    dose = dose or _fullest(own)
    chosen = sorted((x for x in own if x.dose == dose), key=lambda x: (x.channels == ALL, x.channels.count("+")))
    shown = [*results.structures, *([MEAN] if len(results.structures) > 1 else [])]
    groups = [UNCHANGED, *chosen]
    with own_style():
        width = 0.9 + 0.17 * len(shown) * len(groups) + 0.12 * len(groups)
        figure = new_figure(max(width, PANEL[0]), PANEL[1] + 0.4)
        add_legend(figure, [Patch(label=x, **_style(n)) for n, x in enumerate(shown)])
        axis = figure.add_subplot()
        for n, structure in enumerate(shown):
            _bars(axis, [results.values(network, x, structure, metric) for x in groups], n, len(shown))
        names = [CLEAN, *("all" if x.channels == ALL else x.channels.replace("+", "+\n") for x in chosen)]
        axis.set_xticks(range(len(groups)), names)
        axis.set_ylabel(TITLES.get(metric, metric))
        axis.set_xlabel("Attacked modalities")
        axis.grid(False, axis="x")
        if metric in ("dice", "iou"):
            axis.set_ylim(0, 1)
        figure.suptitle(", ".join(x for x in (network, attack, dose) if x), fontsize=11)
    return figure


def _fullest(conditions: list[Condition]) -> str:
    """The dose that was used on most choices of channels; of several the one with the largest budget."""
    doses = in_order(x.dose for x in conditions)
    used = {x: [y for y in conditions if y.dose == x] for x in doses}
    return max(doses, key=lambda x: (len(used[x]), used[x][0].budget or 0.0), default="")


def _bars(axis: Any, values: list[dict[str, float]], place: int, count: int) -> None:
    width = 0.84 / count
    means = np.array([summary(x).mean for x in values])
    ends = np.array([(x.low, x.high) for x in intervals(values)])
    heights = np.where(np.isfinite(means), means, 0)
    around = np.abs(ends.T - means)
    around[:, ~np.isfinite(ends).all(1)] = math.nan
    axis.bar(
        np.arange(len(values)) + (place - (count - 1) / 2) * width, heights, width * 0.94, yerr=around, **_style(place),
        error_kw={"elinewidth": 0.9, "capsize": 1.5, "capthick": 0.9, "ecolor": "#333333"},
    )  # fmt: skip


def _style(place: int) -> dict[str, Any]:
    """A bar's colour and hatch."""
    color, hatch = COLORS[place % len(COLORS)], _HATCHES[place % len(_HATCHES)]
    return {"facecolor": color, "edgecolor": "white", "linewidth": 0.4, "hatch": hatch}
