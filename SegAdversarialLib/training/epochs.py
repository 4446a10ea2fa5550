"""The epochs of one training: from where its checkpoint stands to its end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from SegAdversarialLib.errors import CancelCheck, check_cancel
from SegAdversarialLib.training import randomness
from SegAdversarialLib.training.cohort import Cohort, Item
from SegAdversarialLib.training.failures import check_finite
from SegAdversarialLib.training.learner import NetworkLearner
from SegAdversarialLib.training.recipe import Batch, Stepper
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.validation import MEAN, row_of, scores_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.volumes.case import Case

Row = dict[str, float]


class Best:
    """The weights of the epoch with the best validation so far; empty before the first."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}

    def keep(self, network: torch.nn.Module) -> None:
        """A network's weights as they are now."""
        self.weights = {name: x.detach().cpu().clone() for name, x in network.state_dict().items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights."""
        return self.weights

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take them over."""
        self.weights = dict(state)


def best_of(rows: Sequence[Row]) -> int | None:
    """The number of the epoch with the highest validation Dice, the first of equals; None: none was validated."""
    validated = [n for n, row in enumerate(rows) if MEAN in row]
    return max(validated, key=lambda n: rows[n][MEAN]) if validated else None


def is_over(rows: Sequence[Row], settings: TrainingSettings) -> bool:
    """Whether the last epoch is done, or patience has come to its end."""
    best = best_of(rows)
    tired = settings.patience is not None and best is not None and len(rows) - 1 - best >= settings.patience
    return tired or len(rows) >= settings.epochs


class Epochs:
    """Epochs of steps and validations.

    Args:
        learner: the network in training.
        stepper: the recipe at work.
        cohort: what it learns from.
        settings: how.
        fabric: devices.
        validation: cases on which it is measured.
        said: called with the finished share of the present epoch and a text.
        cancel: asked between steps and windows.
    """

    def __init__(
        self,
        learner: NetworkLearner,
        stepper: Stepper,
        cohort: Cohort,
        settings: TrainingSettings,
        fabric: Fabric,
        *,
        validation: Sequence[Case],
        said: Callable[[float, str], None],
        cancel: CancelCheck | None,
    ) -> None:
        self._learner, self._stepper, self._cohort, self._settings = learner, stepper, cohort, settings
        self._fabric, self._validation, self._said, self._cancel = fabric, validation, said, cancel

    def train(self, epoch: int, kept: bool) -> Row:
        """One epoch; the means of what its steps log."""
        rows: list[Mapping[str, float]] = []
        batches = self._cohort.batches(epoch, self._settings.batch_size * self._fabric.world_size)
        self._learner.network.train()
        for number, items in enumerate(batches):
            self._check_cancel()
            self._said(number / (len(batches) + len(self._validation)), self._cohort.names[items[0].case])
            self._learner.set_rate(self._settings.rate((epoch + number / len(batches)) / self._settings.epochs))
            step = epoch * len(batches) + number
            batch = self._batch(items, epoch, step)
            with _drawing(self._settings.seed, step, self._fabric.global_rank, self._fabric.device):
                row = self._means(self._stepper.step(batch))
            check_finite(row, epoch, [self._cohort.names[x.case] for x in items], kept)
            rows.append(row)
        columns = dict.fromkeys(name for row in rows for name in row)
        return {name: float(np.mean([row[name] for row in rows if name in row])) for name in columns}

    def validate(self, model: SegmentationModel) -> Row:
        """Dice and IoU on the validation cases, which the processes share among them."""
        cases, trained = self._validation, len(self._cohort)
        names = [model.head.names[n] for n in model.head.foreground]
        scores = torch.zeros((len(cases), 2, len(names)), dtype=torch.float64)
        for n in range(self._fabric.global_rank, len(cases), self._fabric.world_size):
            self._said((trained + n) / (trained + len(cases)), f"validating {cases[n].name}")
            scores[n] = torch.from_numpy(scores_of(model, cases[n], self._cancel))
        if self._fabric.world_size > 1:
            scores = self._fabric.all_reduce(scores.to(self._fabric.device), reduce_op="sum").cpu()
        return row_of(scores.numpy(), names)

    def _batch(self, items: Sequence[Item], epoch: int, step: int) -> Batch:
        """What this process sees of a batch."""
        world, rank = self._fabric.world_size, self._fabric.global_rank
        shared = [items[n % len(items)] for n in range(-(-len(items) // world) * world)]
        samples = [self._cohort.sample(item, epoch) for item in shared[rank::world]]
        device = self._fabric.device
        return Batch(
            torch.stack([x.image for x in samples]).to(device),
            torch.stack([x.targets for x in samples]).to(device).float(),
            step,
            tuple(x.name for x in samples),
            epoch,
            tuple(x.spacing for x in samples),
        )

    def _means(self, row: Mapping[str, float]) -> Mapping[str, float]:
        """What a step logged, as the mean over the processes."""
        if self._fabric.world_size == 1:
            return row
        values = torch.tensor(list(row.values()), dtype=torch.float64, device=self._fabric.device)
        return dict(zip(row, self._fabric.all_reduce(values, reduce_op="mean").tolist()))

    def _check_cancel(self) -> None:
        """Raise `Cancelled` in every process once the first is told to stop."""
        if self._fabric.world_size == 1:
            check_cancel(self._cancel)
        elif self._fabric.broadcast(self._cancel is not None and self._cancel()):
            check_cancel(lambda: True)


@contextmanager
def _drawing(seed: int, step: int, rank: int, device: torch.device) -> Iterator[None]:
    """Torch's own random numbers (dropout) of one step, drawn from the seed and its number; outside, all is as it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(randomness.torch_seed(seed, randomness.STEP, step, rank))
        yield


def frozen_copy(network: torch.nn.Module) -> torch.nn.Module:
    """A network of its own, in evaluation mode, which learns no more."""
    return copy.deepcopy(network).eval().requires_grad_(False)
