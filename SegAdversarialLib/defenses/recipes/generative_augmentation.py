"""Training with copies that a generator has made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import WithJsonSchema, field_serializer, field_validator

from SegAdversarialLib.attacks.generative import GenerativeAttack
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.defenses.recipes.copies import Augmentation, Copier
from SegAdversarialLib.defenses.recipes.samples import case_of, volume_of
from SegAdversarialLib.defenses.recipes.steps import numbers_of, source_of_noise
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.networks.generator import Generator

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.recipe import Batch, Learner


class GenerativeAugmentation(Augmentation):
    """Generative augmentation: copies deformed and shaded by a trained generator.

    I_DV = warp(I_0, D) + V (Chen et al. 2019, eq. 1), D and V from a VAE-GAN that train-generator has trained; targets move
    with D, by nearest neighbour. Pervin et al. compare with a GAN (Table 3) of which they say nothing more: this one, which
    varies real images instead of making up new ones with their labels, is our choice.
    """

    name: ClassVar[str] = "generative-augmentation"
    title: ClassVar[str] = "Generative augmentation"
    source: ClassVar[str] = "Chen et al. 2019, eq. 1; Pervin et al. 2023, Table 3 (GAN)"

    generator: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter(
        "builtin:brain-tumour-phantom",
        "File of the generator (.safetensors), as train-generator has written it, or a built-in one's name.",
        choose="generator",
    )
    xi: float | None = parameter(
        None,
        "How much a copy should change a network's answer; none: drawn for each copy from what the generator was trained for.",
        "nats",
        label="Strength xi",
        ge=0,
    )

    @field_validator("generator", mode="after")
    @classmethod
    def _generator_is_file_or_object(cls, given: Any) -> Any:
        return GenerativeAttack(generator=given).generator

    @field_serializer("generator")
    def _generator_as_data(self, given: Any) -> Any:
        return {"fingerprint": given.fingerprint} if isinstance(given, Generator) else given

    def copier(self, learner: Learner) -> Copier:
        """Draws from the generator.

        Raises:
            InputError: its file is missing or damaged, the network lacks one of its channels, or it was not trained for xi.
        """
        generator = GenerativeAttack(generator=self.generator).trained()
        least, greatest = generator.settings.xi
        if self.xi is not None and not least <= self.xi <= greatest:
            raise InputError(
                f"{self.title}: the generator was trained for xi from {least:g} to {greatest:g}, not {self.xi:g}."
            )
        known = {x.lower() for x in learner.channels}
        lacking = [x for x in generator.settings.channels if x.lower() not in known]
        if lacking:
            raise InputError(
                f"{self.title}: the generator makes the channel(s) {', '.join(lacking)}, which the network does not take; it "
                f"takes {', '.join(learner.channels)}."
            )

        def copies(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            import torch

            numbers, source = numbers_of(learner, batch, "xi"), source_of_noise(learner, batch, "generator")
            pairs = []
            for number in range(len(batch.images)):
                xi = self.xi if self.xi is not None else numbers.uniform(least, greatest)
                pairs.append(_varied(generator, batch, number, learner, xi, source))
            return torch.stack([image for image, _ in pairs]), torch.stack([wanted for _, wanted in pairs])

        return copies


def _varied(
    generator: Generator, batch: Batch, number: int, learner: Learner, xi: float, source: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One draw of the generator for one sample: its image and its targets."""
    import torch

    from SegAdversarialLib.changes.fields import warp

    sample, wanted = batch.images[number].detach().float(), batch.targets[number]
    image, case = volume_of(sample), case_of(batch, number, learner)
    with torch.no_grad():
        makes = generator.to(image).on(case, image)
        variation = makes.decode(makes.encode(xi), makes.noise(source), xi)
        varied = makes.warped(variation)
        change = variation.intensity * makes.deviation
        if makes.settings.foreground:  # after standardisation the background is some number, which most often is the commonest
            commonest = image.flatten(1).mode(1).values.reshape(-1, 1, 1, 1)
            there = (image != commonest).any(0, keepdim=True).to(image)
            change = change * warp(there, variation.displacement, case.affine, "nearest")
        added = varied[makes.positions] + change
        varied[makes.positions] = torch.minimum(torch.maximum(added, makes.lowest), makes.highest)
        moved = warp(volume_of(wanted), variation.displacement, case.affine, "nearest")
    return varied.reshape(sample.shape).to(batch.images), moved.reshape(wanted.shape)
