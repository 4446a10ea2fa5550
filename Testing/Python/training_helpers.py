"""Small cases, networks and trainings for the tests of the training loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.training.loop import train
from SegAdversarialLib.volumes.case import Case

CLASSES = {0: "background", 1: "left", 2: "right"}
TINY = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2], "norm": "instance", "bias": False}}


def block(seed: int = 0, shape: tuple[int, int, int] = (8, 10, 12), **changes: Any) -> Case:
    """Two bright boxes in noise, in two channels, with their labels."""
    source = np.random.default_rng(seed)
    label = np.zeros(shape, np.int16)
    k, j = (int(source.integers(1, n - 4)) for n in shape[:2])
    label[k : k + 3, j : j + 3, 1:4] = 1
    label[k : k + 3, j : j + 3, -4:-1] = 2
    image = source.normal(size=(2, *shape)).astype(np.float32)
    image[0] += 4 * (label == 1)
    image[1] += 4 * (label == 2)
    given = {"label": label, "label_names": CLASSES, "name": f"case-{seed}", **changes}
    return Case(image, ("A", "B"), np.diag([-1.0, -1.5, 2.0, 1.0]), **given)


def cohort(count: int = 3) -> list[Case]:
    return [block(n) for n in range(count)]


def trained(settings: dict[str, Any] | None = None, **options: Any) -> SegmentationModel:
    """A tiny network after a few epochs on the CPU."""
    network, cases = options.pop("network", TINY), options.pop("cases", None)
    how = {"epochs": 3, "tensorboard": False, **(settings or {})}
    return train(network, cohort() if cases is None else cases, how, **{"device": "cpu", **options})


def weights_of(model: SegmentationModel) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in model.network.state_dict().items()}


def assert_same(first: SegmentationModel, second: SegmentationModel) -> None:
    """The same weights, bit for bit."""
    one, other = weights_of(first), weights_of(second)
    assert list(one) == list(other)
    assert all(torch.equal(x, other[name]) for name, x in one.items())
