"""What a training recipe is: how a network's weights move on one batch, and nothing about files, epochs or devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import ConfigDict

from SegAdversarialLib.attacks.documentation import Documented

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.structures.output_head import OutputHead


@dataclass(frozen=True, eq=False)
class Batch:
    """What a network is shown in one step.

    Attributes:
        images: (B, C, *network axes) float32, as the network sees them: preprocessed and augmented.
        targets: (B, N, *network axes) float32, what each output should claim of each voxel, from 0 to 1: one-hot classes for a
            softmax, masks for a sigmoid, or a teacher's probabilities.
        step: number of the step in the whole training, from 0; whatever is random is drawn from the seed and this number, so
            that a training that is resumed draws the same.
        names: the subjects.
        epoch: number of the epoch, from 0.
        spacing: for each sample, the voxel size in mm along the network's axes; None: 1 mm.
    """

    images: torch.Tensor
    targets: torch.Tensor
    step: int
    names: tuple[str, ...]
    epoch: int = 0
    spacing: tuple[tuple[float, ...], ...] | None = None


class Learner(Protocol):
    """The network in training, as a recipe may use it; devices, precision and optimiser are the loop's business."""

    @property
    def head(self) -> OutputHead:
        """What the outputs stand for."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of the images, in their order."""

    @property
    def network(self) -> torch.nn.Module:
        """The network itself, on its device, in training mode."""

    @property
    def seed(self) -> int:
        """The training's seed."""

    @property
    def size_multiple(self) -> int:
        """Sizes that the network takes are multiples of this; `ask` pads others with zeros."""

    @property
    def before(self) -> torch.nn.Module | None:
        """The network of the training that came before (`Recipe.first`): on the same device, in evaluation mode, its
        parameters frozen; None where the recipe asks for none."""

    def ask(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits (B, N, *network axes) with their graph, and what the network itself adds to the loss (a variational
        branch's term, deep supervision), if anything."""

    def measure(self, logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """The loss that was chosen for the training, of logits as `ask` gave them, divided by a temperature; a scalar, less is
        better."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add a loss's gradient to the weights'; scaled as the precision needs it."""

    def update(self) -> None:
        """One step of the optimiser with the gradients so far, which are zero afterwards."""


class Stepper(Protocol):
    """A recipe at work on one network."""

    def step(self, batch: Batch) -> Mapping[str, float]:
        """Move the weights on one batch; what is logged, the first entry being "loss"."""

    def state_dict(self) -> dict[str, Any]:
        """What the next epoch needs of it beyond weights and seeds: tensors and plain data; mostly empty."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


class Recipe(Documented):
    """A way to train, as validated settings; each is one class, which the command line and the panel show by its schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    source: ClassVar[str] = ""
    """The paper that describes it, with its equation."""

    @property
    def first(self) -> Recipe | None:
        """The recipe of a training that must come before, of the same network, cases and settings, whose outcome is then
        `Learner.before`; None: there is none."""
        return None

    def describe(self) -> dict[str, Any]:
        """The recipe as plain JSON data, its name included."""
        return {"recipe": self.name, **self.model_dump(mode="json")}

    def begin(self, learner: Learner) -> Stepper:
        """The recipe at work on a network."""
        raise NotImplementedError
