"""The benchmarks' harness at toy sizes: counters, budgets, adapters, tiles; not their results."""

from __future__ import annotations

import csv
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from conftest import ROOT, tiny_network, toy_case

from SegAdversarialLib import Case, SegmentationModel
from SegAdversarialLib.objectives import CrossEntropy

sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

import common
import peers
import strength
import tiles

EPSILON = 0.05


def toy_model(**settings: object) -> SegmentationModel:
    """The tiny network in single precision on inputs of the size of 1."""
    scaled = torch.nn.Sequential(tiny_network().float())
    scaled.register_forward_pre_hook(lambda module, inputs: (inputs[0] / 300,))
    return SegmentationModel.from_network(scaled, channels=("A", "B"), classes=("none", "one", "two"), **settings)  # type: ignore[arg-type]


def signed_case() -> Case:
    """A toy case whose second channel is centred on 0, as normalised images are."""
    case = toy_case(shape=(32, 32, 32))
    return case.with_image(np.stack([case.image[0], case.image[1] - 300]))


@pytest.mark.parametrize("coordinates", ["intensity", "budget"])
def test_images_come_back(coordinates: peers.Coordinates) -> None:
    case, model = signed_case(), toy_model()
    budget = peers.Budget.of(case, EPSILON)
    with model.on(case) as bound:
        network = peers.ImageNetwork(bound, case, budget, coordinates)
        images = network.images(budget.original)
        assert images.shape == (1, 2, 32, 32 * 32) and images.min() >= 0 and images.max() <= 1
        assert torch.allclose(network.volume(images), budget.original, atol=1e-3)
        # a step of epsilon is the whole budget, in every channel
        step = (network.volume(images + network.epsilon) - network.volume(images)).amax((1, 2, 3))
    whole = budget.epsilon * budget.unit.flatten()
    assert torch.allclose(step, whole if coordinates == "intensity" else 2 * whole, rtol=1e-3)


def test_adapter_gives_the_whole_volumes_gradient() -> None:
    case, model = signed_case(), toy_model(window=(16, 16, 16), overlap=0.5)
    value, expected = model.value_and_gradient(case, CrossEntropy(case.label))
    with model.on(case) as bound:
        network = peers.ImageNetwork(bound, case, peers.Budget.of(case, EPSILON))
        images = network.images(torch.from_numpy(case.image)).requires_grad_(True)
        loss = functional.cross_entropy(network(images), network.labels)
        (gradient,) = torch.autograd.grad(loss, images)
        width = network.width
    assert float(loss.detach()) == pytest.approx(value, rel=1e-4) and network.gradients == 1
    folded = gradient.reshape(case.image.shape) / width
    assert torch.allclose(folded, torch.from_numpy(expected), rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))


# adv-lib takes long to import
LIGHT_FIRST = [pytest.param(x, marks=pytest.mark.slow if peer.package == "adv-lib" else ()) for x, peer in peers.PEERS.items()]


@pytest.mark.parametrize("name", LIGHT_FIRST)
def test_peers_stay_within_budget_and_are_counted(name: str) -> None:
    package = {"torchattacks": "torchattacks", "adv-lib": "adv_lib"}.get(peers.PEERS[name].package)
    if package:
        pytest.importorskip(package)
    case, model = signed_case(), toy_model()
    try:
        found = peers.run_peer(peers.PEERS[name], model, case, EPSILON, steps=4)
    except peers.Missing as reason:
        pytest.skip(str(reason))
    change = np.abs(found.image - case.image)
    unit = np.abs(case.image).max((1, 2, 3), keepdims=True)
    assert (change <= EPSILON * unit * (1 + 1e-5)).all()
    assert (found.image.max((1, 2, 3)) <= case.image.max((1, 2, 3))).all()
    assert 1 <= found.gradients <= 4 and found.outside < 1e-3
    if package != "adv_lib":  # which keeps the original where it finds nothing worse
        assert found.gradients == 4
        assert common.mean_dice(model, case, found.image) < common.mean_dice(model, case, case.image)


def test_budget_finds_what_is_outside() -> None:
    budget = peers.Budget.of(toy_case(), EPSILON)
    image = budget.original.clone()
    image[1, 3, 4, 5] = budget.original[1, 3, 4, 5] - 1.5 * EPSILON * budget.unit[1, 0, 0, 0]
    kept, outside = budget.enforce(image)
    assert outside >= 0.5 - 1e-4 and (kept >= budget.least).all() and (kept <= budget.greatest).all()


def test_peer_that_needs_more_classes_says_so() -> None:
    network = tiny_network(outputs=2).float()
    model = SegmentationModel.from_network(network, channels=("A", "B"), classes=("none", "one"))
    with pytest.raises(peers.Missing, match="needs 3 classes"):
        peers.run_peer(peers.PEERS["ALMA prox (adv-lib)"], model, toy_case(labels=2), EPSILON, 4)


def test_our_gradients_are_counted_where_the_network_is_differentiated() -> None:
    case, model = signed_case(), toy_model()
    backward = []

    def watch(module: torch.nn.Module, inputs: object, logits: torch.Tensor) -> None:
        if logits.requires_grad:
            logits.register_hook(lambda gradient: backward.append(1))

    model.network.register_forward_hook(watch)
    found = strength.run_ours("pgd", {"steps": 3}, model, case, EPSILON)
    assert found.gradients == len(backward) == 3 and found.outside < 1e-5
    strength.run_ours("ifgsm", {"steps": 2}, model, case, EPSILON)
    assert len(backward) == 5 and "on" not in vars(model)


def test_finished_measurements_are_kept(tmp_path: Path) -> None:
    path, made = tmp_path / "cells.jsonl", []

    def get(cells: common.Cells, attack: str) -> float:
        return cells.get({"attack": attack}, lambda: made.append(attack) or {"dice": len(made)})["dice"]  # type: ignore[func-returns-value]

    cells = common.Cells(path, ("attack",), resume=False)
    assert [get(cells, "a"), get(cells, "b"), get(cells, "a")] == [1, 2, 1]
    path.write_text(path.read_text() + '{"attack": "c", "di')
    again = common.Cells(path, ("attack",), resume=True, again=["b"])
    assert [get(again, "a"), get(again, "b"), get(again, "c")] == [1, 3, 4]
    assert made == ["a", "b", "b", "c"]
    get(common.Cells(path, ("attack",), resume=False), "a")
    assert made[-1] == "a"


def rows_of(**dice: list[float]) -> list[dict]:
    """Measurements at 40 gradients of some attacks on two cases."""
    common_part = {"network": "n", "by": "ours", "outside": 0.0, "seconds": 1.0}
    clean = [{**common_part, "attack": "none", "budget": 0, "gradients": 0, "dice": 0.8}] * 2
    attacked = [
        {**common_part, "attack": name.replace("_", "-"), "budget": 40, "gradients": 40, "dice": value}
        for name, values in dice.items()
        for value in values
    ]
    return clean + attacked


def test_verdict_on_the_worst_case() -> None:
    rows = rows_of(worst_case=[0.1, 0.3], pgd=[0.4, 0.2])
    table = strength.summary(rows, [40])
    assert [line["attack"] for line in table] == ["worst-case", "pgd", "none"]
    assert table[1]["above WorstCase"] == pytest.approx(0.1) and table[1]["cases below WorstCase"] == "1 of 2"
    assert table[1]["share of WorstCase's drop"] == pytest.approx(0.5 / 0.6)
    assert strength.verdict(rows, table, 40) == ""
    stronger = rows_of(worst_case=[0.1, 0.3], pgd=[0.0, 0.2])
    assert "pgd" in strength.verdict(stronger, strength.summary(stronger, [40]), 40)
    rows[2]["gradients"] = 41
    assert "41 gradients" in strength.verdict(rows, table, 40)
    without = rows_of(pgd=[0.1, 0.1])
    assert "not measured" in strength.verdict(without, strength.summary(without, [40]), 40)


def test_strength_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--networks", "phantom", "--subjects", "1", "--first-seed", "100", "--size", "32", "--budgets", "1", "2"]
    words += ["--only", "ifgsm", "cross-entropy", "universal-random", "--output", str(tmp_path)]
    assert strength.main(words) == 1  # without WorstCase nothing is shown
    assert "WorstCase was not measured" in capsys.readouterr().out
    with (tmp_path / "strength_phantom.csv").open() as file:
        table = {row["attack"]: row for row in csv.DictReader(file)}
    assert {"none", "ifgsm", "ten-line PGD, cross-entropy", "universal-random-perturbation"} <= set(table)
    assert float(table["ifgsm"]["Dice at 2"]) < float(table["none"]["Dice at 2"])
    assert table["ifgsm"]["gradients"] == table["ten-line PGD, cross-entropy"]["gradients"] == "2"
    assert all(float(row["outside budget"]) < 1e-3 for row in table.values())
    assert (tmp_path / "strength_phantom.png").stat().st_size > 10_000
    capsys.readouterr()
    assert strength.main([*words, "--resume"]) == 1
    assert (tmp_path / "strength_phantom_cells.csv").is_file()


@pytest.mark.parametrize("nearest", [False, True])
def test_tiles_are_put_together(nearest: bool) -> None:
    case = signed_case()
    model = toy_model(window=(16, 16, 16), overlap=0.5)
    places = tiles.window_places(model, case.shape)
    assert len(places) == 27
    # windows that agree give what they agree on; windows that do not, something between
    wanted = np.random.default_rng(0).normal(0, 1, case.image.shape).astype(np.float32)
    cut = [wanted[(slice(None), *place)] for place in places]
    assert np.allclose(tiles.stitched(case, places, cut, nearest), wanted, atol=1e-5)
    signs = [np.full_like(part, (-1) ** n) for n, part in enumerate(cut)]
    mixed = np.abs(tiles.stitched(case, places, signs, nearest))
    assert mixed.max() <= 1 + 1e-6 and (mixed.min() == 1) == nearest


def test_tiles_stay_within_the_budget() -> None:
    case = signed_case()
    case = case.with_image(case.image / np.abs(case.image).max((1, 2, 3), keepdims=True))
    model = toy_model(window=(16, 16, 16), overlap=0.0)
    model.network.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 300,))
    places = tiles.window_places(model, case.shape)
    changes = tiles.attacked_tiles(model, case, places, EPSILON, steps=2)
    image = tiles.within(case, tiles.stitched(case, places, changes, nearest=False), EPSILON)
    assert len(changes) == 8 and np.abs(image - case.image).max() <= EPSILON * (1 + 1e-5)
    assert common.mean_dice(model, case, image) < common.mean_dice(model, case, case.image)


def test_same_places_are_attacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 48 in 64 voxels lie at 0 and 16 with either overlap."""
    asked: list[tuple[int, int, float]] = []

    def measured(case: Case, window: tuple[int, ...], overlap: float, *_: float) -> dict[str, float]:
        asked.append((case.shape[0], window[0], overlap))
        return {"windows": 8, "clean": 0.9, **dict.fromkeys(tiles.WAYS, 0.5)}

    monkeypatch.setattr(tiles, "measured", measured)
    words = ["--subjects", "1", "--sizes", "64", "--windows", "32", "48", "--output", str(tmp_path)]
    assert tiles.main(words) == 0
    assert asked == [(64, 32, 0.0), (64, 32, 0.5), (64, 48, 0.0)]


def test_background_tiles_are_left_alone() -> None:
    case = signed_case()
    case = case.with_image(np.where(np.arange(32) < 16, 0, case.image / 1000))
    places = tiles.window_places(toy_model(window=(16, 16, 16), overlap=0.0), case.shape)
    changes = tiles.attacked_tiles(toy_model(window=(16, 16, 16)), case, places, EPSILON, steps=1)
    for place, change in zip(places, changes):
        assert change.any() == (place[2].start >= 16)


def test_tiles_from_end_to_end(tmp_path: Path) -> None:
    words = ["--subjects", "1", "--first-seed", "100", "--sizes", "32", "--windows", "16", "--overlaps", "0", "--steps", "2"]
    assert tiles.main([*words, "--output", str(tmp_path)]) == 0
    with (tmp_path / "tiles.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["exact"]) < float(row["clean"]) and row["windows"] == "8"
    assert row["tiles, blended"] == row["tiles, nearest"]  # nothing overlaps


@pytest.mark.parametrize("path", sorted((ROOT / "Testing" / "Benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_can_be_loaded(path: Path) -> None:
    assert importlib.import_module(path.stem).__doc__
