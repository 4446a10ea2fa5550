"""The rows of an attack's trace against their definitions, counted slab by slab and whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case

from SegAdversarialLib import SegmentationModel, attacks
from SegAdversarialLib.attacks.engine import trace
from SegAdversarialLib.metrics import dice

SHAPE = (11, 16, 18)


def model_with(head: str) -> SegmentationModel:
    if head == "softmax":
        return SegmentationModel.from_network(
            tiny_network().float(), channels=("A", "C"), classes=["background", "core", "rim"]
        )
    return SegmentationModel.from_network(
        tiny_network().float(),
        channels=("A", "C"),
        classes={2: "whole", 1: "core", 4: "rim"},
        head="sigmoid",
        regions={2: (1, 2), 4: (2,)},
    )


@pytest.mark.parametrize(("whole", "threads"), [(False, 1), (False, 2), (True, 1)])
@pytest.mark.parametrize("kind", ["any", "equal logits", "turned axes", "of a gradient"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_rows(monkeypatch: pytest.MonkeyPatch, head: str, kind: str, whole: bool, threads: int) -> None:
    """Dice by structure and PSNR over the network's own channels; `whole` is the way that a GPU takes."""
    monkeypatch.setattr(trace, "_SLAB_VOXELS", 3 * SHAPE[1] * SHAPE[2])  # the last slab is thinner
    torch.set_num_threads(threads)
    case, model = toy_case(SHAPE, ("A", "B", "C")), model_with(head)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, *SHAPE, generator=generator)
    if kind == "equal logits":
        logits = logits.round()
    elif kind == "turned axes":
        logits = torch.randn(3, *SHAPE[::-1], generator=generator).permute(0, 3, 2, 1)
    elif kind == "of a gradient":
        logits.requires_grad_(True)
    with attacks.FGSM().running(model, case) as run:
        writer = run._new_trace()
        writer._in_slabs = not whole
        noise = 10 * torch.randn(case.image.shape, generator=generator)
        writer.add(2, 5, 0.25, logits, run.original + noise)
        writer.add(0, 0, 0.5, logits, run.original)
    row, clean = writer.rows
    claimed, wanted = model.head.predicted(logits.detach()).numpy(), model.head.masks(torch.from_numpy(case.label)).numpy()
    names = {n: model.head.names[n] for n in model.head.foreground}
    expected = {name: dice(claimed[n], wanted[n]) for n, name in names.items()}
    assert {name: row[f"dice {name}"] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert row["dice mean"] == pytest.approx(np.mean(list(expected.values())), rel=1e-12)
    assert (row["restart"], row["iteration"], row["loss"]) == (2, 5, 0.25)
    errors = [np.mean((noise[c].numpy() / np.ptp(case.image[c])) ** 2) for c in (0, 2)]
    assert row["psnr"] == pytest.approx(-10 * np.log10(np.mean(errors)), abs=1e-3)
    assert clean["psnr"] == np.inf
    assert list(row) == ["restart", "iteration", "loss", "psnr", *(f"dice {x}" for x in expected), "dice mean"]


def test_structures_that_nobody_sees() -> None:
    """Absent in the reference and in the answer: Dice is 1."""
    case, model = toy_case(SHAPE, ("A", "B", "C")), model_with("softmax")
    case.label[:] = 0
    logits = torch.zeros(3, *SHAPE)
    with attacks.FGSM().running(model, case) as run:
        writer = run._new_trace()
        writer.add(0, 0, 0.0, logits, run.original)
    assert writer.rows[0]["dice mean"] == 1
