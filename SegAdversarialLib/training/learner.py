"""A network in training, as recipes use it: on its device, in its precision, with its optimiser."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as functional
from torch.utils.weak import WeakTensorKeyDictionary

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.model.memory import is_of_memory
from SegAdversarialLib.model.network_outputs import NetworkOutputs, parts_of
from SegAdversarialLib.model.quick_convolutions import QuickConvolutions
from SegAdversarialLib.model.window_grid import WindowGrid
from SegAdversarialLib.training.losses import loss_of
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import Task
from SegAdversarialLib.training.thin_convolutions import ThinConvolutionsInSinglePrecision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from SegAdversarialLib.structures.output_head import OutputHead


class NetworkLearner:
    """The `Learner` of the loop.

    Args:
        network: what learns.
        task: what it learns.
        settings: how.
        fabric: devices and precision.
        size_multiple: sizes that the network takes are multiples of this; others are zero-padded, as they are later.
        before: the frozen network of the training before, where there was one.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        task: Task,
        settings: TrainingSettings,
        fabric: Fabric,
        size_multiple: int = 1,
        before: torch.nn.Module | None = None,
    ) -> None:
        self.network, self.before, self.seed = network, before, settings.seed
        self.head: OutputHead = task.head
        self.channels = task.channels
        self._settings, self._fabric, self.size_multiple = settings, fabric, size_multiple
        self.optimizer = optimizer_of(network, settings)
        self._wrapped, self._wrapped_optimizer = fabric.setup(network, self.optimizer)
        self._loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = loss_of(settings.loss, task.head)
        self._outputs = NetworkOutputs(len(task.head.labels), task.head.kind)
        self._beside: MutableMapping[torch.Tensor, list[torch.Tensor]] = WeakTensorKeyDictionary()

    def ask(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits with their graph, and what the network itself adds to the loss, if anything."""
        padded, unpad = self._padding(images)
        try:
            with ThinConvolutionsInSinglePrecision(), QuickConvolutions():
                given = self._wrapped(padded)
        except RuntimeError as error:
            if is_of_memory(error):
                raise
            raise InputError(
                f"The network cannot learn from images of {'x'.join(map(str, images.shape[2:]))} voxels along its axes "
                f"({detail_of(error)}); give another patch."
            ) from error
        parts = [x for x in parts_of(given, padded).values() if isinstance(x, torch.Tensor)]
        first = next((x for x in parts if x.shape[2:] == padded.shape[2:]), given)
        logits = unpad(self._outputs.chosen(first, padded))
        others = [x for x in parts if x is not first]
        self._beside[logits] = [unpad(_resized(x, padded)) for x in others if _is_answer(x, logits)]
        own = [x.reshape(()) for x in others if x.numel() == 1]
        return logits, self._settings.network_loss_weight * torch.stack(own).sum() if own else None

    def measure(self, logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """The loss; with deep supervision of all outputs, each counting half of the one before, in sum 1."""
        answers = [logits, *(self._beside.get(logits) or ())]
        weights = [0.5**n for n in range(len(answers))]
        losses = [self._loss(x if temperature == 1 else x / temperature, targets) for x in answers]
        return sum(w / sum(weights) * x for w, x in zip(weights, losses))  # type: ignore[return-value]

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradient to the weights'."""
        self._fabric.backward(loss)

    def update(self) -> None:
        """One step of the optimiser; the gradients are zero afterwards."""
        if self._settings.clip_gradient is not None:
            self._fabric.clip_gradients(self._wrapped, self._wrapped_optimizer, max_norm=self._settings.clip_gradient)
        self._wrapped_optimizer.step()
        self._wrapped_optimizer.zero_grad()

    def set_rate(self, rate: float) -> None:
        """The optimiser's learning rate from now on."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _padding(self, images: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Images padded to sizes that the network takes, as `WindowGrid` pads them, and what cuts answers back."""
        flat = images.ndim == 4
        shape = (1, *images.shape[2:]) if flat else tuple(images.shape[2:])
        grid = WindowGrid(shape, None, 0.0, self.size_multiple, 2 if flat else 3)  # type: ignore[arg-type]
        if grid.padded == shape:
            return images, lambda answer: answer

        def changed(change: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            volumes = x.reshape(-1, *((1, *x.shape[2:]) if flat else x.shape[2:]))
            done = change(volumes)
            return done.reshape(*x.shape[:2], *done.shape[2 if flat else 1 :])

        return changed(grid.pad, images), lambda answer: changed(grid.unpad, answer)


def optimizer_of(network: torch.nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """What moves a network's weights; those that are frozen stay."""
    learning: list[Any] = [x for x in network.parameters() if x.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(learning, lr=rate, momentum=settings.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(learning, lr=rate, weight_decay=decay)


def _is_answer(x: torch.Tensor, logits: torch.Tensor) -> bool:
    """Whether an output beside the first is an answer of its own, perhaps a coarser one."""
    return x.ndim == logits.ndim and x.shape[:2] == logits.shape[:2]


def _resized(x: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    if x.ndim != images.ndim or x.shape[2:] == images.shape[2:]:
        return x
    mode = "bilinear" if images.ndim == 4 else "trilinear"
    return functional.interpolate(x, size=images.shape[2:], mode=mode, align_corners=False)
