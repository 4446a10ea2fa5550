"""Training Chen et al.'s generator of adversarial images against a fixed segmentation network.

    L_gen  = critic_weight (f(I_0) - f(I_DV)) + (xi - H(S_0, S_DV))^2 + lambda_D |D|^2 + lambda_V |V|^2 + kl_weight KL
    L_disc = f(I_DV) - f(I_0), the critic's weights clipped                              (Chen et al. 2019, eq. 2 to 6)

f is the critic, S the network's probabilities, H the cross-entropy masked to the foreground of S_0 (eq. 5) and averaged over
it. The paper writes no divergence term, but calls its generator a variational autoencoder with normal latents: without the
term their variances go to zero and every sample is the same. |.|^2 are means over the voxels, of D in voxels of the
generator's grid and of V in standard deviations. The generator reaches the segmentation network through
`BoundModel.differentiate`: its image gradient, times the Jacobian of the image in the generator's weights, is the exact
gradient whatever the window is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel, first_problem
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.networks.deformation_intensity_vae import Critic
from SegAdversarialLib.networks.generator import BoundGenerator, Generator, GeneratorSettings, Variation
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training.checkpoints import Checkpoint
from SegAdversarialLib.training.patches import patch_of
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import BoundModel, SegmentationModel

Cases = Sequence[Case] | Callable[[], Iterable[Case]]
"""A set of cases: a sequence, or a function that gives them one after the other each time it is called."""

GENERATOR_FILE, TABLE_FILE = "generator.safetensors", "training.csv"


class Training(BaseModel):
    """How a generator is trained; the defaults are the paper's where it gives a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(50, ge=1, le=100000, description="How often each case is seen.")
    draws: int = Field(1, ge=1, le=1000, description="Steps on a case each time that it is seen.")
    patch: tuple[int, int, int] | None = Field(
        None, description="Slices, rows and columns of a random part of the case that a step sees; none: the whole case."
    )
    balanced: bool = Field(False, description="Each structure counts the same in the cross-entropy, however small it is.")
    compare: Literal["warped", "original"] = Field(
        "warped",
        description="What the answer should differ from: the clean answer moved with the image, so that a network that "
        "follows the anatomy is not called wrong, or the clean answer where it was (the paper).",
    )
    deformation_weight: float = Field(0.1, ge=0, description="lambda_D.")
    intensity_weight: float = Field(0.01, ge=0, description="lambda_V.")
    critic_weight: float = Field(1.0, ge=0, description="Of the critic's term.")
    kl_weight: float = Field(0.01, ge=0, description="Of the latents' divergence from the normal distribution.")
    learning_rate: float = Field(1e-4, gt=0, description="RMSProp's, for generator and critic.")
    decay: float = Field(0.9, ge=0, lt=1, description="RMSProp's.")
    rms_epsilon: float = Field(1e-10, gt=0, description="RMSProp's.")
    critic_steps: int = Field(5, ge=0, le=100, description="Steps of the critic before each of the generator (WGAN's).")
    critic_features: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="Of the critic's levels.")
    clip: float = Field(0.01, gt=0, description="Largest weight of the critic (WGAN's).")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Of every random draw.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Training:
        if any(x < 4 or x % 4 for x in self.critic_features):
            raise ValueError(f"the critic's features must be multiples of 4; they are {list(self.critic_features)}")
        if self.patch is not None and min(self.patch) < 1:
            raise ValueError(f"a patch must have at least 1 voxel along each axis; it has {list(self.patch)}")
        return self


def train_generator(
    model: SegmentationModel,
    cases: Cases,
    settings: Training | Mapping[str, Any] | None = None,
    *,
    generator: GeneratorSettings | Mapping[str, Any] | None = None,
    start: Generator | None = None,
    folder: str | Path | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
) -> Generator:
    """Train a generator of adversarial images against a network (Chen et al. 2019).

    Args:
        model: the network; it stays as it is.
        cases: a sequence is gone through in a random order in each epoch, a function in its own. No reference labels are
            needed; where a case has them, patches are taken around them.
        settings: how it is trained.
        generator: what it is made of. Unless given, it sees the network's channels at the first case's voxel size, in slices
            for a 2D network.
        start: an earlier generator to go on from, in the place of random weights; it says what the new one is made of.
        folder: where each epoch leaves the generator, a table and a checkpoint, whole; a checkpoint that is there already, of
            the same settings, is gone on from, and the result is the same bit for bit as without a break (on a CPU; GPUs add
            up a warp's gradient in any order).
        progress: called with the finished fraction and a text.
        cancel: asked between steps and windows; True ends training with `Cancelled`, and at most one epoch is lost.

    Raises:
        InputError: a setting is wrong, there are no cases, they do not fit the network, or the folder holds a checkpoint of
            other settings.
        Cancelled: `cancel` said so.
    """
    first = _first(cases)
    how = settings if isinstance(settings, Training) else _checked(Training, settings or {})
    made_of = start.settings if start is not None else made_for(model, first, generator)
    trainer = _Trainer(model, Generator.new(made_of, how.seed), how, cancel)
    if start is not None:
        trainer.generator.network.load_state_dict(start.network.state_dict())
    identity: dict[str, Any] = {"network": model.name, "start": start.fingerprint if start is not None else None}
    identity |= {"generator": made_of.model_dump(mode="json"), **how.model_dump(mode="json")}
    checkpoint = Checkpoint(folder, identity)
    rows = checkpoint.restore(trainer.parts())
    for epoch in range(len(rows), how.epochs):
        seen = rows[-1]["cases"] if rows else 0
        rows.append({"epoch": epoch, **_epoch(trainer, cases, epoch, int(seen), progress)})
        checkpoint.save(trainer.parts(), rows)
        _write(folder, trainer.finished(rows), rows)
    return trainer.finished(rows)


def _first(cases: Cases) -> Case:
    """The first of the cases, which can be gone through again."""
    if isinstance(cases, Iterator) or not (callable(cases) or isinstance(cases, Sequence)):
        raise InputError(
            "Every epoch goes through the cases again: give them as a list, or as a function that gives them anew each time."
        )
    first = next(iter(cases() if callable(cases) else cases), None)
    if first is None:
        raise InputError("There are no cases to train the generator on; give one at least.")
    return first


def _epoch(trainer: _Trainer, cases: Cases, epoch: int, before: int, progress: ProgressCallback | None) -> dict[str, float]:
    """Every case once, and the means of the table's columns; `before` cases were seen in the epoch before."""
    how, found, number = trainer.how, [], 0
    source = np.random.default_rng([how.seed, epoch])
    if isinstance(cases, Sequence):
        before = len(cases)
        order = source.permutation(before)
        seen: Iterable[Case] = (cases[int(n)] for n in order)
    else:
        seen = cases()
    for number, case in enumerate(seen):
        check_cancel(trainer.cancel)
        if progress is not None:
            part = min(number / before, 1.0) if before else 0.0
            progress((epoch + part) / how.epochs, f"Generator: epoch {epoch + 1} of {how.epochs}, {case.name}")
        found += trainer.see(patch_of(case, how.patch, source), np.random.SeedSequence([how.seed, epoch, number]))
    return {"cases": number + 1, **_means(found)}


def made_for(
    model: SegmentationModel, case: Case, given: GeneratorSettings | Mapping[str, Any] | None = None
) -> GeneratorSettings:
    """What a generator for a network and cases like this one is made of, where nothing else is said.

    Raises:
        InputError: a setting is wrong.
    """
    if isinstance(given, GeneratorSettings):
        return given
    wanted = dict(given or {})
    orientation = str(wanted.get("orientation", GeneratorSettings.model_fields["orientation"].default))
    turn = _checked(GeneratorSettings, {"channels": model.channels, "spacing": (1, 1, 1), "orientation": orientation})
    steps = turn.preprocessing().on_grid(case.shape, case.affine)
    k, j, i = (case.spacing[2 - axis] for axis in steps.turn.permutation)
    axes = model.preprocessing.axes if model.preprocessing.dimensions == 2 else "kji"
    return _checked(GeneratorSettings, {"channels": model.channels, "spacing": (i, j, k), "axes": axes, **wanted})


def _checked(cls: Any, given: Mapping[str, Any]) -> Any:
    try:
        return cls(**dict(given))
    except ValidationError as error:
        raise InputError(f"Training a generator: {first_problem(error)}") from None


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each column over the rows that have it."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in columns}


def _write(folder: str | Path | None, generator: Generator, rows: Sequence[Mapping[str, float]]) -> None:
    if folder is not None:
        generator.write(Path(folder) / GENERATOR_FILE)
        write_table(rows, Path(folder) / TABLE_FILE)


@dataclass(frozen=True, eq=False)
class Terms:
    """The generator's loss in its parts, each a scalar tensor, and the cross-entropy that should be xi."""

    critic: torch.Tensor
    attack: torch.Tensor
    deformation: torch.Tensor
    intensity: torch.Tensor
    divergence: torch.Tensor
    cross_entropy: float

    def total(self, how: Training) -> torch.Tensor:
        """L_gen (eq. 6)."""
        return (
            how.critic_weight * self.critic
            + self.attack
            + how.deformation_weight * self.deformation
            + how.intensity_weight * self.intensity
            + how.kl_weight * self.divergence
        )


def masked_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, head: OutputHead, balanced: bool) -> torch.Tensor:
    """The cross-entropy of probabilities and a network's answer, masked to the structures and averaged over them (eq. 5).

    Args:
        logits: (N, K, J, I), the answer S_DV.
        targets: (N, K, J, I), the probabilities S_0.
        head: what the outputs are; of a sigmoid head the mean binary cross-entropy of the outputs counts.
        balanced: average over each structure by itself, then over the structures.

    Returns:
        A scalar, in nats; structures of which S_0 holds less than a voxel do not count, 0 if none does.
    """
    structures = targets[list(head.foreground)]
    if head.kind == "sigmoid":
        voxelwise = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(0)
    else:
        voxelwise = -(targets * logits.log_softmax(0)).sum(0)
    if not balanced:
        structures = (structures.amax(0) if head.kind == "sigmoid" else structures.sum(0))[None]
    sizes = structures.flatten(1).sum(1)
    there = sizes >= 1
    if not there.any():
        return voxelwise.sum() * 0
    return ((structures * voxelwise).flatten(1).sum(1)[there] / sizes[there]).mean()


class _Trainer:
    """Generator, critic and their optimisers."""

    def __init__(self, model: SegmentationModel, generator: Generator, how: Training, cancel: CancelCheck | None) -> None:
        self._model, self.how, self.cancel = model, how, cancel
        settings = generator.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(how.seed)
            critic = Critic(settings.dimensions, len(settings.channels), how.critic_features)
        self.critic = critic.to(model.device, model.dtype)
        self.generator = replace(generator, network=generator.network.to(model.device, model.dtype).train())
        self._optimizers = [
            torch.optim.RMSprop(x.parameters(), lr=how.learning_rate, alpha=how.decay, eps=how.rms_epsilon)
            for x in (self.generator.network, self.critic)
        ]

    def parts(self) -> dict[str, Any]:
        """What a checkpoint keeps: everything with a state."""
        names = ("generator", "critic", "generator_optimizer", "critic_optimizer")
        return dict(zip(names, (self.generator.network, self.critic, *self._optimizers)))

    def finished(self, rows: Sequence[Mapping[str, float]]) -> Generator:
        """The generator as it is now, on the CPU."""
        told = {"network": self._model.name, **self.how.model_dump(mode="json"), "by_epoch": list(rows)}
        copy = Generator.new(self.generator.settings)
        copy.network.load_state_dict(self.generator.network.state_dict())
        return replace(copy, learned=json.loads(json.dumps(told)))

    def see(self, case: Case, seed: np.random.SeedSequence) -> list[dict[str, float]]:
        """The steps on one case; a row for each."""
        source = torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
        least, greatest = self.generator.settings.xi
        rows = []
        with self._model.on(case, between_windows=lambda done: check_cancel(self.cancel)) as bound:
            step = _Step(self, bound, self.generator.on(case, bound.image))
            for _ in range(self.how.draws):
                check_cancel(self.cancel)
                xi = least + (greatest - least) * float(torch.rand((), generator=source))
                rows.append(step(xi, source))
        return rows


class _Step:
    """Steps of critic and generator on one case."""

    def __init__(self, trainer: _Trainer, bound: BoundModel, makes: BoundGenerator) -> None:
        self._trainer, self._how, self._bound, self._makes = trainer, trainer.how, bound, makes
        self._head = bound.head
        logits = bound.logits(bound.image)
        self._clean = logits.softmax(0) if self._head.kind == "softmax" else logits.sigmoid()
        self._real = makes.as_batch(bound.image)

    def __call__(self, xi: float, source: torch.Generator) -> dict[str, float]:
        """Some steps of the critic and one of the generator; what the losses were."""
        optimizer, critic_optimizer = self._trainer._optimizers
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
        from SegAdversarialLib.changes.fields import warp

        if self._how.compare == "original":
            return self._clean
        return warp(self._clean, variation.displacement, self._makes.affine)
