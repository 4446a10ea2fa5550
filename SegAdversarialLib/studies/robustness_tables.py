"""Tables that no paper has in this form: everything in one, audits beside plain attacks, and what merely bad images do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from SegAdversarialLib.evaluation.degradation import SEVERITY_WEIGHT, degradation, mean_degradation
from SegAdversarialLib.evaluation.multiple_tests import Correction
from SegAdversarialLib.evaluation.statistics import intervals
from SegAdversarialLib.studies.grouping import ALL, MEAN, UNCHANGED, Condition, Results, Row, in_order
from SegAdversarialLib.studies.layouts import Rows, compared
from SegAdversarialLib.studies.marking import marked, measure
from SegAdversarialLib.studies.tables import Entry, Table

ARTEFACT = "physics-artefact"


def overview(rows: Rows, *, correction: Correction = "holm") -> Table:
    """Every network under every condition by structure: Dice with its interval, drop, success, HD95, effect; tested against
    the unchanged images."""
    results = Results.of(rows)
    shown = [
        (network, condition, structure)
        for network in results.networks
        for condition in results.conditions
        for structure in results.structures
        if results.values(network, condition, structure)
    ]
    ends = intervals(results.values(*x) for x in shown)
    body = [_overview_row(results, *x, f"{y.low:.3f} to {y.high:.3f}") for x, y in zip(shown, ends)]
    columns = (
        *("Network", "Attack", "Parameters", "Channels", "Structure", "n", "Dice before", "Dice after", "95 % interval"),
        *("Effect", "Success (%)", "HD95 before (mm)", "HD95 after (mm)"),
    )
    notes = (
        "Mean ± standard deviation over patients. Interval: bootstrap over patients (BCa). Effect: matched-pairs rank-"
        "biserial correlation; -1 where Dice fell in every patient. Success: how often Dice lost 30 % or more. Structures "
        "that were missed, or found where the reference has none, have no distance: they are counted beside the mean.",
    )
    return marked(Table("All results", columns, tuple(body), notes), "no attack", correction)


def _overview_row(results: Results, network: str, condition: Condition, structure: str, ends: str) -> tuple[Entry, ...]:
    before = results.values(network, UNCHANGED, structure)
    after = measure(results.values(network, condition, structure), compared(condition, before))
    success = measure(results.values(network, condition, structure, "success")).number
    distances = [results.values(network, x, structure, "hd95") for x in (UNCHANGED, condition)]
    what = network, condition.attack, condition.dose, condition.channels, structure
    return (
        *(*what, after.summary.n, measure(before), after, ends),
        None if after.comparison is None else round(after.comparison.effect, 3),
        round(100 * success, 1) if math.isfinite(success) else None,
        *(measure(x, digits=1) for x in distances),
    )


def audited(rows: Iterable[Row]) -> Table:
    """Dice under plain attacks beside the audited Dice, which the strongest attack left: networks x epsilons."""
    known = list(rows)
    epsilons = sorted({float(x["epsilon"]) for x in known})
    found = {(x["network"], x["structure"], float(x["epsilon"])): x for x in known}
    body: list[tuple[Entry, ...]] = []
    for network, structure in in_order((x["network"], x["structure"]) for x in known):
        own = [found.get((network, structure, x), {}) for x in epsilons]
        strongest = next((x["strongest"] for x in reversed(own) if x.get("strongest")), "")
        body.append((network, structure, *(y for x in own for y in (x.get("plain"), x.get("audited"))), strongest))
    heads = [f"{x}, epsilon = {y:g}" for y in epsilons for x in ("plain", "audited")]
    notes = ("Audited: what the strongest of all attacks of the audit left of each case. Strongest: at the largest epsilon.",)
    return Table("Audited Dice", ("Network", "Structure", *heads, "Strongest"), tuple(body), notes)


def checks(rows: Iterable[Row]) -> Table:
    """The checks of every audit."""
    columns = {"Network": "network", "Check": "check", "Verdict": "verdict", "Number": "number", "What was found": "sentence"}
    body = [tuple(x.get(y) for y in columns.values()) for x in rows]
    return Table("Is the robustness real?", tuple(columns), tuple(body))


def degradations(rows: Rows, weight: float = SEVERITY_WEIGHT, *, structure: str = MEAN) -> Table:
    """Mean degradation of Dice over the severities of each physics artefact, and over all artefacts (Boone et al. 2022)."""
    results = Results.of(rows)
    found = severities_of(results)
    kinds = list(found)
    body: list[tuple[Entry, ...]] = []
    for network in results.networks:
        clean = results.values(network, UNCHANGED, structure)
        own = {x: {s: results.values(network, c, structure) for s, c in found[x].items()} for x in kinds}
        if not clean or not kinds:
            continue
        each = [measure(degradation(clean, own[x], weight)) for x in kinds]
        body.append((network, measure(mean_degradation(clean, own, weight)), *each))
    notes = (
        f"What Dice ({structure}) loses on average over severities, a severity counting {weight:.3g} times as much as the one "
        "below it; mean ± standard deviation over patients.",
    )
    return Table("Mean degradation by physics artefacts", ("Network", "All artefacts", *kinds), tuple(body), notes)


def severities_of(rows: Rows) -> dict[str, dict[float, Condition]]:
    """The conditions of physics artefacts on all channels, by kind and severity; where the study makes a kind in
    several ways, each by its whole name."""
    results = Results.of(rows)
    found: dict[tuple[str, Condition], dict[float, Condition]] = {}
    for row in results.rows:
        settings: Mapping[str, Any] = row.get("settings") or {}
        on_all = (row.get("channels") or ALL) == ALL
        if on_all and settings.get("attack") == ARTEFACT and settings.get("severity", 0) > 0:
            kind = str(settings.get("kind", "")).replace("_", " ")
            condition = results.condition_of(row)
            way = kind, replace(condition, budget=None)
            found.setdefault(way, {})[float(settings["severity"])] = condition
    ways = Counter(kind for kind, _ in found)
    named = {kind if ways[kind] == 1 else f"{kind}, {family.label}": own for (kind, family), own in found.items()}
    return {kind: dict(sorted(own.items())) for kind, own in sorted(named.items())}


def epochs(traces: Iterable[Row], shown: Sequence[int] = (1, 10, 20, 30), *, metric: str = "IoU") -> Table:
    """A validation metric of every training after so many epochs, mean over structures (Pervin's Table 1)."""
    found: dict[tuple[str, int], float] = {}
    known: list[str] = []
    for row in traces:
        values = [x for name, x in row.items() if name.startswith(f"{metric} ") and isinstance(x, (int, float))]
        if "epoch" in row and values:
            found[row["network"], int(row["epoch"]) + 1] = sum(values) / len(values)
            known.append(row["network"])
    body = [(x, *(found.get((x, n)) for n in shown)) for x in in_order(known)]
    return Table(f"Mean {metric} by epoch of training", ("Network", *(f"epoch {x}" for x in shown)), tuple(body))


class Claimed(Protocol):
    """A sentence of a paper, where it stands, whether it holds here, and what shows that."""

    @property
    def text(self) -> str:
        """The claim."""

    @property
    def source(self) -> str:
        """Where the paper says it."""

    @property
    def verdict(self) -> str:
        """Whether it holds."""

    @property
    def evidence(self) -> str:
        """What shows that."""


def claims(found: Iterable[Claimed]) -> Table:
    """A paper's claims and whether each holds."""
    body = [(x.text, x.source, x.verdict, x.evidence) for x in found]
    return Table("The paper's claims", ("Claim", "Where", "Verdict", "Evidence"), tuple(body))
