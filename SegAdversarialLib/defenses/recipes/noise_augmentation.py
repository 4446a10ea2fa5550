"""Training with noisy copies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.defenses.recipes.copies import Augmentation, Copier
from SegAdversarialLib.defenses.recipes.epsilon import SIZE_UNIT, UNITS_DESCRIPTION, UNITS_TEXTS, Units, unit_of
from SegAdversarialLib.defenses.recipes.steps import source_of_noise

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.recipe import Batch, Learner


class NoiseAugmentation(Augmentation):
    """Noise augmentation: one update with a noisy copy of each batch, then one with the batch itself.

    X + radius * u, u uniform in [-1, 1] for each voxel, "uniform perturbations of radius 0.01 in infinity norm"; for each
    batch the network is trained "with the perturbed images and then with the clean images, in order to obtain a fair
    comparison to adversarial training" (Liu et al. 2021). What adversarial training must exceed.
    """

    name: ClassVar[str] = "noise-augmentation"
    title: ClassVar[str] = "Noise augmentation"
    source: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, Results (data augmentation)"

    radius: float = parameter(0.01, "Largest change of a voxel; of normal noise the standard deviation.", SIZE_UNIT, ge=0)
    units: Units = parameter("relative", UNITS_DESCRIPTION, advanced=True, texts=UNITS_TEXTS)
    kind: Literal["uniform", "normal"] = parameter("uniform", "How the noise is distributed; the paper's is uniform.")

    def copier(self, learner: Learner) -> Copier:
        """Adds the noise."""
        return partial(self._noisy, learner)

    def _noisy(self, learner: Learner, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        source, shape = source_of_noise(learner, batch, "noise"), batch.images.shape
        if self.kind == "uniform":
            noise = torch.rand(shape, generator=source).mul_(2).sub_(1)
        else:
            noise = torch.randn(shape, generator=source)
        return batch.images + noise.to(batch.images) * (self.radius * unit_of(batch.images, self.units)), batch.targets
