"""The training loop, against loops written by hand, and against itself interrupted."""

from __future__ import annotations

import copy
import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from training_helpers import CLASSES, TINY, assert_same, block, cohort, trained

from SegAdversarialLib import Preprocessing, open_model, recipes
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.metrics import dice, iou
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training import randomness
from SegAdversarialLib.training.checkpoints import CHECKPOINT_FILE
from SegAdversarialLib.training.learner import NetworkLearner
from SegAdversarialLib.training.loop import train
from SegAdversarialLib.training.machine import machine
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import Task


def own_network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(randomness.torch_seed(0, randomness.WEIGHTS))
        return UNet(spatial_dims=3, in_channels=2, out_channels=3, **TINY["arguments"])


def by_hand(optimizer: Any, epochs: int, clip: float | None = None) -> torch.nn.Module:
    """Standard training of the tiny network, as anybody would write it."""
    network, dice_loss = own_network(), DiceLoss()
    moving = optimizer(network.parameters())
    cases = cohort()
    for epoch in range(epochs):
        for n in np.random.default_rng(np.random.SeedSequence([0, 1, epoch])).permutation(len(cases)):
            image = torch.from_numpy(cases[n].image)
            mean, deviation = image.mean((1, 2, 3), keepdim=True), image.std((1, 2, 3), keepdim=True, correction=0)
            classes = torch.from_numpy(cases[n].label.astype(np.int64))[None]
            logits = network(((image - mean) / deviation)[None])
            claimed = torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
            overlap = dice_loss(logits.softmax(1)[:, 1:], claimed[:, 1:])
            loss = overlap + torch.nn.functional.cross_entropy(logits, classes)
            moving.zero_grad()
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
            moving.step()
    return network


@pytest.mark.parametrize(
    ("settings", "optimizer", "clip"),
    [
        ({}, lambda x: torch.optim.Adam(x, 1e-3), None),
        (
            {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.99, "clip_gradient": 0.5},
            lambda x: torch.optim.SGD(x, 0.1, 0.99),
            0.5,
        ),
        ({"optimizer": "adamw", "weight_decay": 0.1}, lambda x: torch.optim.AdamW(x, 1e-3, weight_decay=0.1), None),
    ],
)
def test_standard_training_is_what_anybody_would_write(settings: dict[str, Any], optimizer: Any, clip: float | None) -> None:
    found, expected = trained(settings), by_hand(optimizer, 3, clip)
    assert not torch.equal(next(expected.parameters()), next(own_network().parameters()))
    for one, other in zip(found.network.parameters(), expected.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_same_seed_same_weights() -> None:
    first = trained({"epochs": 2})
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    assert_same(trained({"epochs": 2}), first)
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody's own draws are disturbed
    other = trained({"epochs": 2, "seed": 1})
    assert not torch.equal(next(other.network.parameters()), next(first.network.parameters()))


RANDOM = {
    "network": {"name": "UNet", "arguments": {**TINY["arguments"], "dropout": 0.2}},
    "settings": {"patch": (8, 8, 8), "patches": 2, "batch_size": 2, "augmentation": "classic", "schedule": "cosine"},
}
"""A training in which everything random happens: patches, augmentation, dropout."""


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    def run(place: str, **options: Any) -> Any:
        return trained(dict(RANDOM["settings"]), network=RANDOM["network"], folder=tmp_path / place, **options)

    whole = run("whole", validation=[block(9)])
    calls = iter(range(6))
    with pytest.raises(Cancelled):
        run("parts", validation=[block(9)], cancel=lambda: next(calls, None) is None)
    assert (tmp_path / "parts" / CHECKPOINT_FILE).is_file()
    assert_same(run("parts", validation=[block(9)]), whole)
    assert (tmp_path / "parts" / "training.csv").read_text() == (tmp_path / "whole" / "training.csv").read_text()
    assert_same(run("parts", validation=[block(9)]), whole)  # which is finished already


def test_killed_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """As by `kill -9`: the process does not get to do anything more."""
    program = tmp_path / "training.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from training_helpers import trained
            from test_training_loop import RANDOM
            place = Path(sys.argv[1])

            def slowly(fraction, text):
                (place.parent / "said").write_text(text)
                time.sleep(0.05 if text.startswith("epoch 2") else 0)

            trained(dict(RANDOM["settings"]), network=RANDOM["network"], folder=place, progress=slowly)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    running = subprocess.Popen([sys.executable, str(program), str(tmp_path / "killed")], env=environment)
    said = tmp_path / "said"
    until = time.monotonic() + 300
    while not (said.is_file() and said.read_text().startswith("epoch 2")):
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    time.sleep(0.02)
    running.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    assert running.wait() != 0
    with (tmp_path / "killed" / "training.csv").open() as table:
        assert len(list(csv.DictReader(table))) == 1
    resumed = trained(dict(RANDOM["settings"]), network=RANDOM["network"], folder=tmp_path / "killed")
    assert_same(resumed, trained(dict(RANDOM["settings"]), network=RANDOM["network"]))


def test_open_model_opens_what_comes_out(tmp_path: Path) -> None:
    steps = Preprocessing(orientation="RAS", spacing=(1.5, 1.5, 1.5), normalization={"kind": "zscore"})
    case = block(7, shape=(9, 11, 13))
    model = trained(folder=tmp_path, preprocessing=steps, window=(8, 8, 8), validation=[case])
    opened = open_model(tmp_path, device="cpu")
    np.testing.assert_array_equal(opened.logits(case), model.logits(case))
    assert (opened.channels, opened.head, opened.window) == (model.channels, model.head, (8, 8, 8))
    assert opened.windows.size_multiple == 2
    assert opened.preprocessing == steps
    record = json.loads((tmp_path / "model.json").read_text())["training"]
    assert record["recipe"] == {"recipe": "standard"} and record["cases"] == ["case-0", "case-1", "case-2"]
    assert record["validation"] == ["case-7"] and record["settings"]["seed"] == 0


DEEP = {
    "name": "DynUNet",
    "arguments": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 4, 4],
        "deep_supervision": True,
        "deep_supr_num": 1,
    },
}
"""It keeps the same tensors under two names."""


@pytest.mark.parametrize("network", [DEEP, {"name": "LiuUNet3D", "arguments": {"features": 2}}], ids=lambda x: x["name"])
def test_networks_of_other_makes_open_as_they_are(network: dict[str, Any], tmp_path: Path) -> None:
    model = trained({"epochs": 1}, network=network, cases=[block(3, shape=(16, 16, 16))], folder=tmp_path)
    opened, case = open_model(tmp_path, device="cpu"), block(4, shape=(16, 15, 16))
    assert_same(opened, model)
    np.testing.assert_array_equal(opened.logits(case), model.logits(case))


def test_validation_is_that_of_the_finished_network(tmp_path: Path) -> None:
    case = block(7, shape=(9, 11, 13))
    rows: list[dict[str, float]] = []
    model = trained({"epochs": 4, "learning_rate": 0.02}, folder=tmp_path, validation=[case], on_epoch=rows.append)
    best = max(rows, key=lambda row: row["Dice"])
    prediction = model.segment(case)
    for value, name in list(CLASSES.items())[1:]:
        assert best[f"Dice {name}"] == dice(prediction == value, case.label == value)
        assert best[f"IoU {name}"] == iou(prediction == value, case.label == value)
    assert best["Dice"] == pytest.approx(np.mean([best["Dice left"], best["Dice right"]]))
    with (tmp_path / "training.csv").open() as table:
        assert [float(row["Dice"]) for row in csv.DictReader(table)] == [row["Dice"] for row in rows]


def test_it_learns_and_stops_when_nothing_is_to_be_gained() -> None:
    rows: list[dict[str, float]] = []
    settings = {"epochs": 60, "learning_rate": 0.02, "patience": 3}
    trained(settings, cases=cohort(4), validation=[block(9)], on_epoch=rows.append)
    scores = [row["Dice"] for row in rows]
    best = int(np.argmax(scores))
    assert scores[best] > 0.8 > scores[0] and rows[-1]["loss"] < rows[0]["loss"]
    assert len(rows) == best + 4 < 60


def test_it_does_not_stop_before_it_has_looked_again() -> None:
    """A patience shorter than the time from one validation to the next: the second one decides."""
    rows: list[dict[str, float]] = []
    settings = {"epochs": 12, "learning_rate": 1e-12, "patience": 1, "validate_every": 4}
    trained(settings, cases=cohort(1), validation=[block(9)], on_epoch=rows.append)
    assert ["Dice" in row for row in rows] == [False, False, False, True] * 2


def test_a_module_of_ones_own_is_trained_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = own_network()
    model = train(network, cohort(), {"epochs": 3, "tensorboard": False}, folder=tmp_path, device="cpu")
    assert "known in Python alone; open_model cannot open it" in caplog.text
    assert model.network is network
    assert_same(model, trained())
    assert all(x.requires_grad for x in network.parameters())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_deep_supervision_is_the_sum_written_by_hand(temperature: float) -> None:
    """DynUNet's; at a temperature the logits of all its answers are divided by it."""
    case = block(3, shape=(8, 8, 8))
    rows: list[dict[str, float]] = []
    how = {"recipe": recipes.Tempered(temperature=temperature), "on_epoch": rows.append}
    model = trained({"epochs": 1, "learning_rate": 1e-12}, network=DEEP, cases=[case], **how)
    image = torch.from_numpy(model.prepare(case).numpy())[None]
    classes = torch.from_numpy(case.label.astype(np.int64))[None]
    claimed = torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float()

    def loss(logits: torch.Tensor) -> torch.Tensor:
        overlap = DiceLoss()(logits.softmax(1)[:, 1:], claimed[:, 1:])
        return overlap + torch.nn.functional.cross_entropy(logits, classes)

    model.network.train()
    answers = [x / temperature for x in model.network(image).unbind(1)]
    assert len(answers) == 2
    assert rows[0]["loss"] == pytest.approx(float((2 * loss(answers[0]) + loss(answers[1])).detach() / 3), rel=1e-5)


def test_what_a_network_adds_to_the_loss() -> None:
    """SegResNetVAE's own loss."""
    rows: list[dict[str, float]] = []
    variational = {
        "name": "SegResNetVAE",
        "arguments": {"input_image_size": [8, 8, 8], "init_filters": 8, "blocks_down": [1, 1]},
    }
    variational["arguments"] |= {"blocks_up": [1], "vae_estimate_std": True}
    trained({"epochs": 1}, network=variational, cases=[block(3, shape=(8, 8, 8))], on_epoch=rows.append)
    assert np.isfinite(rows[-1]["loss"])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.Conv3d(16, 16, 3, padding=1), (2, 9, 8)),
        (torch.nn.Conv3d(16, 16, (5, 3, 3), padding="same"), (4, 9, 8)),
        (torch.nn.Conv3d(16, 16, 3, padding=(2, 1, 1), dilation=(2, 1, 1)), (4, 9, 8)),
        (torch.nn.ConvTranspose3d(16, 16, 3, padding=1), (2, 9, 8)),
    ],
    ids=str,
)
def test_gradients_by_the_weights_are_right_in_bfloat16(layer: torch.nn.Module, shape: tuple[int, ...]) -> None:
    """Also where a kernel is longer than its input, of which torch computes nonsense on some CPUs."""
    found = []
    for precision in ("32-true", "bf16-mixed"):
        settings = TrainingSettings(precision=precision)
        task = Task(("A", "B"), OutputHead.of(CLASSES), Preprocessing())
        with torch.random.fork_rng():
            torch.manual_seed(0)
            around = torch.nn.Conv3d(2, 16, 1), torch.nn.Conv3d(16, 3, 1)
        network = torch.nn.Sequential(around[0], copy.deepcopy(layer), around[1]).train()
        learner = NetworkLearner(network, task, settings, machine(settings, "cpu"))
        for seed in range(5):  # what is read wrongly is whatever the memory held
            images = torch.randn((2, 2, *shape), generator=torch.Generator().manual_seed(seed))
            logits, _ = learner.ask(images)
            _ = [torch.full((size,), 1e9) for size in (100, 1000, 10000, 100000)]
            learner.backward((logits * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).sum())
        found.append(torch.cat([x.grad.flatten() for x in network.parameters()]))
    assert (found[1] - found[0]).abs().max() < 0.02 * found[0].abs().max()
    assert found[0].dtype == found[1].dtype == torch.float32
