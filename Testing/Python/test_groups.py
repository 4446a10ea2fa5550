"""Groups of attacks, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import tiny_network, toy_case

from SegAdversarialLib import SegmentationModel, attacks
from SegAdversarialLib.attacks.cost import Cost, duration
from SegAdversarialLib.attacks.groups import DESCRIPTIONS
from SegAdversarialLib.jobs.forecast import Forecast, share_of_clean


def test_every_attack_is_in_a_group() -> None:
    assert list(attacks.GROUPS) == list(DESCRIPTIONS)
    for name, cls in attacks.ATTACKS.items():
        assert cls.groups and set(cls.groups) <= set(DESCRIPTIONS), name
        assert all(cls in attacks.GROUPS[group] for group in cls.groups)
    papers = {"fgsm", "ifgsm", "tifgsm", "inverse-fgsm", "universal-random-perturbation", "uniform-noise", "generative"}
    assert {cls.name for cls in attacks.GROUPS["paper"]} == papers
    assert {cls.name for cls in attacks.GROUPS["random"] if cls.asks_network} == {"worst-of-k"}


def test_a_group_is_no_attack() -> None:
    assert not set(attacks.GROUPS) & ({*attacks.ATTACKS} | {"all"})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fgsm", {}),
        ("fgsm", {"against": "prediction"}),
        ("ifgsm", {"steps": 3, "restarts": 2}),
        ("ifgsm", {"steps": 3, "stop_at_drop": 1.0}),
        ("tifgsm", {"steps": 2}),
        ("pgd", {"steps": 3, "epsilon": 0.01}),
        ("momentum-ifgsm", {"steps": 2}),
        ("apgd", {"steps": 7}),
        ("apgd", {"steps": 7, "shrinking": True, "loss": "balanced_masked_cross_entropy"}),
        ("worst-case", {"gradient_budget": 7, "restarts": 3}),
        ("square", {"queries": 9}),
        ("square", {"queries": 9, "against": "prediction"}),
        ("bias-field", {"steps": 2, "first_draws": 3, "restarts": 2}),
        ("bias-field", {"steps": 0, "restarts": 4}),
        ("deformation", {"steps": 2, "first_draws": 0, "against": "prediction"}),
        ("chain", {"steps": 1, "first_draws": 1}),
        ("frequency", {"steps": 3, "restarts": 2}),
        ("frequency", {"steps": 2, "least_ssim": 0.99, "against": "prediction"}),
        ("worst-of-k", {"draws": 3}),
        ("least-budget", {"probes": 1, "drop": 1.0, "method": {"attack": "uniform-noise", "epsilon": 1e-6}}),
        ("uniform-noise", {}),
        ("physics-artefact", {}),
    ],
)
def test_the_cost_is_what_is_counted_afterwards(name: str, settings: dict[str, Any]) -> None:
    """Told before, and counted by the run itself, which asks once more where rounding has moved the image that is kept."""
    model = SegmentationModel.from_network(tiny_network(), channels=("A", "B"), classes=["background", "core", "rim"])
    attack = attacks.make_attack(name, settings)
    result = attack(model, toy_case())
    assert attack.cost.gradients == result.gradient_evaluations
    assert attack.cost.answers <= result.forward_evaluations <= attack.cost.answers + int(name == "apgd")


def test_attacks_inside_others_count() -> None:
    inner = {"attack": "bias-field", "steps": 0, "restarts": 1}
    assert attacks.WorstOfK(method=inner, draws=5).cost == Cost(0, 10)
    assert attacks.Transfer(method={"attack": "pgd", "steps": 4}).cost == Cost(4, 1, 3)


def test_shares_follow_the_costs() -> None:
    costs = {"noise": Cost(), "fgsm": Cost(1, 1), "pgd": Cost(20, 1), "square": Cost(0, 2000)}
    forecast = Forecast(costs, gradient=3.0, answer=1.0, measuring=0.75, writing=0.25)
    assert forecast.seconds == (2) + (3 + 1 + 2) + (60 + 1 + 2) + (2000 + 2)
    assert forecast.seconds_of("pgd") == {"searching": 61, "answering": 1, "measuring": 0.75, "writing": 0.25}
    assert forecast.sentence() == "4 attacks of 21 gradients and 2,002 answers of the network: about 35 minutes on this case."
    assert 0 < share_of_clean(costs) < 0.001 and share_of_clean({"noise": Cost()}) == 0.05


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (40, "40 seconds"), (120, "2 minutes"), (5000, "83 minutes"), (12600, "3.5 hours")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
