"""Objectives that are a weighted mean of what is lost at each voxel.

Exclusive classes (softmax) are one question at each voxel, overlapping regions (sigmoid) one for each output; P counts
these questions: 1, or N.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.objectives.objective import BoundObjective, Objective

if TYPE_CHECKING:
    import torch


_FEW = 0.25
"""Where no larger share of the voxels counts, the others are left out."""
_TOGETHER = 64
"""torch takes so many numbers at a time, or some part of that, and rounds those that are left over at the end otherwise."""


@dataclass(frozen=True, eq=False)
class _FewWeights:
    """The voxels that count, where these are few.

    Attributes:
        voxels: (M) their places in the volume.
        values: (P, M) their weights.
        targets: (N, M) what each output should claim of them.
    """

    voxels: torch.Tensor
    values: torch.Tensor
    targets: torch.Tensor

    @classmethod
    def of(cls, weights: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | _FewWeights:
        """Those of weights (P, K, J, I); the weights themselves where many voxels count.

        So that their losses are the same to the last bit, none of them may be left over: neither in the volume, nor among
        themselves, where some voxels that do not count fill up their number.
        """
        counts, size = (weights != 0).any(0).flatten(), weights[0].numel()
        number = int(counts.count_nonzero())
        wanted = -(-number // _TOGETHER) * _TOGETHER
        if wanted > _FEW * size or counts[size - size % _TOGETHER :].any():
            return weights
        counts[(~counts[: size - size % _TOGETHER]).nonzero()[: wanted - number]] = True
        voxels = counts.nonzero().squeeze(1)
        return cls(voxels, weights.flatten(1)[:, voxels], targets.flatten(1)[:, voxels])


class VoxelwiseObjective(Objective):
    """The weighted mean over voxels of `lost`.

    Args:
        balanced: only voxels of the reference's structures count, and each structure as much as any other, however small it
            is. False: all voxels count the same; with classes given, those whose reference is one of them.
    """

    def __init__(self, reference: np.ndarray, *, balanced: bool = False, **common: object) -> None:
        super().__init__(reference, **common)  # type: ignore[arg-type]
        self.balanced = balanced

    @abstractmethod
    def lost(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """What is lost at each voxel, (P, K, J, I), for logits (N, K, J, I)."""

    def loss(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The weighted mean for logits (N, K, J, I)."""
        weights = bound.made_of_targets("weights", lambda: self._weights(bound))
        if weights is None:
            return self.lost(logits, bound).mean()
        if not isinstance(weights, _FewWeights):
            return (weights * self.lost(logits, bound)).sum()
        some = logits.flatten(1).index_select(1, weights.voxels)
        lost = weights.values * self.lost(some, replace(bound, targets=weights.targets))
        # laid out as the volume is, so that it is the same sum to the last bit
        whole = lost.new_zeros(len(lost), logits[0].numel()).index_copy(1, weights.voxels, lost)
        return whole.sum()

    def _weights(self, bound: BoundObjective) -> torch.Tensor | _FewWeights | None:
        weights = _balanced_weights(bound) if self.balanced else _equal_weights(bound)
        if weights is None or bound.targets.requires_grad:
            return weights
        return _FewWeights.of(weights, bound.targets)


class CrossEntropy(VoxelwiseObjective):
    """Mean cross-entropy in nats over the voxels that count.

    With classes given, over the voxels whose reference is one of them. A sigmoid head has the mean binary cross-entropy of the
    outputs that count.
    """

    name = "cross_entropy"
    counts_background = True

    def lost(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The cross-entropy of each voxel."""
        return _cross_entropy(logits, bound)


class MaskedCrossEntropy(Objective):
    """Cross-entropy weighted by the reference's foreground, so that only the organs of interest count.

    -sum_{c>0} S0(c) * sum_c S0(c) log S(c) (Chen et al. 2019, eq. 5), averaged over the foreground: divided by the sum of
    the weights. With classes given, only they make up the foreground. For a sigmoid head the inner sum is the binary
    cross-entropy of the outputs, averaged.
    """

    name = "masked_cross_entropy"

    def loss(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The masked cross-entropy of logits (N, K, J, I)."""
        structures = bound.targets[list(bound.structures)]
        weight = structures.amax(0) if bound.head.kind == "sigmoid" else structures.sum(0)
        if bound.region is not None:
            weight = weight * bound.region
        return (weight * _cross_entropy(logits, bound).mean(0)).sum() / weight.sum().clamp_min(1e-6)


class BalancedMaskedCrossEntropy(VoxelwiseObjective):
    """Cross-entropy of what the network still gets right, each structure counting the same.

    Voxels that are lost already no longer pull (the mask of Croce et al. 2024, SEA), and a structure counts by its share of
    voxels, not by their number (their class-balanced form), as in Dice. Unless `balanced` is False, the background, whose
    voxels outnumber all others in a volume, does not count.
    """

    name = "balanced_masked_cross_entropy"

    def __init__(self, reference: np.ndarray, *, balanced: bool = True, **common: object) -> None:
        super().__init__(reference, balanced=balanced, **common)

    def lost(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The cross-entropy of each voxel that is right, 0 of the others."""
        return _cross_entropy(logits, bound) * _still_right(logits, bound)


class JensenShannon(VoxelwiseObjective):
    """Jensen-Shannon divergence of the network's probabilities and the reference, in nats, from 0 to ln 2.

    It is bounded, and its gradient vanishes for voxels that are hopelessly right or wrong, so that it works on those in
    between (Croce et al. 2024, SEA). Unless `balanced` is False (their mean over all voxels), each structure counts the same.
    """

    name = "jensen_shannon"

    def __init__(self, reference: np.ndarray, *, balanced: bool = True, **common: object) -> None:
        super().__init__(reference, balanced=balanced, **common)

    def lost(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The divergence of each voxel."""
        import torch

        logarithms, targets = _log_probabilities(logits, bound), _distributions(bound)
        shares = logarithms.exp()
        log_mean = ((shares + targets) / 2).clamp_min(torch.finfo(shares.dtype).tiny).log()
        ours = shares * (logarithms - log_mean)
        theirs = torch.xlogy(targets, targets) - targets * log_mean
        return (ours + theirs).sum(1) / 2


class Margin(VoxelwiseObjective):
    """By how much the strongest wrong answer leads the right one, in logits.

    Bounded above by `most`, so that a voxel that is lost for certain pulls no more. The gradient does not fade where the
    network is sure of itself, as that of cross-entropy and Dice does (Carlini & Wagner 2017, at each voxel). A sigmoid
    output's lead is how far its logit is on the wrong side of the threshold. Unless `balanced` is False, each structure
    counts the same.

    Args:
        most: lead from which on a voxel counts as lost for certain.
    """

    name = "margin"

    def __init__(self, reference: np.ndarray, *, most: float = 0.5, balanced: bool = True, **common: object) -> None:
        super().__init__(reference, balanced=balanced, **common)
        self.most = most

    def lost(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The lead of each voxel's strongest wrong answer."""
        import torch

        wanted = bound.targets > 0.5
        if bound.head.kind == "sigmoid":
            lead = torch.where(wanted, bound.limit - logits, logits - bound.limit)
        else:
            right = torch.where(wanted, logits, 0).sum(0)
            lead = (logits.masked_fill(wanted, -torch.inf).amax(0) - right)[None]
        return lead.clamp(max=self.most)


class SegPGDWeighted(VoxelwiseObjective):
    """Cross-entropy whose weight moves, while an attack goes on, from the voxels that are right to the others.

    Right ones weigh 1 - lambda, wrong ones lambda, with lambda from 0 at the start to 1/2 at the end (Gu et al. 2022,
    SegPGD); `BoundObjective.progress` says how far the attack is.
    """

    name = "segpgd"
    counts_background = True

    def lost(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The weighted cross-entropy of each voxel."""
        import torch

        share = bound.progress / 2
        return torch.where(_still_right(logits, bound), 1 - share, share) * _cross_entropy(logits, bound)


class CosPGDWeighted(VoxelwiseObjective):
    """Cross-entropy weighted by how much the network's probabilities still agree with the reference.

    The weight is the cosine between the probabilities and the one-hot reference, and has no gradient of its own (Agnihotri et
    al. 2024, CosPGD).
    """

    name = "cospgd"
    counts_background = True

    def lost(self, logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
        """The weighted cross-entropy of each voxel."""
        wanted = bound.made_of_targets("direction", lambda: _direction(_distributions(bound)))
        agreement = (_direction(_log_probabilities(logits.detach(), bound).exp()) * wanted).sum(1)
        return agreement * _cross_entropy(logits, bound)


def _cross_entropy(logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
    """(P, K, J, I) in nats."""
    import torch.nn.functional as functional

    if bound.head.kind == "sigmoid":
        return functional.binary_cross_entropy_with_logits(logits, bound.targets, reduction="none")
    return -(bound.targets * logits.log_softmax(0)).sum(0, keepdim=True)


def _log_probabilities(logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
    """(P, answers, K, J, I): of the N classes, or of yes and no for each output."""
    import torch
    import torch.nn.functional as functional

    if bound.head.kind == "sigmoid":
        return torch.stack([functional.logsigmoid(logits), functional.logsigmoid(-logits)], 1)
    return logits.log_softmax(0)[None]


def _distributions(bound: BoundObjective) -> torch.Tensor:
    """What `_log_probabilities` should be, as probabilities."""
    import torch

    return torch.stack([bound.targets, 1 - bound.targets], 1) if bound.head.kind == "sigmoid" else bound.targets[None]


def _direction(distributions: torch.Tensor) -> torch.Tensor:
    """(P, answers, K, J, I) with the Euclidean norm 1 over the answers, as torch's cosine similarity makes them."""
    import torch

    scaled = distributions / torch.linalg.vector_norm(distributions, dim=1, keepdim=True).clamp_min_(1e-8)
    return distributions if torch.equal(scaled, distributions) else scaled  # as where it is all in one answer


def _still_right(logits: torch.Tensor, bound: BoundObjective) -> torch.Tensor:
    """(P, K, J, I) bool: where the network's answer is the reference's."""
    wanted = bound.targets > 0.5
    if bound.head.kind == "sigmoid":
        return (logits.detach() > bound.limit) == wanted
    return (bound.head.predicted(logits.detach()) & wanted).any(0, keepdim=True)


def _equal_weights(bound: BoundObjective) -> torch.Tensor | None:
    """(P, K, J, I) with the sum 1, the same for all voxels that count; None: for all that there are."""
    import torch

    if bound.outputs is None and bound.region is None:
        return None
    if bound.head.kind == "sigmoid":
        counted = torch.zeros_like(bound.targets)
        counted[slice(None) if bound.outputs is None else list(bound.outputs)] = 1
    elif bound.outputs is None:
        counted = torch.ones_like(bound.targets[:1])
    else:
        counted = bound.targets[list(bound.outputs)].sum(0, keepdim=True)
    if bound.region is not None:
        counted = counted * bound.region
    return counted / counted.sum().clamp_min(1)


def _balanced_weights(bound: BoundObjective) -> torch.Tensor:
    """(P, K, J, I): each structure that is there has the same sum, spread evenly over its voxels; together 1."""
    import torch

    per_output = bound.head.kind == "sigmoid"
    weights = torch.zeros_like(bound.targets if per_output else bound.targets[:1])
    present = 0
    for n in bound.structures:
        inside = bound.targets[n] if bound.region is None else bound.targets[n] * bound.region
        size = inside.sum()
        if size > 0:
            present += 1
            weights[n if per_output else 0] += inside / size
    return weights / max(present, 1)
