"""Which tables and figures a report has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import budget_tables, layouts, modality_tables, robustness_tables
from SegAdversarialLib.studies.grouping import ALL, Condition, Results, Row, condition_of
from SegAdversarialLib.studies.images import cases_of, read_kept
from SegAdversarialLib.studies.report.material import Material
from SegAdversarialLib.studies.tables import Table

_MOST_FIGURES = 12
"""Of one kind."""

_MOST_CASES = 10
"""Whose intensities are shown: a distribution of ten heads is that of a thousand."""

_MOST_CURVES = 10
"""In the figure against the iteration: more cannot be told apart."""

_MOST_POINTS = 100_000
"""In that figure: the traces of a large cohort need not fit into memory."""

_SHOWN = (
    *("key", "network", "case", "patient", "attack", "variant", "budget", "budget_name", "channels", "repeat"),
    *("iteration", "restart", "dice mean", "psnr"),
)


@dataclass(frozen=True)
class Chosen:
    """A table and whether it is looked at first; the others are folded away."""

    table: Table
    first: bool = True


@dataclass(frozen=True)
class Drawn:
    """A figure with what it shows, what to see in it, and its file's name."""

    name: str
    title: str
    caption: str
    figure: Any


def tables(material: Material) -> list[Chosen]:
    """All tables of a report, from the simplest to the one with everything."""
    results = material.results
    if not results.rows:
        return []
    families = layouts.families(results)
    by_family = dict(zip(families, layouts.defenses(results)))
    found = [Chosen(layouts.unattacked(results))]
    found += [Chosen(table, family.channels == ALL) for family, table in by_family.items()]
    if _by_channel(results):
        found.append(Chosen(modality_tables.channels(results)))
        found.append(Chosen(modality_tables.modalities(results)))
    found += [
        Chosen(layouts.attacks(results, material.channels, network=network), len(results.networks) == 1)
        for network in results.attacked
    ]
    found.append(Chosen(budget_tables.least_budgets(material.thresholds)))
    found.append(Chosen(robustness_tables.degradations(results)))
    found.append(Chosen(modality_tables.quantile_lines(material.channels), first=False))
    found.append(Chosen(robustness_tables.overview(results), first=False))
    return sorted((x for x in found if x.table.rows), key=lambda x: not x.first)


def figures(material: Material, traces: Iterable[Row]) -> Iterator[Drawn]:
    """The figures that are drawn from rows."""
    from SegAdversarialLib.studies.figures import by_budget, by_iteration, modality_bars

    results = material.results
    budgeted = [x for x in layouts.families(results) if len(layouts.doses_of(results, x)) > 1]
    bands = "Means over patients with 95 % bootstrap intervals."
    for n, family in enumerate([x for x in budgeted if x.channels == ALL][:_MOST_FIGURES]):
        yield Drawn(f"dice-by-budget-{n + 1}", f"Dice under {family.label}", bands, by_budget(results, family))
    if _by_channel(results):
        attack = next(x.attack for x in results.conditions if x.channels != ALL)
        for n, network in enumerate(results.networks[:_MOST_FIGURES]):
            drawn = modality_bars(results, network=network, attack=attack)
            title = f"{network} under {attack}, by attacked channel"
            yield Drawn(f"dice-by-channel-{n + 1}", title, bands, drawn)
    searched: list[Row] = []
    if followed := _followed(results, traces, searched):
        title = "Dice and PSNR against the iteration"
        yield Drawn("by-iteration", title, f"The largest budget of each attack. {bands}", by_iteration(followed))
    yield from _within_budgets(material.thresholds, searched)


def images(store: Any, folder: Path) -> Iterator[Drawn]:
    """The figures that are drawn from images: intensities of the cohort, and the worst slices of kept attacks.

    Args:
        store: the study's.
        folder: the study's, where its kept volumes lie.
    """
    from SegAdversarialLib.studies.figures import foreground_intensities, histograms, quantile_plots, worst_slice

    intensities = foreground_intensities(cases_of(store.planned(), _MOST_CASES))
    if any(x.size for values in intensities.values() for x in values):
        of = f"Inside the foreground, of {max(map(len, intensities.values()))} cases: raw, and each case standardised."
        yield Drawn("intensities", "Intensity histograms", of, histograms(intensities))
        told = (
            f"{of} The line is the least-squares fit to the intensities of all of them together (the table's slopes and "
            "intercepts are means of each patient's own); r, not slope or intercept, says how normal they are."
        )
        yield Drawn("normal-quantiles", "Normal QQ plots of the intensities", told, quantile_plots(intensities))
    kept = ((row, place) for row in store.cells() for place in row["kept"][:1])
    for n, (row, place) in enumerate(itertools.islice(kept, _MOST_FIGURES)):
        try:
            found = read_kept(store.cell(row["key"]), folder / place)
        except InputError:  # what was moved or deleted since is not shown
            continue
        title = f"{row['network']} under {condition_of(row).label}: {row['case']}"
        drawn = worst_slice(found.original, found.adversarial, found.before, found.after)
        yield Drawn(f"worst-slice-{n + 1}", title, "The axial slice in which the answer changed most.", drawn)


def _within_budgets(thresholds: Iterable[Row], searched: Sequence[Row]) -> Iterator[Drawn]:
    """Dice against the budgets that were tried in searches for the least one, a figure for each attack and unit."""
    from SegAdversarialLib.studies.figures import by_least_budget

    units = {row["key"]: (row["attack"], row["setting"], row["unit"]) for row in thresholds}
    told = "The lowest Dice that was found with no more than a budget. Means over patients with 95 % bootstrap intervals."
    for n, (attack, setting, unit) in enumerate(list(dict.fromkeys(units.values()))[:_MOST_FIGURES]):
        own = [row for row in searched if units.get(row["key"]) == (attack, setting, unit)]
        if own:
            scale, bounded_by = budget_tables.axis_of(setting, unit)
            drawn = by_least_budget(own, bounded_by, scale)
            yield Drawn(f"least-budget-{n + 1}", f"Dice against the budget: {attack}", told, drawn)


def _by_channel(results: Results) -> bool:
    return any(x.channels != ALL for x in results.conditions)


def _followed(results: Results, traces: Iterable[Row], searched: list[Row]) -> list[dict[str, Any]]:
    """What iterative attacks did on the way, each with its largest budget on all channels, as far as one figure shows it;
    `searched` takes the rows of searches for the least budget, which are no iterations of one attack."""
    largest: dict[Condition, Condition] = {}
    for condition in (x for x in results.conditions if x.attack and x.channels == ALL):
        known = largest.setdefault(replace(condition, budget=None), condition)
        if (condition.budget or 0.0) > (known.budget or 0.0):
            largest[replace(condition, budget=None)] = condition
    wanted, curves, found = set(largest.values()), set[tuple[str, Condition]](), list[dict[str, Any]]()
    for _, of_cell in itertools.groupby(traces, key=lambda row: row["key"]):
        every = [row for row in of_cell if "iteration" in row]
        if len(searched) < _MOST_POINTS:
            searched += [row for row in every if "at budget" in row and results.knows(row)]
        rows = [{x: row[x] for x in _SHOWN if x in row} for row in every if "at budget" not in row]
        if not rows or max(row["iteration"] for row in rows) < 2 or not results.knows(rows[0]):
            continue
        curve = rows[0]["network"], results.condition_of(rows[0])
        if curve[1] in wanted and (curve in curves or len(curves) < _MOST_CURVES) and len(found) < _MOST_POINTS:
            curves.add(curve)
            found += rows
    return found
