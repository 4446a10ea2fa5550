"""What a network is asked before it is used, what is set by itself, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case
from monai.networks.nets import UNETR
from torch import nn

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel, objectives, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.model import examination, treatment


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "_remembered", {})
    monkeypatch.setattr(treatment, "_warned", set())


class Network(nn.Module):
    """Answers by a function of itself and its input, and writes down what it is asked."""

    def __init__(self, answer: Callable[[torch.Tensor], Any] | None = None) -> None:
        super().__init__()
        self.answer, self.asked = answer or (lambda x: torch.cat([x, -x], 1)), list[tuple[int, ...]]()

    def forward(self, x: torch.Tensor) -> Any:
        self.asked.append(tuple(x.shape))
        return self.answer(x)


def model_of(network: nn.Module, **settings: Any) -> SegmentationModel:
    return SegmentationModel.from_network(network, channels=("A",), classes=["background", "core"], **settings)


def case_of(shape: tuple[int, int, int] = (8, 12, 12)) -> Case:
    return toy_case(shape, ("A",), labels=2)


class BrighterThanMean(nn.Module):
    """Whatever is brighter than the mean of its window; a trace of it with one window takes the mean over all windows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.reshape(int(x.shape[0]), -1).mean(1).reshape([-1] + [1] * (x.ndim - 1))
        return torch.cat([mean - x, x - mean], 1)


@pytest.fixture
def _traced(tmp_path: Path) -> None:
    with pytest.warns(torch.jit.TracerWarning):
        torch.jit.save(torch.jit.trace(BrighterThanMean(), torch.rand(1, 1, 16, 16)), str(tmp_path / "two.ts"))
        torch.jit.save(torch.jit.trace(BrighterThanMean(), torch.rand(1, 1, 8, 16, 16)), str(tmp_path / "three.ts"))


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("kind", ["two", "three"])
def test_a_program_traced_with_a_batch_of_one(
    kind: str, batch: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it says of a slice or window does not depend on its neighbours in the batch, whatever the settings."""
    drift = np.linspace(-3, 3, 32)[None, :, None, None]
    image = (np.random.default_rng(0).normal(0, 1, (1, 32, 16, 16)) + drift).astype(np.float32)
    thick = 1 if kind == "two" else 8
    expected = np.concatenate([image[0, k : k + thick] > image[0, k : k + thick].mean() for k in range(0, 32, thick)])
    how: dict[str, Any] = {"preprocessing": {"axes": "ji"}} if kind == "two" else {"window": (8, 16, 16), "overlap": 0.0}
    model = open_model(
        tmp_path / f"{kind}.ts", trust=True, channels=("A",), classes=["no", "yes"], device="cpu", window_batch=batch, **how
    )
    found = model.segment(Case(image, ("A",), np.eye(4)))
    assert (found == expected).mean() > 0.9999  # the mean is summed in another order
    needs_it = batch == 4 or (kind == "two" and batch is None)
    assert caplog.text.count("window_batch: 1") == needs_it
    assert model.describe()["window_batch"] == (1 if needs_it else batch)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: torch.cat([x, -x], 1) - x.mean(),  # a mean over all windows
        lambda x: torch.cat([x, -x], 1).reshape(1, 2, *x.shape[2:]),  # takes no batch of two
        lambda x: torch.cat([x[:1], -x[:1]], 1).expand(len(x), -1, -1, -1, -1),  # the first, for all
    ],
)
def test_windows_that_do_not_go_together(answer: Callable[[torch.Tensor], Any]) -> None:
    settings = {"window": (8, 8, 8), "overlap": 0.25}
    model = model_of(Network(answer), window_batch=4, **settings)
    expected = model_of(Network(answer), window_batch=1, **settings)
    case, loss = case_of(), objectives.CrossEntropy(case_of().label)
    np.testing.assert_array_equal(model.logits(case), expected.logits(case))
    np.testing.assert_array_equal(model.value_and_gradient(case, loss)[1], expected.value_and_gradient(case, loss)[1])
    assert model.window_batch == model.most_windows == 1


def test_batches_of_networks_that_are_fine_stay() -> None:
    batch_norm = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.InstanceNorm3d(2))
    for network in (batch_norm, Network(), Network(lambda x: torch.cat([x, -x], 1) - x.mean((1, 2, 3, 4), keepdim=True))):
        model = model_of(network, window=(8, 8, 8), window_batch=4)
        assert model.describe()["window_batch"] == 4 and model.describe()["found"] == []


def with_dropout(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.dropout(torch.cat([x, -x], 1), 0.01, training=True)


@pytest.mark.parametrize(
    "settings", [{}, {"window": (8, 8, 8), "window_batch": 4}, {"preprocessing": Preprocessing(axes="ji")}]
)
def test_networks_that_draw_numbers_are_refused(settings: dict[str, Any]) -> None:
    for answer in (with_dropout, lambda x: torch.cat([x, -x], 1) + 0.1 * torch.randn_like(x)):
        with pytest.raises(InputError, match="another answer each time.*evaluation mode.*--allow-random, or .*allow_random"):
            model_of(Network(answer), **settings).segment(case_of())
        assert model_of(Network(answer), allow_random=True, **settings).segment(case_of()).any()


def test_dropout_that_is_switched_off_is_no_dropout() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Dropout(0.5)).train()
    assert model_of(network).segment(case_of()).shape == (8, 12, 12) and network.training


def test_the_questions_draw_none_of_the_users_numbers() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model_of(Network(with_dropout), allow_random=True).examine()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        # alone and once more; in batches: alone, and beside another
        ({}, [(1, 1, 16, 16, 16)] * 2),
        ({"window": (96, 96, 96)}, [(1, 1, 16, 16, 16)] * 2),
        ({"window": (5, 6, 7)}, [(1, 1, 5, 6, 7)] * 2),
        ({"window": (5, 6, 7), "size_multiple": 4}, [(1, 1, 8, 8, 8)] * 2),
        ({"size_multiple": 12}, [(1, 1, 24, 24, 24)] * 2),
        ({"preprocessing": Preprocessing(size=(4, 5, 6))}, [(1, 1, 6, 5, 4)] * 2),
        ({"preprocessing": Preprocessing(size=(4, 5, 6), axes="ji")}, [(1, 1, 5, 4), (2, 1, 5, 4)]),
        ({"window": (96, 96, 96), "window_batch": 2}, [(1, 1, 16, 16, 16), (2, 1, 16, 16, 16)]),
    ],
)
def test_few_and_small_questions_once(settings: dict[str, Any], asked: list[tuple[int, ...]]) -> None:
    network = Network()
    model = model_of(network, **settings)
    assert network.asked == []  # not before it is used
    for _ in range(2):
        model.describe()
        model.examine()
    assert network.asked == asked


def test_a_network_that_takes_one_size_alone_is_asked_at_that() -> None:
    def only(size: int) -> Network:
        def answer(x: torch.Tensor) -> torch.Tensor:
            if x.shape[-1] != size:
                raise ValueError("another size")
            return (torch.cat([x, -x], 1)).sigmoid()

        return Network(answer)

    for settings in ({"window": (40, 40, 40)}, {"preprocessing": Preprocessing(size=(40, 40, 40))}, {}):
        model = model_of(only(40), **settings)
        assert model.segment(case_of((40, 40, 40))).shape == (40, 40, 40)
        assert model.describe()["outputs"] == "probabilities"  # without any setting, from the first case that it sees
    torch.manual_seed(0)
    fixed = UNETR(1, 2, (32, 32, 32), feature_size=4, hidden_size=24, mlp_dim=24, num_heads=2)
    model = model_of(nn.Sequential(fixed, nn.Softmax(1)), window=(32, 32, 32))
    assert model.describe()["outputs"] == "probabilities"


def test_a_network_that_cannot_be_asked_says_so_when_it_is_used() -> None:
    def fails(x: torch.Tensor) -> torch.Tensor:
        raise KeyError("never")

    model = model_of(Network(fails))
    assert model.describe()["found"] == []
    with pytest.raises(InputError, match="fails on an input of shape"):
        model.segment(case_of())


def test_networks_without_weights_are_refused() -> None:
    with pytest.raises(InputError, match="no weights; run it once"):
        model_of(nn.LazyConv3d(2, 3))


def settings_file(folder: Path, **settings: Any) -> Path:
    torch.jit.save(torch.jit.script(nn.Sequential(tiny_network(1, 2).float(), nn.Softmax(1))), str(folder / "net.ts"))
    (folder / "net.json").write_text(json.dumps({"channels": ["A"], "classes": ["background", "core"], **settings}))
    return folder / "net.ts"


def test_a_file_is_asked_once_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, asked = settings_file(tmp_path), list[object]()
    ask = examination._Examination.nature
    monkeypatch.setattr(examination._Examination, "nature", lambda self: asked.append(self) or ask(self))
    first = open_model(path, trust=True, device="cpu").describe()
    again = open_model(path, trust=True, device="cpu").describe()
    assert again == first and len(asked) == 1 and caplog.text.count("outputs: probabilities") == 1
    assert open_model(path, trust=True, device="cpu", size_multiple=32).describe()["outputs"] == "probabilities"
    assert len(asked) == 2  # asked otherwise
    torch.jit.save(torch.jit.script(tiny_network(1, 2).float()), str(path))
    assert open_model(path, trust=True, device="cpu").describe()["outputs"] == "logits"


def test_settings_stand_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was found can be written into the settings; then nothing is said any more, and all stays as it was."""
    path = settings_file(tmp_path)
    found = open_model(path, trust=True, device="cpu")
    described = found.describe()
    keys = ("outputs", "output", "in_place", "allow_random", "window_batch")
    again = open_model(settings_file(tmp_path, **{key: described[key] for key in keys}), trust=True, device="cpu")
    assert {key: again.describe()[key] for key in keys} == {key: described[key] for key in keys}
    assert described["found"] != [] and again.describe()["found"] == []
    np.testing.assert_array_equal(again.logits(case_of()), found.logits(case_of()))
    assert main(["info", "--model", str(path), "--trust", "--device", "cpu"]) == 0
    assert "probabilities" in capsys.readouterr().out
    with pytest.raises(InputError, match="outputs"):
        open_model(settings_file(tmp_path, outputs="votes"), trust=True)


def test_what_cannot_be_used_is_refused_at_opening(tmp_path: Path) -> None:

    class Random(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(torch.cat([x, -x], 1), 0.2, training=True)

    path = tmp_path / "random.ts"
    torch.jit.save(torch.jit.script(Random()), str(path))
    how: dict[str, Any] = {"trust": True, "channels": ["A"], "classes": ["background", "core"], "device": "cpu"}
    for _ in range(2):  # remembered or not
        with pytest.raises(InputError, match="The network random gives another answer each time"):
            open_model(path, **how)
    assert open_model(path, **how, allow_random=True).describe()["allow_random"]
