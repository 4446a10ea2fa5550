"""Audits of small networks of which it is known whether their robustness is real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit_helpers import Around, Probabilities, Random, Saturated, Shattered, a_case, model_of, trained

import SegAdversarialLib
from SegAdversarialLib import Case, InputError, attacks
from SegAdversarialLib.defenses.audit import Audit, forecast
from SegAdversarialLib.defenses.audit.gradient import gradient_agrees
from SegAdversarialLib.defenses.audit.nature import answers, gives_logits
from SegAdversarialLib.defenses.audit.settings import EFFORTS, AuditSettings
from SegAdversarialLib.errors import Cancelled

SETTINGS: dict[str, Any] = {"epsilons": 0.1, "steps": 12, "queries": 60, "temperatures": ("auto", "deviation", 100.0)}


@pytest.fixture(scope="module", name="honest")
def _honest() -> Audit:
    return SegAdversarialLib.audit(model_of(trained()), a_case(), surrogate=model_of(trained()), **SETTINGS)


def test_an_honest_network_passes(honest: Audit) -> None:
    warned = {x.check for x in honest.warnings}
    assert warned <= {"converged"}  # twelve steps are few
    assert honest.get("zero").number == 0
    assert honest.get("gradient").number < 1e-6
    assert honest.get("transfer").verdict == "pass"
    assert honest.dice(0.0) == honest.measured.clean_mean > 0.95
    assert honest.dice(1.0) < 0.05
    assert honest.dice(0.1) <= min(x.mean for x in honest.measured.rows if x.epsilon <= 0.1)
    assert honest.dice(0.1, "CORE") <= honest.dice(0.0, "core")


def test_dice_is_what_the_attack_alone_gives(honest: Audit) -> None:
    """The table's PGD is the library's own, measured by counting voxels."""
    case, model = a_case(), model_of(trained())
    result = attacks.PGD(epsilon=0.1, steps=12, restarts=3)(model, case)
    claimed = model.segment(result.adversarial)
    dice = [2 * ((claimed == n) & (case.label == n)).sum() / ((claimed == n).sum() + (case.label == n).sum()) for n in (1, 2)]
    assert honest.measured.mean("PGD", 0.1) == pytest.approx(np.mean(dice), abs=1e-12)


def test_saturated_logits_are_told_from_robustness(honest: Audit) -> None:
    """Logits a hundred times as large give the same answers: what the plain attack then fails to do is masking."""
    found = SegAdversarialLib.audit(model_of(Saturated(100)), a_case(), **SETTINGS)
    assert found.measured.clean_mean == honest.measured.clean_mean
    masked = found.get("masking")
    assert masked.verdict == "warn" and masked.number > 0.2
    assert honest.get("masking").verdict == "pass"
    assert found.measured.mean("PGD", 0.1) > honest.measured.mean("PGD", 0.1) + 0.2
    assert "masking" in repr(found)


@pytest.mark.parametrize("straight", [True, False])
def test_a_shattered_gradient_is_found_out(straight: bool) -> None:
    finding = gradient_agrees(model_of(Shattered(straight)), a_case(), 4)
    assert finding.verdict == "warn"
    assert ("no gradient at all" in finding.sentence) != straight


def test_single_precision_is_enough_for_an_honest_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("SegAdversarialLib.defenses.audit.gradient.in_double", lambda model: None)
    finding = gradient_agrees(model_of(trained()), a_case(), 4)
    assert finding.verdict == "pass" and "single" in finding.sentence
    assert gradient_agrees(model_of(Shattered(False)), a_case(), 4).verdict == "warn"


def test_a_random_network_is_told_and_attacked_through_its_mean() -> None:
    model = model_of(Random(), allow_random=True)
    few = {**SETTINGS, "steps": 2, "queries": 0, "temperatures": "auto", "losses": ("soft_dice", "margin"), "expectation": 3}
    found = SegAdversarialLib.audit(model, a_case(), **few)
    assert found.get("deterministic").verdict == "warn" and "3 fixed draws" in found.get("deterministic").sentence
    assert found.get("zero").verdict == found.get("gradient").verdict == "pass"
    assert found.dice(0.1) < found.measured.clean_mean
    again = SegAdversarialLib.audit(model, a_case(), **few)
    assert again.measured == found.measured
    with pytest.raises(InputError, match="another answer each time"):
        SegAdversarialLib.audit(model_of(Random()), a_case(), **few)


def test_probabilities_are_told() -> None:
    for said, words in (("probabilities", "turned back"), ("logits", "say so when")):
        model = model_of(Probabilities(), outputs=said)
        finding = gives_logits(model, answers(model, a_case()))
        assert finding.verdict == "warn" and words in finding.sentence
    assert gives_logits(model_of(trained()), answers(model_of(trained()), a_case())).verdict == "pass"


class Leaking(Around):
    """Sees too little of the contrast, and reads the sign of a gradient's change the other way round: attacks help it."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        logits = self.inner(0.8 * batch + 20)
        return 2 * logits.detach() - logits


def test_label_leaking_is_named() -> None:
    """A network that an attack makes better than it is."""
    case = a_case()
    found = SegAdversarialLib.audit(model_of(Leaking()), case, **{**SETTINGS, "epsilons": 0.05, "steps": 2, "queries": 0})
    assert found.get("leaking").verdict == "warn" and "Label leaking" in found.get("leaking").sentence
    assert found.dice(0.05) <= found.measured.clean_mean  # the audited figure does not gain from it


def test_without_a_reference_the_own_answer_counts() -> None:
    case = a_case()
    bare = Case(case.image, case.channels, case.affine, name="bare")
    found = SegAdversarialLib.audit(model_of(trained()), bare, **{**SETTINGS, "steps": 3, "queries": 0})
    assert found.measured.clean_mean == 1.0 and found.dice(0.1) < 1.0
    assert "own answer" in found.reference and found.get("zero").number == 0


def test_cases_are_read_one_at_a_time() -> None:
    class Lazy(Sequence):
        def __init__(self) -> None:
            self.asked: list[int] = []

        def __len__(self) -> int:
            return 2

        def __getitem__(self, number: Any) -> Any:
            self.asked.append(number)
            return a_case(number)

    few = {**SETTINGS, "steps": 1, "queries": 0, "temperatures": "auto", "losses": "soft_dice", "restarts": 1}
    cases, told = Lazy(), list[float]()
    found = SegAdversarialLib.audit(model_of(trained()), cases, progress=lambda share, text: told.append(share), **few)
    assert cases.asked == [0, 1] and found.measured.cases == ["blobs 0", "blobs 1"]
    assert told == sorted(told) and told[-1] <= 1
    stop = iter([False] * 12)
    with pytest.raises(Cancelled):
        SegAdversarialLib.audit(model_of(trained()), cases, cancel=lambda: next(stop, True), **few)


def test_what_is_written(honest: Audit, tmp_path: Path) -> None:
    folder = honest.save(tmp_path / "audit")
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert [x["check"] for x in record["audit"]] == [x.check for x in honest.findings]
    assert record["settings"] == honest.settings.model_dump(mode="json") and record["settings"]["seed"] == 0
    assert {"checks.csv", "audited.csv", "attacks.csv"} < {x.name for x in folder.iterdir()}
    pytest.importorskip("matplotlib")
    assert (folder / "audit.png").stat().st_size > 1000
    assert len(honest.frame()) == 3 and len(honest.frame("checks")) == len(honest.findings)
    assert honest.rows[0]["check"] in honest._repr_html_() and honest.rows[0]["sentence"] in honest.table()


def test_the_effort_says_what_is_left_open() -> None:
    model, case = model_of(trained()), a_case()
    costs = [forecast(model, case, effort=effort).cost.gradients for effort in EFFORTS]
    assert costs == sorted(costs) and costs[0] > 0
    assert AuditSettings(effort="quick", steps=7).complete().steps == 7
    assert forecast(model, [case, case], effort="quick").cost.gradients == 2 * costs[0]


@pytest.mark.parametrize(
    ("cases", "settings", "words"),
    [
        ([], {}, "needs cases"),
        (["a"], {}, "must be a Case, or a list of Cases"),
        (a_case(), {"epsilon": 0.1}, "there is no setting epsilon; the nearest name is epsilons"),
        (a_case(), {"epsilons": (0.1, 3)}, "epsilons must hold"),
        (a_case(), {"epsilons": 0.0}, "epsilons must hold"),
        (a_case(), {"losses": ()}, "at least one loss"),
        (a_case(), {"temperatures": -1}, "above 0"),
        (a_case(), {"effort": "lazy"}, "quick"),
        (a_case(), {"channels": "C"}, "C"),
    ],
)
def test_what_is_refused(cases: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        SegAdversarialLib.audit(model_of(trained()), cases, **{**SETTINGS, **settings})
    with pytest.raises(InputError, match="no check"):
        Audit(findings=(), measured=None, settings=AuditSettings(), network={}).get("luck")  # type: ignore[arg-type]
