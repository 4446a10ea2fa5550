"""Training a segmentation network by a recipe, on any device, from where its folder says it stands."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback
from SegAdversarialLib.formats.settings import NetworkSettings
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.training.best import Best, best_of, is_over
from SegAdversarialLib.training.checkpoints import Checkpoint
from SegAdversarialLib.training.cohort import Cohort
from SegAdversarialLib.training.epochs import Epochs
from SegAdversarialLib.training.failures import memory_in_words
from SegAdversarialLib.training.learner import NetworkLearner
from SegAdversarialLib.training.logs import Logs, Row
from SegAdversarialLib.training.machine import machine
from SegAdversarialLib.training.making import made, size_multiple_of
from SegAdversarialLib.training.plan import Plan
from SegAdversarialLib.training.recipe import Recipe
from SegAdversarialLib.training.saving import write_model
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.standard import Standard
from SegAdversarialLib.training.task import Task
from SegAdversarialLib.training.time_left import Remaining
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import check_writable

_log = logging.getLogger(__name__)

_READING = 0.03
"""Share of a training's progress in which the cases are looked at."""

AnyNetwork = torch.nn.Module | NetworkSettings | Mapping[str, Any] | str


def train(
    network: AnyNetwork,
    cases: Sequence[Case],
    settings: TrainingSettings | Mapping[str, Any] | None = None,
    *,
    recipe: Recipe | None = None,
    validation: Sequence[Case] = (),
    folder: str | Path | None = None,
    device: str = "auto",
    name: str = "network",
    on_begin: Callable[[], None] | None = None,
    on_epoch: Callable[[Row], None] | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
    **described: Any,
) -> SegmentationModel:
    """Train a network on cases with reference labels.

    Args:
        network: a name ("UNet", {"name": "UNet", "arguments": {...}}), or a torch module, which is trained itself.
        cases: what it learns from; read whenever they are asked for.
        settings: epochs, optimiser, loss, patches, augmentation and so on, as `TrainingSettings`.
        recipe: how a step is made; None: `Standard()`.
        validation: cases that measure it after each epoch; the best epoch's weights are the result. None: the last's.
        folder: where each epoch leaves checkpoint, table, events and the network (`open_model` opens it), each whole. What is
            there of the same training is gone on from, to the same weights as without a break (bit for bit on a CPU).
        device: "cpu", "cuda", "cuda:1", "mps" or "auto".
        on_begin: called when all that is given has been looked at, before the first step.
        on_epoch: called with the table's row of each epoch, those that the folder holds already included.
        progress: called with the finished fraction and a text.
        cancel: asked between steps and windows; True ends training with `Cancelled`, and at most one epoch is lost.
        described: of the network, by the names of `ModelSettings`: channels, classes (None: as in the first case), stands_for,
            head, threshold, preprocessing (None: standardised), window, overlap, blending, size_multiple (None: found out),
            description.

    Raises:
        InputError: a setting is wrong, a case cannot be learned from, the loss is no finite number, memory does not suffice,
            or the folder holds another training.
    """
    place = None if folder is None else Path(folder)
    with memory_in_words():
        plan, module = _planned(network, cases, settings, validation, place, device, described, progress, name)
        if folder is not None and plan.architecture is None:
            _log.warning(
                "%s will hold weights whose architecture is known in Python alone; open_model cannot open it.", folder
            )
        plan = replace(plan, on_begin=on_begin, on_epoch=on_epoch, cancel=cancel)
        return _trained(plan, module, recipe or Standard(), place, (_READING, 1.0))


def _planned(
    network: AnyNetwork,
    cases: Sequence[Case],
    settings: TrainingSettings | Mapping[str, Any] | None,
    validation: Sequence[Case],
    folder: Path | None,
    device: str,
    described: Mapping[str, Any],
    progress: ProgressCallback | None,
    name: str,
) -> tuple[Plan, torch.nn.Module]:
    """The training, checked and with its cases looked at, and the network that it begins with."""
    how = settings if isinstance(settings, TrainingSettings) else TrainingSettings(**dict(settings or {}))
    if not (hasattr(cases, "__getitem__") and hasattr(cases, "__len__") and len(cases)):
        raise InputError(
            "There are no cases to train on; give one at least, in a list, as each epoch goes through them again."
        )
    if how.patience is not None and not len(validation):
        raise InputError("Training cannot end early (patience) without cases to validate on; give some, or leave it out.")
    if folder is not None:
        check_writable(folder)
    task, fabric = Task.of(cases[0], described), machine(how, device)
    module, architecture = (network, None) if isinstance(network, torch.nn.Module) else made(network, task, how.seed)
    said = task.settings.size_multiple if "size_multiple" in task.settings.model_fields_set else None
    multiple = said or size_multiple_of(module, task)
    shown = progress if fabric.is_global_zero else None

    def look(number: int) -> None:
        if shown is not None:
            shown(_READING * number / len(cases), f"looking at case {number + 1} of {len(cases)}")

    cohort = Cohort(cases, task, how, folder, look)
    for case in validation:
        task.check(case)
    return Plan(task, how, cohort, validation, architecture, multiple, fabric, name, shown), module


def _trained(
    plan: Plan, network: torch.nn.Module, recipe: Recipe, folder: Path | None, part: tuple[float, float]
) -> SegmentationModel:
    """Train by a recipe, after the one that it asks for; `part` is where this lies in the progress of the whole."""
    (begin, end), before = part, None
    checkpoint = Checkpoint(folder, plan.identity(network, recipe))
    checkpoint.check()  # before hours go into what comes first
    if (first := recipe.first) is not None:
        middle = (begin + end) / 2
        place = None if folder is None else folder / "first"
        independent = copy.deepcopy(network)
        if plan.architecture is not None:
            independent, _ = made(plan.architecture, plan.task, plan.how.seed + 1)
        earlier = _trained(replace(plan, on_epoch=None), independent, first, place, (begin, middle))
        before, begin = earlier.network.eval().requires_grad_(False), middle
    learner = NetworkLearner(network, plan.task, plan.how, plan.fabric, plan.size_multiple, before)
    model, best = plan.model(learner.network), Best()
    _go_on(plan, learner, model, recipe, best, checkpoint, (begin, end))
    if best.weights:
        learner.network.load_state_dict(best.weights)
    return model


def _go_on(
    plan: Plan,
    learner: NetworkLearner,
    model: SegmentationModel,
    recipe: Recipe,
    best: Best,
    checkpoint: Checkpoint,
    part: tuple[float, float],
) -> None:
    """All epochs that are left, each of which leaves its traces in the folder."""
    stepper, folder = recipe.begin(learner), checkpoint.folder
    parts = {"network": learner.network, "optimizer": learner.optimizer, "recipe": stepper, "best": best}
    parts["precision"] = plan.fabric.strategy.precision
    rows: list[Row] = checkpoint.restore(parts)
    remaining = Remaining(
        *(plan.how.epochs, len(rows), part, plan.progress),
        steps=len(plan.cohort.batches(0, plan.how.batch_size * plan.fabric.world_size)),
        validations=-(-len(plan.validation) // plan.fabric.world_size),
        every=plan.how.validate_every,
    )
    epochs = Epochs(plan, learner, stepper, remaining)
    logs = Logs(folder if plan.fabric.is_global_zero else None, plan.how.tensorboard)
    tell = plan.on_epoch if plan.on_epoch is not None and plan.fabric.is_global_zero else lambda row: None
    if plan.on_begin is not None and plan.fabric.is_global_zero:
        plan.on_begin()
    for row in rows:
        tell(row)
    while not is_over(rows, plan.how.epochs, plan.how.patience):
        epoch = len(rows)
        row = {"epoch": epoch, **epochs.train(epoch, folder is not None)}
        if len(plan.validation) and ((epoch + 1) % plan.how.validate_every == 0 or epoch + 1 == plan.how.epochs):
            row |= epochs.validate(model)
        rows.append(row)
        if best_of(rows) == epoch:
            best.keep(learner.network)
        remaining.keeping()
        if plan.fabric.is_global_zero:
            checkpoint.save(parts, rows)
            logs.write(rows)
            if folder is not None:
                weights, record = best.weights or learner.network.state_dict(), plan.record(recipe, rows, best_of(rows))
                write_model(folder, weights, plan.task, plan.architecture, plan.size_multiple, record)
        plan.fabric.barrier()
        remaining.finished(len(rows))
        tell(row)
    logs.close()
