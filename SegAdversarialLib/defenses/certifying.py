"""Certifying a network's answer for a case by randomised smoothing (Fischer, Baader and Vechev 2021, SegCertify)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
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

    For each voxel and each structure (the network's outputs, background included, and regions) n0 copies with Gaussian noise
    guess whether the voxel is inside, and of n others those that agree are counted: binomial tests, with Holm's correction
    over all of them, say where more than the share tau of all copies would. Memory does not grow with n.

    Args:
        model: the network.
        case: the subject, with reference labels if there are any.
        sigma: standard deviation of the noise, one for all channels or one for each by name.
        n: how many copies vote; the time is proportional to n0 + n.
        alpha: the chance that anything at all is wrongly said to be certain.
        tau: the share of copies that must agree, above 0.5: more makes the radius larger and more voxels abstain.
        n0: how many copies guess.
        sigma_units: "relative": a fraction of each channel's largest absolute intensity in this case, or "absolute".
        regions: further structures as sets of reference label values; None: BraTS' where they apply.
        seed: of the noise; the same seed gives the same certificate.
        clean: the network's prediction for the case, if it is there already.
        progress, cancel: see `SegmentationModel.predict`.

    Raises:
        InputError: a number is out of its range; n is too small to certify anything (it says what is not); a channel is
            missing, or 0 everywhere; the reference or a region does not fit the network's classes.
    """
    sampling, case = _Sampling(n, n0, tau, alpha), _fitting(case, model)
    noise, questions, wanted = planned(
        case, model.channels, model.head, sigma, n, alpha, tau=tau, n0=n0, sigma_units=sigma_units, regions=regions, seed=seed
    )
    return _certified(model, case, noise, sampling, questions, wanted, clean, progress, cancel)


def planned(
    case: Case,
    channels: Sequence[str],
    head: OutputHead,
    sigma: float | Mapping[str, float],
    n: int,
    alpha: float,
    *,
    tau: float,
    n0: int,
    sigma_units: SigmaUnits,
    regions: Mapping[str, Sequence[int]] | None,
    seed: int,
) -> tuple[GaussianNoise, Questions, dict[str, tuple[int, ...]]]:
    """The noise, what is asked of each voxel, and the regions, by what is known of a network before it is open.

    Args:
        case: the subject, in terms of the network's labels.
        channels: those that the network takes.
        head: its outputs.
        sigma, n, alpha, tau, n0, sigma_units, regions, seed: as `certify` takes them.

    Raises:
        InputError: as `certify` does.
    """
    check_tests(n, n0, tau, alpha)
    noise, wanted = GaussianNoise.on(case, channels, sigma, sigma_units, seed), check_regions(head, regions)
    questions = Questions(head, {name: written_labels(head, values) for name, values in wanted.items()})
    check_draws(n, len(questions) * math.prod(case.shape), tau, alpha)
    return noise, questions, wanted


@dataclass(frozen=True)
class _Sampling:
    """How much is drawn, and what must be shown by it."""

    n: int
    n0: int
    tau: float
    alpha: float


def _fitting(case: Case, model: SegmentationModel) -> Case:
    """The case in terms of the model's labels, refused where it does not fit."""
    case = case.in_terms_of(model.head)
    model.channel_positions(case)
    if case.label is not None:
        model.head.check_label(case.label)
    return case


def _certified(
    model: SegmentationModel,
    case: Case,
    noise: GaussianNoise,
    sampling: _Sampling,
    questions: Questions,
    wanted: Mapping[str, tuple[int, ...]],
    clean: Prediction | None,
    progress: ProgressCallback | None,
    cancel: CancelCheck | None,
) -> Certificate:
    started, (n, n0, tau, alpha) = time.perf_counter(), astuple(sampling)
    head = model.head
    number = len(questions) * math.prod(case.shape)
    clean = model.predict(case, cancel=cancel) if clean is None else clean
    votes = vote(model, case, noise, questions, n0, n, progress, cancel)
    inside, outside, enough = votes.decide(tau, alpha)
    before = claimed(clean, head, wanted)
    reference = before if case.label is None else wanted_masks(case.label, head, wanted)
    rows, certain = [], {}
    for name in before:
        place = questions.names().index(name)
        masks = (inside[place], outside[place], votes.counts[place] > n // 2, before[name], reference[name])
        rows.append(_row(name, *masks))
        certain[name] = np.where(inside[place], INSIDE, np.where(outside[place], OUTSIDE, UNDECIDED)).astype(np.uint8)
    tests = Tests(noise.sigmas, tau, alpha, n0, n, number, enough, noise.seed, time.perf_counter() - started)
    against = "prediction" if case.label is None else "label"
    return Certificate(case, *_answer(head, votes, inside, outside), certain, rows, against, tests, model.describe())


def _answer(
    head: OutputHead, votes: Votes, inside: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The label map that most copies say, where it is not certain, and the share of the copies that say it."""
    import torch

    counts = votes.counts[: len(head.labels)]
    if head.kind == "softmax":
        labels = head.label_map(torch.from_numpy(counts))
        certain, share = inside[: len(counts)].any(0), counts.max(0) / votes.n
    else:
        labels = head.painted(torch.from_numpy(counts > votes.n // 2))
        certain = (inside[: len(counts)] | outside[: len(counts)]).all(0)
        share = np.minimum.reduce([np.maximum(x, votes.n - x) for x in counts]) / votes.n
    return labels.numpy(), np.logical_not(certain), np.asarray(share, np.float32)


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
