"""A network that answers with the mean of its probabilities on noisy copies of a case, as something that can be attacked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.bound_model import BoundModel, Loss
from SegAdversarialLib.model.noise import GaussianNoise, SigmaUnits
from SegAdversarialLib.model.segmentation_model import SegmentationModel
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch


class SmoothedModel(SegmentationModel):
    """The mean of a model's probabilities over noisy copies of a case (soft smoothing, Salman et al. 2019, eq. 6).

    It is a model as any other, and shares its network with the one that it is made from: attacks on it are adaptive attacks
    on the smoothed network, with expectation over transformation (Athalye et al. 2018), whose gradient is exact for the copies
    drawn. The copies are the same each time, so that it is deterministic; what an attack has fitted to these copies shows when
    it is evaluated on a `SmoothedModel` of another seed. It differs from what `certify` certifies in one thing: there, copies
    vote for classes, which no gradient passes.

    Args:
        model: the network. Its logits are asked for each copy.
        sigma: standard deviation of the noise, one for all channels or one for each by name.
        sigma_units: "relative" (to each channel's largest absolute intensity in the case at hand) or "absolute" (scanner
            units).
        draws: how many noisy copies; a gradient costs as many gradients and answers of the model.
        seed: of the noise.

    Raises:
        InputError: there are no draws, or sigma is not above 0.
    """

    @checked
    def __init__(
        self,
        model: SegmentationModel,
        sigma: float | Mapping[str, float],
        *,
        sigma_units: SigmaUnits = "relative",
        draws: int = 8,
        seed: int = 0,
    ) -> None:
        if draws < 1:
            raise InputError(f"A smoothed network needs at least one draw; it is to have {draws}.")
        vars(self).update(vars(model))  # the same network, device and preprocessing: nothing is copied
        self.base, self.draws = model, draws
        self._sigma, self._units, self._seed = sigma, sigma_units, seed
        self.name = f"{model.name}, smoothed"

    def __repr__(self) -> str:
        return f"<SmoothedModel: the mean of {self.draws} noisy copies, sigma {self._sigma} ({self._units}), of {self.base!r}>"

    def with_network(self, network: torch.nn.Module) -> SmoothedModel:
        """The same with another network in the place of its own, and the same noise; see `SegmentationModel.with_network`."""
        base = self.base.with_network(network)
        return SmoothedModel(base, self._sigma, sigma_units=self._units, draws=self.draws, seed=self._seed)

    def describe(self) -> dict[str, Any]:
        """What it is, as plain JSON data."""
        sigma = dict(self._sigma) if isinstance(self._sigma, Mapping) else self._sigma
        smoothing = {"sigma": sigma, "sigma_units": self._units, "draws": self.draws, "seed": self._seed}
        return {**self.base.describe(), "name": self.name, "smoothing": smoothing}

    @contextmanager
    def on(self, case: Case, between_windows: Callable[[float], None] | None = None) -> Iterator[BoundModel]:
        """The smoothed model on one case's grid; see `SegmentationModel.on`."""
        noise = GaussianNoise.on(case, self.channels, self._sigma, self._units, self._seed)
        with self.base.on(case, between_windows) as bound:
            yield _SmoothedBound(bound, noise, self.draws)


class _SmoothedBound(BoundModel):
    """A smoothed model on one case's grid."""

    def __init__(self, base: BoundModel, noise: GaussianNoise, draws: int) -> None:
        vars(self).update(vars(base))
        self._base, self._noise, self._draws = base, noise, draws

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, J, I) whose softmax, or sigmoid, is the mean of the copies' probabilities, without a graph."""
        return _logits(self._mean(image))

    def differentiate(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        """The loss of the smoothed logits of an image, its gradient (C, K, J, I), and these logits.

        What the loss's gradient becomes for each copy depends on the mean alone: each copy is differentiated by itself, so
        that memory is that of one. It is done with logarithms of probabilities, which do not become 0 in a saturated network.
        """
        import torch

        mean = self._mean(image)
        logits = _logits(mean)
        with torch.enable_grad():
            leaf = logits.clone().requires_grad_(True)
            value = loss(leaf)
            (upstream,) = torch.autograd.grad(value, leaf)

        def pulled(of_copy: torch.Tensor) -> torch.Tensor:
            own = self._log_probabilities(of_copy)
            # the derivative of log(mean of exp(x)) with respect to each x
            shares = (own.detach() - mean).exp_().div_(self._draws).mul_(upstream)
            return shares[0].mul(own[0]).sum() - (shares[1].mul(own[1]).sum() if len(own) > 1 else 0)

        gradient = torch.zeros_like(image)
        for number in range(self._draws):
            gradient += self._base.differentiate(self._noise.add(image.detach().clone(), number), pulled)[1]
        return float(value.detach()), gradient, logits

    def _mean(self, image: torch.Tensor) -> torch.Tensor:
        """The logarithm of the mean of the copies' probabilities: (1 or 2, N, K, J, I), as `_log_probabilities`."""
        import torch

        total: torch.Tensor | None = None
        for number in range(self._draws):
            found = self._log_probabilities(self._base.logits(self._noise.add(image.detach().clone(), number)))
            total = found if total is None else torch.logaddexp(total, found, out=total)
        assert total is not None
        return total.sub_(math.log(self._draws))

    def _log_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """log p of each class; for a sigmoid, log p and log(1 - p) of each region."""
        import torch
        from torch.nn.functional import logsigmoid

        if self.head.kind == "softmax":
            return logits.log_softmax(0)[None]
        return torch.stack([logsigmoid(logits), logsigmoid(-logits)])


def _logits(mean: torch.Tensor) -> torch.Tensor:
    """Logits from the logarithms of mean probabilities."""
    return mean[0] - mean[1] if len(mean) > 1 else mean[0]
