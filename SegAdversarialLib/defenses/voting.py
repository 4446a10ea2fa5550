"""Votes of noisy copies of a case: counted voxel by voxel for each structure, never kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.defenses.multiple_tests import enough_votes
from SegAdversarialLib.errors import CancelCheck, ProgressCallback, check_cancel
from SegAdversarialLib.model.noise import GaussianNoise
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_MOST_IN_SHORT = int(np.iinfo(np.int16).max)


class Questions:
    """What is asked of every voxel: is it inside this structure, yes or no? First the network's outputs, background
    included, then further regions.

    Args:
        head: the network's outputs.
        regions: further structures, as the label values that the network itself writes.
    """

    def __init__(self, head: OutputHead, regions: Mapping[str, Sequence[int]]) -> None:
        self._head, self._regions = head, dict(regions)

    def __len__(self) -> int:
        return len(self._head.labels) + len(self._regions)

    def names(self) -> list[str]:
        """What is asked for, in order."""
        return [*self._head.names, *self._regions]

    def count(self, logits: torch.Tensor, counts: torch.Tensor) -> None:
        """Add one copy's answers, from its logits (N, K, J, I), to the counts of yes (questions, K, J, I)."""
        import torch

        claimed = self._head.predicted(logits)
        outputs = len(self._head.labels)
        counts[:outputs] += claimed
        if not self._regions:
            return
        labels = None if self._head.kind == "softmax" else self._head.label_map(logits)
        for n, values in enumerate(self._regions.values()):
            if labels is None:
                members = [m for m, label in enumerate(self._head.labels) if label in values]
                counts[outputs + n] += claimed[members].any(0)
            else:
                counts[outputs + n] += torch.isin(labels, torch.tensor(list(values), device=labels.device))


@dataclass(frozen=True, eq=False)
class Votes:
    """What the noisy copies say.

    Attributes:
        guesses: (Q, K, J, I) bool, what most of the first n0 copies say to each question.
        counts: (Q, K, J, I) integers, how many of the n other copies say yes.
        n: how many these are.
    """

    guesses: np.ndarray
    counts: np.ndarray
    n: int

    def decide(self, tau: float, alpha: float) -> tuple[np.ndarray, np.ndarray, int]:
        """What is certain: (inside, outside) for each question and voxel, (Q, K, J, I) bool, and the votes that were enough.

        With a probability of at least 1 - alpha, over all questions and voxels together, more than the share tau of all noisy
        copies would say what is said here to be certain.
        """
        histogram = np.zeros(self.n + 1, np.int64)
        for guess, counts in zip(self.guesses, self.counts):
            histogram += np.bincount(self._agreeing(guess, counts).ravel(), minlength=self.n + 1)
        enough = enough_votes(histogram, tau, alpha)
        inside, outside = np.zeros_like(self.guesses), np.zeros_like(self.guesses)
        for n, (guess, counts) in enumerate(zip(self.guesses, self.counts)):
            certain = self._agreeing(guess, counts) >= enough
            np.logical_and(certain, guess, out=inside[n])
            np.logical_and(certain, ~guess, out=outside[n])
        return inside, outside, enough

    def _agreeing(self, guess: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """How many copies say what was guessed."""
        agreeing: np.ndarray = np.where(guess, counts, self.n - counts)
        return agreeing


def vote(
    model: SegmentationModel,
    case: Case,
    noise: GaussianNoise,
    questions: Questions,
    n0: int,
    n: int,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
) -> Votes:
    """Ask a model n0 + n noisy copies of a case. Memory is that of one answer and one count for each question and voxel.

    The guesses are made from draws of their own: the tests would be worth nothing on those that have chosen what is tested.
    """
    import torch

    done, title = 0, f"certifying {case.name}".strip()

    def report(share: float) -> None:
        check_cancel(cancel)
        if progress is not None:
            progress(min((done + share) / (n0 + n), 1.0), f"{title}: noisy copy {min(done + 1, n0 + n)} of {n0 + n}")

    with model.on(case, between_windows=report) as bound:
        kind = torch.int16 if max(n0, n) <= _MOST_IN_SHORT else torch.int32
        counts = torch.zeros((len(questions), *case.shape), dtype=kind, device=bound.image.device)
        noisy, guesses = torch.empty_like(bound.image), None
        for number in range(n0 + n):
            report(0.0)
            if number == n0:
                guesses = (counts > n0 // 2).cpu().numpy()
                counts.zero_()
            noisy.copy_(bound.image)
            questions.count(bound.logits(noise.add(noisy, number)), counts)
            done += 1
        assert guesses is not None
        return Votes(guesses, counts.cpu().numpy(), n)
