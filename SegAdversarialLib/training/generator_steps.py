"""Steps of a generator of adversarial images and its critic on one case (Chen et al. 2019).

The generator reaches the segmentation network through `BoundModel.differentiate`: its image gradient, times the Jacobian of
the image in the generator's weights, is the exact gradient whatever the window is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from SegAdversarialLib.changes.fields import warp
from SegAdversarialLib.errors import CancelCheck, check_cancel
from SegAdversarialLib.model.random_numbers import drawing
from SegAdversarialLib.networks.deformation_intensity_vae import Critic
from SegAdversarialLib.networks.generator import BoundGenerator, Generator, Variation
from SegAdversarialLib.training.generator_losses import Terms, masked_cross_entropy
from SegAdversarialLib.training.generator_settings import GeneratorTraining
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import BoundModel, SegmentationModel


class Trainer:
    """Generator, critic and their optimisers."""

    def __init__(
        self, model: SegmentationModel, generator: Generator, how: GeneratorTraining, cancel: CancelCheck | None
    ) -> None:
        self._model, self.how, self.cancel = model, how, cancel
        settings = generator.settings
        with drawing(how.seed):
            critic = Critic(settings.dimensions, len(settings.channels), how.critic_features)
        self.critic = critic.to(model.device, model.dtype)
        self.generator = replace(generator, network=generator.network.to(model.device, model.dtype).train())
        self.optimizers = [
            torch.optim.RMSprop(x.parameters(), lr=how.learning_rate, alpha=how.decay, eps=how.rms_epsilon)
            for x in (self.generator.network, self.critic)
        ]

    def parts(self) -> dict[str, Any]:
        """What a checkpoint keeps: everything with a state."""
        names = ("generator", "critic", "generator_optimizer", "critic_optimizer")
        return dict(zip(names, (self.generator.network, self.critic, *self.optimizers)))

    def finished(self, rows: Sequence[Mapping[str, float]]) -> Generator:
        """The generator as it is now, on the CPU."""
        told = {"network": self._model.name, **self.how.learned(), "by_epoch": list(rows)}
        copy = Generator.new(self.generator.settings)
        copy.network.load_state_dict(self.generator.network.state_dict())
        return replace(copy, learned=json.loads(json.dumps(told)))

    def see(self, case: Case, seed: np.random.SeedSequence) -> list[dict[str, float]]:
        """The steps on one case; a row for each."""
        source = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
        least, greatest = self.generator.settings.xi
        rows = []
        with self._model.on(case, between_windows=lambda done: check_cancel(self.cancel)) as bound:
            step = Step(self, bound, self.generator.on(case, bound.image))
            for _ in range(self.how.draws):
                check_cancel(self.cancel)
                xi = least + (greatest - least) * float(torch.rand((), generator=source))
                rows.append(step(xi, source))
        return rows


class Step:
    """Steps of critic and generator on one case."""

    def __init__(self, trainer: Trainer, bound: BoundModel, makes: BoundGenerator) -> None:
        self._trainer, self._how, self._bound, self._makes = trainer, trainer.how, bound, makes
        self._head = bound.head
        logits = bound.logits(bound.image)
        self._clean = logits.softmax(0) if self._head.kind == "softmax" else logits.sigmoid()
        self._real = makes.as_batch(bound.image)

    def __call__(self, xi: float, source: torch.Generator) -> dict[str, float]:
        """Some steps of the critic and one of the generator; what the losses were."""
        optimizer, critic_optimizer = self._trainer.optimizers
        difference = 0.0
        for _ in range(self._how.critic_steps):
            with torch.no_grad():
                image, _, _ = self._drawn(xi, source)
                fake = self._makes.as_batch(image)
            critic_optimizer.zero_grad()
            loss = self._trainer.critic(fake).mean() - self._trainer.critic(self._real).mean()  # eq. 3
            loss.backward()
            critic_optimizer.step()
            self._trainer.critic.clip(self._how.clip)
            difference = float(loss.detach())
        terms, image = self.terms(xi, source)
        total = terms.total(self._how)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        change = (self._makes.standardized(image) - self._makes.standardized(self._bound.image)).abs().mean()
        return {
            "xi": xi,
            "loss": float(total.detach()),
            "cross entropy": terms.cross_entropy,
            "attack": (xi - terms.cross_entropy) ** 2,
            "critic": float(terms.critic.detach()),
            "critic loss": difference,
            "deformation": float(terms.deformation.detach()),
            "intensity": float(terms.intensity.detach()),
            "divergence": float(terms.divergence.detach()),
            "perceptibility": float(change),
        }

    def terms(self, xi: float, source: torch.Generator) -> tuple[Terms, torch.Tensor]:
        """The generator's loss, with its graph to the generator's weights, and the image without one."""
        image, variation, divergence = self._drawn(xi, source)
        critic = self._trainer.critic
        critic.requires_grad_(False)
        score = critic(self._real).mean().detach() - critic(self._makes.as_batch(image)).mean()
        critic.requires_grad_(True)
        attack, cross_entropy = self._attack(image, variation, xi)
        voxel = math.prod(self._trainer.generator.settings.spacing) ** (1 / 3)
        squared = (variation.displacement**2).sum(0).mean() / voxel**2
        return Terms(score, attack, squared, (variation.intensity**2).mean(), divergence, cross_entropy), image.detach()

    def _drawn(self, xi: float, source: torch.Generator) -> tuple[torch.Tensor, Variation, torch.Tensor]:
        """An adversarial image, the fields that made it, and the latents' divergence."""
        latents = self._makes.encode(xi)
        variation = self._makes.decode(latents, self._makes.noise(source), xi)
        divergence = latents.deformation.divergence() + latents.intensity.divergence()
        return self._makes.apply(variation), variation, divergence

    def _attack(self, image: torch.Tensor, variation: Variation, xi: float) -> tuple[torch.Tensor, float]:
        """(xi - H(S_0, S_DV))^2 (eq. 4), and H.

        The first term of the sum has the right gradient, through the image, and the value 0; the second has the right value,
        and the gradient through the moved S_0.
        """
        targets = self._targets(variation)

        def measured(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return masked_cross_entropy(logits, targets, self._head, self._how.balanced)

        fixed = targets.detach()
        _, gradient, logits = self._bound.differentiate(image.detach(), lambda logits: (xi - measured(logits, fixed)) ** 2)
        cross_entropy = measured(logits, targets)
        through_image = (gradient * (image - image.detach())).sum()
        return through_image + (xi - cross_entropy) ** 2, float(cross_entropy.detach())

    def _targets(self, variation: Variation) -> torch.Tensor:
        """S_0, moved with the image if so asked: (N, K, J, I)."""
        if self._how.compare == "original":
            return self._clean
        return warp(self._clean, variation.displacement, self._makes.affine)
