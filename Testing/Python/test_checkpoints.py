"""Weights of a MONAI network in whatever a training program wrote: nested, under longer names, beside other things."""

from __future__ import annotations

import argparse
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import UNet
from torch.optim.swa_utils import AveragedModel

from SegAdversarialLib import Case, InputError, SegmentationModel, open_model
from SegAdversarialLib.formats.checkpoints import weights_for

ARGUMENTS: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [2, 4], "strides": [2]}
SETTINGS = {"network": {"name": "UNet", "arguments": ARGUMENTS}, "channels": ["CT"], "classes": ["background", "liver"]}


def unet(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return UNet(**ARGUMENTS).eval()


STATE = unet().state_dict()
OTHER = unet(1).state_dict()
CASE = Case(np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32), ("CT",), np.eye(4))
with torch.no_grad():
    RIGHT = unet()(torch.from_numpy(CASE.image)[None])[0].numpy()


def prefixed(prefix: str, state: dict[str, Any] = STATE) -> dict[str, Any]:
    return {prefix + name: x for name, x in state.items()}


def opened(checkpoint: Any, folder: Path, **changes: Any) -> SegmentationModel:
    torch.save(checkpoint, folder / "net.ckpt")
    return open_model(folder / "net.ckpt", device="cpu", **{**SETTINGS, **changes})


def check(model: SegmentationModel) -> None:
    np.testing.assert_allclose(model.logits(CASE), RIGHT, rtol=1e-5, atol=1e-5)


HALF = {("module." if n % 2 else "") + name: x for n, (name, x) in enumerate(STATE.items())}
INSIDE = {name.replace("submodule.", "submodule._orig_mod."): x for name, x in STATE.items()}


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        (STATE, ""),
        (prefixed("module."), 'without "module."'),
        (prefixed("_orig_mod."), 'without "_orig_mod."'),
        (prefixed("module._orig_mod."), 'without "module." and "_orig_mod."'),
        (prefixed("net."), 'without "net."'),
        (prefixed("model."), 'without "model."'),  # the network's own names begin so, too
        (prefixed("model._orig_mod."), 'without "model." and "_orig_mod."'),
        (prefixed("trainer.student.net."), 'without "trainer.student.net."'),
        (HALF, 'without "module."'),
        (INSIDE, 'without "_orig_mod."'),
        ({**prefixed("net."), "loss.weight": torch.ones(2)}, r"1 other tensor\(s\) are left out \(loss.weight\)"),
    ],
)
@pytest.mark.parametrize("under", ["", "state_dict", "model", "network_weights", "net", "checkpoint.model"])
def test_names_that_wrappers_made_longer(
    checkpoint: dict[str, Any], said: str, under: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole: Any = checkpoint
    for key in reversed(under.split(".") if under else []):
        whole = {key: whole, "epoch": 3}
    with caplog.at_level(logging.WARNING):
        check(opened(whole, tmp_path))
    messages = [x.getMessage() for x in caplog.records]
    assert len(messages) == bool(said)
    if said:
        assert re.search(said, messages[0])


def test_a_checkpoint_of_lightning(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(unet().parameters())
    entries = {"epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.6.6", "state_dict": prefixed("net.")}
    check(opened({**entries, "optimizer_states": [optimizer.state_dict()], "hyper_parameters": {"lr": 1e-4}}, tmp_path))
    check(opened({**entries, "hyper_parameters": argparse.Namespace(lr=1e-4, data=Path("/data"))}, tmp_path))
    with pytest.raises(InputError, match=r"holds more than weights \(pathlib.Path\)"):
        opened({**entries, "hyper_parameters": {"kind": Path}}, tmp_path)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.bool_])
def test_numbers_of_numpy_lie_beside_the_weights(kind: Any, tmp_path: Path) -> None:
    check(opened({"network_weights": STATE, "best": kind(1)}, tmp_path))


@pytest.mark.parametrize(
    ("checkpoint", "places"),
    [
        ({"state_dict": STATE, "ema": OTHER}, ("state_dict", "ema")),
        ({"model": STATE, "callbacks": {"EMA": {"weights": OTHER}}}, ("model", "callbacks.EMA.weights")),
        (
            {"state_dict": {**prefixed("student."), **prefixed("teacher.", OTHER)}},
            ("state_dict.student", "state_dict.teacher"),
        ),
        ({"state_dict": {**STATE, **prefixed("ema.", OTHER)}}, ("state_dict", "state_dict.ema")),
    ],
)
def test_two_sets_of_weights_that_fit(checkpoint: Any, places: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f'2 sets of weights.*"{places[0]}", "{places[1]}".*--weights-within "{places[0]}", or weights_within'
    ):
        opened(checkpoint, tmp_path)
    check(opened(checkpoint, tmp_path, weights_within=places[0]))
    second = opened(checkpoint, tmp_path, weights_within=places[1])
    assert all(torch.equal(x, OTHER[name]) for name, x in second.network.state_dict().items())
    with pytest.raises(InputError, match=f'no fitting weights in "best"; they lie in "{places[0]}", "{places[1]}"'):
        opened(checkpoint, tmp_path, weights_within="best")


def wrapped_average() -> dict[str, Any]:
    """torch.optim.swa_utils' own wrapper, around a network whose weights were averaged twice."""
    average = AveragedModel(unet())
    average.update_parameters(unet())
    return dict(average.state_dict())


NEW_LIGHTNING = {"epoch": 1, "pytorch-lightning_version": "2.6.6", "averaging_state": {"n_averaged": torch.tensor(7)}}
LAYOUTS: dict[str, tuple[dict[str, Any], str, str]] = {
    # what training programs write, the trained weights beside their average: where the average is, and where the other
    "timm": (
        {"arch": "unet", "version": 2, "args": argparse.Namespace(lr=1), "state_dict": OTHER, "state_dict_ema": STATE},
        "state_dict_ema",
        "state_dict",
    ),
    "convnext": ({"model": prefixed("module.", OTHER), "model_ema": STATE, "scaler": {}}, "model_ema", "model"),
    "lightning": (
        {**NEW_LIGHTNING, "state_dict": prefixed("net."), "current_model_state": prefixed("net.", OTHER)},
        "state_dict.net",
        "current_model_state.net",
    ),
    "mmengine": (
        {"meta": {}, "state_dict": STATE, "ema_state_dict": {**prefixed("module.", OTHER), "steps": torch.tensor(3)}},
        "state_dict",
        "ema_state_dict",
    ),
}


@pytest.mark.parametrize("program", LAYOUTS)
def test_the_average_is_taken_where_the_program_is_known(
    program: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint, average, other = LAYOUTS[program]
    with caplog.at_level(logging.WARNING):
        check(opened(checkpoint, tmp_path))
    said = f'weights in training ("{other}") and their average ("{average}") the average is taken (weights_within'
    assert said in caplog.records[0].getMessage()
    second = opened(checkpoint, tmp_path, weights_within=other)
    assert all(torch.equal(x, OTHER[name]) for name, x in second.network.state_dict().items())


@pytest.mark.parametrize(
    "checkpoint",
    [
        wrapped_average(),
        {"swa": wrapped_average(), "epoch": 3},
        {"net": STATE, "optimizer": torch.optim.Adam(unet().parameters()).state_dict(), "trainer": {"epoch": 2}},  # MONAI
        {"epoch": 3, "best_acc": 0.7, "state_dict": prefixed("module.")},  # MONAI's research contributions
    ],
)
def test_what_wrappers_and_monai_write(checkpoint: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check(opened(checkpoint, tmp_path))
    counts = "n_averaged" in checkpoint or "swa" in checkpoint
    assert ("1 other tensor(s) are left out (n_averaged)" in caplog.text) == counts


def test_what_monais_own_handler_writes(tmp_path: Path) -> None:
    handlers = pytest.importorskip("monai.handlers")
    engine = pytest.importorskip("ignite.engine").Engine(lambda *_: None)
    network = unet()
    objects = {"net": network, "optimizer": torch.optim.Adam(network.parameters())}
    handlers.CheckpointSaver(str(tmp_path), objects, save_final=True, final_filename="final.pt").attach(engine)
    engine.run([0], max_epochs=1)
    check(open_model(tmp_path / "final.pt", device="cpu", **SETTINGS))


def test_the_same_weights_twice_are_one(tmp_path: Path) -> None:
    check(opened({"state_dict": STATE, "ema": {name: x.clone() for name, x in STATE.items()}}, tmp_path))


def test_names_that_do_not_fit_are_shown(tmp_path: Path) -> None:
    first = next(iter(STATE))
    lacking = {name: x for name, x in STATE.items() if name != first}
    half = {("net." if n % 2 else "") + name: x for n, (name, x) in enumerate(STATE.items())}
    for checkpoint, message in (
        (lacking, f"it lacks 1 of the network's {len(STATE)} tensors \\({first}\\)"),
        ({**STATE, "head.weight": torch.zeros(1)}, rf"1 of its {len(STATE) + 1} are not the network's \(head.weight\)"),
        (prefixed("net.", {**STATE, "head.weight": torch.zeros(1)}), r"1 of its 9 are not the network's \(net.head.weight\)"),
        (half, r"its names do not fit \(.*net\."),
        ({"encoder.weight": torch.zeros(1)}, "it lacks .*; 1 of its 1 are not the network's"),
        ({**STATE, first: torch.zeros(7)}, rf"{first} has the shape \(7,\), in the network"),
    ):
        with pytest.raises(InputError, match="do not belong to this UNet: " + message):
            opened({"state_dict": checkpoint}, tmp_path)
    for empty in ({}, {"state_dict": {}}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(3)):
        with pytest.raises(InputError, match="holds no weights by name"):
            opened(empty, tmp_path)


WORD = st.sampled_from(["net.", "model.", "module.", "_orig_mod.", "a.", "core.net.", "student."])


@settings(max_examples=60, deadline=None)
@given(st.lists(WORD, max_size=4), st.lists(st.sampled_from(["model", "state_dict", "ema"]), max_size=3))
def test_any_words_before_all_names_come_off(words: list[str], keys: list[str]) -> None:
    checkpoint: Any = prefixed("".join(words))
    for key in keys:
        checkpoint = {key: checkpoint, "epoch": 1}
    found = weights_for(checkpoint, STATE, None, "x.pt", "UNet")
    assert found.tensors.keys() == STATE.keys() and all(torch.equal(x, STATE[name]) for name, x in found.tensors.items())
    assert weights_for(checkpoint, STATE, found.where, "x.pt", "UNet").where == found.where
    assert bool(found.said) == bool(words)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            torch.nn.Sequential(torch.nn.LazyConv3d(2, 1)),
            r"layer, 0 \(LazyConv3d\), whose size is still open, and so no weights; run it once",
        ),
        (torch.nn.LazyBatchNorm3d(), "layer, LazyBatchNorm3d, whose size is still open"),
        (torch.nn.Conv3d(1, 2, 1, device="meta"), 'no weights in the layer Conv3d, which lies on torch.s "meta" device'),
    ],
)
def test_layers_without_weights(network: torch.nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SegmentationModel.from_network(network, channels=["CT"], classes=["background", "liver"])


def test_a_lazy_layer_that_has_seen_an_input(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.LazyConv3d(2, 1)).eval()
    with torch.no_grad():
        expected = network(torch.from_numpy(CASE.image)[None])[0].numpy()
    model = SegmentationModel.from_network(network, channels=["CT"], classes=["background", "liver"])
    np.testing.assert_allclose(model.logits(CASE), expected, rtol=1e-5)


def test_the_settings_beside_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(json.dumps({**SETTINGS, "weights_within": "ema"}))
    torch.save({"state_dict": OTHER, "ema": STATE}, tmp_path / "net.ckpt")
    check(open_model(tmp_path / "net.ckpt", device="cpu"))
    check(open_model(tmp_path, device="cpu"))
    check(open_model(tmp_path / "net.json", device="cpu"))
    torch.save(OTHER, tmp_path / "net.pt")
    with pytest.raises(InputError, match="net.json describes a network without its file; name that"):
        open_model(tmp_path / "net.json", device="cpu")
