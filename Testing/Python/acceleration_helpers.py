"""What the tests of faster networks share: a wrapped network, its answers to the toy case, and how far they differ."""

from __future__ import annotations

import numpy as np
from conftest import toy_case
from torch import nn

from SegAdversarialLib import SegmentationModel, objectives


def wrapped(network: nn.Module, acceleration: dict[str, object] | None = None, **settings: object) -> SegmentationModel:
    return SegmentationModel.from_network(
        network,
        channels=("A", "B"),
        classes=["background", "core", "rim"],
        acceleration=acceleration,
        **settings,  # type: ignore[arg-type]
    )


def answers(model: SegmentationModel) -> tuple[np.ndarray, np.ndarray]:
    """Logits and gradient of the toy case."""
    case = toy_case((9, 16, 18))
    case.image[:] = (case.image - 300) / 80
    return model.logits(case), model.value_and_gradient(case, objectives.SoftDice(case.label))[1]


def searched(model: SegmentationModel) -> tuple[np.ndarray, np.ndarray]:
    """Logits and gradient of the toy case as an attack's search gets them."""
    case = toy_case((9, 16, 18))
    case.image[:] = (case.image - 300) / 80
    with model.on(case) as bound:
        loss = objectives.SoftDice(case.label).bind(model.head, "cpu", model.dtype)
        _, gradient, logits = bound.search(bound.image, loss)
        return logits.numpy(), gradient.numpy()


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
