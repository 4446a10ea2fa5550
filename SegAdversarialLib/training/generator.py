"""Training Chen et al.'s generator of adversarial images against a fixed segmentation network, epoch by epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel
from SegAdversarialLib.networks.generator import Generator, GeneratorSettings
from SegAdversarialLib.training.checkpoints import Checkpoint
from SegAdversarialLib.training.failures import check_finite, check_weights, memory_in_words
from SegAdversarialLib.training.generator_settings import GeneratorTraining, checked, made_for
from SegAdversarialLib.training.generator_steps import Trainer
from SegAdversarialLib.training.logs import Logs, Row, means
from SegAdversarialLib.training.patches import patch_of
from SegAdversarialLib.training.time_left import Remaining
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

Cases = Sequence[Case] | Callable[[], Iterable[Case]]
"""A set of cases: a sequence, or a function that gives them one after the other each time it is called."""

GENERATOR_FILE = "generator.safetensors"

_LOSS_HELPS = "a lower learning_rate, critic_weight or clip help"
_MEMORY_HELPS = "a smaller patch, or fewer features to the generator"


def train_generator(
    model: SegmentationModel,
    cases: Cases,
    settings: GeneratorTraining | Mapping[str, Any] | None = None,
    *,
    generator: GeneratorSettings | Mapping[str, Any] | None = None,
    start: Generator | None = None,
    folder: str | Path | None = None,
    on_begin: Callable[[], None] | None = None,
    on_epoch: Callable[[Row], None] | None = None,
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
        folder: where each epoch leaves the generator, table, events and checkpoint, each whole; a checkpoint that is there
            already, of the same settings and network, is gone on from, and the result is the same bit for bit as without a
            break (on a CPU; GPUs add up a warp's gradient in any order).
        on_begin: called when all that is given has been looked at, before the first step.
        on_epoch: called with the table's row of each epoch, those that the folder holds already included.
        progress: called with the finished fraction and a text.
        cancel: asked between steps and windows; True ends training with `Cancelled`, and at most one epoch is lost.

    Raises:
        InputError: a setting is wrong, there are no cases, they do not fit the network, the loss is no finite number, memory
            does not suffice, or the folder holds a checkpoint of other settings or another network.
        Cancelled: `cancel` said so.
    """
    first = _first(cases)
    how = settings if isinstance(settings, GeneratorTraining) else checked(GeneratorTraining, settings or {})
    made_of = start.settings if start is not None else made_for(model, first, generator)
    trainer = Trainer(model, Generator.new(made_of, how.seed), how, cancel)
    if start is not None:
        trainer.generator.network.load_state_dict(start.network.state_dict())
    identity = {"network": [model.name, _sum_of_weights(model)], "start": None if start is None else start.fingerprint}
    checkpoint = Checkpoint(folder, {**identity, "generator": made_of.model_dump(mode="json"), **how.learned()})
    rows: list[Row] = checkpoint.restore(trainer.parts())
    if on_begin is not None:
        on_begin()
    with memory_in_words(_MEMORY_HELPS):
        _go_on(trainer, cases, checkpoint, rows, on_epoch or (lambda row: None), progress)
    return trainer.finished(rows)


def _go_on(
    trainer: Trainer,
    cases: Cases,
    checkpoint: Checkpoint,
    rows: list[Row],
    tell: Callable[[Row], None],
    progress: ProgressCallback | None,
) -> None:
    """All epochs that are left, each of which adds its row and leaves its traces where the checkpoint lies."""
    folder, epochs = checkpoint.folder, trainer.how.epochs
    remaining = Remaining(epochs, len(rows), (0.0, 1.0), progress)
    logs = Logs(folder, trainer.how.tensorboard)
    for row in rows:
        tell(row)
    for epoch in range(len(rows), epochs):
        seen = rows[-1]["cases"] if rows else 0
        rows.append({"epoch": epoch, **_epoch(trainer, cases, epoch, int(seen), remaining, folder is not None)})
        remaining.keeping()
        checkpoint.save(trainer.parts(), rows)
        logs.write(rows)
        if folder is not None:
            trainer.finished(rows).write(folder / GENERATOR_FILE)
        remaining.finished(len(rows))
        tell(rows[-1])
    logs.close()


def _sum_of_weights(model: SegmentationModel) -> str:
    """What tells a network's weights from others: the start of their SHA-256."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            found.update(name.encode())
            found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:16]


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


def _epoch(trainer: Trainer, cases: Cases, epoch: int, before: int, said: Remaining, kept: bool) -> Row:
    """Every case once, and the means of the table's columns; `before` cases were seen in the epoch before."""
    how, number, found = trainer.how, 0, []
    source = np.random.default_rng([how.seed, epoch])
    if isinstance(cases, Sequence):
        before = len(cases)
        order = source.permutation(before)
        seen: Iterable[Case] = (cases[int(n)] for n in order)
    else:
        seen = cases()
    said.steps = before
    for number, case in enumerate(seen):
        check_cancel(trainer.cancel)
        said(min(number, before), case.name)
        rows = trainer.see(patch_of(case, how.patch, source), np.random.SeedSequence([how.seed, epoch, number]))
        for row in rows:
            check_finite(row, epoch, [case.name], kept, _LOSS_HELPS)
        found += rows
    check_weights(trainer.generator.network, epoch, kept, _LOSS_HELPS)
    return {"cases": number + 1, **means(found)}
