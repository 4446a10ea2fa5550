"""Dice against budget for every network, tried or searched for, and Dice and PSNR against iteration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from SegAdversarialLib.evaluation.statistics import intervals, summary
from SegAdversarialLib.studies.budget_tables import curves
from SegAdversarialLib.studies.figures.style import curve_handles, own_style, panels, series_style
from SegAdversarialLib.studies.grouping import CLEAN, MEAN, Condition, Results, Row, condition_of, in_order, patients
from SegAdversarialLib.studies.layouts import TITLES, Rows, doses_of, networks_under

MOST_BANDS = 8
"""With more curves in a panel their intervals only cover each other."""

_WIDE_RANGE = 50
"""Budgets whose largest is so many times their smallest stand on a logarithmic axis."""


def by_budget(rows: Rows, family: Condition, *, metric: str = "dice", structures: Sequence[str] = ()) -> Any:
    """Dice against the budget of an attack: a panel for each structure, a curve for each network (Liu's Figs. 5 to 8).

    Means over patients with their bootstrap intervals (95 %).

    Args:
        family: one of `layouts.families`.
        structures: all, and their mean where there are several, unless given.
    """
    results = Results.of(rows)
    shown = list(structures) or [*results.structures, *([MEAN] if len(results.counted) > 1 else [])]
    doses = doses_of(results, family)
    known = networks_under(results, family)
    budgets = [x.budget for x in doses]
    unit = next((x for x in map(results.unit, doses) if x), "")
    numbers = [float(n if x is None else x) for n, x in enumerate(budgets)]
    with own_style():
        figure, axes = panels(len(shown), curve_handles(known))
        for structure, axis in zip(shown, axes):
            for n, network in enumerate(known):
                values = [results.values(network, x, structure, metric) for x in doses]
                _curve(axis, numbers, values, n, len(known))
            axis.set_title(structure)
            _budget_axis(axis, doses, numbers, unit)
        _share_axis(axes, TITLES.get(metric, metric), metric in ("dice", "iou"))
        figure.suptitle(family.label, fontsize=11)
    return figure


def by_iteration(traces: Iterable[Row]) -> Any:
    """Dice (mean over structures) and PSNR against the iteration of the attack (Liu's Figs. 3 and 4).

    A curve for each network and attack, of an attack with several budgets under the largest. An attack that stopped early
    stays what it had become.
    """
    rows = [x for x in traces if x.get("iteration") is not None]
    largest: dict[Condition, float] = {}
    for condition in set(map(condition_of, rows)):
        family = replace(condition, budget=None)
        largest[family] = max(largest.get(family, 0.0), condition.budget or 0.0)
    networks = len({x["network"] for x in rows}) > 1
    groups: dict[str, list[Row]] = {}
    for row in rows:
        condition = condition_of(row)
        if (condition.budget or 0.0) < largest[replace(condition, budget=None)]:
            continue
        label = condition.label
        groups.setdefault(f"{row['network']}: {label}" if networks else label, []).append(row)
    with own_style():
        figure, axes = panels(2, curve_handles(groups), share_y=False)
        for n, own in enumerate(groups.values()):
            held = _carried_on(own)
            for axis, column in zip(axes, ("dice mean", "psnr")):
                found = patients(held, column, lambda x: (x["iteration"],))
                steps = sorted(x for (x,) in found)
                _curve(axis, steps, [found[(x,)] for x in steps], n, len(groups))
        for axis, title in zip(axes, ("Dice, mean over structures", "PSNR (dB)")):
            axis.set_xlabel("Iteration")
            axis.set_ylabel(title)
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].set_ylim(0, 1)
    return figure


def by_least_budget(traces: Iterable[Row], bounded_by: str = "budget", scale: float = 1.0) -> Any:
    """Dice against the budget that a search for the least one has tried: a panel for each structure, a curve for each network
    and attack.

    Means over patients with their bootstrap intervals (95 %); see `budget_tables.curves`.

    Args:
        traces: the store's rows of traces, of attacks that are bounded by one setting in one unit.
        bounded_by: what the axis says.
        scale: what it shows is so many times the budget: 100 for percent.
    """
    found = curves(traces)
    networks, attacks = ({x[n] for x in found} for n in (0, 1))
    names = {x: x[0] if len(attacks) == 1 else x[1] if len(networks) == 1 else ": ".join(x) for x in found}
    structures = in_order(x for own in found.values() for x in own)
    shown = structures if len(structures) > 2 else [x for x in structures if x != MEAN] or structures
    with own_style():
        figure, axes = panels(len(shown), curve_handles(names.values()))
        for structure, axis in zip(shown, axes):
            for n, own in enumerate(found.values()):
                places = own.get(structure, [])
                _curve(axis, [scale * x for x, _ in places], [x for _, x in places], n, len(found), holds=True)
            axis.set_title(structure)
            axis.set_xlabel(bounded_by)
        _share_axis(axes, "Dice", True)
    return figure


def _curve(
    axis: Any, places: Sequence[float], values: Sequence[Mapping[str, float]], n: int, count: int, *, holds: bool = False
) -> None:
    """Means with their intervals; places without finite values are left out.

    Args:
        holds: whether a value holds until the next place, so that nothing is drawn in between.
    """
    means = np.array([summary(x).mean for x in values])
    ends = np.array([(x.low, x.high) for x in intervals(values)]) if count <= MOST_BANDS else np.empty((0, 2))
    there = np.isfinite(means)
    style = series_style(n)
    where, how = np.asarray(places, dtype=np.float64)[there], "steps-post" if holds else "default"
    if ends.size:
        # no interval is no band, not one of width 0
        axis.fill_between(where, *ends[there].T, color=style["color"], alpha=0.15, linewidth=0, step="post" if holds else None)
    axis.plot(where, means[there], markevery=max(1, len(where) // 12), clip_on=False, drawstyle=how, **style)


def _budget_axis(axis: Any, doses: Sequence[Condition], numbers: Sequence[float], unit: str) -> None:
    if any(x.budget is None for x in doses):
        axis.set_xticks(numbers, [x.what if x.attack else CLEAN for x in doses])
        return
    name = next(x.budget_name for x in doses)
    axis.set_xlabel(f"{name} ({unit})" if unit else name)
    positive = [x for x in numbers if x > 0]
    if positive and max(positive) >= _WIDE_RANGE * min(positive):
        axis.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        axis.set_xticks(numbers, [f"{x:g}" for x in numbers], rotation=45)
        axis.minorticks_off()


def _share_axis(axes: Sequence[Any], title: str, overlap: bool) -> None:
    for axis in axes:
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel(title)
        if overlap:
            axis.set_ylim(0, 1)


def _carried_on(rows: Sequence[Row]) -> list[Row]:
    """The trace of every cell and restart as long as the longest."""
    own: dict[tuple[Any, Any], dict[int, Row]] = {}
    for row in rows:
        own.setdefault((row["key"], row.get("restart", 0)), {})[int(row["iteration"])] = row
    last = max(n for trace in own.values() for n in trace)
    held: list[Row] = []
    for trace in own.values():
        reached = trace[min(trace)]
        for n in range(min(trace), last + 1):
            reached = trace.get(n, reached)
            psnr = reached.get("psnr", math.nan)
            held.append({**reached, "iteration": n, "psnr": math.nan if psnr == math.inf else psnr})
    return held
