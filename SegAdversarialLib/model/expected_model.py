"""A network that answers at random, as something that answers with the mean over a few fixed draws and can be attacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.bound_model import BoundModel, Loss
from SegAdversarialLib.model.random_numbers import drawing
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch


class ExpectedModel(SegmentationModel):
    """The mean of a random network's logits over a few draws, the same each time (expectation over transformation).

    It is a model as any other and shares its network with the one that it is made from, so that any attack works on it. The
    gradient is the mean of the draws' gradients (Athalye et al. 2018), one draw after another, so that memory is that of
    one. Draws are those of torch's generators: a network that takes random numbers from elsewhere stays random. A volume of
    several windows goes through the network twice for a gradient, and the second time meets draws of its own.

    Args:
        model: the network, opened with `allow_random`.
        draws: how many; an answer costs as many answers of the model, a gradient as many gradients and answers.
        seed: of the draws.

    Raises:
        InputError: there are no draws, or the seed is negative.
    """

    @checked
    def __init__(self, model: SegmentationModel, draws: int = 8, *, seed: int = 0) -> None:
        if draws < 1 or seed < 0:
            raise InputError(f"An expectation needs at least 1 draw and a seed of 0 or more; it has {draws} and {seed}.")
        vars(self).update(vars(model))  # the same network, device and preprocessing: nothing is copied
        self.base, self.draws, self._seed = model, draws, seed
        self.name = f"{model.name}, mean of {draws} draws"

    def __repr__(self) -> str:
        return f"<ExpectedModel: the mean of {self.draws} draws of {self.base!r}>"

    def describe(self) -> dict[str, Any]:
        """What it is, as plain JSON data."""
        return {**self.base.describe(), "name": self.name, "expectation": {"draws": self.draws, "seed": self._seed}}

    def with_network(self, network: torch.nn.Module) -> ExpectedModel:
        """The same expectation of the model with another network."""
        return ExpectedModel(self.base.with_network(network), self.draws, seed=self._seed)

    @contextmanager
    def on(self, case: Case, between_windows: Callable[[float], None] | None = None) -> Iterator[BoundModel]:
        """The model on one case's grid; see `SegmentationModel.on`."""
        with self.base.on(case, between_windows) as bound:
            yield _ExpectedBound(bound, self.draws, self._seed, self.device)


class _ExpectedBound(BoundModel):
    """The mean of the draws on one case's grid."""

    def __init__(self, base: BoundModel, draws: int, seed: int, device: torch.device) -> None:
        vars(self).update(vars(base))
        self._base, self._draws, self._seed, self._device = base, draws, seed, device

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """The mean logits (N, K, J, I) of an image (C, K, J, I), without a graph."""
        total: torch.Tensor | None = None
        for number in range(self._draws):
            with drawing(self._seed_of(number), self._device):
                found = self._base.logits(image)
            total = found.clone() if total is None else total.add_(found)
        assert total is not None
        return total.div_(self._draws)

    def differentiate(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        """The loss of the mean logits of an image, its gradient (C, K, J, I), and these logits."""
        import torch

        logits = self.logits(image)
        with torch.enable_grad():
            leaf = logits.clone().requires_grad_(True)
            value = loss(leaf)
            (upstream,) = torch.autograd.grad(value, leaf)
        upstream /= self._draws
        gradient = torch.zeros_like(image)
        for number in range(self._draws):
            with drawing(self._seed_of(number), self._device):
                gradient += self._base.differentiate(image, lambda of_draw: (of_draw * upstream).sum())[1]
        return float(value.detach()), gradient, logits

    def _seed_of(self, number: int) -> int:
        """The seed of one draw: 32 bits, as many as torch draws from on a CPU."""
        import numpy as np

        return int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
