"""Attacks of other packages, and the ten lines that researchers write themselves, on our models and cases.

    pip install -e ".[benchmark]"     (or: pip install --no-deps torchattacks adv-lib)

torchattacks (Kim 2020) and adv-lib (Rony & Ben Ayed; its segmentation attacks, Rony et al. 2023) are used where they are
installed. adv-lib's package also imports torchvision and visdom, for a perceptual distance and for live plots, which these
attacks do not touch; where they are missing, empty modules stand in their place while it is imported.

They want batches of 2D images (1, C, H, W) in [0, 1], so a volume is handed over as one image of K rows and J*I columns, which
is the same memory; the network's adapter folds it back. Two kinds of coordinates:

- "intensity": all channels are shifted and scaled so that the image lies in [0, 1] and the same number is the same fraction of
  each channel's largest absolute intensity, as for our attacks. For attacks that take an L-inf budget.
- "budget": 0 and 1 are the least and the greatest value that budget and intensity range allow in each voxel. For attacks that
  look for the smallest change that breaks everything and know no budget: whatever they do they stay inside it, and their own
  clamp to [0, 1] is the projection. Of the images that they asked the network about, the one with the lowest Dice is kept,
  since what they hand back (an image that breaks 99 % of the voxels, if they found one) is often the original.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from published import SEA_LOSSES, VoxelLoss, cross_entropy, one_minus_cosine, padam, sea

from SegAdversarialLib import Case, SegmentationModel
from SegAdversarialLib.metrics import dice
from SegAdversarialLib.model.segmentation_model import BoundModel

Coordinates = Literal["intensity", "budget"]
Search = Callable[["ImageNetwork", torch.Tensor, torch.Tensor, float, int], torch.Tensor]
"""Network, images (1, C, K, J*I), labels (1, K, J*I) of output positions, epsilon and steps to adversarial images."""


class Missing(Exception):
    """A peer cannot be run here; the message says why in one sentence."""


@dataclass(frozen=True)
class Budget:
    """What an L-inf attack of `epsilon` (a fraction of each channel's largest absolute intensity) may do to an image.

    Attributes:
        original, least, greatest: (C, K, J, I), the bounds within the budget and each channel's own range of intensities.
        lowest, highest, unit: (C, 1, 1, 1), each channel's range, and its largest absolute intensity.
    """

    epsilon: float
    original: torch.Tensor
    least: torch.Tensor
    greatest: torch.Tensor
    lowest: torch.Tensor
    highest: torch.Tensor
    unit: torch.Tensor

    @classmethod
    def of(cls, case: Case, epsilon: float) -> Budget:
        """The budget on a case."""
        original = torch.from_numpy(case.image)
        lowest, highest = original.amin((1, 2, 3), keepdim=True), original.amax((1, 2, 3), keepdim=True)
        unit = torch.maximum(lowest.abs(), highest.abs())
        least = (original - epsilon * unit).clamp(min=lowest)
        greatest = (original + epsilon * unit).clamp(max=highest)
        return cls(epsilon, original, least, greatest, lowest, highest, unit)

    def enforce(self, image: torch.Tensor) -> tuple[torch.Tensor, float]:
        """The image clamped into the budget, and by which share of the budget it was outside at most."""
        tiny = torch.finfo(image.dtype).tiny
        outside = torch.maximum(self.least - image, image - self.greatest) / (self.epsilon * self.unit).clamp_min(tiny)
        return image.clamp(self.least, self.greatest), max(0.0, float(outside.max()))


class ImageNetwork(torch.nn.Module):
    """A model on one case as a network of flat images: (1, C, K, J*I) in [0, 1] to logits (1, N, K, J*I).

    The gradient is the exact one of the whole volume, through preprocessing and windows. Each backward counts one.

    Args:
        bound: the model on the case.
        case: the case; its label is what `worst` is measured with.
        budget: what may be changed.
        coordinates: what 0 and 1 mean; see above.
        keep_worst: keep the image with the lowest mean Dice among those that it was asked about.

    Attributes:
        epsilon: the budget in these coordinates.
        gradients: backward passes so far.
        worst: (C, K, J, I) the kept image, or None.
    """

    def __init__(
        self, bound: BoundModel, case: Case, budget: Budget, coordinates: Coordinates = "intensity", keep_worst: bool = False
    ) -> None:
        super().__init__()
        self._bound, self._keep_worst, self._range = bound, keep_worst, (budget.lowest, budget.highest)
        self.shape = case.image.shape
        if coordinates == "intensity":
            used = budget.unit.clamp_min(torch.finfo(torch.float32).tiny)
            spread = max(1.0, float(((budget.highest - budget.lowest) / used).max()))
            self.offset, self.width, self.epsilon = budget.lowest, used * spread, budget.epsilon / spread
        else:
            self.offset, self.width, self.epsilon = budget.least, budget.greatest - budget.least, 1.0
        self.gradients, self._lowest_dice = 0, np.inf
        self.worst: torch.Tensor | None = None
        self._targets = bound.head.masks(torch.from_numpy(case.label))
        # some packages find out the device by the first parameter
        self.device_of = torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    @property
    def labels(self) -> torch.Tensor:
        """(1, K, J*I) the position of the output that each voxel belongs to."""
        return self._flat(self._targets.int().argmax(0))

    @property
    def structures(self) -> torch.Tensor:
        """(1, K, J*I) bool: voxels of the structures, all but background."""
        return self._flat(self._targets[list(self._bound.head.foreground)].any(0))

    @property
    def background(self) -> int:
        """The position of the output that claims what is no structure."""
        head = self._bound.head
        return next((n for n in range(len(head.labels)) if n not in head.foreground), 0)

    def images(self, image: torch.Tensor) -> torch.Tensor:
        """(1, C, K, J*I) in [0, 1] from an image (C, K, J, I); 0 where nothing may change."""
        return self._flat(((image - self.offset) / self.width).nan_to_num(0.0, 0.0, 0.0)).clamp(0, 1)

    def volume(self, images: torch.Tensor) -> torch.Tensor:
        """(C, K, J, I) in the case's intensities, kept to each channel's range, from images (1, C, K, J*I)."""
        return (images.reshape(self.shape) * self.width + self.offset).clamp(*self._range)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (1, N, K, J*I) of images (1, C, K, J*I)."""
        volume = self.volume(images)
        logits = _ExactGradient.apply(volume, self)
        if self._keep_worst:
            self._compare(volume.detach(), logits.detach())
        return self._flat(logits)

    def mean_dice(self, logits: torch.Tensor) -> float:
        """Mean Dice over the structures of logits (N, K, J, I)."""
        head = self._bound.head
        claimed, wanted = head.predicted(logits)[list(head.foreground)], self._targets[list(head.foreground)]
        return float(np.mean([dice(x.numpy(), y.numpy()) for x, y in zip(claimed, wanted)]))

    def unflattened(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, J, I) from (1, N, K, J*I)."""
        return logits.reshape(-1, *self.shape[1:])

    def _compare(self, volume: torch.Tensor, logits: torch.Tensor) -> None:
        found = self.mean_dice(logits)
        if found < self._lowest_dice:
            self._lowest_dice, self.worst = found, volume.clone()

    @staticmethod
    def _flat(volume: torch.Tensor) -> torch.Tensor:
        return volume.flatten(-2)[None]


class _ExactGradient(torch.autograd.Function):
    """Logits of a volume whose gradient the library finds."""

    @staticmethod
    def forward(ctx: Any, volume: torch.Tensor, network: ImageNetwork) -> torch.Tensor:
        ctx.save_for_backward(volume)
        ctx.network = network
        return network._bound.logits(volume)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        (volume,) = ctx.saved_tensors
        ctx.network.gradients += 1
        _, gradient, _ = ctx.network._bound.differentiate(volume, lambda logits: (logits * upstream).sum())
        return gradient, None


def ten_line_pgd(
    network: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    steps: int,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """PGD as it stands in papers' scripts: random start, sign steps of epsilon / 4, clamped (Madry et al. 2018)."""
    adversarial = (images + torch.empty_like(images).uniform_(-epsilon, epsilon)).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(network(adversarial), labels), adversarial)
        adversarial = adversarial.detach() + epsilon / 4 * gradient.sign()
        adversarial = (images + (adversarial - images).clamp(-epsilon, epsilon)).clamp(0, 1)
    return adversarial.detach()


@dataclass(frozen=True)
class Peer:
    """One attack that is not ours.

    Attributes:
        package: where it comes from.
        search: runs it.
        coordinates: what it gets; see above.
        least_classes: outputs that its loss needs.
        least_steps: below that its schedule is not defined.
    """

    package: str
    search: Search
    coordinates: Coordinates = "intensity"
    least_classes: int = 2
    least_steps: int = 1


@dataclass(frozen=True, eq=False)
class Found:
    """What a peer found: the image (C, K, J, I) within the budget, the gradients that it took, and by which share of the
    budget it was outside at most before it was clamped."""

    image: np.ndarray
    gradients: int
    outside: float


def run_peer(peer: Peer, model: SegmentationModel, case: Case, epsilon: float, steps: int, seed: int = 0) -> Found:
    """Attack a case with a peer.

    Raises:
        Missing: its package is not here, or it cannot attack such a network or with so few steps.
    """
    if model.head.kind != "softmax" or model.device.type != "cpu":
        raise Missing("The peers are run on networks with a softmax head on the CPU.")
    if len(model.head.labels) < peer.least_classes:
        raise Missing(f"Its loss needs {peer.least_classes} classes; {model.name} has {len(model.head.labels)}.")
    if steps < peer.least_steps:
        raise Missing(f"It needs at least {peer.least_steps} steps.")
    budget = Budget.of(case, epsilon)
    with model.on(case) as bound, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ImageNetwork(bound, case, budget, peer.coordinates, keep_worst=peer.coordinates == "budget")
        images = peer.search(network, network.images(budget.original), network.labels, network.epsilon, steps)
        volume = network.volume(images.detach()) if network.worst is None else network.worst
    image, outside = budget.enforce(volume)
    return Found(image.numpy(), network.gradients, outside)


def _monai_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    from monai.losses import DiceLoss

    return DiceLoss(include_background=False, to_onehot_y=True, softmax=True)(logits, labels[:, None])


def _ten_lines(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Search:
    def search(network: ImageNetwork, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int) -> torch.Tensor:
        return ten_line_pgd(network, images, labels, epsilon, steps, loss)

    return search


def _padam(loss: VoxelLoss) -> Search:
    def search(network: ImageNetwork, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int) -> torch.Tensor:
        return padam(network, images, labels, epsilon, steps, loss)

    return search


def _sea(names: Sequence[str]) -> Search:
    """SEA with these losses, which share the gradients; the image with the lowest Dice (SEA: the least of all)."""

    def search(network: ImageNetwork, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int) -> torch.Tensor:
        found = [sea(network, images, labels, epsilon, steps // len(names), name) for name in names]
        if len(found) == 1:
            return found[0]
        with torch.no_grad():
            answers = [network(x) for x in found]
        return found[int(np.argmin([network.mean_dice(network.unflattened(x)) for x in answers]))]

    return search


def _torchattacks(name: str) -> Search:
    """An attack of torchattacks, which climb the cross-entropy of all voxels; steps of epsilon / 4, its own proportion."""

    def search(network: ImageNetwork, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int) -> torch.Tensor:
        attack = getattr(_package("torchattacks"), name)
        return attack(network, eps=epsilon, alpha=epsilon / 4, steps=steps)(images, labels)

    return search


def adv_lib(name: str, steps_name: str = "num_steps", target: bool = False, **settings: Any) -> Search:
    """A segmentation attack of adv-lib: on all voxels that are no background, or towards nothing but background."""

    def search(network: ImageNetwork, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int) -> torch.Tensor:
        attack = getattr(_package("adv_lib.attacks.segmentation"), name)
        aim = torch.full_like(labels, network.background) if target else labels
        with _eager():
            return attack(network, images, aim, masks=network.structures, targeted=target, **{steps_name: steps}, **settings)

    return search


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Functions that ask to be compiled run as they are: compiling takes longer than the attack, and a compiler."""
    disabled = torch._dynamo.config.disable
    torch._dynamo.config.disable = True
    try:
        yield
    finally:
        torch._dynamo.config.disable = disabled


def _package(name: str) -> types.ModuleType:
    """A peer's package.

    Raises:
        Missing: it is not installed, or does not work here.
    """
    if name in sys.modules:
        return sys.modules[name]
    standing_in = []
    try:
        for unused in ("torchvision", "visdom") if name.startswith("adv_lib") else ():
            try:
                importlib.import_module(unused)
            except (ImportError, RuntimeError, OSError):
                sys.modules[unused] = types.ModuleType(unused)
                sys.modules[unused].models = None  # type: ignore[attr-defined]
                standing_in.append(unused)
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        top = name.split(".")[0].replace("_", "-")
        raise Missing(f"{top} is not installed or does not work here ({error}); pip install {top}.") from error
    finally:
        for unused in standing_in:
            del sys.modules[unused]


PEERS: dict[str, Peer] = {
    "ten-line PGD, cross-entropy": Peer("own script", _ten_lines(functional.cross_entropy)),
    "ten-line PGD, MONAI's Dice loss": Peer("own script", _ten_lines(_monai_dice)),
    "PAdam-CE (Halmosi et al.)": Peer("published form", _padam(cross_entropy)),
    "PAdam-Cos (Halmosi et al.)": Peer("published form", _padam(one_minus_cosine)),
    **{f"SEA {name} (Croce et al.)": Peer("published form", _sea([name])) for name in SEA_LOSSES},
    "SEA, lowest of four (Croce et al.)": Peer("published form", _sea(list(SEA_LOSSES)), least_steps=4),
    "PGD (torchattacks)": Peer("torchattacks", _torchattacks("PGD")),
    "MI-FGSM (torchattacks)": Peer("torchattacks", _torchattacks("MIFGSM")),
    "ALMA prox (adv-lib)": Peer("adv-lib", adv_lib("alma_prox", lr_init=0.3), "budget", least_classes=3, least_steps=2),
    "PDPGD L-inf (adv-lib)": Peer("adv-lib", adv_lib("pdpgd", norm=float("inf"), primal_lr=3.0), "budget", least_steps=2),
    "PDGD L2 (adv-lib)": Peer("adv-lib", adv_lib("pdgd", primal_lr=3.0), "budget", least_steps=2),
    "DAG (adv-lib)": Peer("adv-lib", adv_lib("dag", "max_iter", γ=3.0), "budget"),
    "ASMA to background (adv-lib)": Peer("adv-lib", adv_lib("asma", target=True, β=1e4, τ=1e3), "budget"),
}
"""The peers by name. Their step lengths, which in "budget" coordinates mean something else than in [0, 1], are those of a few
powers of 3 or 10 that did best on phantoms that are not in the benchmark (seeds 100 to 102); all else is their default."""
