"""The network that a training begins with."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from SegAdversarialLib.errors import InputError, detail_of, first_problem
from SegAdversarialLib.formats.monai_network import architecture, architecture_class
from SegAdversarialLib.formats.settings import NetworkSettings
from SegAdversarialLib.model.freezing import frozen
from SegAdversarialLib.model.network_outputs import parts_of
from SegAdversarialLib.model.random_numbers import drawing
from SegAdversarialLib.training import randomness

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.training.task import Task

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
_TRIED = 32
"""Voxels along each axis, or a few more, with which a network is asked what sizes it takes."""


def made(given: str | Mapping[str, Any] | NetworkSettings, task: Task, seed: int) -> tuple[torch.nn.Module, NetworkSettings]:
    """A network by its name, with weights drawn from the seed, and all its arguments.

    Channels, classes and dimensions follow from the task, where the architecture takes them by MONAI's names and they are not
    given.

    Raises:
        InputError: there is no such architecture, or its arguments do not fit.
    """
    settings = _settings(given)
    known = {"spatial_dims": task.dimensions, "in_channels": len(task.channels), "out_channels": len(task.head.labels)}
    takes = inspect.signature(architecture_class(settings.name)).parameters
    implied = {name: value for name, value in known.items() if name in takes and name not in settings.arguments}
    settings = settings.model_copy(update={"arguments": {**implied, **settings.arguments}})
    with drawing(randomness.torch_seed(seed, randomness.WEIGHTS)):
        return architecture(settings), settings


def size_multiple_of(network: torch.nn.Module, task: Task) -> int:
    """The sizes that a network takes are multiples of this: the smallest power of 2 with which it answers at full size.

    Raises:
        InputError: it takes none of these sizes, or none of the task's channels.
    """
    import torch

    problem = ""
    with frozen(network), torch.no_grad():
        for multiple in _MULTIPLES:
            odd = math.ceil(_TRIED / multiple) // 2 * 2 + 1  # so that no larger multiple is tried with it
            sizes = (multiple * odd,) * task.dimensions
            images = torch.zeros((1, len(task.channels), *sizes), device=next(network.parameters()).device)
            try:
                given = network(images)
            except Exception as error:  # anything, depending on the network
                problem = problem or detail_of(error)
                continue
            answers = parts_of(given, images) or {0: given}
            if any(isinstance(x, torch.Tensor) and x.shape[2:] == images.shape[2:] for x in answers.values()):
                return multiple
            problem = problem or "its answer is of another size than its input"
    raise InputError(
        f"The network takes no {task.dimensions}D image of the channels {', '.join(task.channels)} ({problem}); check its "
        "arguments."
    )


def _settings(given: str | Mapping[str, Any] | NetworkSettings) -> NetworkSettings:
    if isinstance(given, NetworkSettings):
        return given
    try:
        return NetworkSettings(**({"name": given} if isinstance(given, str) else dict(given)))
    except ValidationError as error:
        raise InputError(f"The network: {first_problem(error, NetworkSettings)}") from None
