"""A study's results in the layouts of the papers' tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from SegAdversarialLib.evaluation.multiple_tests import Correction
from SegAdversarialLib.evaluation.statistics import summary
from SegAdversarialLib.studies.grouping import ALL, CLEAN, MEAN, UNCHANGED, Condition, Results, Row, in_order, patients
from SegAdversarialLib.studies.marking import marked, measure
from SegAdversarialLib.studies.tables import Entry, Measure, Table

Rows = Results | Iterable[Row]

TITLES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95 (mm)", "volume": "Volume (ml)"}

QUALITY = {"psnr": "PSNR (dB)", "ssim": "SSIM", "rmse": "RMSE", "perceptibility": "Perceptibility"}


def unattacked(rows: Rows, metric: str = "dice") -> Table:
    """What each network makes of the unchanged images: networks x structures (Cheng's Table 1, Pervin's Table 3)."""
    results = Results.of(rows)
    shown = with_mean(results)
    body = [(x, *(measure(results.values(x, UNCHANGED, y, metric)) for y in shown)) for x in results.networks]
    return Table(f"{TITLES.get(metric, metric)} without an attack", ("Network", *shown), tuple(body))


def attacks(
    rows: Rows,
    channel_rows: Iterable[Row] = (),
    *,
    network: str = "",
    metric: str = "dice",
    quality: Sequence[str] = ("psnr", "ssim", "rmse"),
    percent: bool = False,
    borderline: float | None = None,
    correction: Correction = "bonferroni",
) -> Table:
    """One network under every attack: Dice of each structure and what the attack did to the image (Liu's Table 1, Chen's).

    Each is tested against the unchanged images.

    Args:
        channel_rows: the store's rows by channel; of the attacked channels.
        network: the first one unless given.
        quality: columns of the channel rows.
        percent: whether overlap is in percent, as Chen's.
        borderline: also show what is left after this relative drop (Chen: 0.3, from which on an attack succeeds).
    """
    results = Results.of(rows)
    network = network or (results.networks[0] if results.networks else "")
    changed = _quality(results, channel_rows, network, quality)
    style = {"digits": 2, "scale": 100.0} if percent else {"digits": 3, "scale": 1.0}
    before = {x: results.values(network, UNCHANGED, x, metric) for x in with_mean(results)}
    blank: list[Entry] = [None] * len(quality)
    body: list[Sequence[Entry]] = [(CLEAN, *(measure(x, **style) for x in before.values()), *blank)]  # type: ignore[arg-type]
    if borderline is not None:
        left = [(1 - borderline) * summary(x).mean * style["scale"] for x in before.values()]
        body.append((f"{100 * borderline:g} % decrease", *(float(f"{x:.{style['digits']}f}") for x in left), *blank))
    for condition in results.conditions:
        after = {x: results.values(network, condition, x, metric) for x in before}
        if not any(after.values()):
            continue
        entries = [measure(y, _tested(x, compared(condition, before[x])), **style) for x, y in after.items()]  # type: ignore[arg-type]
        body.append((condition.label, *entries, *(changed.get((condition, x)) for x in quality)))
    name = f"{TITLES.get(metric, metric)}{' (%)' if percent else ''}"
    columns = ("Attack", *(f"{name} {x}" for x in before), *(QUALITY.get(x, x) for x in quality))
    table = Table(f"{network} under attack", columns, tuple(map(tuple, body)), _on_mean(results))
    return marked(table, "no attack", correction)


def _quality(
    results: Results, channel_rows: Iterable[Row], network: str, quality: Sequence[str]
) -> dict[tuple[Condition, str], Measure]:
    """What the attacks did to the channels that they attacked."""
    own = [x for x in channel_rows if x["network"] == network and results.knows(x) and attacked(x)]
    found = {}
    for column in quality:
        for (condition,), values in patients(own, column, lambda x: (results.condition_of(x),)).items():
            found[condition, column] = replace(measure(values), digits=2 if column == "psnr" else 3, infinite="identical")
    return found


def compared(condition: Condition, before: Mapping[str, float]) -> Mapping[str, float] | None:
    """What a condition is tested against; nothing where it changes nothing, which would be no test."""
    return before if condition.changes else None


def with_mean(results: Results) -> list[str]:
    """All structures, and before them, where several count in it, the mean over the network's own."""
    return [*([MEAN] if len(results.counted) > 1 else []), *results.structures]


def _tested(structure: str, against: Mapping[str, float] | None) -> Mapping[str, float] | None:
    """What a structure's values are tested against: those of the mean are not, as the papers print none."""
    return None if structure == MEAN else against


def _on_mean(results: Results) -> tuple[str, ...]:
    return ("The mean is that of the network's own structures; it is not tested.",) if len(results.counted) > 1 else ()


def attacked(row: Row) -> bool:
    """Whether a row's channel is one of those that were attacked."""
    channels = row.get("channels") or ALL
    return channels == ALL or row["channel"] in channels.split("+")


def defenses(rows: Rows, *, baseline: str = "", metric: str = "dice", correction: Correction = "bonferroni") -> list[Table]:
    """Every network, and so every defence, against every budget of an attack, by structure (Liu's Tables 2 and 3).

    One table for each attack (and choice of channels and of what else was varied). Each network is tested against the
    baseline under the same budget, on the same patients; alone, against itself without an attack.

    Args:
        baseline: the network without a defence; the first one unless given.
    """
    results = Results.of(rows)
    baseline = baseline or (results.networks[0] if results.networks else "")
    return [_defense_table(results, x, baseline, metric, correction) for x in families(results)]


def _defense_table(results: Results, family: Condition, baseline: str, metric: str, correction: Correction) -> Table:
    doses, networks = doses_of(results, family), networks_under(results, family)
    alone = len(networks) < 2
    body: list[tuple[Entry, ...]] = []
    for structure in with_mean(results):
        for network in networks:
            entries = []
            for dose in doses:
                values = results.values(network, dose, structure, metric)
                other = UNCHANGED if alone else dose
                same = not (dose.attack and dose.budget) if alone else network == baseline
                against = None if same else results.values(baseline, other, structure, metric)
                entries.append(measure(values, _tested(structure, against)))
            body.append((structure, network, *entries))
    idle = not any(x.changes for x in doses)
    heads = [CLEAN if idle else x.dose or CLEAN for x in doses]
    what = f"without an attack, against {baseline}" if idle else f"under {family.label}"
    table = Table(f"{TITLES.get(metric, metric)} {what}", ("Structure", "Network", *heads), tuple(body), _on_mean(results))
    with_what = "no attack" if alone else baseline if idle else f"{baseline} under the same attack"
    return _with_p(marked(table, with_what, correction), heads)


def _with_p(table: Table, heads: Sequence[str]) -> Table:
    """Corrected p-values as columns of their own at the right, as Liu prints them."""
    rows = []
    for row in table.rows:
        own = [x for x in row if isinstance(x, Measure)]
        rows.append((*row, *(None if x.p is None else float(f"{x.p:.4g}") for x in own)))
    return replace(table, columns=(*table.columns, *(f"p, {x}" for x in heads)), rows=tuple(rows))


def networks_under(results: Results, family: Condition) -> list[str]:
    """The networks that were put under an attack at all; of the others its tables and figures know nothing."""
    tried = {(row["network"], replace(results.condition_of(row), budget=None)) for row in results.rows}
    return [x for x in results.networks if (x, family) in tried]


def families(rows: Rows) -> list[Condition]:
    """The attacks of a study without their budgets."""
    return in_order(replace(x, budget=None) for x in Results.of(rows).conditions)


def doses_of(rows: Rows, family: Condition) -> list[Condition]:
    """The conditions of an attack by growing budget, from no attack (a budget of 0) on."""
    found = [x for x in Results.of(rows).conditions if replace(x, budget=None) == family]
    found.sort(key=lambda x: -math.inf if x.budget is None else x.budget)
    if found and found[0].budget is not None and found[0].budget > 0:
        found.insert(0, replace(family, budget=0.0))
    return found if found and found[0].budget is not None else [UNCHANGED, *found]
