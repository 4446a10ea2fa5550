"""Random additive noise: the baselines that know nothing of the network."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from SegAdversarialLib.attacks.additive import EPSILON_UNIT, UNITS_DESCRIPTION, UNITS_TEXTS, AdditiveAttack
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import parameter

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun


class NoiseAttack(AdditiveAttack):
    """Adds a random field, drawn for each channel by itself, so that a channel gets the same noise alone or among others."""

    groups: ClassVar[tuple[Group, ...]] = ("random",)
    asks_network: ClassVar[bool] = False

    @property
    def is_random(self) -> bool:
        """Whether there is any noise."""
        return not self.does_nothing

    def _search(self, run: AttackRun) -> torch.Tensor:
        image = run.original.clone()
        for done, position in enumerate(run.positions):
            name = run.case.channels[position]
            run.report(done / len(run.positions), f"{self.title}: {name}")
            noise = self._noise(run.original[position], run.generator(name.lower()))
            image[position] += noise.to(image) * run.unit[position]
        return run.project(image)

    @abstractmethod
    def _noise(self, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """One channel's noise (K, J, I), in epsilon's units."""


class UniversalRandomPerturbation(NoiseAttack):
    """One random perturbation for every subject: a random sign for each voxel plus a random vector.

    epsilon * sgn(v1) + radius * v2 (Cheng & Ji 2020, eq. 1), v1 normal. The draw depends on the grid's size, the channel's
    name and the seed alone: neither on the subject nor on the network. As in the paper it is not clipped to the intensity
    range.
    """

    name: ClassVar[str] = "universal-random-perturbation"
    title: ClassVar[str] = "Universal random perturbation"
    groups: ClassVar[tuple[Group, ...]] = ("paper", "random")
    citation: ClassVar[str] = "Cheng & Ji 2020, IEEE Access 8, eq. 1"
    bounds: ClassVar[tuple[str, ...]] = ("epsilon", "radius")

    epsilon: float = parameter(15.0, "Size of the random sign of each voxel.", EPSILON_UNIT, ge=0)
    epsilon_units: Literal["relative", "absolute"] = parameter("absolute", UNITS_DESCRIPTION, texts=UNITS_TEXTS)
    radius: float = parameter(15.0, "Size of the random vector, in the same units as epsilon.", EPSILON_UNIT, ge=0)
    vector: Literal["ball", "normal"] = parameter(
        "ball",
        "ball: v2 is uniform in the unit L2 ball of the whole volume (the paper); normal: standard normal voxels.",
        advanced=True,
        label="Random vector",
    )
    clip: bool = parameter(
        False,
        "Keep the result inside each channel's own intensity range (the paper does not).",
        advanced=True,
        label="Keep to range",
    )

    @property
    def budget(self) -> float:
        """epsilon + radius for the ball; unbounded for normal voxels."""
        return self.epsilon + (self.radius if self.vector == "ball" or self.radius == 0 else math.inf)

    def _noise(self, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        import torch

        noise = self.epsilon * torch.randn(like.shape, generator=generator).sign_()
        second = torch.randn(like.shape, generator=generator)
        if self.vector == "ball":
            # uniform in the ball: a uniform direction, and a length whose n-th power is uniform
            length = float(torch.rand((), generator=generator, dtype=torch.float64)) ** (1 / second.numel())
            second *= length / torch.linalg.vector_norm(second)
        return noise.add_(second, alpha=self.radius)


class UniformNoise(NoiseAttack):
    """Independent uniform noise in [-epsilon, epsilon] for each voxel, as Liu et al. augment their training with."""

    name: ClassVar[str] = "uniform-noise"
    title: ClassVar[str] = "Uniform noise"
    groups: ClassVar[tuple[Group, ...]] = ("paper", "random")
    citation: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, data augmentation"

    epsilon: float = parameter(0.01, "Radius of the noise.", EPSILON_UNIT, ge=0)

    def _noise(self, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        import torch

        return torch.rand(like.shape, generator=generator).mul_(2).sub_(1).mul_(self.epsilon)
