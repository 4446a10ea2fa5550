"""A network as the tests of the gradient wrap it."""

from __future__ import annotations

import torch

from SegAdversarialLib import SegmentationModel


def wrapped(network: torch.nn.Module, **settings: object) -> SegmentationModel:
    return SegmentationModel.from_network(
        network,
        channels=("B", "A"),
        classes=["background", "core", "rim"],
        **settings,  # type: ignore[arg-type]
    )
