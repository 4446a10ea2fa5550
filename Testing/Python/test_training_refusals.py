"""What training refuses, in one sentence each, and what it leaves as it was."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_helpers import CLASSES, block, cohort, trained

from SegAdversarialLib import open_model
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.training.checkpoints import CHECKPOINT_FILE
from SegAdversarialLib.training.failures import memory_in_words
from SegAdversarialLib.volumes.case import Case


def other_channels() -> Case:
    case = block(5)
    return replace(case, channels=("A", "C"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": []}, "no cases to train on"),
        ({"cases": iter([block()])}, "in a list"),
        ({"cases": [block(), block(1, label=None)]}, "case-1 has no reference labels"),
        ({"cases": [block(label_names=None)]}, "not known which classes"),
        (
            {"cases": [block(), block(1, label=np.full((8, 10, 12), 7, np.int16))]},
            "case-1: The reference holds the label value",
        ),
        ({"cases": [block(), other_channels()]}, "lacks B, it has A, C"),
        ({"validation": [block(1, label=None)]}, "case-1 has no reference labels"),
        ({"settings": {"epochs": 0}}, "epochs"),
        ({"settings": {"learning_rate": 1e39}}, "learning_rate"),
        ({"settings": {"rate": 1}}, "no setting rate"),
        ({"settings": {"patience": 2}}, "without cases to validate on"),
        ({"settings": {"patch": (8, 8)}}, "must have 3 sizes"),
        ({"settings": {"precision": "16-mixed"}}, "needs a CUDA GPU"),
        ({"settings": {"cache": "disk"}}, "in the training's folder"),
        ({"network": "UNett"}, 'no network "UNett"'),
        (
            {"network": {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2], "in_channels": 3}}},
            "takes no 3D image",
        ),
        ({"chanels": ("A",)}, "the nearest name is channels"),
        ({"classes": {0: "background"}}, "at least two classes"),
        ({"window": (8,)}, "The window must be 3 sizes"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        trained(options.pop("settings", {}), **options)
    assert "\n" not in str(refusal.value)


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    trained({"epochs": 1}, folder=tmp_path, preprocessing={})
    before = {name: (tmp_path / name).read_bytes() for name in (CHECKPOINT_FILE, "model.safetensors", "model.json")}
    wrong = cohort()
    wrong[1] = wrong[1].with_image(3e38 * np.sign(wrong[1].image))
    with pytest.raises(InputError, match=r"(infinite|NaN) in epoch 2, at case-\d; a lower .* The last checkpoint stays"):
        trained({"epochs": 2}, cases=wrong, folder=tmp_path, preprocessing={})
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    open_model(tmp_path, device="cpu")


class Broken(torch.nn.Module):
    """Whose loss is finite, and whose weights' gradient is not: the root of 0 has an infinite slope, times 0."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(2, 3, 1, bias=False)
        self.broken = False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.layer(images)
        return logits + (0 * logits).sqrt() if self.broken and self.training else logits


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path) -> None:
    """After an epoch's last step no loss would tell it any more."""
    network = Broken()
    trained({"epochs": 1, "batch_size": 3}, network=network, folder=tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in (CHECKPOINT_FILE, "model.safetensors", "training.csv")}
    network.broken = True
    with pytest.raises(InputError, match=r"weights became NaN or infinite at the end of epoch 2.* last checkpoint stays"):
        trained({"epochs": 2, "batch_size": 3}, network=network, folder=tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"
        ),
    ],
)
def test_too_little_memory_says_what_helps(error: Exception) -> None:
    with pytest.raises(InputError, match="too little memory for this training; give a smaller patch"), memory_in_words():
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="something else"), memory_in_words():
        raise RuntimeError("something else")


def test_a_class_that_no_case_has_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trained({"epochs": 1}, classes={**CLASSES, 3: "elsewhere"})
    assert "None of the 3 cases holds elsewhere" in caplog.text and "holds left" not in caplog.text


def test_the_folder_of_another_training_is_left_alone(tmp_path: Path) -> None:
    trained({"epochs": 1}, folder=tmp_path)
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    with pytest.raises(InputError, match="another learning rate; use the same settings"):
        trained({"epochs": 2, "learning_rate": 0.5}, folder=tmp_path)
    with pytest.raises(InputError, match="another cases"):
        trained({"epochs": 2}, cases=cohort(2), folder=tmp_path)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before
    trained({"epochs": 2}, folder=tmp_path)  # more epochs are no other training
