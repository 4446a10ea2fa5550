"""Training a segmentation network by a recipe, on any device, from where its folder says it stands."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback
from SegAdversarialLib.formats.settings import NetworkSettings
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.training.checkpoints import Checkpoint
from SegAdversarialLib.training.cohort import Cohort
from SegAdversarialLib.training.epochs import Best, Epochs, Row, best_of, frozen_copy, is_over
from SegAdversarialLib.training.failures import memory_in_words
from SegAdversarialLib.training.learner import NetworkLearner
from SegAdversarialLib.training.logs import Logs
from SegAdversarialLib.training.machine import machine
from SegAdversarialLib.training.making import made, size_multiple_of, task_of
from SegAdversarialLib.training.recipe import Recipe
from SegAdversarialLib.training.samples import Task
from SegAdversarialLib.training.saving import SETTINGS_FILE, WEIGHTS_FILE, write_model
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.standard import Standard
from SegAdversarialLib.training.time_left import Remaining
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import check_writable

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["SETTINGS_FILE", "WEIGHTS_FILE", "train"]

_log = logging.getLogger(__name__)

_READING = 0.03
"""Share of a training's progress in which the cases are looked at."""

_IDENTITY_ASIDE = {"epochs", "patience", "cache", "cache_gib", "tensorboard", "devices", "nodes"}
"""Settings that may be others when a training is gone on with."""


def train(
    network: torch.nn.Module | NetworkSettings | Mapping[str, Any] | str,
    cases: Sequence[Case],
    settings: TrainingSettings | Mapping[str, Any] | None = None,
    *,
    recipe: Recipe | None = None,
    validation: Sequence[Case] = (),
    channels: Sequence[str] | None = None,
    classes: Mapping[int, str] | Sequence[str] | None = None,
    head: Literal["softmax", "sigmoid"] = "softmax",
    regions: Mapping[int, Sequence[int]] | None = None,
    preprocessing: Preprocessing | None = None,
    window: Sequence[int] | None = None,
    overlap: float = 0.5,
    size_multiple: int | None = None,
    folder: str | Path | None = None,
    device: str = "auto",
    name: str = "network",
    on_epoch: Callable[[Row], None] | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
) -> SegmentationModel:
    """Train a network on cases.

    Args:
        network: an architecture by name ("UNet", {"name": "SegResNet", "arguments": {...}}), which begins with weights drawn from
            the seed; or a torch module, which goes on from its own, and is trained itself.
        cases: what it learns from, with reference labels; gone through in a random order in each epoch.
        settings: epochs, optimiser, loss, patches, augmentation, seed, precision and so on.
        recipe: how a step is made; `Standard()` unless given.
        validation: cases that say after each epoch how good it is (Dice and IoU on their own grids); the best epoch's weights
            are the result. None: the last epoch's.
        channels: the case channels that it takes, in its order; None: those of the first case.
        classes, head, regions, preprocessing, window, overlap, size_multiple, name: as in `SegmentationModel.from_network`;
            classes None: those that the first case names; preprocessing None: zero mean and unit standard deviation in each
            channel; size_multiple None: it is found out.
        folder: where each epoch leaves a checkpoint, a table, TensorBoard events and the network so far (`model.json` and
            `model.safetensors`, which `open_model` opens), each of them whole. A checkpoint of the same training that is there
            already is gone on from, to the same weights bit for bit (on a CPU) as without a break.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        on_epoch: called with the table's row of each epoch; of those that the folder holds already, too.
        progress: called with the finished fraction and a text.
        cancel: asked between steps and windows; True ends training with `Cancelled`, and at most one epoch is lost.

    Raises:
        InputError: a setting is wrong, there are no cases, one has no reference or labels that no class stands for, the loss
            is no finite number, memory does not suffice, or the folder holds a checkpoint of another training.
        Cancelled: `cancel` said so.
    """
    if not len(cases):
        raise InputError("There are no cases to train on; give one at least.")
    how = settings if isinstance(settings, TrainingSettings) else TrainingSettings(**dict(settings or {}))
    if how.patience is not None and not len(validation):
        raise InputError("Training cannot end early (patience) without cases to validate on; give some, or leave it out.")
    task = task_of(cases[0], channels, classes, head, regions, preprocessing)
    fabric = machine(how, device)
    if isinstance(network, torch.nn.Module):
        module, architecture = network, None
    else:
        module, architecture = made(network, task, how.seed)
    shown = progress if progress is not None and fabric.is_global_zero else None
    place = Path(folder) if folder is not None else None
    if place is not None:
        check_writable(place)
    if size_multiple is None:
        size_multiple = size_multiple_of(module, task)
    windows = {"window": window, "overlap": overlap, "size_multiple": size_multiple}
    with memory_in_words():
        cohort = Cohort(cases, task, how, place, lambda n: _say(shown, _READING * n / len(cases), "reading the cases"))
        for case in validation:
            task.check(case)
        plan = _Plan(task, how, cohort, validation, architecture, windows, fabric, name, shown, cancel, on_epoch=on_epoch)
        return plan.run(module, recipe or Standard(), place, (_READING, 1.0))


def _say(progress: ProgressCallback | None, fraction: float, text: str) -> None:
    if progress is not None:
        progress(fraction, text)


@dataclass(frozen=True, eq=False)
class _Plan:
    """All that a training and one that comes before it have in common."""

    task: Task
    how: TrainingSettings
    cohort: Cohort
    validation: Sequence[Case]
    architecture: NetworkSettings | None
    windows: Mapping[str, Any]
    fabric: Fabric
    name: str
    progress: ProgressCallback | None
    cancel: CancelCheck | None
    on_epoch: Callable[[Row], None] | None

    def run(
        self, network: torch.nn.Module, recipe: Recipe, folder: Path | None, part: tuple[float, float]
    ) -> SegmentationModel:
        """Train by a recipe, after the one that it asks for."""
        begin, end = part
        before = None
        if (first := recipe.first) is not None:
            middle = (begin + end) / 2
            earlier = replace(self, on_epoch=None)
            place = None if folder is None else folder / "first"
            before = frozen_copy(earlier.run(copy.deepcopy(network), first, place, (begin, middle)).network)
            begin = middle
        learner = NetworkLearner(network, self.task, self.how, self.fabric, self.windows["size_multiple"], before)
        model = self._model(learner.network)
        rows, best = self._epochs(learner, model, recipe, folder, (begin, end))
        if best.weights:
            learner.network.load_state_dict(best.weights)
        self._write(model, recipe, rows, best, folder)
        return model

    def _epochs(
        self,
        learner: NetworkLearner,
        model: SegmentationModel,
        recipe: Recipe,
        folder: Path | None,
        part: tuple[float, float],
    ) -> tuple[list[Row], Best]:
        stepper, best = recipe.begin(learner), Best()
        checkpoint = Checkpoint(folder, self._identity(learner.network, recipe))
        precision = self.fabric.strategy.precision
        parts = {
            "network": learner.network,
            "optimizer": learner.optimizer,
            "recipe": stepper,
            "precision": precision,
            "best": best,
        }
        rows: list[Row] = checkpoint.restore(parts)
        for row in rows:
            self._tell(row)
        remaining = Remaining(self.how.epochs, len(rows), part, self.progress)
        epochs = Epochs(
            *(learner, stepper, self.cohort, self.how, self.fabric),
            validation=self.validation,
            said=remaining,
            cancel=self.cancel,
        )
        writes = folder if self.fabric.is_global_zero else None
        logs = Logs(writes, self.how.tensorboard)
        while not is_over(rows, self.how):
            epoch = len(rows)
            row: Row = {"epoch": epoch, **epochs.train(epoch, folder is not None)}
            if len(self.validation) and ((epoch + 1) % self.how.validate_every == 0 or epoch + 1 == self.how.epochs):
                row |= epochs.validate(model)
            rows.append(row)
            if best_of(rows) == epoch:
                best.keep(learner.network)
            if writes is not None:
                checkpoint.save(parts, rows)
                if best_of(rows) in (None, epoch):
                    self._write(model, recipe, rows, best, folder)
                logs.write(rows)
            self.fabric.barrier()
            self._tell(row)
            remaining.finished(len(rows))
        logs.close()
        return rows, best

    def _tell(self, row: Row) -> None:
        if self.on_epoch is not None and self.fabric.is_global_zero:
            self.on_epoch(row)

    def _model(self, network: torch.nn.Module) -> SegmentationModel:
        head = self.task.head
        return SegmentationModel.from_network(
            network,
            channels=self.task.channels,
            classes=dict(zip(head.labels, head.names)),
            regions=dict(zip(head.labels, head.regions)),
            head=head.kind,
            preprocessing=self.task.preprocessing,
            device=str(self.fabric.device),
            name=self.name,
            outputs="logits",
            **self.windows,
        )

    def _identity(self, network: torch.nn.Module, recipe: Recipe) -> dict[str, Any]:
        """What makes it the same training, in a checkpoint's words."""
        head = self.task.head
        named = {name: list(x.shape) for name, x in network.state_dict().items()}
        identity = {
            "network": named if self.architecture is None else self.architecture.model_dump(mode="json"),
            "recipe": recipe.describe(),
            "channels": self.task.channels,
            "classes": [head.kind, head.labels, head.names, head.regions],
            "preprocessing": self.task.preprocessing.model_dump(mode="json"),
            "cases": self.cohort.names,
            "validation": [x.name for x in self.validation],
            "size_multiple": self.windows["size_multiple"],
            **self.how.model_dump(mode="json", exclude=_IDENTITY_ASIDE),
        }
        if self.how.schedule != "constant":
            identity["number of epochs, which its schedule of learning rates depends on"] = self.how.epochs
        return dict(json.loads(json.dumps(identity)))

    def _write(self, model: SegmentationModel, recipe: Recipe, rows: Sequence[Row], best: Best, folder: Path | None) -> None:
        if folder is None or not self.fabric.is_global_zero:
            return
        chosen = best_of(rows)
        record = {
            "recipe": recipe.describe(),
            "settings": self.how.model_dump(mode="json"),
            "cases": self.cohort.names,
            "validation": [x.name for x in self.validation],
            "epochs": len(rows),
            "best": None if chosen is None else rows[chosen],
            "last": rows[-1],
        }
        write_model(folder, best.weights or model.network.state_dict(), model, self.architecture, record)
