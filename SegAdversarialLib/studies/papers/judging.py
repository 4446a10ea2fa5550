"""The one rule by which a paper's claims are judged.

A claim is put as one number for each patient, above 0 where it is as the claim says: by how much Dice is lower, for example.
It is shown where Wilcoxon's signed-rank test over the patients, two-sided, has p <= 0.05 and the mean lies above 0. A claim of
several comparisons ("T2 hurts least": less than each of three others) holds only if all of them are shown; such a conjunction
needs no correction for their number (Berger 1982). Claims are not corrected for each other.

- holds: all comparisons are shown.
- does not hold: a comparison is not shown. The evidence says whether the difference is within chance or the other way round.
- not testable: a comparison lacks its data, or there are fewer than six patients with it, with whom p cannot reach 0.05
  whatever comes out; or the network does not do its task without an attack, so that there is nothing to lose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from SegAdversarialLib.evaluation.notes import only
from SegAdversarialLib.evaluation.statistics import paired

Verdict = Literal["holds", "does not hold", "not testable"]

LEVEL = 0.05
FEWEST = 6
"""Patients; with five, the signed-rank test's least p is 0.0625."""
MARGIN = 0.05
"""Of Dice or IoU: two that are within it of each other are called the same."""
USEFUL = 0.3
"""Mean Dice or IoU that a network must have without an attack."""
SUCCESS = 0.3
"""The relative drop that Chen et al. 2019 call a successful attack."""

TAU = ", |mean tau| = {:.3g}"
"""How a mean of Kendall's tau is told behind a clause that says its direction."""

ByPatient = Mapping[str, float]


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what came of it here.

    Attributes:
        text: the claim.
        source: its place in the paper.
        verdict: "holds", "does not hold" or "not testable".
        evidence: the numbers, with n and p.
    """

    text: str
    source: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim: `shown` or not; None: it could not be made. `evidence` is a clause."""

    shown: bool | None
    evidence: str


@dataclass(frozen=True)
class Clause:
    """What a comparison says, in the word for as it is claimed or in that for the other way round.

    Attributes:
        subject: "Dice with T1 attacked is".
        words: ("below", "above").
        rest: "that with T2 attacked".
    """

    subject: str
    words: tuple[str, str]
    rest: str

    def of(self, mean: float) -> str:
        """The clause for this mean, whose size is then told without its sign."""
        return f"{self.subject} {self.words[1 if mean < 0 else 0]} {self.rest}"


def claim(text: str, source: str, comparisons: Iterable[Comparison]) -> Claim:
    """A claim that holds if all of its comparisons are shown."""
    made = list(comparisons)
    if any(x.shown is False for x in made):
        verdict: Verdict = "does not hold"
    else:
        verdict = "holds" if made and all(x.shown for x in made) else "not testable"
    seen = [x.evidence for x in made if x.shown is not None or verdict == "not testable"]
    return Claim(text, source, verdict, _told(list(dict.fromkeys(seen))))


def _told(clauses: Sequence[str]) -> str:
    """Clauses as one sentence; what stands in brackets behind each of them alike is said once."""
    behind = {x.rpartition(" (")[2] for x in clauses if x.endswith(")")}
    if len(clauses) < 2 or len(behind) != 1 or not all(x.endswith(f" ({y}") for y in behind for x in clauses):
        return "; ".join(clauses)
    (alike,) = behind
    return f"{'; '.join(x.removesuffix(f' ({alike}') for x in clauses)} (each: {alike}"


def untestable(text: str, source: str, reason: str) -> Claim:
    """A claim that no cohort that was measured can decide."""
    return Claim(text, source, "not testable", reason)


def above_zero(values: ByPatient, what: Clause, told: str = " by {:.3g}") -> Comparison:
    """Whether one number for each patient lies above 0 beyond chance.

    Args:
        values: by patient; nan are left out.
        what: what is so if the mean lies above 0.
        told: how the mean's size stands behind the clause.
    """
    known = {patient: x for patient, x in values.items() if math.isfinite(x)}
    found = np.array(list(known.values()))
    if not known:
        return Comparison(None, f"whether {what.of(1)} was not measured")
    mean = f"{what.of(found.mean())}{told.format(abs(found.mean()))}"
    if len(found) < FEWEST:
        return Comparison(None, f"{mean} (n = {len(found)}, fewer than {FEWEST})")
    p = paired(dict.fromkeys(known, 0.0), known).p
    if p > LEVEL:
        return Comparison(False, f"{mean} (n = {len(found)}, p = {p:.2g}: within chance)")
    if found.mean() <= 0:
        return Comparison(False, f"{mean} (n = {len(found)}, p = {p:.2g}: the other way round)")
    return Comparison(True, f"{mean} (n = {len(found)}, p = {p:.2g})")


def greater(more: ByPatient, less: ByPatient, what: Clause) -> Comparison:
    """Whether what was measured of the same patients is greater in `more` than in `less`; see `above_zero`."""
    return above_zero({x: more[x] - less[x] for x in more if x in less}, what)


def same(one: ByPatient, other: ByPatient, what: Clause, margin: float = MARGIN) -> Comparison:
    """Whether two differ by less than a margin beyond chance: two tests, of the difference against each end of the margin.

    Args:
        what: what is so if `one` is greater.
    """
    differences = {x: one[x] - other[x] for x in one if x in other}
    low = above_zero({x: d + margin for x, d in differences.items()}, what)
    high = above_zero({x: margin - d for x, d in differences.items()}, what)
    if low.shown is None:
        return above_zero(differences, what)
    mean = sum(differences.values()) / len(differences)
    shown = bool(low.shown and high.shown)
    verdict = f"within ±{margin:g} beyond chance" if shown else f"not shown to be within ±{margin:g}"
    return Comparison(shown, f"{what.of(mean)} by {abs(mean):.3g} (n = {len(differences)}, {verdict})")


def rising(levels: Sequence[tuple[float, ByPatient]], what: Clause) -> Comparison:
    """Whether a measurement rises from level to level: Kendall's tau of each patient, over the patients.

    Args:
        levels: what is turned, and the measurement by patient.
        what: what is so if it rises.
    """
    from scipy.stats import kendalltau

    known = [(level, values) for level, values in levels if values]
    if len(known) < 2:
        return Comparison(None, f"whether {what.of(1)}: fewer than two levels were measured")
    patients = [x for x in known[0][1] if all(x in values for _, values in known)]
    taus = {}
    for patient in patients:
        series = [values[patient] for _, values in known]
        tau = float(kendalltau([level for level, _ in known], series).statistic)
        taus[patient] = 0.0 if math.isnan(tau) else tau  # a series that does not move does not rise
    return above_zero(taus, what, TAU)


def useful(clean: ByPatient, what: str) -> Comparison | None:
    """Why nothing can be said of an attack on this network: it does not do its task; None: it does."""
    found = [x for x in clean.values() if math.isfinite(x)]
    if not found:
        return Comparison(None, f"{what}: not measured")
    mean = float(np.mean(found))
    if mean >= USEFUL:
        return None
    return Comparison(None, f"{what} is {only(mean, 3)} without an attack; at least {USEFUL} is needed")


def guarded(clean: ByPatient, what: str, comparisons: Callable[[], Iterable[Comparison]]) -> list[Comparison]:
    """The comparisons of networks that do their task; of one that does not, the reason alone."""
    reason = useful(clean, what)
    return [reason] if reason is not None else list(comparisons())
