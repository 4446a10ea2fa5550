"""All that the parts of one training have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import CancelCheck, ProgressCallback
from SegAdversarialLib.formats.settings import NetworkSettings
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.training.cohort import Cohort
from SegAdversarialLib.training.logs import Row
from SegAdversarialLib.training.recipe import Recipe
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import Task
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

_MAY_DIFFER = {"epochs", "patience", "cache", "cache_gib", "tensorboard", "devices", "nodes"}
"""Settings that may be others when a training is gone on with."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What is trained, how, on what, and who is told.

    Attributes:
        task: what is learned.
        how: the settings.
        cohort: what it is learned from.
        validation: cases on which the network is measured.
        architecture: the network by its name; None: it is known in Python alone.
        size_multiple: sizes that it takes are multiples of this.
        fabric: devices and precision.
        name: what results call it.
        progress: told the finished fraction and a text.
        on_begin: called when nothing more can be refused, before anything is written; again after a training before it.
        on_epoch: told each row.
        cancel: asked between steps and windows.
    """

    task: Task
    how: TrainingSettings
    cohort: Cohort
    validation: Sequence[Case]
    architecture: NetworkSettings | None
    size_multiple: int
    fabric: Fabric
    name: str
    progress: ProgressCallback | None = None
    on_begin: Callable[[], None] | None = None
    on_epoch: Callable[[Row], None] | None = None
    cancel: CancelCheck | None = None

    def model(self, network: torch.nn.Module) -> SegmentationModel:
        """A network as it will be asked once it is trained."""
        head, settings = self.task.head, self.task.settings
        return SegmentationModel.from_network(
            network,
            channels=self.task.channels,
            classes=dict(zip(head.labels, head.names)),
            regions=dict(zip(head.labels, head.regions)),
            head=head.kind,
            threshold=head.threshold,
            preprocessing=settings.preprocessing,
            window=settings.window,
            overlap=settings.overlap,
            window_places=settings.window_places,
            mirror=settings.mirror,
            painting=self.task.head.painting,
            blending=settings.blending,
            size_multiple=self.size_multiple,
            device=str(self.fabric.device),
            name=self.name,
            outputs="logits",
        )

    def identity(self, network: torch.nn.Module, recipe: Recipe) -> dict[str, Any]:
        """What makes it the same training, in a checkpoint's words."""
        named = {name: list(x.shape) for name, x in network.state_dict().items()}
        head = self.task.head
        identity = {
            "network": named if self.architecture is None else self.architecture.model_dump(mode="json"),
            "recipe": recipe.describe(),
            "channels": self.task.channels,
            "classes": [head.kind, head.labels, head.names, head.regions],
            "preprocessing": self.task.preprocessing.model_dump(mode="json"),
            "size_multiple": self.size_multiple,
            "cases": self.cohort.names,
            "validation": [x.name for x in self.validation],
            **self.how.model_dump(mode="json", exclude=_MAY_DIFFER),
        }
        if self.how.schedule != "constant" or recipe.first is not None:
            # the learning rates, or the network that was trained before, are others if there are more epochs
            identity["number_of_epochs"] = self.how.epochs
        return dict(json.loads(json.dumps(identity)))

    def record(self, recipe: Recipe, rows: Sequence[Row], best: int | None) -> dict[str, Any]:
        """How the network was trained, for its description."""
        return {
            "recipe": recipe.describe(),
            "settings": self.how.model_dump(mode="json"),
            "cases": self.cohort.names,
            "validation": [x.name for x in self.validation],
            "epochs": len(rows),
            "best": None if best is None else rows[best],
            "last": rows[-1],
        }
