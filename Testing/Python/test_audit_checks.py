"""The checks of an audit on tables made by hand: what each must say of numbers that are known."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib.defenses.audit import checks
from SegAdversarialLib.defenses.audit.gradient import relative_difference
from SegAdversarialLib.defenses.audit.measured import Measured, Row

CLEAN = 0.9
GOOD = {
    ("FGSM", 0.0): 0.9,
    ("PGD", 0.0): 0.9,
    ("random signs", 0.02): 0.89,
    ("FGSM", 0.02): 0.7,
    ("PGD", 0.02): 0.5,
    ("PGD, twice the steps", 0.02): 0.495,
    ("PGD, logits / 100", 0.02): 0.52,
    ("PGD, margin", 0.02): 0.48,
    ("PGD, cross-entropy", 0.02): 0.6,
    ("worst case", 0.02): 0.45,
    ("square", 0.02): 0.8,
    ("transfer", 0.02): 0.85,
    ("FGSM", 0.05): 0.6,
    ("PGD", 0.05): 0.2,
    ("PGD", 1.0): 0.0,
}
ABOUT = {"PGD, logits / 100": {"temperature": 100.0}, "PGD, margin": {"loss": "margin"}, "PGD, cross-entropy": {"loss": "ce"}}


def table(**changes: float) -> Measured:
    """The good table with some numbers changed: `PGD_at_0_02=0.3`; None takes a row out."""
    named = {f"{attack} {epsilon:g}": (attack, epsilon) for attack, epsilon in GOOD}
    values = {**GOOD, **{named[key]: value for key, value in changes.items()}}
    rows = []
    for (attack, epsilon), mean in values.items():
        if mean is not None:
            own = (mean, mean + 0.01, mean + 0.02) if attack == "PGD" and 0 < epsilon < 1 else ()
            rows.append(Row("one", epsilon, attack, mean, {"core": mean}, own, **ABOUT.get(attack, {})))
    return Measured((Row("one", 0.0, "", CLEAN, {"core": CLEAN}),), tuple(rows))


def verdicts(measured: Measured) -> dict[str, str]:
    return {x.check: x.verdict for x in checks.compare_attacks(measured)}


def test_a_good_table_passes_everything() -> None:
    assert set(verdicts(table()).values()) == {"pass"}


@pytest.mark.parametrize(
    ("change", "check", "number", "words"),
    [
        ({"PGD 0": 0.9001}, "zero", 0.0001, "measurement itself"),
        ({"FGSM 0.05": 0.75}, "monotone", 0.05, "rose by 0.050 from epsilon 0.02 to 0.05"),
        ({"FGSM 0.05": 0.95}, "leaking", 0.05, "Label leaking: under FGSM at epsilon 0.05"),
        ({"FGSM 0.02": 0.3}, "iterative", 0.2, "single step left 0.200 less"),
        ({"PGD, twice the steps 0.02": 0.4}, "converged", 0.1, "before its end"),
        ({"PGD 1": 0.3}, "full range", 0.3, "gradients are hidden"),
        ({"random signs 0.02": 0.6}, "noise", 0.75, "did 75% of the attack's harm"),
        ({"square 0.02": 0.4}, "black box", 0.1, "only asks for answers left 0.100 less"),
        ({"transfer 0.02": 0.4}, "transfer", 0.1, "another network left 0.100 less"),
        ({"PGD, logits / 100 0.02": 0.26}, "masking", 0.24, "left a Dice of 0.500.*only 0.260"),
        ({"PGD, margin 0.02": 0.9, "PGD, cross-entropy 0.02": 0.9}, "losses", 0.05, "Of 3 losses only 1"),
        ({"PGD, margin 0.02": None}, "losses", 0.05, "Only 2 losses"),
    ],
    ids=lambda x: x if isinstance(x, str) and " " not in x else None,
)
def test_what_warns(change: dict[str, float], check: str, number: float, words: str) -> None:
    measured = table(**change)
    found = next(x for x in checks.compare_attacks(measured) if x.check == check)
    assert found.verdict == "warn"
    assert found.number == pytest.approx(number)
    assert found.sentence.count(". ") == 0 and re.search(words, found.sentence)


def test_what_cannot_be_said() -> None:
    """Without an attack there is nothing to compare, and an attack that does nothing has no noise below it."""
    assert verdicts(table(**{"square 0.02": None}))["black box"] == "not applicable"
    assert verdicts(table(**{"transfer 0.02": None}))["transfer"] == "not applicable"
    idle = table(**{"PGD 0.02": 0.89, "PGD 0.05": 0.89, "FGSM 0.02": 0.9, "FGSM 0.05": 0.9})
    assert verdicts(idle)["noise"] == "not applicable"


def test_a_network_that_has_learnt_nothing_is_told() -> None:
    """Nothing is hidden where there is nothing to lose."""
    rows = tuple(dataclasses.replace(x, mean=0.0, restarts=(0.0, 0.0, 0.0)) for x in table().rows)
    found = verdicts(Measured((Row("one", 0.0, "", 0.0, {"core": 0.0}),), rows))
    assert found["clean"] == "warn" and found["masking"] == found["noise"] == "not applicable"


def test_restarts_need_three_that_agree() -> None:
    for own, words in (((0.5, 0.5), "With 2 restarts"), ((0.5, 0.5, 0.7), "differed by up to 0.200")):
        rows = tuple(dataclasses.replace(x, restarts=own) if x.restarts else x for x in table().rows)
        found = checks.restarts(Measured(table().clean, rows))
        assert found.verdict == "warn" and words in found.sentence


unit = st.floats(0, 1, allow_nan=False)


@given(
    st.lists(st.tuples(st.sampled_from(("FGSM", "PGD", "square")), st.sampled_from((0.01, 0.02, 0.05)), unit), max_size=12),
    unit,
)
def test_audited_dice_never_rises(found: list[tuple[str, float, float]], clean: float) -> None:
    """Whatever was measured: within a larger budget is all that a smaller one holds, and the clean image."""
    rows = tuple(Row("one", epsilon, attack, mean, {"core": mean}) for attack, epsilon, mean in found)
    measured = Measured((Row("one", 0.0, "", clean, {"core": clean}),), rows)
    audited = [measured.audited(e)["mean"] for e in (0.0, *measured.epsilons())]
    assert audited[0] == clean and audited == sorted(audited, reverse=True)
    for row in rows:
        assert measured.audited(row.epsilon)["mean"] <= row.mean


@given(st.lists(unit, min_size=2, max_size=6), st.booleans())
def test_a_curve_warns_exactly_where_it_rises(curve: list[float], single: bool) -> None:
    attack = "FGSM" if single else "PGD"
    rows = tuple(Row("one", 0.01 * n, attack, mean) for n, mean in enumerate(curve))
    found = checks.monotone(Measured((Row("one", 0.0, "", curve[0]),), rows))
    rise = max(after - before for before, after in zip(curve, curve[1:]))
    assert (found.verdict == "warn") == (rise > checks.POINT)
    leak = checks.label_leaking(Measured((Row("one", 0.0, "", curve[0]),), rows))
    assert (leak.verdict == "warn") == (max(curve[1:]) - curve[0] > checks.POINT)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5))
def test_derivatives_agree_with_themselves_alone(values: list[float]) -> None:
    assert relative_difference(values, values) == 0
    if math.hypot(*values) > 1e-3:
        assert relative_difference(values, [0.0] * len(values)) == pytest.approx(1)
        assert relative_difference(values, [2 * x for x in values]) == pytest.approx(0.5)
