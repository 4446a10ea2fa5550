"""The samples of a batch as cases, and a network that is asked about them one by one, as attacks ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.untargeted import NothingToAttack
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.trust import Trust
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.structures.output_head import OutputHead
    from SegAdversarialLib.training.recipe import Batch, Learner


def affine_of(batch: Batch, number: int) -> np.ndarray:
    """4x4, a sample's (i, j, k) to mm: the network's axes are taken for k, j, i, those of slices for j, i."""
    sizes = [1.0] * (batch.images.ndim - 2) if batch.spacing is None else list(batch.spacing[number])
    return np.diag([*reversed(sizes), *[1.0] * (3 - len(sizes)), 1.0])


def volume_of(sample: torch.Tensor) -> torch.Tensor:
    """A sample (P, *network axes) as a volume (P, K, J, I); a slice is a volume of one."""
    return sample[:, None] if sample.ndim == 3 else sample


def label_of(targets: torch.Tensor, head: OutputHead) -> np.ndarray:
    """The reference label map (K, J, I) int16 that says what each output should claim: (N, K, J, I), above 0.5."""
    import torch

    claimed = targets > 0.5
    label = torch.zeros(claimed.shape[1:], dtype=torch.int16, device=targets.device)
    for value in sorted({x for region in head.regions for x in region}):
        wanted = torch.tensor([value in region for region in head.regions], device=targets.device)
        label.masked_fill_((claimed == wanted.reshape(-1, 1, 1, 1)).all(0), value)
    return label.cpu().numpy()


def case_of(batch: Batch, number: int, learner: Learner) -> Case:
    """A sample as a case: intensities as the network sees them, the targets as its reference."""
    return Case(
        volume_of(batch.images[number].detach()).float().cpu().numpy(),
        learner.channels,
        affine_of(batch, number),
        label=label_of(volume_of(batch.targets[number]), learner.head),
        name=batch.names[number],
    )


class AskedNetwork:
    """A network that is asked about the samples of batches, one by one, as it is at that moment; in evaluation mode.

    Args:
        network: maps (B, C, *network axes) to logits or probabilities; it may be in training.
        learner: what it is like: channels, classes.
        name: what messages call it.
        said: what is known of its outputs, as `SegmentationModel.from_network` takes it.
    """

    def __init__(self, network: torch.nn.Module, learner: Learner, name: str, **said: Any) -> None:
        self._network, self._learner, self._name, self._said = network, learner, name, said
        self._model: SegmentationModel | None = None

    def attacked(self, batch: Batch, attack: Attack) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and targets after an attack on each sample; targets move with the anatomy where the attack moves it.

        A sample in which there is nothing to attack, such as a slice without any structure, stays as it is. What the attack
        draws at random, it draws by its own seed, the step and the sample.

        Raises:
            InputError: the attack does not fit the network.
        """
        import torch

        from SegAdversarialLib.changes.fields import warp

        images, targets = batch.images.detach().clone(), batch.targets
        for number in range(len(images)):
            case, model = case_of(batch, number, self._learner), self._as_model(batch)
            seed = int(np.random.default_rng([self._learner.seed, attack.seed, batch.step, number]).integers(2**63 - 1))
            try:
                with _apart(images.device):
                    result = attack.model_copy(update={"seed": seed})(model, case)
            except NothingToAttack:
                continue
            images[number] = torch.from_numpy(result.adversarial.image).to(images).reshape(images[number].shape)
            if (displacement := result.perturbation.displacement) is not None:
                targets = targets.clone() if targets is batch.targets else targets
                field = torch.from_numpy(displacement).to(targets.device)
                moved = warp(volume_of(targets[number]), field, case.affine, "nearest")
                targets[number] = moved.reshape(targets[number].shape)
        return images, targets

    def gradient(self, batch: Batch) -> torch.Tensor:
        """The gradient of the training's loss by the images, each sample by itself: (B, C, *network axes)."""
        import torch

        found = torch.empty_like(batch.images)
        for number in range(len(found)):
            wanted = batch.targets[number][None]

            def loss(logits: torch.Tensor, wanted: torch.Tensor = wanted) -> torch.Tensor:
                return self._learner.measure(logits.reshape(wanted.shape), wanted)

            with _apart(found.device), self._as_model(batch).on(case_of(batch, number, self._learner)) as bound:
                gradient = bound.differentiate(bound.image, loss)[1]
            found[number] = gradient.reshape(found[number].shape)
        return found

    def logits(self, batch: Batch) -> torch.Tensor:
        """What it says: (B, N, *network axes), without a graph."""
        import torch

        answers = []
        for number in range(len(batch.images)):
            with _apart(batch.images.device), self._as_model(batch).on(case_of(batch, number, self._learner)) as bound:
                answers.append(bound.logits(bound.image).reshape(batch.targets[number].shape))
        return torch.stack(answers)

    def _as_model(self, batch: Batch) -> SegmentationModel:
        if self._model is None:
            head, weight = self._learner.head, next(self._network.parameters())
            self._model = SegmentationModel.from_network(
                self._network,
                channels=self._learner.channels,
                classes=dict(zip(head.labels, head.names)),
                regions=dict(zip(head.labels, head.regions)),
                head=head.kind,
                painting=head.painting,
                threshold=head.threshold,
                size_multiple=self._learner.size_multiple,
                preprocessing=Preprocessing(axes="ji" if batch.images.ndim == 4 else "kji"),
                device=str(weight.device),
                name=self._name,
                acceleration={"fused": False},  # the weights move from one batch to the next
                **self._said,
            )
        return self._model


def opened(given: str | SegmentationModel, learner: Learner, what: str, trust: Trust = False) -> AskedNetwork:
    """A trained network from its file, to be asked about batches as this training prepares them.

    Raises:
        InputError: it cannot be opened, or has other channels or classes than the network in training.
    """
    from SegAdversarialLib.formats import open_model

    device = str(next(learner.network.parameters()).device)
    model = open_model(given, trust=trust, device=device) if isinstance(given, str) else given
    ours, theirs = learner.head, model.head
    if [x.lower() for x in model.channels] != [x.lower() for x in learner.channels]:
        raise InputError(
            f"The {what} {model.name} takes the channels {', '.join(model.channels)}, the network in training "
            f"{', '.join(learner.channels)}; both must take the same in the same order."
        )
    if (theirs.kind, theirs.labels, theirs.regions) != (ours.kind, ours.labels, ours.regions):
        raise InputError(
            f"The {what} {model.name} has the classes {theirs.describe()} ({theirs.kind}), the network in training "
            f"{ours.describe()} ({ours.kind}); both must have the same."
        )
    told = model.describe()
    return AskedNetwork(model.network.to(device), learner, model.name, outputs=told["outputs"], output=told["output"])


@contextmanager
def _apart(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside leaves torch's own random numbers, of which dropout draws, where they are."""
    import torch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
