"""The attacks that get the most out of a gradient, against their papers' formulas written out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_attacks import made, toy_case, toy_model

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, objectives, open_model, phantom
from SegAdversarialLib.model.quick_convolutions import QuickConvolutions

ITERATIVE = ("ifgsm", "pgd", "momentum-ifgsm", "segpgd", "cospgd", "apgd", "worst-case")


def ascent(case: Case, loss: objectives.Objective) -> Callable[[torch.Tensor], tuple[float, torch.Tensor]]:
    """Value and gradient of a loss by plain autograd."""
    model = toy_model()
    bound = loss.bind(model.head, "cpu", torch.float32)

    def ask(image: torch.Tensor) -> tuple[float, torch.Tensor]:
        leaf = image.clone().requires_grad_(True)
        value = bound(model.network(leaf[None])[0])
        return float(value.detach()), torch.autograd.grad(value, leaf)[0]

    return ask


def test_momentum_is_dongs() -> None:
    """g <- mu g + grad / |grad|_1; x <- x + eps / T sign(g)."""
    case = toy_case()
    ask = ascent(case, objectives.SoftDice(case.label))
    image = torch.from_numpy(case.image)
    unit = image.abs().amax((1, 2, 3), keepdim=True)
    velocity, x = torch.zeros_like(image), image.clone()
    for _ in range(4):
        gradient = ask(x)[1]
        velocity = 0.9 * velocity + gradient / gradient.abs().sum()
        x = x + 0.03 / 4 * unit * velocity.sign()
    attack = attacks.MomentumIFGSM(epsilon=0.03, steps=4, decay=0.9, clip=False, keep="last")
    np.testing.assert_allclose(attack(toy_model(), case).adversarial.image, x.numpy(), rtol=1e-6)
    plain = attacks.IFGSM(epsilon=0.03, steps=4, keep="last")(toy_model(), case).adversarial.image
    forgetful = attacks.MomentumIFGSM(epsilon=0.03, steps=4, decay=0.0, keep="last")(toy_model(), case).adversarial.image
    np.testing.assert_array_equal(forgetful, plain)


@pytest.mark.parametrize(("name", "loss"), [("segpgd", "segpgd"), ("cospgd", "cospgd")])
def test_weightings_are_pgd_with_another_loss(name: str, loss: str) -> None:
    """Step by step against autograd; SegPGD's lambda is (t - 1) / (2 T)."""
    case = toy_case()
    objective = objectives.OBJECTIVES[loss](case.label)
    model = toy_model()
    bound = objective.bind(model.head, "cpu", torch.float32)
    image = torch.from_numpy(case.image)
    limit = 0.03 * image.abs().amax((1, 2, 3), keepdim=True)
    x = image.clone()
    for step in range(5):
        bound.progress = step / 5
        leaf = x.clone().requires_grad_(True)
        with QuickConvolutions():  # here and there a sign hangs on the last bit
            logits = model.network(leaf[None])[0]
        (gradient,) = torch.autograd.grad(bound(logits), leaf)
        x = torch.minimum(torch.maximum(x + 0.4 * limit * gradient.sign(), image - limit), image + limit)
    attack = attacks.make_attack(
        name,
        {"epsilon": 0.03, "step_size": 0.4 * 0.03, "steps": 5, "random_start": False, "clip": False, "keep": "last"},
    )
    np.testing.assert_allclose(attack(model, case).adversarial.image, x.numpy(), rtol=1e-6)


def apgd_by_the_book(
    ask: Callable[[torch.Tensor], tuple[float, torch.Tensor]],
    image: torch.Tensor,
    limit: torch.Tensor,
    steps: int,
    falling: bool = False,
) -> list[torch.Tensor]:
    """Algorithm 1 of Croce & Hein 2020, for one image: all its iterates; falling: eta is no more than 3 times what is left."""

    def inside(x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(x, image - limit), image + limit)

    checkpoints, interval = [0], max(int(0.22 * steps), 1)
    while checkpoints[-1] < steps:
        checkpoints.append(checkpoints[-1] + interval)
        interval = max(interval - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    eta = 2.0
    xs, values = [image.clone()], [ask(image)[0]]
    best_x, best, at_last_check, halved = xs[0], values[0], values[0], True
    x, before = xs[0], xs[0]
    for k in range(1, steps + 1):
        reach = min(eta, 3 * (steps - k + 1) / steps) if falling else eta
        target = inside(x + reach * limit * ask(x)[1].sign())
        moved = inside(x + 0.75 * (target - x) + 0.25 * (x - before)) if k > 1 else target
        x, before = moved, x
        xs.append(x)
        values.append(ask(x)[0])
        if values[-1] > best:
            best, best_x = values[-1], x
        if k in checkpoints:
            start = checkpoints[checkpoints.index(k) - 1]
            rises = sum(values[i + 1] > values[i] for i in range(start, k))
            halve = rises <= 0.75 * (k - start) or (not halved and best == at_last_check)
            halved, at_last_check = halve, best
            if halve:
                eta, x = eta / 2, best_x
    return xs


@pytest.mark.parametrize("schedule", ["published", "falling"])
def test_apgd_is_the_papers_algorithm(schedule: str) -> None:
    case = toy_case()
    ask = ascent(case, objectives.CrossEntropy(case.label))
    image = torch.from_numpy(case.image)
    limit = 0.02 * image.abs().amax((1, 2, 3), keepdim=True)
    expected = apgd_by_the_book(ask, image, limit, 30, schedule == "falling")
    attack = attacks.APGD(epsilon=0.02, steps=30, loss="cross_entropy", schedule=schedule, clip=False, keep="last")
    result = attack(toy_model(), case)
    np.testing.assert_allclose([row["loss"] for row in result.trace], [ask(x)[0] for x in expected], rtol=2e-4)
    # where a gradient is all but zero its sign is a matter of rounding; short steps never make up for it
    assert (np.abs(result.adversarial.image - expected[-1].numpy()) > 0.2).mean() < (0.03 if schedule == "published" else 0.06)


def test_shrinking_radius() -> None:
    """2, 1.5 and 1 epsilon in 3 : 3 : 4; every gradient counts, and only what lies within epsilon is handed out."""
    assert attacks.APGD(steps=40, shrinking=True).stages == [(2.0, 12), (1.5, 12), (1.0, 16)]
    assert sum(n for _, n in attacks.APGD(steps=1, shrinking=True).stages) == 1
    case, model, seen = toy_case(), toy_model(), []
    attack = attacks.APGD(epsilon=0.02, steps=20, snapshot_every=1, clip=False, shrinking=True)
    result = attack(model, case)
    limit = 0.02 * np.abs(case.image).max((1, 2, 3))
    for snapshot in result.snapshots:
        seen.append((np.abs(snapshot.image - case.image).max((1, 2, 3)) / limit).max())
    assert max(seen[1:6]) > 1.5 and max(seen[6:12]) <= 1.5 + 1e-4 and max(seen[12:]) <= 1 + 1e-4
    assert result.gradient_evaluations == 20 and result.iteration >= 12


@pytest.mark.parametrize("name", ITERATIVE)
def test_the_best_step_is_kept(name: str) -> None:
    case, model = toy_case(), toy_model()
    # long steps, so that the last one is not the best
    settings: dict[str, Any] = {"step_size": 0.2} if "step_size" in attacks.ATTACKS[name].model_fields else {}
    result = made(name, epsilon=0.2 if settings else 0.05, restarts=1, **({"norm": "linf"} if settings else {}), **settings)(
        model, case
    )
    allowed = result.trace[1:]
    if name == "apgd":
        allowed = [row for row in allowed if row["iteration"] >= result.trace[-1]["iteration"] - 4]
    assert result.kept_row["dice mean"] == min(row["dice mean"] for row in allowed)
    said = model.segment(result.adversarial)
    expected = np.mean(
        [2 * ((said == n) & (case.label == n)).sum() / ((said == n).sum() + (case.label == n).sum()) for n in (1, 2)]
    )
    assert result.kept_row["dice mean"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ITERATIVE)
def test_early_stop(name: str) -> None:
    """It ends with the first step that brings Dice low enough, and has spent no more gradients than that."""
    case, model = toy_case(), toy_model()
    case = case.with_image(case.image)
    case = Case(case.image, case.channels, case.affine, model.segment(case))
    budget = {"gradient_budget": 60} if name == "worst-case" else {"steps": 60}
    norm = {"norm": "linf"} if "norm" in attacks.ATTACKS[name].model_fields else {}
    full = made(name, epsilon=0.3, restarts=1, **budget, **norm)(model, case)
    stopped = made(name, epsilon=0.3, restarts=1, stop_at_drop=0.3, **budget, **norm)(model, case)
    assert full.kept_row["dice mean"] <= stopped.kept_row["dice mean"] <= 0.7
    assert stopped.gradient_evaluations < full.gradient_evaluations == 60
    assert all(row["dice mean"] > 0.7 or name == "apgd" for row in stopped.trace[1:-1])


def test_early_stop_against_the_prediction_leaks_no_label() -> None:
    """With a label there, but attacking the answer: the drop is the answer's, and the label changes nothing."""
    case, model = toy_case(), toy_model()
    other = Case(case.image, case.channels, case.affine, np.roll(case.label, 3, 2))
    attack = attacks.PGD(against="prediction", stop_at_drop=0.2, steps=30, epsilon=0.3)
    one, two = attack(model, case), attack(model, other)
    np.testing.assert_array_equal(one.adversarial.image, two.adversarial.image)
    clean, said = model.segment(case), model.segment(one.adversarial)
    agreement = np.mean([2 * ((said == n) & (clean == n)).sum() / ((said == n).sum() + (clean == n).sum()) for n in (1, 2)])
    assert agreement <= 0.8


@pytest.mark.parametrize("budget", [1, 2, 5, 20, 41])
@pytest.mark.parametrize("restarts", [1, 3])
def test_worst_case_spends_its_budget(budget: int, restarts: int) -> None:
    if restarts > budget:
        with pytest.raises(InputError, match="3 restarts cannot share"):
            attacks.make_attack("worst-case", {"gradient_budget": budget, "restarts": restarts})
        return
    result = attacks.WorstCase(gradient_budget=budget, restarts=restarts)(toy_model(), toy_case((8, 9, 10)))
    assert result.gradient_evaluations == budget
    assert result.forward_evaluations <= restarts


class Saturated(torch.nn.Module):
    """Logits so large that in single precision no probability has a gradient, as after distillation."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 1e5 * self.network(batch)


def test_worst_case_follows_the_losses_that_are_not_stuck() -> None:
    """The logits of a saturated network have gradients where its probabilities have none."""
    case, plain = toy_case(), toy_model()
    case = Case(case.image, case.channels, case.affine, plain.segment(case))
    model = SegmentationModel.from_network(
        Saturated(plain.network), channels=("A", "B"), classes=["background", "core", "rim"]
    )
    settings: dict[str, Any] = {"epsilon": 0.05, "gradient_budget": 40}
    alone = attacks.WorstCase(**settings, losses=("balanced_masked_cross_entropy",))(model, case)
    several = attacks.WorstCase(**settings)(model, case)
    assert alone.kept_row["dice mean"] > 0.9
    assert several.kept_row["dice mean"] < 0.8


def test_worst_case_of_a_chosen_structure() -> None:
    """Its Dice falls further than when all count."""
    case, model = toy_case(), toy_model()
    case = Case(case.image, case.channels, case.affine, model.segment(case))
    chosen = attacks.WorstCase(epsilon=0.05, classes=("rim",))(model, case).kept_row["dice rim"]
    assert chosen <= attacks.WorstCase(epsilon=0.05)(model, case).kept_row["dice rim"] + 0.02
    assert chosen < 0.6


def test_worst_case_is_worse_than_each_of_its_kin() -> None:
    """At the same number of gradients, on the network that is shipped."""
    case, model = phantom.subject(seed=100, shape=(32, 32, 32)), open_model("builtin:brain-tumour-phantom", device="cpu")
    worst = attacks.WorstCase(epsilon=0.02, gradient_budget=30)(model, case).kept_row["dice mean"]
    for name in ("ifgsm", "pgd", "momentum-ifgsm", "segpgd", "cospgd", "apgd"):
        kin = attacks.make_attack(name, {"epsilon": 0.02, "steps": 30})(model, case)
        assert worst < kin.kept_row["dice mean"]


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_pgd_is_no_worse_than_ten_lines(steps: int) -> None:
    """Its iterates are those of a plain PGD (zero start, soft Dice, same step), and it keeps the best of them."""
    case, model = toy_case(), toy_model()
    ask = ascent(case, objectives.SoftDice(case.label))
    image = torch.from_numpy(case.image)
    limit = 0.03 * image.abs().amax((1, 2, 3), keepdim=True)
    x, seen = image.clone(), []
    for _ in range(steps):
        x = x + 2.5 / steps * limit * ask(x)[1].sign()
        x = torch.minimum(torch.maximum(x, image - limit), image + limit)
        said = model.segment(case.with_image(x.numpy()))
        seen.append(
            np.mean(
                [2 * ((said == n) & (case.label == n)).sum() / ((said == n).sum() + (case.label == n).sum()) for n in (1, 2)]
            )
        )
    result = attacks.PGD(epsilon=0.03, steps=steps, clip=False)(model, case)
    assert [row["dice mean"] for row in result.trace[1:]] == pytest.approx(seen, abs=2e-3)
    assert result.kept_row["dice mean"] <= min(row["dice mean"] for row in result.trace[1:])
    assert not attacks.PGD().is_random and attacks.PGD(random_start=True).is_random


def test_apgd_stays_within_epsilon_unless_told_otherwise() -> None:
    attack = attacks.APGD(steps=20)
    assert attack.stages == [(1.0, 20)] and attack.loss == "soft_dice"
