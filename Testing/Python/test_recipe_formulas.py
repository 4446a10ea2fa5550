"""Each recipe against its formula on two voxels, with numbers that are worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from recipe_helpers import TwoVoxels, linear, logistic, run

from SegAdversarialLib.defenses.recipes import (
    AdversarialTraining,
    AttackAugmentation,
    DefensiveDistillation,
    NoiseAugmentation,
    Standard,
    Tempered,
)
from SegAdversarialLib.defenses.recipes.steps import numbers_of

D = math.log(3)
ADVERSARIAL = (0.0, -1.0)
"""The two voxels after FGSM with half of the largest intensity: (1, -2) + 1 * (-1, +1)."""
HELPED = (2.0, -3.0)


def w1(example: TwoVoxels) -> float:
    """The second weight; the first is what it has lost."""
    first, second = example.learner.weights.tolist()
    assert first == pytest.approx(D - second, abs=1e-6)
    return second


def test_standard_training_takes_one_step() -> None:
    example = TwoVoxels()
    (logged,) = run(Standard().begin(example.learner), [example.batch])
    assert example.slope(D) == pytest.approx(-0.225) and w1(example) == pytest.approx(D + 0.225)
    assert logged["loss"] == pytest.approx(-(math.log(0.75) + math.log(0.9)) / 2)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_adversarial_training_is_equation_9(scale: float) -> None:
    example = TwoVoxels(scale=scale)
    (logged,) = run(AdversarialTraining(epsilon=0.5).begin(example.learner), [example.batch])
    assert example.slope(D, ADVERSARIAL) == pytest.approx(-0.125)
    assert w1(example) == pytest.approx(D + (0.225 + 0.125) / 2)
    clean, adversarial = example.loss(D), -(math.log(0.5) + math.log(0.75)) / 2
    expected = {"loss": (clean + adversarial) / 2, "clean loss": clean, "adversarial loss": adversarial}
    assert logged == pytest.approx(expected) and next(iter(logged)) == "loss"


def test_beta_weighs_the_losses() -> None:
    for beta in (0.0, 0.25, 0.9):
        example = TwoVoxels()
        run(AdversarialTraining(epsilon=0.5, beta=beta).begin(example.learner), [example.batch])
        assert w1(example) == pytest.approx(D + beta * 0.225 + (1 - beta) * 0.125), beta


def test_alternating_is_the_adversarial_batch_and_then_the_clean_one() -> None:
    example = TwoVoxels()
    run(AdversarialTraining(epsilon=0.5, order="alternating").begin(example.learner), [example.batch])
    after = D + 2 * 0.125
    assert w1(example) == pytest.approx(D + 0.125 - example.slope(after))
    # the smaller weight is a share of the larger, so that with equal weights both steps are whole
    example = TwoVoxels()
    run(AdversarialTraining(epsilon=0.5, order="alternating", beta=0.75).begin(example.learner), [example.batch])
    after = D + 2 * 0.125 / 3
    assert w1(example) == pytest.approx(D + 0.125 / 3 - example.slope(after))


def test_inverse_fgsm_descends() -> None:
    example = TwoVoxels()
    run(AdversarialTraining(epsilon=0.5, beta=0, attack="inverse-fgsm").begin(example.learner), [example.batch])
    assert w1(example) == pytest.approx(D - example.slope(D, HELPED))


def test_free_training_replays_with_a_perturbation_that_grows() -> None:
    example = TwoVoxels()
    stepper = AdversarialTraining(epsilon=0.5, order="free", replays=3).begin(example.learner)
    run(stepper, [example.batch])
    d, expected = D, D
    for x in (TwoVoxels.x, ADVERSARIAL, ADVERSARIAL):  # once there, the perturbation stays at its bound
        expected -= example.slope(d, x)
        d = 2 * expected - D
    assert w1(example) == pytest.approx(expected)
    # the next batch goes on with the perturbation, also after a break
    assert stepper.state_dict()["perturbation"].flatten().tolist() == [-1, 1]
    again = AdversarialTraining(epsilon=0.5, order="free", replays=1).begin(example.learner)
    again.load_state_dict(stepper.state_dict())
    run(again, [example.batch])
    assert w1(example) == pytest.approx(expected - example.slope(d, ADVERSARIAL))


@pytest.mark.parametrize(("units", "unit"), [("relative", 2.0), ("range", 3.0), ("absolute", 1.0)])
def test_units_of_epsilon(units: str, unit: float) -> None:
    example = TwoVoxels()
    run(AdversarialTraining(epsilon=0.2, beta=0, epsilon_units=units).begin(example.learner), [example.batch])
    moved = (1 - 0.2 * unit, -2 + 0.2 * unit)
    assert w1(example) == pytest.approx(D - example.slope(D, moved))


def test_a_temperature_divides_the_logits() -> None:
    example = TwoVoxels()
    run(Tempered(temperature=4).begin(example.learner), [example.batch])
    assert w1(example) == pytest.approx(D - example.slope(D / 4) / 4)


@pytest.mark.parametrize("temperature", [1.0, 20.0, 5000.0])
def test_distillation_is_equations_4_and_7_with_cross_entropy(temperature: float) -> None:
    example = TwoVoxels(before=linear(0, 8).eval())
    run(DefensiveDistillation(temperature=temperature).begin(example.learner), [example.batch])
    soft = [logistic(8 * x / temperature) for x in example.x]
    own = [logistic(D * x / temperature) for x in example.x]
    slope = sum((p - q) * x for p, q, x in zip(own, soft, example.x)) / (2 * temperature)
    assert w1(example) == pytest.approx(D - slope, abs=1e-6)


def test_copies_are_made_on_the_network_that_was_trained_before() -> None:
    for attack, x in (("fgsm", ADVERSARIAL), ("inverse-fgsm", HELPED)):
        # its signs are those of the network in training; with -8 they would be the other way round
        example = TwoVoxels(before=linear(0, 8).eval())
        run(AttackAugmentation(attack=attack, epsilon=0.5).begin(example.learner), [example.batch])
        after = D - example.slope(D, x)
        assert w1(example) == pytest.approx(after - example.slope(2 * after - D))
        turned = TwoVoxels(before=linear(0, -8).eval())
        run(AttackAugmentation(attack=attack, epsilon=0.5, originals=False).begin(turned.learner), [turned.batch])
        other = HELPED if x is ADVERSARIAL else ADVERSARIAL
        assert w1(turned) == pytest.approx(D - example.slope(D, other))


def test_copies_on_the_network_as_each_epoch_finds_it() -> None:
    example = TwoVoxels()
    stepper = AttackAugmentation(attack="fgsm", epsilon=0.5, network="epoch", originals=False).begin(example.learner)
    run(stepper, [example.batch])
    with torch.no_grad():
        example.learner.network.weight.copy_(linear(0, -D).weight)  # which sees the classes the other way round
    run(stepper, [replace(example.batch, step=1)])
    before = -D - example.slope(-2 * 0 - D, ADVERSARIAL)
    assert example.learner.weights[1].item() == pytest.approx(before)
    with torch.no_grad():
        example.learner.network.weight.copy_(linear(0, -D).weight)
    run(stepper, [replace(example.batch, step=2, epoch=1)])
    assert example.learner.weights[1].item() == pytest.approx(-D - example.slope(-D, HELPED))


def test_the_epochs_network_is_that_of_its_first_batch_whichever_is_copied_first() -> None:
    recipe = AttackAugmentation(attack="fgsm", epsilon=0.5, network="epoch", originals=False, share=0.5)
    example = TwoVoxels()
    copied = [numbers_of(example.learner, replace(example.batch, step=x), "share").random() < 0.5 for x in range(50)]
    first = next(x for x in range(49) if not copied[x] and copied[x + 1])
    stepper = recipe.begin(example.learner)
    run(stepper, [replace(example.batch, step=first)])  # learned from as it is
    with torch.no_grad():
        example.learner.network.weight.copy_(linear(0, -D).weight)  # which sees the classes the other way round
    run(stepper, [replace(example.batch, step=first + 1)])
    assert example.learner.weights[1].item() == pytest.approx(-D - example.slope(-2 * 0 - D, ADVERSARIAL))


def test_noise_is_uniform_within_its_radius_and_the_batch_follows() -> None:
    seen: list[torch.Tensor] = []
    example = TwoVoxels()
    images = torch.linspace(-4, 2, 4000).reshape(1, 1, 10, 20, 20)
    targets = torch.zeros(1, 2, 10, 20, 20)
    example.learner.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    run(NoiseAugmentation(radius=0.01).begin(example.learner), [replace(example.batch, images=images, targets=targets)])
    noise = (seen[0] - images) / 0.04
    assert noise.abs().max() <= 1 + 1e-4 and noise.abs().max() > 0.99
    assert noise.mean().abs() < 0.05 and noise.var().item() == pytest.approx(1 / 3, rel=0.05)
    assert torch.equal(seen[1], images) and example.learner.updates == 2
