"""The epochs of a training: their steps, and what the network is worth after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from SegAdversarialLib.errors import check_cancel
from SegAdversarialLib.model.random_numbers import drawing
from SegAdversarialLib.training import randomness
from SegAdversarialLib.training.cohort import Item
from SegAdversarialLib.training.failures import check_finite, check_weights
from SegAdversarialLib.training.learner import NetworkLearner
from SegAdversarialLib.training.logs import Row, means
from SegAdversarialLib.training.plan import Plan
from SegAdversarialLib.training.recipe import Batch, Stepper
from SegAdversarialLib.training.time_left import Remaining
from SegAdversarialLib.training.validation import row_of, scores_of

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel


class Epochs:
    """Epochs of steps and validations.

    Args:
        plan: the training.
        learner: the network in training.
        stepper: the recipe at work.
        said: told each step and each case that is validated.
    """

    def __init__(self, plan: Plan, learner: NetworkLearner, stepper: Stepper, said: Remaining) -> None:
        self._plan, self._learner, self._stepper, self._said = plan, learner, stepper, said
        self._fabric, self._cohort, self._how = plan.fabric, plan.cohort, plan.how

    def train(self, epoch: int, kept: bool) -> Row:
        """The steps of one epoch; the means of what they log."""
        rows: list[Mapping[str, float]] = []
        batches = self._cohort.batches(epoch, self._how.batch_size * self._fabric.world_size)
        self._learner.network.train()
        for number, items in enumerate(batches):
            self._check_cancel()
            self._said(number, self._cohort.names[items[0].case])
            self._learner.set_rate(self._how.rate((epoch + number / len(batches)) / self._how.epochs))
            step = epoch * len(batches) + number
            batch = self._batch(items, epoch, step)
            seed = randomness.torch_seed(self._how.seed, randomness.STEP, step, self._fabric.global_rank)
            with drawing(seed, self._fabric.device):
                row = self._means(self._stepper.step(batch))
            check_finite(row, epoch, [self._cohort.names[x.case] for x in items], kept)
            rows.append(row)
        check_weights(self._learner.network, epoch, kept)
        return means(rows)

    def validate(self, model: SegmentationModel) -> Row:
        """Dice and IoU on the validation cases, which the processes share among them."""
        cases, names = self._plan.validation, self._plan.task.structures
        scores = torch.zeros((len(cases), 2, len(names)), dtype=torch.float64)
        world, alone = self._fabric.world_size, self._fabric.world_size == 1
        for begin in range(0, len(cases), world):
            self._check_cancel()
            n = begin + self._fabric.global_rank
            if n < len(cases):
                self._said(begin // world, f"validating {cases[n].name}", "validation")
                # one of several processes must not stop by itself: the others would wait for its scores
                scores[n] = torch.from_numpy(scores_of(model, cases[n], self._plan.cancel if alone else None))
        return row_of(self._reduced(scores, "sum").numpy(), names)

    def _batch(self, items: Sequence[Item], epoch: int, step: int) -> Batch:
        """What this process sees of a batch; where there are too few parts for all processes, some see the same."""
        world, rank, device = self._fabric.world_size, self._fabric.global_rank, self._fabric.device
        shared = [items[n % len(items)] for n in range(-(-len(items) // world) * world)]
        samples = [self._cohort.sample(item, epoch) for item in shared[rank::world]]
        return Batch(
            images=torch.stack([x.image for x in samples]).to(device),
            targets=torch.stack([x.targets for x in samples]).to(device).float(),
            step=step,
            names=tuple(x.name for x in samples),
            epoch=epoch,
            spacing=tuple(x.spacing for x in samples),
        )

    def _means(self, row: Mapping[str, float]) -> Mapping[str, float]:
        """What a step logged, as the mean over the processes."""
        return dict(zip(row, self._reduced(torch.tensor(list(row.values()), dtype=torch.float64), "mean").tolist()))

    def _reduced(self, values: torch.Tensor, how: str) -> torch.Tensor:
        """The sum, or the mean, of what all processes have."""
        if self._fabric.world_size == 1:
            return values
        found = self._fabric.all_reduce(values.to(self._fabric.device), reduce_op=how)
        assert isinstance(found, torch.Tensor)
        return found.cpu()

    def _check_cancel(self) -> None:
        """Raise `Cancelled`; in every process once the first is told to stop."""
        if self._fabric.world_size == 1:
            check_cancel(self._plan.cancel)
        elif self._fabric.broadcast(self._plan.cancel is not None and self._plan.cancel()):
            check_cancel(lambda: True)
