"""VAFA as published (Hanif et al. 2023, MICCAI): tables learnt window by window, through a smooth stand-in for rounding.

Written from the paper (eq. 1-2, Algorithm 1) and from what its program (github.com/asif-hanif/vafa) adds: images from 0
to 255 around 128, tanh rounding (Duan et al. 2021, AdvDrop) that hardens from 0.1 to 0 over the steps, steps of 1 along the
sign, the similarity of each block by a Gaussian window of 3 voxels, the last image that was differentiated as the result. The
program's tables begin at q_max and stay above 5, where the paper says 1 and 1; it rescales every slice to [0, 1], of which the
paper says nothing, and which a slice of air cannot be: that is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from SegAdversarialLib import Case, SegmentationModel, objectives
from SegAdversarialLib.changes.quantisation import BlockCosines

LEVELS, MIDDLE = 255.0, 128.0
HARDNESS = 0.1


@dataclass(frozen=True)
class Vafa:
    """Its settings.

    Attributes:
        q_max, q_min, begins: the ends of the tables, and what they begin with.
        block: edge of the blocks in voxels.
        steps: of each window.
        weight: of the similarity.
    """

    q_max: float
    q_min: float
    begins: float
    block: int
    steps: int
    weight: float = 1.0

    def attack(self, model: SegmentationModel, case: Case) -> tuple[torch.Tensor, int]:
        """The adversarial image (C, K, J, I) of a case that the network takes as it is, and how often it was differentiated.

        Windows lie side by side; the last along an axis is moved back into the volume.
        """
        image, label = torch.from_numpy(case.image), case.label
        low = image.amin((1, 2, 3), keepdim=True)
        span = image.amax((1, 2, 3), keepdim=True) - low
        result, count = image.clone(), 0
        for part in _windows(case.shape, model.window or case.shape):
            loss = objectives.SoftDice(label[part]).bind(model.head, "cpu", torch.float32)

            def climbed(window: torch.Tensor, loss: Callable = loss) -> torch.Tensor:
                return loss(model.network((window * span + low)[None])[0])

            result[(slice(None), *part)] = self.window((image[(slice(None), *part)] - low) / span, climbed) * span + low
            count += self.steps
        return result, count

    def window(self, image: torch.Tensor, climbed: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """The adversarial window (C, k, j, i) in [0, 1]."""
        cosines = BlockCosines((self.block,) * 3, image)
        coefficients = cosines.coefficients(image * LEVELS - MIDDLE)
        table, changed = torch.full_like(coefficients, self.begins), image
        for step in range(self.steps):
            table.requires_grad_(True)
            steps = rounded(coefficients / table, HARDNESS * (1 - step / self.steps))
            changed = (cosines.voxels(steps * table) + MIDDLE) / LEVELS
            value = climbed(changed)
            if self.weight:
                value = value + self.weight * block_similarity(image, changed, self.block)
            (gradient,) = torch.autograd.grad(value, table)
            table = (table.detach() + gradient.sign()).clamp(self.q_min, self.q_max)
        return changed.detach().clamp(0, 1)


def rounded(values: torch.Tensor, hardness: float) -> torch.Tensor:
    """Rounding as a sum of hyperbolic tangents, the steeper the smaller `hardness` is (Duan et al. 2021)."""
    below = values.floor()
    return below + 0.5 + torch.tanh((values - below - 0.5) * math.log(2 / hardness - 1)) / (2 * (1 - hardness))


def block_similarity(before: torch.Tensor, after: torch.Tensor, block: int) -> torch.Tensor:
    """Mean SSIM of blocks of images (C, K, J, I) in [0, 1], each in windows of 3 voxels of 1.5 voxels' deviation."""
    weights = torch.exp(-(torch.arange(-1.0, 2.0) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()

    def blurred(blocks: torch.Tensor) -> torch.Tensor:
        for axis in (2, 3, 4):
            shape = [1] * 5
            shape[axis] = 3
            blocks = functional.conv3d(blocks, weights.view(shape))
        return blocks

    x, y = (_blocks(image, block) for image in (before, after))
    mean, other = blurred(x), blurred(y)
    covariance = blurred(x * y) - mean * other
    variances = blurred(x * x) - mean**2 + blurred(y * y) - other**2
    similarity = (2 * mean * other + 1e-4) * (2 * covariance + 9e-4) / ((mean**2 + other**2 + 1e-4) * (variances + 9e-4))
    return similarity.mean((1, 2, 3, 4)).relu().mean()


def _blocks(image: torch.Tensor, edge: int) -> torch.Tensor:
    """(blocks, 1, edge, edge, edge); the sizes must be multiples of the edge, as VAFA wants them."""
    for axis in (1, 2, 3):
        image = image.unfold(axis, edge, edge)
    return image.reshape(-1, 1, edge, edge, edge)


def _windows(shape: tuple[int, ...], window: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Side by side, the last one moved back into the volume."""
    starts = [sorted({min(start, size - edge) for start in range(0, size, edge)}) for size, edge in zip(shape, window)]
    for corner in itertools.product(*starts):
        yield tuple(slice(start, start + edge) for start, edge in zip(corner, window))
