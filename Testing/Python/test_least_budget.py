"""The least budget: known by hand where a network is a threshold, checked by running both ends elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, evaluate
from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.attacks.bounded import with_share
from SegAdversarialLib.attacks.engine.budget_search import Attempt, Bisection, BisectionPlan
from SegAdversarialLib.attacks.least_budget import GROWING
from SegAdversarialLib.attacks.threshold import Threshold
from SegAdversarialLib.jobs.results import read_attack
from SegAdversarialLib.scene.pictures import title_of

SHAPE = (4, 5, 5)


class Above(torch.nn.Module):
    """Says that a voxel belongs to the structure where its intensity is above 50."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(image), image - 50], 1)


def ladder() -> Case:
    """A hundred voxels of which the n-th of the first forty is n + 1 above the threshold; the largest intensity is 100."""
    image = np.zeros((1, *SHAPE), np.float32)
    flat = image.reshape(-1)
    flat[:40] = 51 + np.arange(40)
    flat[40] = 100
    label = np.zeros(SHAPE, np.int16)
    label.reshape(-1)[:41] = 1
    return Case(image, ("A",), np.eye(4), label, name="ladder")


def by_hand(drop: float) -> float:
    """With an epsilon of e, voxels up to 100 e above the threshold are lost; those that were wrong stay right."""
    for lost in range(42):
        if 2 * (41 - lost) / (41 + 41 - lost) <= 1 - drop + 1e-9:
            return lost / 100
    raise AssertionError


def above() -> SegmentationModel:
    return SegmentationModel.from_network(Above(), channels=("A",), classes=["background", "bright"])


def toy() -> tuple[SegmentationModel, Case]:
    scaled = torch.nn.Sequential(tiny_network().float())
    scaled.register_forward_pre_hook(lambda module, inputs: (inputs[0] / 300,))
    model = SegmentationModel.from_network(scaled, channels=("A", "B"), classes=["background", "core", "rim"])
    case = toy_case()
    return model, replace(case, label=model.segment(case))  # a network that is right at first


def lost(result: Any, names: tuple[str, ...] = ("core", "rim")) -> float:
    """The share of mean Dice that is lost, as `evaluate` measures it."""
    found = evaluate(result, toy()[0], regions={})
    before, after = (np.mean([found.get(x, "Dice")[when] for x in names]) for when in ("before", "after"))
    return float((before - after) / before)


@pytest.mark.parametrize("drop", [0.1, 0.3, 0.5])
@pytest.mark.parametrize(
    "method",
    [{"attack": "worst-case", "epsilon": 0.45}, {"attack": "pgd", "epsilon": 0.45, "steps": 5, "loss": "margin"}],
    ids=["worst-case", "pgd"],
)
def test_the_least_epsilon_of_a_threshold_is_known_by_hand(drop: float, method: dict[str, Any]) -> None:
    case = ladder()
    result = attacks.LeastBudget(method=method, drop=drop, precision=0.01, probes=14)(above(), case)
    (found,) = result.thresholds
    assert found.lower < by_hand(drop) * (1 + 1e-6) and found.upper is not None
    assert by_hand(drop) - 1e-6 <= found.upper <= by_hand(drop) * 1.02
    # the image itself is the proof of the upper end
    assert np.abs(result.adversarial.image - case.image).max() <= 100 * found.upper * (1 + 1e-6)
    assert result.kept_row["at budget"] == pytest.approx(found.upper)
    assert result.kept_row["dice mean"] == pytest.approx(found.after) and found.after <= (1 - drop) * found.before + 1e-9


def test_a_larger_drop_takes_no_less() -> None:
    found = [attacks.LeastBudget(method="pgd", drop=x)(*toy()).thresholds[0] for x in (0.1, 0.3, 0.6)]
    uppers = [x.upper if x.upper is not None else np.inf for x in found]
    assert uppers == sorted(uppers)


@pytest.mark.parametrize(
    "method",
    [
        {"attack": "pgd", "epsilon": 0.2},
        {"attack": "apgd", "epsilon": 0.2, "steps": 10},
        {"attack": "pgd", "epsilon": 60.0, "norm": "l2"},
        {"attack": "bias-field", "max_bias": 0.6, "spacing_mm": 8},
        {"attack": "deformation", "max_displacement": 4, "spacing_mm": 8, "steps": 6},
        {"attack": "affine", "steps": 4},
        {"attack": "uniform-noise", "epsilon": 0.9},
        {"attack": "universal-random-perturbation", "epsilon": 200.0, "radius": 100.0, "vector": "normal"},
        {"attack": "worst-of-k", "draws": 2, "method": {"attack": "physics-artefact", "severity": 5}},
    ],
    ids=lambda x: x["attack"],
)
def test_both_ends_hold(method: dict[str, Any]) -> None:
    """The upper end's image does; the attack with the budget of the lower end does not."""
    model, case = toy()
    attack = attacks.LeastBudget(method=method, drop=0.2, probes=5, precision=0.1)
    result = attack(model, case)
    found = result.thresholds[0]
    if found.upper is None:
        assert lost(result) < 0.2 and found.lower == found.largest
        return
    assert lost(result) >= 0.2 - 1e-9 and found.lower < found.upper <= found.largest
    if found.lower:
        assert lost(with_share(attack.attack, found.lower / found.largest)(model, case)) < 0.2
    rows = {row["at budget"]: row for row in result.trace}
    assert found.upper in rows and result.trace[0]["at budget"] == 0
    assert result.gradient_evaluations <= attack.cost.gradients and result.forward_evaluations <= attack.cost.answers + 5
    again = attack(model, case)
    assert again.thresholds == result.thresholds
    np.testing.assert_array_equal(again.adversarial.image, result.adversarial.image)


def test_not_within_the_largest_budget() -> None:
    result = attacks.LeastBudget(method={"attack": "pgd", "epsilon": 0.1, "steps": 3}, drop=0.5)(above(), ladder())
    (found,) = result.thresholds
    assert found.upper is None and found.lower == found.largest == 0.1
    assert "not within 0.1 of the largest intensity" in found.sentence
    assert len(result.trace) == 3  # nothing, everything that is allowed, and on from there
    assert "2 attacks were tried with 0.1 of the largest intensity, the second from the first" in found.sentence


@dataclass
class Answer:
    """What a network says of an image: the Dice that it has left."""

    dice: float

    def mean(self, outputs: Sequence[int]) -> float:
        return self.dice


def bisection(succeeds: Callable[[float, Attempt | None], bool], **plan: Any) -> tuple[Bisection, list[tuple[float, float]]]:
    """A search whose attacks are made up, and what each of them was told: its share, and that of the one that it went on
    from, 0 for none. Nothing can be made smaller."""
    asked = []

    def attempt(share: float, last: Attempt | None) -> Any:
        asked.append((share, 0.0 if last is None else last.share))
        return 0.0 if succeeds(share, last) else 1.0

    settings = {"outputs": [0], "enough": 0.5, "probes": 8, "precision": 0.05, "least": 0.0, **plan}
    search = Bisection(BisectionPlan(**settings), attempt, lambda *inputs: None, Answer, lambda made: None)  # type: ignore[arg-type]
    search.run()
    return search, asked


def test_budgets_grow_until_one_does() -> None:
    search, asked = bisection(lambda share, last: last is not None and share == 0.5, shares=GROWING, probes=3)
    assert asked == [(0.25, 0.0), (0.5, 0.25), (pytest.approx(0.125**0.5), 0.5)]
    assert search.upper is not None and search.upper.share == 0.5 and search.lower == pytest.approx(0.125**0.5)
    search, asked = bisection(lambda share, last: False, shares=GROWING)
    assert search.upper is None and search.lower == 1.0
    assert asked == [(0.25, 0), (0.5, 0.25), (1.0, 0.5), (0.125, 0), (0.25, 0.125), (0.5, 0.25), (1.0, 0.5)]


@pytest.mark.parametrize("probes", [1, 2])
def test_few_attempts_still_try_the_largest_budget(probes: int) -> None:
    """That the least budget is not within the largest is only said where that was tried."""

    def within(largest: float) -> Threshold:
        method = {"attack": "bias-field", "max_bias": largest, "spacing_mm": 8}
        return attacks.LeastBudget(method=method, drop=0.2, probes=probes)(*toy()).thresholds[0]

    small = within(0.7 / 4)
    assert small.upper is None and small.lower == pytest.approx(small.largest)
    assert within(0.7).upper is not None


def test_a_lower_end_counts_once_the_attack_has_failed_there_from_nothing() -> None:
    """What goes on from elsewhere fails below 0.8; from nothing it does from 0.3 on."""
    search, asked = bisection(lambda share, last: share >= (0.3 if last is None else 0.8), confirms=True, probes=30)
    assert search.upper is not None and search.lower < 0.3 <= search.upper.share < 0.3 / 0.95
    assert (search.lower, 0.0) in asked
    # the last attack is kept for it
    search, asked = bisection(lambda share, last: share >= 0.3, confirms=True, probes=4)
    assert asked == [(1.0, 0.0), (0.5, 1.0), (0.25, 0.5), (0.25, 0.0)] and search.lower == 0.25


@pytest.mark.parametrize(
    "method", [{"attack": "pgd", "epsilon": 0.2}, {"attack": "bias-field", "max_bias": 0.6, "spacing_mm": 8}]
)
def test_the_trace_says_which_images_were_made_smaller(method: dict[str, Any]) -> None:
    attack = attacks.LeastBudget(method=method, drop=0.2, probes=6)
    result = attack(*toy())
    (_, *rows), made = result.trace, 0.0
    assert {row["made smaller"] for row in rows} == {0.0, 1.0}
    assert sum(row["made smaller"] == 0 for row in rows) <= 6
    for row in rows:
        made = made if row["made smaller"] else row["at budget"]
        assert row["at budget"] < made or not row["made smaller"]  # than what the attack before was allowed
    assert attack.least_cost.gradients <= attack.likely_cost.gradients <= attack.cost.gradients


def test_it_costs_no_more_than_three_worst_cases_of_forty() -> None:
    assert attacks.LeastBudget().cost.gradients <= 3 * attacks.WorstCase(gradient_budget=40).cost.gradients
    result = attacks.LeastBudget(precision=1e-6)(*toy())
    assert result.gradient_evaluations <= 120


def test_chosen_and_single_structures() -> None:
    model, case = toy()
    only = attacks.LeastBudget(method={"attack": "pgd", "epsilon": 0.2}, classes="rim")(model, case)
    assert lost(only, ("rim",)) >= 0.3 - 1e-9 and len(only.thresholds) == 1
    each = attacks.LeastBudget(method={"attack": "pgd", "epsilon": 0.4}, each_structure=True)(model, case)
    assert [x.structure for x in each.thresholds] == ["mean", "core", "rim"]
    assert {row["restart"] for row in each.trace} == {0, 1, 2} and all(x.searched for x in each.thresholds)
    for found in each.thresholds:
        assert found.upper is not None and found.after <= 0.7 * found.before + 1e-9
    notes = evaluate(each, model, warn=False).notes
    assert all(x.sentence in notes for x in each.thresholds)


@pytest.mark.parametrize("largest", [0.4, 0.02])
def test_each_structure_has_what_the_search_for_the_mean_has_shown_of_it(largest: float) -> None:
    """Read off the trace by hand, at no cost; a search of its own needs no more."""
    model, case = toy()
    settings = {"method": {"attack": "pgd", "epsilon": largest, "steps": 6}}
    result = attacks.LeastBudget(**settings)(model, case)
    mean, *rest = result.thresholds
    assert mean.searched and [x.structure for x in rest] == ["core", "rim"] and not any(x.searched for x in rest)
    assert {row["restart"] for row in result.trace} == {0}
    clean, *tried = result.trace
    for found in rest:
        column = f"dice {found.structure}"
        fell = [row["at budget"] for row in tried if row[column] <= 0.7 * clean[column] + 1e-9]
        assert found.upper == (pytest.approx(min(fell)) if fell else None) and found.before == pytest.approx(clean[column])
        failed = [row["at budget"] for row in tried if row[column] > 0.7 * clean[column] + 1e-9]
        below = [x for x in failed if found.upper is None or x < found.upper]
        assert found.lower == pytest.approx(max(below, default=0))
        assert found.within.startswith("at most" if fell else "not seen up to") and "On the way" in found.sentence
    searched = attacks.LeastBudget(**settings, each_structure=True)(model, case)
    assert result.gradient_evaluations < searched.gradient_evaluations
    assert result.thresholds[0] == searched.thresholds[0]


def test_the_words_are_in_the_attacks_own_unit() -> None:
    found = attacks.LeastBudget(method={"attack": "bias-field", "max_bias": 0.6, "spacing_mm": 8}, drop=0.2)(
        *toy()
    ).thresholds[0]
    assert found.setting == "max_bias" and " %" in found.within
    found = attacks.LeastBudget(method={"attack": "deformation", "steps": 1}, probes=1)(*toy()).thresholds[0]
    assert found.within.endswith(" mm") and "tolerates" in found.sentence or "did not fall" in found.sentence


def test_the_sentence_tells_a_fall_from_what_was_asked() -> None:
    found = Threshold("mean", "epsilon", "of the largest intensity", 0.0155, 0.0157, 0.05, 0.3, 0.529, 0.307)
    assert found.sentence.startswith(
        "Mean Dice fell by 30 % or more (0.529 to 0.307): least epsilon between 0.0155 and 0.0157"
    )


def test_a_picture_s_title_names_the_budget_of_its_image() -> None:
    method = {"attack": "fgsm", "epsilon": 0.45, "loss": "margin"}
    case = ladder()
    result = attacks.LeastBudget(method=method, probes=4)(above(), case)
    upper = result.thresholds[0].upper
    assert upper is not None and upper < 0.45
    assert np.abs(result.adversarial.image - case.image).max() == pytest.approx(100 * upper, rel=0.01)
    assert title_of(result) == f"Least budget for a drop of 30 %: FGSM, epsilon {upper:.3g}, all channels"
    within = attacks.LeastBudget(method={"attack": "fgsm", "epsilon": 0.01}, probes=1)(above(), ladder())
    assert within.thresholds[0].upper is None and "FGSM, epsilon 0.01," in title_of(within)
    assert title_of(attacks.FGSM(epsilon=0.1)(above(), ladder())) == "FGSM, epsilon 0.1, all channels"


def test_it_is_saved_and_read_again(tmp_path: Path) -> None:
    model, case = toy()
    result = attacks.LeastBudget(method={"attack": "pgd", "steps": 4})(model, case)
    folder = result.save(tmp_path / "result")
    assert json.loads((folder / "result.json").read_text())["thresholds"][0]["setting"] == "epsilon"
    read, evaluation = read_attack(folder, case)
    assert read.thresholds == result.thresholds and result.thresholds[0].sentence in evaluation.notes
    assert read.attack == result.attack


def test_a_network_that_is_all_wrong_has_nothing_to_lose() -> None:
    case = ladder()
    wrong = replace(case, label=np.where(case.label == 1, 0, (np.arange(100).reshape(SHAPE) > 90).astype(np.int16)))
    with pytest.raises(InputError, match="0 already") as caught:
        attacks.LeastBudget()(above(), wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "inverse-fgsm"}, "no budget that could break"),
        ({"method": "least-budget"}, "no budget that could break"),
        ({"method": {"attack": "pgd", "stop_at_drop": 0.5}}, "give drop"),
        ({"method": {"attack": "pgd", "seed": 1}, "seed": 2}, "given twice"),
        ({"drop": 0}, "drop"),
        ({"drop": 1.5}, "drop"),
    ],
)
def test_wrong_settings_get_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_attack("least-budget", settings)
    assert "\n" not in str(caught.value)


def test_nothing_allowed_is_refused() -> None:
    with pytest.raises(InputError, match="allowed nothing"):
        attacks.LeastBudget(method={"attack": "pgd", "epsilon": 0})(*toy())


@pytest.mark.parametrize("method", ["pgd", {"attack": "bias-field", "max_bias": 0.1}, {"attack": "worst-of-k", "draws": 2}])
def test_configurations_make_the_same_attack_again(method: Any) -> None:
    attack = attacks.LeastBudget(method=method, drop=0.4)
    described = attack.describe()
    assert make_attack(described.pop("attack"), described) == attack
