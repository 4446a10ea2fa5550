"""What Cheng & Ji 2020 claim, and how a study's rows judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from SegAdversarialLib.studies.papers.cheng2020.names import ENSEMBLE
from SegAdversarialLib.studies.papers.cheng2020.tables import ALL, MODALITIES, REGIONS, SIZES
from SegAdversarialLib.studies.papers.judging import (
    SUCCESS,
    TAU,
    Claim,
    Clause,
    Comparison,
    above_zero,
    claim,
    greater,
    guarded,
    same,
)
from SegAdversarialLib.studies.papers.measured import Measured, Row, Values, by_patient, is_setting, together

_LEAST, _MOST = min(SIZES), max(SIZES)


def judge(measured: Measured) -> list[Claim]:
    """All claims, in the paper's order."""
    return [*_of_modalities(measured), *_of_sizes(measured), *_of_all(measured), *_of_intensities(measured)]


def _of_modalities(m: Measured) -> list[Claim]:
    return [
        claim(
            "T2 is the modality whose attack hurts least.",
            "Section VI.A; Abstract; Tables 2-5",
            _on_useful(m, lambda: [_hurts_more(m, x, "T2") for x in MODALITIES if x != "T2"]),
        ),
        claim(
            "T1ce is the modality whose attack hurts most.",
            "Section VI.A; Tables 2-5",
            _on_useful(m, lambda: [_hurts_more(m, "T1ce", x) for x in MODALITIES if x != "T1ce"]),
        ),
        claim(
            "An attack on one modality lowers Dice, whichever it is.",
            "Section VIII, 1",
            _on_useful(m, lambda: [_lowers(m, x) for x in MODALITIES]),
        ),
    ]


def _of_sizes(m: Measured) -> list[Claim]:
    return [
        claim(
            "Changing epsilon and rad hardly matters where one modality is attacked.",
            "Section VI.A; Section VIII, 1",
            _on_useful(m, lambda: [_steady(m, x) for x in MODALITIES]),
        ),
        claim(
            "Changing epsilon and rad hardly matters where all four are attacked.",
            "Section VI.B; Table 6",
            _on_useful(m, lambda: [_steady(m, ALL)]),
        ),
    ]


def _of_all(m: Measured) -> list[Claim]:
    return [
        claim(
            f"An attack on all four lowers Dice severely (by {SUCCESS:.0%} or more) even with the smallest epsilon and rad.",
            "Section VI.B; Table 6",
            _on_useful(m, lambda: [_severe(m)]),
        ),
        claim(
            "An attack on one modality hurts less than one on all four.",
            "Section VI.B; Section VIII, 2",
            _on_useful(m, lambda: [_hurts_more(m, ALL, x) for x in MODALITIES]),
        ),
    ]


def _of_intensities(m: Measured) -> list[Claim]:
    others = [x for x in MODALITIES if x != "T2"]
    return [
        claim(
            "T2 has the largest slope in the normal QQ plot.",
            "Section VII; Table 7",
            [_steeper(m, x, "qq_slope_before", "slope") for x in others],
        ),
        claim(
            "T2 has the largest intercept in the normal QQ plot.",
            "Section VII; Table 7",
            [_steeper(m, x, "qq_intercept_before", "intercept") for x in others],
        ),
        claim(
            "The larger a modality's slope in the normal QQ plot, the less its attack hurts.",
            "Section VII; Section VIII, 3 (the paper takes the slope for the distance from a normal distribution)",
            _on_useful(m, lambda: [_explained(m)]),
        ),
    ]


def chosen(attacked: str, epsilon: float | None = None, radius: float | None = None) -> Callable[[Row], bool]:
    """The rows of the ensemble in which these channels are attacked, with all sizes or one."""

    def rows(row: Row) -> bool:
        right = row["network"] == ENSEMBLE and row["channels"] == attacked
        right = right and (epsilon is None or is_setting(row, "epsilon", epsilon))
        return right and (radius is None or is_setting(row, "radius", radius))

    return rows


def clean(m: Measured, regions: tuple[str, ...] = REGIONS) -> Values:
    """Dice of the ensemble without attack."""
    return m.clean(lambda row: row["network"] == ENSEMBLE, regions)


def _on_useful(m: Measured, comparisons: Callable[[], Iterable[Comparison]]) -> list[Comparison]:
    return guarded(by_patient(clean(m)), "Dice of the ensemble", comparisons)


def _left(m: Measured, attacked: str, epsilon: float | None = None, radius: float | None = None) -> Values:
    return m.attacked(chosen(attacked, epsilon, radius), REGIONS)


def _hurts_more(m: Measured, more: str, less: str) -> Comparison:
    """Averaged over all sizes, as both are attacked with all of them."""
    low, high = together(_left(m, more), _left(m, less))
    return greater(high, low, Clause(f"Dice with {more} attacked is", ("below", "above"), f"that with {less} attacked"))


def _lowers(m: Measured, attacked: str) -> Comparison:
    before, after = together(clean(m), _left(m, attacked))
    return greater(before, after, Clause(attacked, ("lowers", "raises"), "Dice"))


def _steady(m: Measured, attacked: str) -> Comparison:
    largest, smallest = together(*(_left(m, attacked, size, size) for size in (_MOST, _LEAST)))
    what = Clause(f"{attacked}: Dice at epsilon = rad = {_MOST:g} is", ("above", "below"), f"that at {_LEAST:g}")
    return same(largest, smallest, what)


def _severe(m: Measured) -> Comparison:
    before, after = together(clean(m), _left(m, ALL, _LEAST, _LEAST))
    margins = {x: (before[x] - after[x]) / before[x] - SUCCESS for x in before if before[x] > 0}
    what = Clause(f"relative drop at epsilon = rad = {_LEAST:g} is", ("above", "below"), f"{SUCCESS:g}")
    return above_zero(margins, what)


def line(m: Measured, modality: str, column: str) -> dict[str, float]:
    """Slope or intercept of a channel by patient; it is the same in all rows of a case."""
    return by_patient(m.quality(lambda row: row["network"] == ENSEMBLE and row["channel"] == modality, column))


def _steeper(m: Measured, other: str, column: str, name: str) -> Comparison:
    return greater(
        line(m, "T2", column), line(m, other, column), Clause(f"{name} of T2 is", ("above", "below"), f"that of {other}")
    )


def _explained(m: Measured) -> Comparison:
    """Kendall's tau over the modalities of each patient, of slope and remaining Dice, over the patients."""
    from scipy.stats import kendalltau

    left = dict(zip(MODALITIES, together(*(_left(m, x) for x in MODALITIES))))
    slopes = {x: line(m, x, "qq_slope_before") for x in MODALITIES}
    taus = {}
    for patient in left["T2"]:
        if all(patient in slopes[x] for x in MODALITIES):
            series = ([by[x][patient] for x in MODALITIES] for by in (slopes, left))
            tau = float(kendalltau(*series).statistic)
            taus[patient] = 0.0 if tau != tau else tau
    return above_zero(taus, Clause("remaining Dice", ("rises", "falls"), "with the slope over the modalities"), TAU)
