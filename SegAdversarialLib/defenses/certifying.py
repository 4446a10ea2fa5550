"""Certifying a network's answer for a case by randomised smoothing (Fischer, Baader and Vechev 2021, SegCertify)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.defenses.certificate import INSIDE, OUTSIDE, UNDECIDED, Certificate, Tests
from SegAdversarialLib.defenses.multiple_tests import check_draws, check_tests
from SegAdversarialLib.defenses.voting import Questions, Votes, vote
from SegAdversarialLib.errors import CancelCheck, ProgressCallback
from SegAdversarialLib.evaluation.structures import check_regions, claimed, wanted_masks, written_labels
from SegAdversarialLib.metrics import dice, iou
from SegAdversarialLib.metrics.certified import least_dice, least_iou
from SegAdversarialLib.model.noise import GaussianNoise, SigmaUnits
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel


@checked
def certify(
    model: SegmentationModel,
    case: Case,
    sigma: float | Mapping[str, float] = 0.05,
    n: int = 200,
    alpha: float = 0.001,
    *,
    tau: float = 0.75,
    n0: int = 20,
    sigma_units: SigmaUnits = "relative",
    regions: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    clean: Prediction | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
) -> Certificate:
    """Find out what no attack within a radius can change of a network's smoothed answer for a case.

    The network is asked n0 + n copies of the case with Gaussian noise. For each voxel and each structure (the network's
    outputs, background included, and regions) the first n0 guess whether the voxel is inside, and the n others are counted: a
    binomial test, with Holm's correction over all voxels and structures, says where more than the share tau of all copies
    would agree with the guess. Memory does not grow with n.

    Args:
        model: the network.
        case: the subject, with reference labels if there are any.
        sigma: standard deviation of the noise, one for all channels or one for each by name.
        n: how many copies vote; the time is proportional to n0 + n.
        alpha: the chance that anything at all is wrongly said to be certain.
        tau: the share of copies that must agree, above 0.5: more makes the radius larger and more voxels abstain.
        n0: how many copies guess.
        sigma_units: "relative": a fraction of each channel's largest absolute intensity in this case; "absolute": scanner units.
        regions: further structures as sets of reference label values; None: BraTS' where they apply.
        seed: of the noise; the same seed gives the same certificate.
        clean: the network's prediction for the case, if it is there already.
        progress: called with the finished fraction and a text.
        cancel: asked between copies and windows; True ends the work with `Cancelled`.

    Raises:
        InputError: a number is out of its range; n is too small to certify anything (it says which is not); a channel is missing
            or 0 everywhere; the reference or a region does not fit the network's classes.
    """
    started = time.perf_counter()
    check_tests(n, n0, tau, alpha)
    case = case.in_terms_of(model.head)
    model.channel_positions(case)
    if case.label is not None:
        model.head.check_label(case.label)
    wanted = check_regions(model.head, regions)
    noise = GaussianNoise.on(case, model.channels, sigma, sigma_units, seed)
    questions = Questions(model.head, {name: written_labels(model.head, values) for name, values in wanted.items()})
    number = len(questions) * math.prod(case.shape)
    check_draws(n, number, tau, alpha)
    clean = model.predict(case, cancel=cancel) if clean is None else clean
    votes = vote(model, case, noise, questions, n0, n, progress, cancel)
    inside, outside, enough = votes.decide(tau, alpha)
    labels, abstained, share = _answer(model.head, votes, inside, outside)
    before = claimed(clean, model.head, wanted)
    reference = before if case.label is None else wanted_masks(case.label, model.head, wanted)
    rows, certain = [], {}
    for name in before:
        place = questions.names().index(name)
        masks = (inside[place], outside[place], votes.counts[place] > n // 2, before[name], reference[name])
        rows.append(_row(name, *masks))
        certain[name] = np.where(inside[place], INSIDE, np.where(outside[place], OUTSIDE, UNDECIDED)).astype(np.uint8)
    tests = Tests(noise.sigmas, tau, alpha, n0, n, number, enough, seed, time.perf_counter() - started)
    against = "prediction" if case.label is None else "label"
    return Certificate(case, labels, abstained, share, certain, rows, against, tests, model.describe())


def _answer(
    head: OutputHead, votes: Votes, inside: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The label map that most copies say, where it is not certain, and the share of the copies that say it."""
    import torch

    counts = votes.counts[: len(head.labels)]
    if head.kind == "softmax":
        labels = head.label_map(torch.from_numpy(counts))
        abstained, share = ~inside[: len(counts)].any(0), counts.max(0) / votes.n
    else:
        labels = head.label_map(torch.from_numpy((counts > votes.n // 2).astype(np.int8)))
        abstained = ~(inside[: len(counts)] | outside[: len(counts)]).all(0)
        share = np.minimum.reduce([np.maximum(x, votes.n - x) for x in counts]) / votes.n
    return labels.numpy(), abstained, share.astype(np.float32)


def _row(
    name: str, inside: np.ndarray, outside: np.ndarray, smoothed: np.ndarray, clean: np.ndarray, reference: np.ndarray
) -> dict[str, Any]:
    """A structure's row of the table."""
    undecided = ~(inside | outside)
    return {
        "structure": name,
        "certified Dice": least_dice(inside, outside, reference),
        "smoothed Dice": dice(smoothed, reference),
        "network Dice": dice(clean, reference),
        "certified IoU": least_iou(inside, outside, reference),
        "smoothed IoU": iou(smoothed, reference),
        "network IoU": iou(clean, reference),
        "abstained": float(undecided.mean()),
        "abstained in reference": float(undecided[reference].mean()) if reference.any() else math.nan,
    }
