"""What the tests of recipes share: a learner in plain torch, and an example of two voxels with numbers worked out by hand."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as functional

from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training.recipe import Batch, Recipe, Stepper

CHANNELS = ("A", "B")
CLASSES = ("background", "core", "rim")


class PlainLearner:
    """The loop's side of a training in plain torch: SGD, cross-entropy; passes are counted.

    `scale` stands for the scaling of half precision: gradients are so many times too large until the update.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        channels: tuple[str, ...] = CHANNELS,
        classes: Any = CLASSES,
        head: str = "softmax",
        *,
        rate: float = 0.1,
        seed: int = 0,
        before: torch.nn.Module | None = None,
        scale: float = 1.0,
    ) -> None:
        self.size_multiple = 1
        self.network, self.channels, self.seed, self.before, self._scale = network, channels, seed, before, scale
        self.head = OutputHead.of(classes, head)  # type: ignore[arg-type]
        self._optimizer = torch.optim.SGD(network.parameters(), lr=rate)
        self.forwards = self.backwards = self.updates = 0

    def ask(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.forwards += 1
        return self.network(images), None

    def measure(self, logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        logits = logits / temperature
        if self.head.kind == "softmax":
            return functional.cross_entropy(logits, targets)
        return functional.binary_cross_entropy_with_logits(logits, targets)

    def backward(self, loss: torch.Tensor) -> None:
        self.backwards += 1
        (self._scale * loss).backward()

    def update(self) -> None:
        self.updates += 1
        for weight in self.network.parameters():
            if weight.grad is not None:
                weight.grad /= self._scale
        self._optimizer.step()
        self._optimizer.zero_grad()

    @property
    def weights(self) -> torch.Tensor:
        return torch.cat([x.detach().flatten() for x in self.network.parameters()])


class TwoVoxels:
    """Two voxels, x = (1, -2), the first of class 1, the second of class 0; logits (w0 x, w1 x) with w = (0, ln 3).

    So the probability of class 1 is s(d x) with d = w1 - w0 = ln 3 and the logistic function s: 3/4 and 1/10. The mean
    cross-entropy has the derivative ((s(d x0) - 1) x0 + s(d x1) x1) / 2 by w1 (that by w0 is its negative), and
    (s(d x0) - 1, s(d x1)) d / 2 by x: its signs are (-1, +1). The largest absolute intensity is 2.
    """

    x = (1.0, -2.0)

    def __init__(self, **settings: Any) -> None:
        self.learner = PlainLearner(linear(0, math.log(3)), ("A",), ("background", "one"), rate=1.0, **settings)
        self.batch = Batch(
            images=torch.tensor(self.x).reshape(1, 1, 1, 1, 2),
            targets=torch.tensor([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 2, 1, 1, 2),
            step=0,
            names=("two voxels",),
        )

    @staticmethod
    def slope(d: float, x: tuple[float, float] = x) -> float:
        """The derivative of the loss by w1."""
        return ((logistic(d * x[0]) - 1) * x[0] + logistic(d * x[1]) * x[1]) / 2

    @staticmethod
    def loss(d: float, x: tuple[float, float] = x) -> float:
        return -(math.log(logistic(d * x[0])) + math.log(1 - logistic(d * x[1]))) / 2


def linear(*weights: float) -> torch.nn.Module:
    """Logits w x, one for each weight."""
    network = torch.nn.Conv3d(1, len(weights), 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor(weights).reshape(network.weight.shape))
    return network


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def small_network(seed: int = 0, dimensions: int = 3, outputs: int = 3) -> torch.nn.Module:
    """Two layers, with dropout, which draws in training."""
    conv = torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [conv(2, 6, 3, padding=1), torch.nn.LeakyReLU(), torch.nn.Dropout(0.2), conv(6, outputs, 3, padding=1)]
    return torch.nn.Sequential(*layers)


def batches(count: int = 2, size: int = 8, dimensions: int = 3, seed: int = 0) -> list[Batch]:
    """Batches of two samples: a bright cube with a rim in noise."""
    source = torch.Generator().manual_seed(seed)
    found = []
    for step in range(count):
        axes = (size,) * dimensions
        label = torch.zeros(2, *axes, dtype=torch.long)
        for n in range(2):
            first = int(torch.randint(1, size // 2 - 1, (), generator=source))
            label[(n, *[slice(first, first + size // 2)] * dimensions)] = 2
            label[(n, *[slice(first + 1, first + size // 2 - 1)] * dimensions)] = 1
        targets = functional.one_hot(label, 3).movedim(-1, 1).float()
        images = torch.stack([label == 1, label > 0], 1) * 2 + 0.3 * torch.randn(2, 2, *axes, generator=source) - 0.5
        names = (f"{step}a", f"{step}b")
        spacing = ((1.0,) * dimensions,) * 2
        found.append(Batch(images=images, targets=targets, step=step, names=names, epoch=step // 2, spacing=spacing))
    return found


def trained(recipe: Recipe, count: int = 3, dimensions: int = 3, **settings: Any) -> PlainLearner:
    """A small network after some steps of a recipe; torch's own random numbers begin anew."""
    before = None
    if recipe.first is not None:
        before = trained(recipe.first, 1, dimensions, seed=settings.get("seed", 0) + 1).network.eval().requires_grad_(False)
    learner = PlainLearner(small_network(dimensions=dimensions), before=before, **settings)
    torch.manual_seed(settings.get("seed", 0))
    run(recipe.begin(learner), batches(count, dimensions=dimensions))
    return learner


def run(stepper: Stepper, given: list[Batch]) -> list[dict[str, float]]:
    return [dict(stepper.step(deepcopy(batch))) for batch in given]
