"""What kind of network is audited: one that answers the same each time, with logits?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from SegAdversarialLib.defenses.audit.checks import Finding
from SegAdversarialLib.errors import CancelCheck, check_cancel

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.volumes.case import Case

SAME = 1e-3
"""Difference of two answers, relative to how much they vary, that is rounding."""


@dataclass(frozen=True)
class Answers:
    """What two answers to the same question tell.

    Attributes:
        apart: their Euclidean difference, relative to that of the logits from their mean.
        deviation: the logits' standard deviation.
        like_probabilities: all lie between 0 and 1 and, where classes are exclusive, sum to 1 at each voxel.
    """

    apart: float
    deviation: float
    like_probabilities: bool


def answers(model: SegmentationModel, case: Case, cancel: CancelCheck | None = None) -> Answers:
    """Ask a network twice about a case."""
    import torch

    with model.on(case, between_windows=lambda done: check_cancel(cancel)) as bound:
        first = bound.logits(bound.image)
        check_cancel(cancel)
        second = bound.logits(bound.image)
        varies = torch.linalg.vector_norm(first - first.mean())
        apart = torch.linalg.vector_norm(second - first)
        within = bool((first.min() >= 0) & (first.max() <= 1))
        sums = model.head.kind != "softmax" or bool(((first.sum(0) - 1).abs() <= SAME).all())
        return Answers(float(apart / varies) if float(apart) else 0.0, float(first.std()), within and sums)


def deterministic(number: float, draws: int) -> Finding:
    """Whether the network answers the same each time."""
    title = "The same answer each time"
    if number <= SAME:
        return Finding("deterministic", title, "pass", number, "The network said the same of the same images twice.")
    text = (
        f"The network answers at random (two answers differ by {number:.0%} of what they vary by): single figures are luck, "
        f"so it was attacked and measured through the mean of {draws} fixed draws (expectation over transformation)."
    )
    return Finding("deterministic", title, "warn", number, text)


def gives_logits(model: SegmentationModel, found: Answers) -> Finding:
    """Whether the network hands out logits."""
    title, deviation = "Logits, not probabilities", found.deviation
    if found.like_probabilities:
        text = (
            "What is taken for logits are probabilities by their values (between 0 and 1, with a sum of 1): they saturate and "
            "hide "
            'gradients; say so when the network is opened (outputs: "probabilities"), or use it without its last softmax or '
            "sigmoid."
        )
        return Finding("logits", title, "warn", deviation, text)
    if model.describe()["outputs"] == "logits":
        text = f"The network gives logits, with a standard deviation of {deviation:.3g}."
        return Finding("logits", title, "pass", deviation, text)
    text = (
        f"The network gives probabilities, which are turned back into logits (standard deviation {deviation:.3g}); what was "
        "rounded to 0 or 1 on the way has lost its gradient: audit the network without its last softmax or sigmoid."
    )
    return Finding("logits", title, "warn", deviation, text)
