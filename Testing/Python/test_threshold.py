"""A region is present where its probability is above the network's threshold, wherever it is asked; losses keep the logits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case

from SegAdversarialLib import InputError, SegmentationModel, ensemble, objectives, open_model
from SegAdversarialLib.attacks import FGSM
from SegAdversarialLib.cli import main
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.structures.output_head import OutputHead

CLASSES = {1: "whole", 2: "core"}


def model(threshold: float = 0.5, **settings: object) -> SegmentationModel:
    return SegmentationModel.from_network(
        tiny_network(outputs=2),
        channels=("A", "B"),
        classes=CLASSES,
        head="sigmoid",
        threshold=threshold,
        **settings,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.55])
def test_what_is_predicted(threshold: float) -> None:
    case, asked = toy_case(), model(threshold)
    probabilities = torch.from_numpy(asked.logits(case)).sigmoid().numpy()
    predicted = asked.predict(case)
    np.testing.assert_array_equal(predicted.masks, probabilities > threshold)
    assert 0 < predicted.masks.mean() < 1
    np.testing.assert_array_equal(predicted.labels, np.where(predicted.masks[1], 2, predicted.masks[0]))


def test_traces_count_by_it() -> None:
    case = toy_case(labels=3)
    result = FGSM(epsilon=0.01)(model(0.55), case)
    predicted = model(0.55).predict(case).masks[0]
    dice = 2 * (predicted & (case.label == 1)).sum() / (predicted.sum() + (case.label == 1).sum())
    assert result.trace[0]["dice whole"] == pytest.approx(dice, abs=1e-6)


def test_losses_keep_the_logits() -> None:
    case = toy_case(labels=3)
    values = [model(x).value_and_gradient(case, objectives.SoftDice(case.label)) for x in (0.5, 0.9)]
    assert values[0][0] == values[1][0]
    np.testing.assert_array_equal(values[0][1], values[1][1])


@pytest.mark.parametrize(
    ("threshold", "head"), [(0.0, "sigmoid"), (1.0, "sigmoid"), (float("nan"), "sigmoid"), (0.3, "softmax")]
)
def test_what_is_none(threshold: float, head: str) -> None:
    with pytest.raises(InputError, match="threshold is a probability between 0 and 1"):
        OutputHead.of(["background", "tumour"] if head == "softmax" else ["tumour"], head, threshold=threshold)  # type: ignore[arg-type]


def test_members_agree_in_it() -> None:
    with pytest.raises(InputError, match="must agree in their threshold"):
        ensemble([model(0.5), model(0.6)])
    assert ensemble([model(0.6), model(0.6)]).head.threshold == 0.6
    with pytest.raises(InputError, match="must agree in their blending"):
        ensemble([model(), model(blending="constant")])


def test_files_and_commands_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.ts"
    torch.jit.script(tiny_network(outputs=2).float()).save(str(file))
    said = {"channels": ["A", "B"], "classes": CLASSES, "head": "sigmoid", "threshold": 0.7, "blending": "constant"}
    file.with_suffix(".json").write_text(json.dumps(said))
    assert describe_file(file).output_head().threshold == 0.7
    opened = open_model(file, trust=True, device="cpu", threshold=0.8)
    assert (opened.head.threshold, opened.windows.blending) == (0.8, "constant")
    assert main(["info", "--model", str(file), "--trust", "--threshold", "0.6", "--device", "cpu"]) == 0
    assert re.search(r"threshold: +0\.6\n", capsys.readouterr().out)
