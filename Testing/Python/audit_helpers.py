"""A small network that knows its task, cases of it, and networks made from it whose robustness is only apparent."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from SegAdversarialLib import Case, SegmentationModel

SHAPE = (16, 16, 16)


def a_case(seed: int = 0) -> Case:
    """Three tissues of smooth shapes, of which two channels show different parts, with noise."""
    generator = np.random.default_rng(seed)
    field = gaussian_filter(generator.normal(size=SHAPE), 2.0)
    low, high = np.quantile(field, (0.6, 0.85))
    label = (field > low).astype(np.int16) + (field > high)
    bright = np.stack([np.array([100, 160, 160])[label], np.array([100, 100, 180])[label]])
    image = bright + generator.normal(0, 12, bright.shape)
    return Case(image.astype(np.float32), ("A", "B"), np.eye(4), label, name=f"blobs {seed}")


class Network(torch.nn.Module):
    """Scanner units to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv3d(2, 8, 3, padding=1), torch.nn.Conv3d(8, 8, 3, padding=1)
        self.last = torch.nn.Conv3d(8, 3, 1)

    def features(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.relu(self.second(torch.relu(self.first((batch - 120) / 40))))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.last(self.features(batch))


@cache
def trained() -> Network:
    """A network that has learnt the task in about a second."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, cases = Network(), [a_case(seed) for seed in range(100, 104)]
    images = torch.stack([torch.from_numpy(x.image) for x in cases])
    labels = torch.stack([torch.from_numpy(x.label).long() for x in cases])
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(80):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network.eval()


def model_of(network: torch.nn.Module, **settings: Any) -> SegmentationModel:
    return SegmentationModel.from_network(network, channels=("A", "B"), classes=["background", "core", "rim"], **settings)


class Around(torch.nn.Module):
    """The trained network with something around it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = trained()


class Saturated(Around):
    """What distillation at this temperature leaves: the logits of temperature 1, that many times as large."""

    def __init__(self, factor: float = 100.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.factor * self.inner(batch)


class Shattered(Around):
    """Rounds the image, and hands the gradient straight through, or cuts it off."""

    def __init__(self, straight: bool) -> None:
        super().__init__()
        self.straight = straight

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        rounded = 16 * torch.round(batch / 16)
        return self.inner(batch + (rounded - batch).detach() if self.straight else rounded)


class Random(Around):
    """Dropout at inference."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.inner.last(torch.nn.functional.dropout(self.inner.features(batch), 0.3, training=True))


class Probabilities(Around):
    """Ends in a softmax."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.inner(batch).softmax(1)
