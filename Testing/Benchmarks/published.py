"""Attacks on segmentation as their authors publish them, written anew: PAdam, and SEA's APGD with its four losses.

All work on networks of images (1, C, H, W) in [0, 1] with labels (1, H, W), as `peers` hands them volumes. What their code
does and their papers leave open is done as their code does: github.com/szegedai/Robust-Segmentation-Evaluation (Halmosi et al.
2024, PAdam) and github.com/nmndeep/Robust-Segmentation (Croce et al. 2024, SEA).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional

Network = Callable[[torch.Tensor], torch.Tensor]
VoxelLoss = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
"""Logits (1, N, H, W), labels (1, H, W) and the share of the steps that are done, to a loss of each voxel (1, H, W)."""

RADII = ((2.0, 0.3), (1.5, 0.3), (1.0, 0.4))
"""SEA's radii in epsilon, and the share of the steps that each gets."""


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, progress: float) -> torch.Tensor:
    """Of every voxel."""
    return functional.cross_entropy(logits, labels, reduction="none")


def one_minus_cosine(logits: torch.Tensor, labels: torch.Tensor, progress: float) -> torch.Tensor:
    """1 less the cosine between a voxel's logits and the one-hot reference (PAdam-Cos)."""
    return 1 - functional.cosine_similarity(logits, _one_hot(logits, labels))


def masked_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, progress: float) -> torch.Tensor:
    """Cross-entropy of the voxels that are right (SEA's MCE)."""
    return _right(logits, labels) * cross_entropy(logits, labels, progress)


def balanced_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, progress: float) -> torch.Tensor:
    """Cross-entropy that turns from the voxels that are right to those that are lost (SEA's BCE, which is SegPGD's)."""
    right, share = _right(logits, labels), progress / 2
    return ((1 - share) * right + share * (1 - right)) * cross_entropy(logits, labels, progress)


def jensen_shannon(logits: torch.Tensor, labels: torch.Tensor, progress: float) -> torch.Tensor:
    """Divergence of a voxel's probabilities and the one-hot reference (SEA's JSD)."""
    shares, wanted = logits.softmax(1), _one_hot(logits, labels)
    middle = ((shares + wanted) / 2).log()
    return ((torch.xlogy(shares, shares) - shares * middle) + (torch.xlogy(wanted, wanted) - wanted * middle)).sum(1) / 2


def masked_spherical(logits: torch.Tensor, labels: torch.Tensor, progress: float) -> torch.Tensor:
    """The right logit of logits that are scaled to the length 1, downwards, of the voxels that are right (SEA's MSL)."""
    unit = logits / (logits**2).sum(1, keepdim=True).sqrt()
    return -_right(logits, labels) * (_one_hot(logits, labels) * unit).sum(1)


SEA_LOSSES: dict[str, tuple[VoxelLoss, VoxelLoss]] = {
    "JSD": (jensen_shannon, cross_entropy),
    "MCE": (masked_cross_entropy, cross_entropy),
    "MSL": (masked_spherical, masked_spherical),
    "BCE": (balanced_cross_entropy, cross_entropy),
}
"""SEA's losses, and what tells for each whether a step was good."""


def padam(
    network: Network, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int, loss: VoxelLoss
) -> torch.Tensor:
    """PAdam (Halmosi et al. 2024): projected steps of Adam with AMSGrad from a random start; the last point.

    Steps of epsilon / 4, the proportion of their 2/255 to 8/255; theirs are 200.
    """
    change = torch.empty_like(images).uniform_(-epsilon, epsilon)
    change = (images + change).clamp(0, 1) - images
    adam = torch.optim.Adam([change], lr=epsilon / 4, amsgrad=True, maximize=True)
    for step in range(steps):
        point = (images + change).requires_grad_(True)
        (change.grad,) = torch.autograd.grad(loss(network(point), labels, step / steps).mean(), point)
        adam.step()
        change.clamp_(-epsilon, epsilon)
        change.copy_((images + change).clamp(0, 1) - images)
    return images + change


def sea(network: Network, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int, name: str) -> torch.Tensor:
    """APGD with one of SEA's losses within radii that shrink to epsilon; the point with the fewest voxels right.

    The radii take 30, 30 and 40 % of the steps, each beginning at the best point of the one before.
    """
    counts = [int(share * steps) for _, share in RADII[:-1]]
    counts.append(steps - sum(counts))
    point = images
    for (radius, _), count in zip(RADII, counts):
        if count:
            point = images + (point - images).clamp(-radius * epsilon, radius * epsilon)
            point = _climb(network, images, labels, radius * epsilon, count, name, point)
    return point


def _climb(
    network: Network, images: torch.Tensor, labels: torch.Tensor, epsilon: float, steps: int, name: str, point: torch.Tensor
) -> torch.Tensor:
    """APGD (Croce & Hein 2020) within one radius, with as many gradients as steps."""
    pulls, tracked = SEA_LOSSES[name]
    least, greatest = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    point = point.clamp(0, 1)
    before, best, kept = point, (-torch.inf, point, torch.zeros_like(point)), (torch.inf, point)
    length, checks = 2 * epsilon, _Checks(steps)
    for step in range(steps + 1):
        asked = point.detach().requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            logits = network(asked)
            loss = pulls(logits, labels, step / steps).mean()
        right = float((logits.detach().argmax(1) == labels).float().mean())
        if right <= kept[0]:
            kept = right, point
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(loss, asked)
        height = float(tracked(logits.detach(), labels, step / steps).mean())
        if height > best[0]:
            best = height, point, gradient
        if step and checks.says_halve(height, best[0]):
            length /= 2
            point, gradient = best[1:]
        elif not step:
            checks.begin(height)
        share = 0.75 if step else 1.0
        target = (point + length * gradient.sign()).clamp(least, greatest)
        point, before = (point + share * (target - point) + (1 - share) * (point - before)).clamp(least, greatest), point
    return kept[1]


class _Checks:
    """When APGD halves its steps."""

    def __init__(self, steps: int) -> None:
        self._interval, self._shortest = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
        self._shortening, self._since, self._rises = max(int(0.03 * steps), 1), 0, 0
        self._value = self._best = -torch.inf
        self._halved = True

    def begin(self, value: float) -> None:
        """The loss before the first step."""
        self._value = self._best = value

    def says_halve(self, value: float, best: float) -> bool:
        """Whether to halve after a step that led to this loss; `best` is the highest so far."""
        self._since += 1
        self._rises += value > self._value
        self._value = value
        if self._since < self._interval:
            return False
        halve = self._rises <= 0.75 * self._since or (not self._halved and self._best >= best)
        self._halved, self._best = halve, best
        self._interval, self._since, self._rises = max(self._interval - self._shortening, self._shortest), 0, 0
        return halve


def _one_hot(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.one_hot(labels.long(), logits.shape[1]).movedim(-1, 1).to(logits)


def _right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (logits.detach().argmax(1) == labels).to(logits)
