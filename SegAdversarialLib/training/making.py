"""The network that a training begins with, and what it is to learn, from what the caller says."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from SegAdversarialLib.errors import InputError, detail_of, first_problem
from SegAdversarialLib.formats.monai_network import architecture
from SegAdversarialLib.formats.settings import NetworkSettings
from SegAdversarialLib.model.preprocessing import Preprocessing, ZScore
from SegAdversarialLib.model.freezing import frozen
from SegAdversarialLib.model.network_outputs import parts_of
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training import randomness
from SegAdversarialLib.training.samples import Task
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

STANDARDIZED = Preprocessing(normalization=ZScore())
"""What is done to cases where nothing else is said: zero mean and unit standard deviation in each channel."""

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
_TRIED = 32
"""Voxels along each axis, or a few more, with which a network is asked what sizes it takes."""


def task_of(
    first: Case,
    channels: Sequence[str] | None,
    classes: Mapping[int, str] | Sequence[str] | None,
    head: Literal["softmax", "sigmoid"],
    regions: Mapping[int, Sequence[int]] | None,
    preprocessing: Preprocessing | None,
) -> Task:
    """What is learned; what is not said is as in the first case.

    Raises:
        InputError: it is not known which classes there are, or they do not fit together.
    """
    if classes is None:
        if not first.label_names:
            raise InputError(
                f"It is not known which classes the network has to learn, as the case {first.name} does not name its label "
                'values; say so (classes), such as {0: "background", 1: "tumour"}.'
            )
        classes = {value: name for value, name in sorted(first.label_names.items()) if value or head == "softmax"}
    return Task(tuple(channels or first.channels), OutputHead.of(classes, head, regions), preprocessing or STANDARDIZED)


def made(given: str | Mapping[str, Any] | NetworkSettings, task: Task, seed: int) -> tuple[torch.nn.Module, NetworkSettings]:
    """A network by its name, with weights drawn from the seed, and all its arguments.

    Channels, classes and dimensions follow from the task, where the architecture takes them by MONAI's names and they are not
    given.

    Raises:
        InputError: there is no such architecture, or its arguments do not fit.
    """
    import torch

    settings = _settings(given)
    known = {
        "spatial_dims": task.preprocessing.dimensions,
        "in_channels": len(task.channels),
        "out_channels": len(task.head.labels),
    }
    takes = _arguments(settings.name)
    implied = {name: value for name, value in known.items() if name in takes and name not in settings.arguments}
    settings = NetworkSettings(name=settings.name, arguments={**implied, **settings.arguments})
    with torch.random.fork_rng():
        torch.manual_seed(randomness.torch_seed(seed, randomness.WEIGHTS))
        return architecture(settings), settings


def _settings(given: str | Mapping[str, Any] | NetworkSettings) -> NetworkSettings:
    if isinstance(given, NetworkSettings):
        return given
    try:
        return NetworkSettings(**({"name": given} if isinstance(given, str) else dict(given)))
    except ValidationError as error:
        raise InputError(f"The network: {first_problem(error, NetworkSettings)}") from None


def _arguments(name: str) -> set[str]:
    """What an architecture is made with; nothing where there is none of that name."""
    import monai.networks.nets

    found = getattr(monai.networks.nets, name, None)
    return set(inspect.signature(found).parameters) if isinstance(found, type) else set()


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
            sizes = (multiple * odd,) * task.preprocessing.dimensions
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
        f"The network takes no {task.preprocessing.dimensions}D image of the channels {', '.join(task.channels)} ({problem}); "
        "check its arguments."
    )
