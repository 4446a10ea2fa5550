"""What Chen et al. 2019 claim, and how a study's rows judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from SegAdversarialLib.studies.papers.chen2019.names import BOTH, DEFORMED, NETWORK, SHADED, is_organ
from SegAdversarialLib.studies.papers.chen2019.tables import ABLATED, STRENGTHS
from SegAdversarialLib.studies.papers.judging import (
    SUCCESS,
    Claim,
    Clause,
    Comparison,
    above_zero,
    claim,
    greater,
    guarded,
    rising,
    untestable,
)
from SegAdversarialLib.studies.papers.measured import Measured, Row, Values, by_patient, is_setting, together

_KIDNEYS, _EASY = "Kidneys", ("Liver", "Spleen")
_HARD = ("Pancreas", _KIDNEYS)
_STRONG = tuple(x for x in STRENGTHS if x >= ABLATED)


def judge(measured: Measured) -> list[Claim]:
    """All claims, in the paper's order."""
    structures = [x for x in measured.structures if not is_region(x)]
    return [*_of_strength(measured, structures), *_of_parts(measured, structures)]


def _of_strength(m: Measured, structures: list[str]) -> list[Claim]:
    return [
        claim(
            "The larger xi, the lower Dice.",
            "Section 4.2; Table 1",
            _on_useful(m, structures, lambda: [_falls(m, structures)]),
        ),
        claim("The larger xi, the larger the perceptibility.", "Section 4.2; Table 1", [_seen(m)]),
        claim(
            f"With xi of {ABLATED:g} and more the attack succeeds on every structure: Dice falls by {SUCCESS:.0%} or more.",
            "Section 4.2; Table 1",
            _on_useful(m, structures, lambda: [_succeeds(m, x, s) for s in structures for x in _STRONG]),
        ),
        _organs(
            m,
            "Liver and spleen are attacked successfully from xi = 1 on.",
            "Section 4.2; Table 1",
            _EASY,
            lambda names: [_succeeds(m, x, s) for s in names for x in STRENGTHS if x >= 1],
        ),
        _organs(
            m,
            "Pancreas and kidneys are harder to attack than liver and spleen: at xi = 1 their Dice falls less.",
            "Section 4.2; Table 1",
            (*_HARD, *_EASY),
            lambda names: _harder(m, names),
        ),
    ]


def _of_parts(m: Measured, structures: list[str]) -> list[Claim]:
    others = [x for x in structures if not is_organ(x, _KIDNEYS)]
    return [
        claim(
            "The intensity variation alone lowers Dice more than the deformation alone, except for kidneys.",
            "Section 4.2; Table 1",
            _on_useful(m, others, lambda: [_lower(m, SHADED, DEFORMED, [x]) for x in others]),
        ),
        _organs(
            m,
            "For the kidneys the deformation alone lowers Dice more than the intensity variation alone.",
            "Section 4.2; Table 1",
            (_KIDNEYS,),
            lambda names: [_lower(m, DEFORMED, SHADED, names)],
        ),
        claim(
            "Both together lower Dice more than either alone.",
            "Table 1",
            _on_useful(m, structures, lambda: [_lower(m, BOTH, x, structures) for x in (DEFORMED, SHADED)]),
        ),
        untestable(
            "The adversarial images look real, and the changes are difficult to recognise.",
            "Section 4.1; Figures 2 and 3",
            "nobody looked at the images; the perceptibility stands in Table 1",
        ),
    ]


def chosen(attack: str, strength: float) -> Callable[[Row], bool]:
    """The rows of one part of the attack with one xi."""
    return lambda row: row["network"] == NETWORK and row["attack"] == attack and is_setting(row, "xi", strength)


def clean(m: Measured, structures: Sequence[str]) -> Values:
    """Dice without attack."""
    return m.clean(lambda row: row["network"] == NETWORK, structures)


def left(m: Measured, structures: Sequence[str], attack: str, strength: float) -> Values:
    """Dice under the attack, of the reference that has moved with the image."""
    return m.attacked(chosen(attack, strength), structures)


def structures_of(m: Measured, organ: str) -> list[str]:
    """The measured structures that are an organ of the paper's."""
    return [x for x in m.structures if is_organ(x, organ)]


def is_region(structure: str) -> bool:
    """Whether a structure is made of others, which would count twice."""
    return structure in ("WT", "TC", "ET")


def _on_useful(m: Measured, names: Sequence[str], comparisons: Callable[[], Iterable[Comparison]]) -> list[Comparison]:
    return guarded(by_patient(clean(m, names)), "Dice of the network", comparisons)


def _organs(
    m: Measured, text: str, source: str, organs: Sequence[str], comparisons: Callable[[list[str]], list[Comparison]]
) -> Claim:
    """A claim of certain organs, all of which must be there."""
    missing = [x for x in organs if not structures_of(m, x)]
    if missing:
        return untestable(text, source, f"the cohort has no {_either(missing).lower()}")
    names = [s for x in organs for s in structures_of(m, x)]
    return claim(text, source, _on_useful(m, names, lambda: comparisons(names)))


def _either(names: Sequence[str]) -> str:
    """Names as a choice: "pancreas, liver or spleen"."""
    return " or ".join(x for x in (", ".join(names[:-1]), names[-1]) if x)


def _falls(m: Measured, names: Sequence[str]) -> Comparison:
    series = {0.0: clean(m, names), **{x: left(m, names, BOTH, x) for x in STRENGTHS}}
    known = {x: values for x, values in series.items() if values}
    levels = [(-x, values) for x, values in zip(known, together(*known.values()))]
    return rising(levels, Clause("Dice", ("falls", "rises"), "with xi"))


def _seen(m: Measured) -> Comparison:
    series = {x: m.quality(chosen(BOTH, x), "perceptibility") for x in STRENGTHS}
    known = {x: values for x, values in series.items() if values}
    levels = list(zip(known, together(*known.values())))
    return rising(levels, Clause("perceptibility", ("rises", "falls"), "with xi"))


def _succeeds(m: Measured, strength: float, structure: str) -> Comparison:
    before, after = together(clean(m, [structure]), left(m, [structure], BOTH, strength))
    margins = {x: (before[x] - after[x]) / before[x] - SUCCESS for x in before if before[x] > 0}
    what = Clause(f"relative drop of {structure} at xi = {strength:g} is", ("above", "below"), f"{SUCCESS:g}")
    return above_zero(margins, what)


def _harder(m: Measured, names: Sequence[str]) -> list[Comparison]:
    drops = {}
    for name in names:
        before, after = together(clean(m, [name]), left(m, [name], BOTH, 1.0))
        drops[name] = {x: (before[x] - after[x]) / before[x] for x in before if before[x] > 0}
    easy, hard = ([x for x in names if any(is_organ(x, y) for y in organs)] for organs in (_EASY, _HARD))
    return [greater(drops[x], drops[y], Clause(f"{x} loses", ("more", "less"), f"than {y}")) for x in easy for y in hard]


def _lower(m: Measured, stronger: str, weaker: str, names: Sequence[str]) -> Comparison:
    less, more = together(*(left(m, names, x, ABLATED) for x in (stronger, weaker)))
    what = Clause(f"{stronger} leaves", ("less", "more"), f"Dice of {', '.join(names)} than {weaker}")
    return greater(more, less, what)
