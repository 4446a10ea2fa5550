"""What the tests of the learned attack share: small cases, a network to attack, and a random generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from conftest import tiny_network, toy_case

from SegAdversarialLib import Case, Preprocessing, SegmentationModel
from SegAdversarialLib.networks.generator import BoundGenerator, Generator
from SegAdversarialLib.training.generator_settings import made_for

SHAPE = (10, 12, 14)
SMALL: dict[str, Any] = {"features": (4, 8), "latents": 2, "largest_displacement": 1.5, "smoothing": 2.0}
QUICK: dict[str, Any] = {"critic_steps": 1, "critic_features": (4, 8), "tensorboard": False}


def subject(seed: int = 0, shape: tuple[int, int, int] = SHAPE, **settings: Any) -> Case:
    case = toy_case(shape, seed=seed, **settings)
    return replace(case, name=f"subject {seed}")


def toy_model(dimensions: int = 3, **settings: Any) -> SegmentationModel:
    axes = {"preprocessing": Preprocessing(axes="ji")} if dimensions == 2 else {}
    classes = ["background", "core", "rim"]
    network = Standardized(tiny_network(dimensions=dimensions))
    return SegmentationModel.from_network(network, channels=("A", "B"), classes=classes, **axes, **settings)


class Standardized(torch.nn.Module):
    """A network for intensities around 300."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return 4 * self.network((batch - 300) / 80)


def toy_generator(case: Case | None = None, seed: int = 0, dimensions: int = 3, **settings: Any) -> Generator:
    """A random one whose fields are not small."""
    found = made_for(toy_model(dimensions), case or subject(), {**SMALL, **settings})
    generator = Generator.new(found, seed)
    with torch.no_grad():
        for decoder in (generator.network.deformation, generator.network.intensity):
            decoder.levels[-1].conv.weight.mul_(25)
    return generator


def bound_to(generator: Generator, case: Case) -> BoundGenerator:
    return generator.on(case, torch.from_numpy(case.image))


def drawn(makes: BoundGenerator, xi: float = 2.0, seed: int = 0) -> Any:
    """One random variation of the case that a generator is bound to."""
    return makes.decode(makes.encode(xi), makes.noise(torch.Generator().manual_seed(seed)), xi)
