"""What every objective has in common: a reference, the structures and the region that count, a temperature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.output_head import OutputHead

if TYPE_CHECKING:
    import torch

_Made = TypeVar("_Made")

Temperature = float | Literal["auto", "deviation"]

_AUTO_MARGIN = 2.0
"""Rescaled logits lead by this much on average: far enough from saturation for gradients to live (p = 0.88 of two)."""


class Objective(ABC):
    """A loss against a fixed reference.

    Args:
        reference: (K, J, I) label map, or (N, K, J, I) bool or probabilities, one volume for each output of the network.
        classes: names or label values of the structures that count; None: all (of the foreground, for overlap losses).
        region: (K, J, I) bool; only voxels inside count. None: all.
        temperature: the logits are divided by this first, which revives the gradients of a saturated (over-confident or
            distilled) network; "auto" measures it once on the first logits, so that the winning class leads by 2 on average
            over the reference's and the network's foreground (never below 1); "deviation" is the standard deviation of the
            first logits, less their mean at each voxel where classes are exclusive, so that they have unit scale.

    Raises:
        InputError: the temperature is not above 0, or the region has another shape than the reference.
    """

    name: str
    counts_background: ClassVar[bool] = False
    """Whether voxels of the background count, so that there is a gradient where the reference holds no structure."""

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    @checked
    def __init__(
        self,
        reference: np.ndarray,
        *,
        classes: Sequence[str | int] | None = None,
        region: np.ndarray | None = None,
        temperature: float | Literal["auto", "deviation"] = 1.0,
    ) -> None:
        if reference is None:
            raise InputError("The objective needs a reference; give a label map, or attack against the prediction.")
        if temperature not in ("auto", "deviation") and not float(temperature) > 0:
            raise InputError(f"The temperature must be above 0; it is {temperature}.")
        if region is not None and tuple(region.shape) != tuple(reference.shape[-3:]):
            raise InputError(
                f"The region has the shape {region.shape}, the reference {reference.shape[-3:]}; both must agree."
            )
        self.reference = np.ascontiguousarray(reference)
        self.classes = tuple(classes) if classes is not None else None
        self.region = region
        self.temperature = temperature

    def bind(self, head: OutputHead, device: torch.device | str, dtype: torch.dtype) -> BoundObjective:
        """The objective for one network: a callable that takes logits (N, K, J, I) to a scalar tensor.

        Raises:
            InputError: the reference holds labels that no class stands for, or a class is unknown.
        """
        import torch

        if self.reference.ndim == 3:
            head.check_label(self.reference)
            targets = head.masks(torch.as_tensor(self.reference, device=device)).to(dtype)
        else:
            targets = torch.as_tensor(self.reference, device=device).to(dtype)
        if targets.shape[0] != len(head.labels):
            raise InputError(f"The reference has {targets.shape[0]} outputs, the network {len(head.labels)}.")
        region = None if self.region is None else torch.as_tensor(self.region, device=device).bool().to(dtype)
        outputs = None if self.classes is None else tuple(sorted({head.output(x) for x in self.classes}))
        return BoundObjective(self, head, targets, region, outputs)

    @abstractmethod
    def loss(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The scalar of logits (N, K, J, I), already divided by the temperature."""


@dataclass
class BoundObjective:
    """An objective with its reference as one mask for each output of a certain network, on its device.

    Attributes:
        targets: (N, K, J, I) floating: 0 and 1, or probabilities.
        region: (K, J, I) floating, 0 or 1, or None.
        outputs: positions of the outputs that count, or None for the objective's own choice.
        temperature: measured on the first logits where it is to be "auto" or "deviation".
        progress: how much of its gradients an attack has behind it, from 0 to 1; some weightings change with it.
        sharpness: the logits are multiplied by it; the higher, the more a probability is like a vote.
        kept: what was made of targets, with these; see `made_of_targets`.
    """

    objective: Objective
    head: OutputHead
    targets: torch.Tensor
    region: torch.Tensor | None
    outputs: tuple[int, ...] | None
    temperature: float | None = None
    progress: float = 0.0
    sharpness: float = 1.0
    kept: dict[str, tuple[torch.Tensor, Any]] = field(default_factory=dict)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar tensor; differentiable in the logits (N, K, J, I).

        Raises:
            InputError: the reference has another shape than the logits.
        """
        if self.targets.shape != logits.shape:
            raise InputError(
                f"The reference has the shape {tuple(self.targets.shape[1:])}, what the network gives "
                f"{tuple(logits.shape[1:])}; both must agree."
            )
        if self.temperature is None:
            self.temperature = self._measured(logits.detach())
        return self.objective.loss(logits if self._factor == 1 else logits * self._factor, self)

    @property
    def _factor(self) -> float:
        """What the logits are multiplied by, once the temperature is known."""
        return self.sharpness / (self.temperature or 1.0)

    @property
    def limit(self) -> float:
        """The logit, as the objective's `loss` sees it, above which a sigmoid output is claimed."""
        return self.head.limit * self._factor

    def made_of_targets(self, what: str, make: Callable[[], _Made]) -> _Made:
        """What `make` makes of the targets; the same again as long as they are the same, and nobody differentiates by them."""
        if self.targets.requires_grad:
            return make()
        if what not in self.kept or self.kept[what][0] is not self.targets:
            self.kept[what] = self.targets, make()
        made: _Made = self.kept[what][1]
        return made

    @property
    def structures(self) -> tuple[int, ...]:
        """The outputs that count for overlap losses."""
        return self.head.foreground if self.outputs is None else self.outputs

    def _measured(self, logits: torch.Tensor) -> float:
        """The temperature that is wanted, for logits like these."""
        wanted = self.objective.temperature
        if wanted == "auto":
            return self._of_margin(logits)
        return self._of_deviation(logits) if wanted == "deviation" else float(wanted)

    def _of_deviation(self, logits: torch.Tensor) -> float:
        # what is added to all classes of a voxel changes no softmax
        scores = logits - logits.mean(0) if self.head.kind == "softmax" else logits
        if self.region is not None:
            scores = scores[:, self.region > 0]
        return float(scores.std()) or 1.0

    def _of_margin(self, logits: torch.Tensor) -> float:
        structures = list(self.head.foreground)
        voxels = (self.targets[structures] > 0.5).any(0) | self.head.predicted(logits)[structures].any(0)
        if self.region is not None:
            voxels &= self.region > 0
        if not voxels.any():
            voxels[...] = True
        inside = logits[:, voxels]
        margin = (
            (inside - self.head.limit).abs() if self.head.kind == "sigmoid" else inside.topk(2, dim=0).values.diff(dim=0).abs()
        )
        return max(1.0, float(margin.mean()) / _AUTO_MARGIN)
