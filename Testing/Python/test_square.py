"""The square attack: its queries replayed, a network whose worst image is known, and networks without gradients."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import toy_case
from test_attacks import assert_within_budget, toy_model

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.errors import Cancelled

CLASSES = ["background", "core", "rim"]


def model_of(network: torch.nn.Module, channels: tuple[str, ...] = ("A", "B"), classes: Any = None) -> SegmentationModel:
    return SegmentationModel.from_network(network, channels=channels, classes=classes or CLASSES)


class Watched(torch.nn.Module):
    """A network that keeps what it was asked, and does something each time."""

    def __init__(self, network: torch.nn.Module, each_time: Callable[[], Any] = lambda: None, keep: bool = True) -> None:
        super().__init__()
        self.network, self.each_time, self.keep = network, each_time, keep
        self.asked: list[np.ndarray] = []
        self.calls = 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.each_time()
        if self.keep:
            self.asked.append(batch[0].numpy().copy())
        return self.network(batch)


def examined(watched: Watched) -> SegmentationModel:
    """The network as a model that has found out what it is like: from here on only the attack asks it."""
    model = model_of(watched)
    model.examine()
    watched.asked.clear()
    watched.calls = 0
    return model


class Undifferentiable(torch.nn.Module):
    """Whole numbers, made without a graph."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        answer = self.network(batch)
        return (answer == answer.amax(1, keepdim=True)).to(torch.int32)


class Brightness(torch.nn.Module):
    """Claims the structure where the first channel is above, and the second below, 300: darker and brighter is worse."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        score = (batch[:, :1] - batch[:, 1:]) / 20
        return torch.cat([torch.zeros_like(score), score], 1)


def hard_loss(label: np.ndarray, said: np.ndarray) -> float:
    """1 - mean Dice, in numpy."""
    values = []
    for n in (1, 2):
        both = (label == n).sum() + (said == n).sum()
        values.append(2 * ((label == n) & (said == n)).sum() / both if both else 1.0)
    return 1 - float(np.mean(values))


def test_the_schedule_is_the_papers() -> None:
    """p is halved at 10, 50, 200, 1000, 2000, 4000, 6000 and 8000 of 10,000 queries, and earlier in proportion."""
    attack = attacks.SquareAttack(queries=10_000, first_share=0.8)
    for halvings, moment in enumerate((10, 50, 200, 1000, 2000, 4000, 6000, 8000)):
        assert attack.share(moment - 1) == 0.8 / 2**halvings
        assert attack.share(moment) == 0.8 / 2 ** (halvings + 1)
    short = attacks.SquareAttack(queries=1000, first_share=0.8)
    assert [short.share(n) for n in (0, 1, 5, 20, 999)] == [0.8, 0.4, 0.2, 0.1, 0.8 / 256]


@pytest.mark.parametrize("region", [False, True])
def test_every_query_is_a_cube_and_the_worst_is_kept(region: bool) -> None:
    """The queries replayed: each changes one cube of the best image so far to original +- epsilon, and what is kept is what
    numpy finds worse."""
    case, watched = toy_case(), Watched(toy_model().network)
    mask = np.zeros(case.shape, bool)
    mask[2:12, 3:14, 4:16] = True
    attack = attacks.SquareAttack(
        epsilon=0.2, queries=120, answers="labels", clip=False, region=mask if region else None, channels=("A", "B")
    )
    result = attack(examined(watched), case)
    limit = 0.2 * np.abs(case.image).max((1, 2, 3), keepdims=True)
    inside = mask if region else np.ones(case.shape, bool)

    def loss(image: np.ndarray) -> float:
        return hard_loss(case.label, toy_model().segment(case.with_image(image)))

    start, *proposals, handed_out = watched.asked
    signs = (start - case.image) / limit
    np.testing.assert_allclose(np.abs(signs[:, inside]), 1, rtol=1e-4)
    if not region:
        assert (np.abs(np.diff(signs, axis=1)) < 1e-3).all()  # stripes along the first axis
    best, value, kept = start, loss(start), 0
    for image in proposals:
        changed = (image != best).any(0)
        low, high = np.argwhere(changed).min(0), np.argwhere(changed).max(0) + 1
        assert (high - low).max() <= np.cbrt(attack.first_share * inside.sum()) + 1
        for original, before, after, bound in zip(case.image, best, image, limit):
            moved = before != after
            if moved.any():  # to one and the same corner of the budget all over the cube
                signs = ((after - original) / bound)[moved]
                assert abs(signs[0]) == pytest.approx(1, rel=1e-4) and np.ptp(signs) < 1e-3
        if loss(image) > value:
            best, value, kept = image, loss(image), kept + 1
    assert 0 < kept < len(proposals)
    np.testing.assert_array_equal(result.adversarial.image, best)
    np.testing.assert_array_equal(handed_out, best)
    assert result.trace[-1]["loss"] == pytest.approx(value)
    assert (result.adversarial.image == case.image)[:, ~inside].all()


def test_finds_the_worst_image_of_a_monotone_network() -> None:
    """Each voxel's loss falls with the first channel and rises with the second, so that the worst image is known."""
    generator = np.random.default_rng(0)
    image = generator.normal(300, 5, (2, 8, 8, 8)).astype(np.float32)
    case = Case(image + np.array([4, -4], np.float32).reshape(2, 1, 1, 1), ("A", "B"), np.eye(4), np.ones((8, 8, 8), np.int16))
    model = model_of(Brightness(), classes=["background", "core"])
    attack = attacks.SquareAttack(epsilon=10, epsilon_units="absolute", queries=1500, clip=False)
    result = attack(model, case)
    additive = result.perturbation.additive
    assert (np.round(additive[0]) == -10).mean() > 0.95 and (np.round(additive[1]) == 10).mean() > 0.95
    worst = model.value_and_gradient(
        case.with_image(case.image + np.array([-10, 10], np.float32).reshape(2, 1, 1, 1)),
        attacks.square.OBJECTIVES["soft_dice"](case.label),
    )[0]
    assert result.trace[0]["loss"] < result.trace[-1]["loss"] <= worst + 1e-6
    assert result.trace[-1]["loss"] > 0.95 * worst


@pytest.mark.parametrize("answers", ["logits", "labels"])
@pytest.mark.parametrize("kind", ["integers", "torchscript"])
def test_networks_that_cannot_be_differentiated(answers: str, kind: str) -> None:
    case = toy_case()
    network: torch.nn.Module = Undifferentiable(toy_model().network)
    if kind == "torchscript":
        network = torch.jit.trace(network, torch.from_numpy(case.image[None]))
    model = model_of(network)
    with pytest.raises(InputError, match="passes no gradient on"):
        attacks.FGSM()(model, case)
    result = attacks.SquareAttack(epsilon=0.2, queries=100, answers=answers, against="prediction")(model, case)
    clean, said = model.segment(case), model.segment(result.adversarial)
    noise = attacks.UniversalRandomPerturbation(epsilon=0.2, radius=0, epsilon_units="relative", clip=True)(None, case)
    assert hard_loss(clean, said) > hard_loss(clean, model.segment(noise.adversarial)) > 0
    assert result.gradient_evaluations == 0


def test_labels_are_all_that_is_used() -> None:
    """Two networks that say the same segmentation with other logits get the same image; by logits they don't."""
    case, plain = toy_case(), toy_model()
    other = model_of(Undifferentiable(plain.network))
    for answers, same in (("labels", True), ("logits", False)):
        attack = attacks.SquareAttack(epsilon=0.1, queries=60, answers=answers)
        assert np.array_equal(attack(plain, case).adversarial.image, attack(other, case).adversarial.image) is same


@pytest.mark.parametrize(
    "settings", [{}, {"against": "prediction"}, {"quantize": True}, {"answers": "labels", "region": "reference"}], ids=str
)
@pytest.mark.parametrize("queries", [3, 40])
def test_queries_are_counted_to_the_last(settings: dict[str, Any], queries: int) -> None:
    watched = Watched(toy_model().network)
    result = attacks.SquareAttack(queries=queries, **settings)(examined(watched), toy_case())
    assert watched.calls == result.forward_evaluations == queries == result.trace[-1]["queries"]
    assert [row["queries"] for row in result.trace] == sorted(row["queries"] for row in result.trace)
    losses = [row["loss"] for row in result.trace[:-1]]
    assert losses == sorted(losses)


def test_memory_does_not_grow_with_queries() -> None:
    """The tensors that are alive whenever the network is asked take the same room at the 30th query and at the 400th."""
    room: list[int] = []

    def measure() -> None:
        if network.calls <= 30 or network.calls % 20 == 0:  # looking at every object takes longer than the network
            storages = [x.untyped_storage() for x in gc.get_objects() if type(x) is torch.Tensor and x.layout is torch.strided]
            room.append(sum({x.data_ptr(): x.nbytes() for x in storages}.values()))

    network = Watched(toy_model().network, measure, keep=False)
    model, case = model_of(network), toy_case((16, 16, 16))
    result = attacks.SquareAttack(queries=400, epsilon=0.1)(model, case)
    # a refused cube's old content is smaller than the first one's, and nothing else is kept
    assert max(room[30:]) <= max(room[:30])
    assert len(result.trace) <= 200


def test_seed_budget_and_snapshots() -> None:
    case, model = toy_case(), toy_model()
    attack = attacks.SquareAttack(queries=60, seed=1, snapshot_every=5, epsilon=0.1)
    result, again = attack(model, case), attack(model, case)
    np.testing.assert_array_equal(result.adversarial.image, again.adversarial.image)
    assert result.trace == again.trace
    other = attack.model_copy(update={"seed": 2})(model, case)
    assert (other.adversarial.image != result.adversarial.image).any()
    assert_within_budget(attack, case, result.perturbation.additive)
    iterations = [x.iteration for x in result.snapshots]
    assert iterations == sorted(iterations) and iterations[0] == 0 and len(iterations) <= 50
    np.testing.assert_array_equal(result.snapshots[-1].image, result.adversarial.image)
    for snapshot in result.snapshots:  # also once the search has gone on
        said = model.segment(result.original.with_image(snapshot.image))
        np.testing.assert_array_equal(snapshot.segmentation, said)
    many = attacks.SquareAttack(queries=300, snapshot_every=1)(model, toy_case((6, 6, 6)))
    assert len(many.snapshots) <= 51


def test_thin_regions_and_no_budget_come_to_an_end() -> None:
    case, model = toy_case(), toy_model()
    line = np.zeros(case.shape, bool)
    line[range(14), range(14), range(14)] = True
    result = attacks.SquareAttack(queries=80, region=line, epsilon=0.2)(model, case)
    assert (result.perturbation.additive != 0).any() and not result.perturbation.additive[:, ~line].any()
    assert result.forward_evaluations == 80
    unchanged = attacks.SquareAttack(queries=80, epsilon=0)(model, case)
    np.testing.assert_array_equal(unchanged.adversarial.image, case.image)
    assert unchanged.forward_evaluations == 2


def test_progress_cancel_and_what_is_refused() -> None:
    case, model, seen = toy_case(), toy_model(), []
    attacks.SquareAttack(queries=20)(model, case, progress=lambda fraction, text: seen.append((fraction, text)))
    assert [x for x, _ in seen] == sorted(x for x, _ in seen) and all(text for _, text in seen)
    assert any("query 2 of 20" in text for _, text in seen) and seen[-1][0] == 1
    with pytest.raises(Cancelled):
        attacks.SquareAttack(queries=20)(model, case, cancel=lambda: len(seen) > 0)
    unlabelled = Case(case.image, case.channels, case.affine, name="unlabelled")
    for attack, subject, message in (
        (attacks.SquareAttack(), unlabelled, "no label map"),
        (attacks.SquareAttack(classes="liver"), case, "no class liver"),
        (attacks.SquareAttack(), toy_case(labels=5), "none of the network's classes"),
    ):
        with pytest.raises(InputError, match=message):
            attack(model, subject)
    assert attacks.SquareAttack(queries=10, against="prediction")(model, unlabelled).forward_evaluations == 10
    with pytest.raises(InputError, match="queries"):
        attacks.make_attack("square", {"queries": 2})


@pytest.mark.slow
def test_between_noise_and_the_white_box_on_a_phantom() -> None:
    model, case = open_model("builtin:brain-tumour-phantom", device="cpu"), phantom.subject(200, (48, 48, 48))
    noise = attacks.UniversalRandomPerturbation(epsilon=0.02, radius=0, epsilon_units="relative", clip=True)(None, case)
    said = model.segment(noise.adversarial)
    dice = [2 * ((said == n) & (case.label == n)).sum() / ((said == n).sum() + (case.label == n).sum()) for n in (1, 2, 4)]
    square = attacks.SquareAttack(queries=300)(model, case).trace[-1]["dice mean"]
    white_box = attacks.PGD(epsilon=0.02, steps=10)(model, case).trace[-1]["dice mean"]
    assert white_box < square < np.mean(dice) - 0.02
