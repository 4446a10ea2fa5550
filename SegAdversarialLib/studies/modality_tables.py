"""Tables by modality, as Cheng & Ji 2020 print them."""

from __future__ import annotations

from collections.abc import Iterable

from SegAdversarialLib.evaluation.multiple_tests import Correction
from SegAdversarialLib.studies.grouping import (
    ALL,
    UNCHANGED,
    Condition,
    Results,
    Row,
    counts_in_mean,
    in_order,
    is_search,
    patients,
)
from SegAdversarialLib.studies.layouts import TITLES, Rows, compared, with_mean
from SegAdversarialLib.studies.marking import marked, measure
from SegAdversarialLib.studies.tables import Entry, Table


def perturbations(
    rows: Rows, *, network: str = "", metric: str = "dice", correction: Correction = "bonferroni"
) -> list[Table]:
    """One network under every setting of an attack on one choice of channels (Cheng's Tables 2 to 6), each tested against
    the unchanged images.

    Args:
        network: the first one unless given.
    """
    results = Results.of(rows)
    network = network or (results.networks[0] if results.networks else "")
    tables = []
    for attack, channels in in_order((x.attack, x.channels) for x in results.conditions):
        chosen = [x for x in results.conditions if (x.attack, x.channels) == (attack, channels)]
        where = "all modalities" if channels == ALL else f"{channels} only"
        body = [(x.dose or "-", *_against_clean(results, network, x, metric)) for x in chosen]
        columns = ("Parameters", *(f"{TITLES.get(metric, metric)} {x}" for x in results.structures))
        table = Table(f"{attack} on {where}: {network}", columns, tuple(body))
        tables.append(marked(table, "no attack", correction))
    return tables


def modalities(rows: Rows, *, metric: str = "dice", correction: Correction = "bonferroni") -> Table:
    """Every network under the same attack on each choice of channels, one beside the other; tested against no attack."""
    results = Results.of(rows)
    structures = with_mean(results)
    body: list[tuple[Entry, ...]] = []
    for network in results.networks:
        for attack, dose in in_order((x.attack, x.dose) for x in results.conditions):
            chosen = [x for x in results.conditions if (x.attack, x.dose) == (attack, dose)]
            for condition in sorted(chosen, key=lambda x: x.channels == ALL):
                entries = _against_clean(results, network, condition, metric, structures)
                body.append((network, attack, dose, condition.channels, *entries))
    shown = (f"{TITLES.get(metric, metric)} {x}" for x in structures)
    table = Table("By attacked modality", ("Network", "Attack", "Parameters", "Channels", *shown), tuple(body))
    return marked(table, "no attack", correction)


def by_channels(rows: Rows, metric: str = "dice") -> dict[str, dict[str, float]]:
    """Mean Dice of each patient by the channels that were attacked, over all networks, attacks and budgets."""
    results = Results.of(rows)
    counted = (row for row in results.rows if not is_search(row) and counts_in_mean(row))
    found = patients(counted, f"{metric}_after", lambda row: (results.condition_of(row).channels,))
    return {name: values for (name,), values in found.items()}


def channels(rows: Rows, metric: str = "dice") -> Table:
    """Which channels it hurts most to have attacked, over all networks, attacks and budgets."""
    body = [(name, measure(values)) for name, values in by_channels(rows, metric).items()]
    title = f"Mean {TITLES.get(metric, metric)} by attacked channels, over all networks, attacks and budgets"
    return Table(title, ("Channels", TITLES.get(metric, metric)), tuple(body))


def _against_clean(
    results: Results, network: str, condition: Condition, metric: str, structures: Iterable[str] = ()
) -> list[Entry]:
    found: list[Entry] = []
    for structure in structures or results.structures:
        before = results.values(network, UNCHANGED, structure, metric)
        found.append(measure(results.values(network, condition, structure, metric), compared(condition, before)))
    return found


def quantile_lines(channel_rows: Iterable[Row], *, network: str = "") -> Table:
    """Slope and intercept of the normal QQ plot of each modality, before the attacks (Cheng's Table 7): means over patients.

    The slope is nearly the standard deviation, the intercept the mean; neither says how normal the intensities are.
    """
    rows = [x for x in channel_rows if not network or x["network"] == network]
    columns = {"Slope": "qq_slope_before", "Intercept": "qq_intercept_before"}
    found = {name: patients(rows, column, lambda x: (x["channel"],)) for name, column in columns.items()}
    channels = in_order(x["channel"] for x in rows)
    body = [(x, *(measure(found[name][(x,)]) for name in columns)) for x in channels]
    return Table("Normal QQ plot of the intensities", ("Modality", *columns), tuple(body))
