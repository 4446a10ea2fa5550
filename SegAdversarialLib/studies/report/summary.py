"""What a study found, and what it cannot say, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from SegAdversarialLib.evaluation.notes import shown
from SegAdversarialLib.evaluation.statistics import Interval, interval, paired, summary
from SegAdversarialLib.studies import modality_tables, robustness_tables
from SegAdversarialLib.studies.grouping import (
    ALL,
    MEAN,
    UNCHANGED,
    Condition,
    Results,
    Row,
    in_order,
    is_search,
)
from SegAdversarialLib.studies.papers.judging import USEFUL
from SegAdversarialLib.studies.report.audits import warned
from SegAdversarialLib.studies.report.markup import Markup, element
from SegAdversarialLib.studies.report.material import Material
from SegAdversarialLib.studies.report.page import Section, bullets, heading
from SegAdversarialLib.studies.tables import Measure

_MOST_NETWORKS = 12
"""Of which each gets a sentence; of more, those that lost most and least."""

_FEWEST = 6
"""Patients with whom a two-sided signed-rank test can reach p < 0.05: with five, its least p is 0.0625."""

_LEVEL = 0.05


@dataclass(frozen=True)
class Effect:
    """What the strongest attack did to a network: mean Dice over patients before and after, and the interval after."""

    network: str
    condition: Condition
    before: float
    after: float
    bounds: Interval
    patients: int


def section(material: Material) -> Section:
    """Numbers at a glance, findings, limits."""
    found = effects(material.results)
    return Section(
        "summary",
        "Summary",
        [
            _at_a_glance(material, found),
            bullets(findings(material, found)),
            heading("Limits"),
            bullets(limits(material)),
        ],
    )


def effects(results: Results) -> list[Effect]:
    """Of each network what the strongest attack did: the mean of the structures' Dice in each case, then over patients."""
    found = []
    for network in results.networks:
        before = summary(results.values(network, UNCHANGED, MEAN)).mean
        attacked = [x for x in results.conditions if x.changes]
        means = {x: summary(results.values(network, x, MEAN)).mean for x in attacked}
        known = {condition: mean for condition, mean in means.items() if math.isfinite(mean)}
        if known and math.isfinite(before):
            worst = min(known, key=lambda x: known[x])
            values = results.values(network, worst, MEAN)
            found.append(Effect(network, worst, before, known[worst], interval(values), summary(values).n))
    return found


def findings(material: Material, found: Sequence[Effect]) -> list[str]:
    """What came out, one sentence each."""
    results = material.results
    if not results.rows:
        return ["There are no results yet."]
    said = [_extent(results), *_losses(found), *_searches(results)]
    return [*said, *_by_channel(results), *_merely_bad(results), *_audited(material.checks)]


def limits(material: Material) -> list[str]:
    """What the results do not say, one sentence each."""
    account, rows, said = material.account, material.results.rows, []
    if waiting := account.count("waiting"):
        said.append(f"{waiting:,} of {account.count():,} jobs have not been done yet: all numbers here are of the others.")
    if account.failed:
        said.append(f"{_several(len(account.failed), 'job')} came to nothing; the reasons stand below (What was run).")
    if account.skipped:
        said.append(f"{_several(len(account.skipped), 'case')} could not be used; the reasons stand below (What was run).")
    patients_here = len(_patients(material.results))
    if 0 < patients_here < _FEWEST:
        least = 0.5 ** (patients_here - 1)
        said.append(
            f"With {_several(patients_here, 'patient')} the least p-value that a signed-rank test can have is {least:.3g}: "
            "nothing here can be statistically significant, whatever it is."
        )
    said += _useless(material.results)
    if account.synthetic:
        said.append("The cases are synthetic: a network may behave otherwise on images of patients.")
    averaged = [row for row in rows if not is_search(row)]
    missed = sum(_is_infinite(row.get("hd95_after")) for row in averaged)
    if missed:
        said.append(
            f"In {missed:,} of {len(averaged):,} rows a structure was missed wholly, or found where the reference has none; "
            "there its HD95 is infinite, and is counted beside the means, never averaged."
        )
    said.append(
        "An attack shows harm that can be done, never that no more can: a network that withstands these attacks may fall to "
        "others."
    )
    if rows and not material.checks:
        said.append(
            "No audit belongs to this study: a network that seems robust here may only hide its gradients, which attacks that "
            "adapt to it get around (Carlini & Wagner 2017)."
        )
    return [*said, "For research only; nothing here says whether a network is safe to be used on patients."]


def _useless(results: Results) -> list[str]:
    """Of networks that find hardly anything in the unchanged images."""
    clean = {x: summary(results.values(x, UNCHANGED, MEAN)).mean for x in results.networks}
    names = [x for x, dice in clean.items() if dice < USEFUL]
    if not names:
        return []
    return [
        f"On unchanged images mean Dice is below {USEFUL:g} for {_several(len(names), 'network')} "
        f"({_some(names, _MOST_NETWORKS)}): what attacks do "
        "to a network that finds hardly anything means little."
    ]


def _at_a_glance(material: Material, found: Sequence[Effect]) -> Markup:
    results = material.results
    patients, networks = len(_patients(results)), len(results.networks)
    numbers = {
        "patient" if patients == 1 else "patients": f"{patients:,}",
        "network" if networks == 1 else "networks": f"{networks:,}",
        "attacks, each setting counted": f"{sum(x.changes for x in results.tried):,}",
        "jobs done": f"{material.account.count('done'):,} of {material.account.count():,}",
    }
    if found:
        worst = max(found, key=lambda x: x.before - x.after)
        decimals = 2 if shown(worst.before) != shown(worst.after) else 3
        numbers["largest fall of mean Dice"] = f"{shown(worst.before, decimals)} \u2192 {shown(worst.after, decimals)}"
    said = [element("div", element("dt", name), element("dd", number)) for name, number in numbers.items()]
    return element("dl", *said, class_="figures-of-note")


def _extent(results: Results) -> str:
    cases = {row["case"] for row in results.rows}
    attacks = in_order(x.attack for x in results.tried if x.changes)
    counted = results.counted
    beside = [x for x in results.structures if x not in counted]
    stands, counts = ("stands", "counts") if len(beside) == 1 else ("stand", "count")
    shown = f" Beside it {stands} {_some(beside)}, which {counts} in no mean." if beside else ""
    return (
        f"{_several(len(results.networks), 'network')} segmented {_several(len(cases), 'case')} before and after "
        f"{_several(len(attacks), 'attack')} ({_some(attacks)}). Mean Dice is that of the network's own "
        f"structures ({_some(counted)}) in each case, then over patients.{shown}"
    )


def _losses(found: Sequence[Effect]) -> list[str]:
    shown, said = sorted(found, key=lambda x: x.after - x.before), []
    if len(shown) > _MOST_NETWORKS:
        half = _MOST_NETWORKS // 2
        said = [f"Of {len(shown)} networks that were attacked, the {half} that lost most and the {half} that lost least:"]
        shown = [*shown[:half], *shown[-half:]]
    return [*said, *(f"{x.network}: {_loss(x)}" for x in shown)]


def _loss(one: Effect) -> str:
    bounds = ""
    if math.isfinite(one.bounds.low):
        bounds = f" (95 % interval {one.bounds.low:.3f} to {one.bounds.high:.3f}, n = {one.patients})"
    return (
        f"mean Dice {one.before:.3f} without an attack, {one.after:.3f}{bounds} under the strongest attack of this study, "
        f"{one.condition.label}."
    )


def _searches(results: Results) -> list[str]:
    """Where that stands which is in no table by budget."""
    names = in_order(x.attack for x in results.tried if x.searched)
    if not names:
        return []
    return [
        f"The least budget was looked for with {_some(names)}. Each case's image is at a budget of its own: what was found "
        "stands in the table of least budgets and in its curves, and counts in nothing that compares Dice at a budget."
    ]


def _by_channel(results: Results) -> list[str]:
    """Which channel it hurts most and least to have attacked, of those that were attacked alone."""
    found = modality_tables.by_channels(results)
    means = {name: summary(values).mean for name, values in found.items()}
    alone = {name: mean for name, mean in means.items() if name != ALL and "+" not in name and math.isfinite(mean)}
    if len(alone) < 2:
        return []
    most, least = min(alone, key=lambda x: alone[x]), max(alone, key=lambda x: alone[x])
    pairs = len(alone) * (len(alone) - 1) // 2
    p = min(1.0, pairs * paired(found[least], found[most]).p)
    every = f"; with all channels attacked it is {means[ALL]:.3f}" if ALL in means else ""
    tested = f"{f'p = {p:.2g}' if p >= 0.001 else 'p < 0.001'}, corrected for {_several(pairs, 'pair')}"
    if not p < _LEVEL:
        return [f"Of channels attacked alone, none was shown to matter more than another ({most} and {least}: {tested})."]
    return [
        f"Of channels attacked alone, {most} cost most (mean Dice {alone[most]:.3f}) and {least} least ({alone[least]:.3f}; "
        f"{tested}), over all networks, attacks and budgets{every}."
    ]


def _merely_bad(results: Results) -> list[str]:
    """What artefacts cost, which no adversary made."""
    return [
        f"{network}: images that are merely bad (artefacts of scanners and of movement) cost {measured.number:.3f} of mean "
        "Dice, on average over their severities."
        for network, measured, *_ in robustness_tables.degradations(results).rows
        if isinstance(measured, Measure) and math.isfinite(measured.number)
    ]


def _audited(checks: Sequence[Row]) -> list[str]:
    said = []
    for network, names in warned(checks).items():
        if names:
            said.append(f"{network}: the audit warns ({', '.join(names)}); its robustness may not be real.")
        else:
            said.append(f"{network}: no check of the audit warns.")
    return said


def _patients(results: Results) -> set[str]:
    return {row["patient"] or row["case"] for row in results.rows}


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ("; " if any(", " in x for x in names) else ", ").join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and math.isinf(value)
