"""Networks whose smoothed answer is known in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.volumes.case import Case


class Linear(torch.nn.Module):
    """Two classes, each voxel by itself: class 1 where w.x + b is above 0."""

    def __init__(self, weights: Sequence[float], bias: float = 0.0) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(weights, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.tensor(bias, dtype=torch.float32))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        score = torch.einsum("bckji,c->bkji", batch, self.weights) + self.bias
        return torch.stack([-score, score], 1)


class Sections(torch.nn.Module):
    """Exclusive classes by intervals of the first channel: class n between edges n - 1 and n."""

    def __init__(self, edges: Sequence[float]) -> None:
        super().__init__()
        self.edges = torch.nn.Parameter(torch.tensor(edges, dtype=torch.float32))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        found = torch.bucketize(batch[:, 0].contiguous(), self.edges)
        return 10.0 * torch.nn.functional.one_hot(found, len(self.edges) + 1).movedim(-1, 1).to(batch)


def linear_model(weights: Sequence[float], bias: float = 0.0, **settings: object) -> SegmentationModel:
    channels = [f"C{n}" for n in range(len(weights))]
    return SegmentationModel.from_network(
        Linear(weights, bias),
        channels=channels,
        classes=("background", "tumour"),
        **settings,  # type: ignore[arg-type]
    )


def case_of(image: np.ndarray, label: np.ndarray | None = None) -> Case:
    channels = tuple(f"C{n}" for n in range(len(image)))
    return Case(image.astype(np.float32), channels, np.eye(4), label=label, name="subject")
