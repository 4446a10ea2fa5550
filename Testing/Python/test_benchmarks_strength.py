"""What the strength benchmarks are made of: published forms against formulas, and how a peer's least change is read."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_network, toy_case
from scipy.spatial.distance import jensenshannon

from SegAdversarialLib import SegmentationModel

sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

import common
import defaults
import least_budget
import published


def voxels(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (1, 3, 4, 5) and labels, of which some are right."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn((1, 3, 4, 5), generator=random, dtype=torch.float64)
    labels = torch.randint(0, 3, (1, 4, 5), generator=random)
    labels[0, 0] = logits.argmax(1)[0, 0]
    return logits, labels


def test_the_losses_are_their_formulas() -> None:
    logits, labels = voxels()
    found = {x.__name__: x(logits, labels, 0.5)[0].numpy() for x, _ in published.SEA_LOSSES.values()}
    cosine = published.one_minus_cosine(logits, labels, 0.5)[0].numpy()
    for place in np.ndindex(4, 5):
        values, label = logits[0, :, *place].numpy(), int(labels[0, *place])
        shares = np.exp(values) / np.exp(values).sum()
        right, lost = int(values.argmax() == label), -np.log(shares[label])
        unit = values[label] / np.sqrt((values**2).sum())
        assert found["jensen_shannon"][place] == pytest.approx(jensenshannon(shares, np.eye(3)[label]) ** 2)
        assert found["masked_cross_entropy"][place] == pytest.approx(right * lost)
        assert found["balanced_cross_entropy"][place] == pytest.approx((0.75 if right else 0.25) * lost)
        assert found["masked_spherical"][place] == pytest.approx(-right * unit)
        assert cosine[place] == pytest.approx(1 - unit)
    assert 0 < int((logits.argmax(1) == labels).sum()) < 20


def test_padam_is_adam_with_amsgrad_worked_out_in_numpy() -> None:
    """Of a loss that is linear with weights that change sign: signs, lengths, running means and the projection all count."""
    weights = [np.array([1.0, -2.0, 0.5, 0.0]), np.array([-3.0, 1.0, 0.5, 1.0]), np.array([0.1, 1.0, -4.0, 1.0])]
    asked: list[torch.Tensor] = []

    def network(images: torch.Tensor) -> torch.Tensor:
        asked.append(images.detach().clone())
        return images * torch.tensor(weights[len(asked) - 1]).reshape(1, 1, 1, 4)

    images = torch.tensor([0.5, 0.02, 0.98, 0.5], dtype=torch.float64).reshape(1, 1, 1, 4)
    torch.manual_seed(3)
    found = published.padam(network, images, images, 0.1, 3, lambda logits, labels, progress: logits)
    start, clean = asked[0].numpy().ravel(), images.numpy().ravel()
    assert (np.abs(start - clean) <= 0.1).all() and len(np.unique(start - clean)) == 4
    change, first, second, most = start - clean, np.zeros(4), np.zeros(4), np.zeros(4)
    for step, weight in enumerate(weights, 1):
        gradient = weight / 4
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        most = np.maximum(most, second)
        change = change + 0.025 * (first / (1 - 0.9**step)) / (np.sqrt(most / (1 - 0.999**step)) + 1e-8)
        change = np.clip(clean + np.clip(change, -0.1, 0.1), 0, 1) - clean
    np.testing.assert_allclose(found.numpy().ravel(), clean + change, atol=1e-9)


@pytest.mark.parametrize("name", published.SEA_LOSSES)
def test_sea_ends_within_epsilon_and_takes_its_gradients(name: str) -> None:
    """On a network of one weight, where the worst point is known: the corner of the budget."""
    images, taken = torch.full((1, 1, 3, 4), 0.5), []

    def network(given: torch.Tensor) -> torch.Tensor:
        if given.requires_grad:
            given.register_hook(lambda gradient: taken.append(1))
        return torch.cat([0.58 - given, given - 0.42], 1)

    labels = torch.zeros((1, 3, 4), dtype=torch.long)
    labels[0, :, 2:] = 1
    found = published.sea(network, images, labels, 0.1, 20, name)
    assert len(taken) == 20 and float((found - images).abs().max()) <= 0.1 + 1e-6
    wrong = network(found).argmax(1) != labels
    assert wrong.all(), "8 hundredths are enough to turn each voxel"


def toy_model() -> SegmentationModel:
    scaled = torch.nn.Sequential(tiny_network().float())
    scaled.register_forward_pre_hook(lambda module, inputs: (inputs[0] / 300,))
    return SegmentationModel.from_network(scaled, channels=("A", "B"), classes=("none", "one", "two"))


def test_a_peers_least_change_is_the_smallest_that_it_asked_about_made_smaller() -> None:
    model = toy_model()
    case = toy_case()
    case = replace(case, label=model.segment(case))
    clean = common.mean_dice(model, case, case.image)
    random = torch.Generator().manual_seed(0)

    def search(network: least_budget.Smallest, images: torch.Tensor, *unused: object) -> torch.Tensor:
        noise = torch.randn(images.shape, generator=random).sign()
        for size in (0.45, 0.4, 0.5, 0.01):
            network((images + size * noise).clamp(0, 1))
        return images

    row = least_budget.run_peer(search, model, case, clean, 4)
    assert row["gradients"] == 0 and row["dice"] <= 0.7 * clean + 1e-6 and 0.01 < row["least"] < 0.4
    nothing = least_budget.run_peer(lambda network, images, *unused: images, model, case, clean, 4)
    assert nothing["least"] is None


def test_the_verdict_on_the_least_budget() -> None:
    def rows(ours: list[float | None], theirs: list[float | None], gradients: int = 60) -> list[least_budget.Row]:
        made = {least_budget.OURS: ours, next(iter(least_budget.PEERS)): theirs}
        common_part = {"gradients": gradients, "seconds": 1.0}
        return [{"attack": x, "least": y, **common_part} for x, values in made.items() for y in values]

    table = least_budget.summary(rows([0.01, 0.02, None], [0.03, None, None]))
    assert table[0]["median"] == 0.02 and table[1]["median"] == np.inf and table[1]["not found"] == "2 of 3"
    assert least_budget.verdict(table) == ""
    assert "not above" in least_budget.verdict(least_budget.summary(rows([0.01, 0.02], [0.01, 0.015])))
    assert "130 gradients" in least_budget.verdict(least_budget.summary(rows([0.01], [0.02], 130)))


def test_plain_pgd_is_ours_with_the_last_step() -> None:
    model = toy_model()
    case = toy_case()
    case = replace(case, label=model.segment(case))
    points = list(defaults.plain_pgd(model, case, 0.05, 3))
    pgd = least_budget.attacks.PGD(epsilon=0.05, steps=3, keep="last", random_start=False)(model, case)
    np.testing.assert_allclose(points[-1], pgd.adversarial.image, atol=1e-3)
    found = defaults.compared(model, case, 0.05, 3)
    assert found["pgd"] <= found["plain PGD, last"] + 1e-6 and found["plain PGD, best"] <= found["plain PGD, last"]
