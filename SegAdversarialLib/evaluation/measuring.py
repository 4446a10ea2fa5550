"""Measuring what an attack, or any other change, did to a network's answer and to the image."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.changes.perturbation import Perturbation, warped
from SegAdversarialLib.errors import InputError, ProgressCallback
from SegAdversarialLib.evaluation.attacked import AttackedCase
from SegAdversarialLib.evaluation.evaluation import OVERLAP, UNWARPED, Evaluation
from SegAdversarialLib.evaluation.notes import notes_on_answer, notes_on_attack, notes_on_channels
from SegAdversarialLib.evaluation.structures import check_regions, claimed, extent, wanted_masks
from SegAdversarialLib.metrics import dice, hd95, iou, largest_change, perceptibility, psnr, rmse, ssim, volume_ml
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.geometry import describe_two_grids, same_grid

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel

SUCCESSFUL_DROP = 0.3
"""The relative drop of Dice from which on Chen et al. 2019 call an attack on a structure a success."""

# 0.8 to 0.56 is a drop of 30 %, although floating-point numbers make it 0.2999999
_ROUNDING = 1e-9

_DISTANCES = 2.5
"""How long the distances of a structure take, by its bounding box, where a channel takes one by its own size."""

_log = logging.getLogger(__name__)


@checked(result="an attack's result")
def evaluate(
    result: AttackedCase,
    model: SegmentationModel,
    regions: Mapping[str, Sequence[int]] | None = None,
    clean: Prediction | None = None,
    attacked: Prediction | None = None,
    *,
    warn: bool = True,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Measure what an attack did to a model's answer and to the image: `evaluate_pair` of the case before and after.

    Args:
        result: the attack.
        model: the model that is asked; not necessarily the one that was attacked.
        regions, clean, attacked, warn: see `evaluate_pair`.
        progress: told the finished fraction after each structure and each channel, once the model was asked.

    Raises:
        InputError: the reference holds labels that the model does not know, or a region does not fit the model's classes.
    """
    original, adversarial = (case.in_terms_of(model.head) for case in (result.original, result.adversarial))
    moved = None if result.moved_label is None else adversarial.label
    found = _evaluate(original, adversarial, moved, model, regions, clean, attacked, result.perturbation, progress)
    if not result.attack.helps:
        found = replace(found, notes=(*found.notes, *notes_on_attack(*found.mean_dice)))
    found = replace(found, notes=(*(x.sentence for x in result.thresholds), *found.notes))
    return _said(found) if warn else found


@checked
def evaluate_pair(
    original: Case,
    adversarial: Case,
    model: SegmentationModel,
    regions: Mapping[str, Sequence[int]] | None = None,
    clean: Prediction | None = None,
    attacked: Prediction | None = None,
    *,
    warn: bool = True,
) -> Evaluation:
    """Measure what any change of a case's images, however it was made, does to a model's answer and to the images.

    The structures are the foreground outputs of the model by their names and, for a softmax model whose classes are by
    their names those of BraTS, the regions WT, TC and ET; or, in the place of these regions, the caller's.

    Args:
        original: the case before, with the reference labels if there are any.
        adversarial: the case after; same channels and grid. If its reference labels tell structures elsewhere, the anatomy
            has moved: "after" is measured against them.
        model: the model that is asked.
        regions: further structures as sets of reference label values, such as `{"tumour": (1, 2, 4)}`.
        clean, attacked: the model's predictions before and after, if they are there already; it saves asking again.
        warn: log the evaluation's notes as warnings.

    Raises:
        InputError: the cases have different channels or grids, the reference holds labels that the model does not know, or
            a region does not fit the model's classes.
    """
    original, adversarial = original.in_terms_of(model.head), adversarial.in_terms_of(model.head)
    _check_same(original, adversarial)
    moved = _label_elsewhere(original, adversarial, model.head)
    found = _evaluate(original, adversarial, moved, model, regions, clean, attacked, Perturbation())
    return _said(found) if warn else found


def _evaluate(
    original: Case,
    adversarial: Case,
    moved_label: np.ndarray | None,
    model: SegmentationModel,
    regions: Mapping[str, Sequence[int]] | None,
    clean: Prediction | None,
    attacked: Prediction | None,
    perturbation: Perturbation,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    case, head = original, model.head
    for known in (x for x in (original.label, moved_label) if x is not None):
        head.check_label(known)
    wanted = check_regions(head, regions)
    clean = model.predict(case) if clean is None else clean
    _check_grid(clean, case)
    attacked = model.predict(adversarial) if attacked is None else attacked
    _check_grid(attacked, case)
    before, after = claimed(clean, head, wanted), claimed(attacked, head, wanted)
    reference = before if case.label is None else wanted_masks(case.label, head, wanted)
    moved = None
    if moved_label is not None:
        moved = wanted_masks(moved_label, head, wanted)
    elif case.label is None and perturbation.displacement is not None:
        moved = _moved_masks(before, perturbation.displacement, case.affine)
    rows: list[dict[str, Any]] = []
    sizes = [_DISTANCES * extent(before[x] | after[x] | reference[x]) for x in before]
    tell = _telling(progress, [*sizes, *(x.size for x in case.image)])
    for name in before:
        masks = (before[name], after[name], reference[name], None if moved is None else moved[name])
        rows += _structure_rows(name, *masks, case.spacing)
        tell()
    for channel, unchanged, changed in zip(case.channels, case.image, adversarial.image):
        rows += _channel_rows(channel, unchanged, changed)
        tell()
    rows += [_channel_row(*row) for row in perturbation.measured(case)]
    labels = [np.asarray(x.labels, dtype=np.int16) for x in (clean, attacked)]
    without_range = [x["channel"] for x in rows if x["metric"] == "PSNR" and math.isnan(x["value"])]
    notes = (*notes_on_prediction(clean, head, case.label), *notes_on_channels(without_range))
    return Evaluation(rows, labels[0], labels[1], "prediction" if case.label is None else "label", notes, tuple(wanted))


def _telling(progress: ProgressCallback | None, sizes: Sequence[float]) -> Callable[[], None]:
    """Tells that one more thing is done, of things of these sizes."""
    shares = iter(np.cumsum(sizes) / sum(sizes))
    return lambda: None if progress is None else progress(float(next(shares)), "measuring")


def notes_on_prediction(prediction: Prediction, head: OutputHead, label: np.ndarray | None) -> list[str]:
    """What is odd about what a network says of an unchanged case, with its reference labels (K, J, I) if there are any."""
    answer = claimed(prediction, head, {})
    return notes_on_answer(answer, None if label is None else wanted_masks(label, head, {}))


def notes_on_label_map(labels: np.ndarray, head: OutputHead, label: np.ndarray | None) -> list[str]:
    """The same from a network's label map (K, J, I), in which regions that lie within others are painted over them."""
    answer = {}
    for n in head.foreground:
        inside = [value for value, region in zip(head.labels, head.regions) if set(region) <= set(head.regions[n])]
        answer[head.names[n]] = np.isin(labels, inside)
    return notes_on_answer(answer, None if label is None else wanted_masks(label, head, {}))


def _said(evaluation: Evaluation) -> Evaluation:
    """The evaluation, with its notes in the log."""
    for note in evaluation.notes:
        _log.warning("%s", note)
    return evaluation


def _label_elsewhere(original: Case, adversarial: Case, head: OutputHead) -> np.ndarray | None:
    """The reference labels after a change, if they tell any structure elsewhere than those before."""
    before, after = original.label, adversarial.label
    for known in (x for x in (before, after) if x is not None):
        head.check_label(known)
    if before is None or after is None or before is after:
        return None
    masks = [wanted_masks(label, head, {}) for label in (before, after)]
    return after if any((masks[0][name] != masks[1][name]).any() for name in masks[0]) else None


def _check_same(original: Case, adversarial: Case) -> None:
    if original.channels != adversarial.channels:
        raise InputError(
            f"Before and after must have the same channels; they have {', '.join(original.channels)} and "
            f"{', '.join(adversarial.channels)}."
        )
    if not same_grid(original.shape, original.affine, adversarial.shape, adversarial.affine):
        before, after, apart = describe_two_grids(original.grid, adversarial.grid)
        raise InputError(f"Before and after must lie on the same grid; they lie on {before} and {after}: {apart}.")


def _check_grid(prediction: Prediction, case: Case) -> None:
    if tuple(prediction.labels.shape) != case.shape:
        raise InputError(
            f"A prediction that was given has the shape {tuple(prediction.labels.shape)}, the case {case.shape}; "
            "give the prediction of this case."
        )


def _moved_masks(masks: Mapping[str, np.ndarray], displacement: np.ndarray, affine: np.ndarray) -> dict[str, np.ndarray]:
    """Masks moved with the anatomy."""
    moved = warped(np.stack(list(masks.values())).astype(np.uint8), displacement, affine, "nearest") != 0
    return dict(zip(masks, moved))


def _structure_rows(
    name: str,
    before: np.ndarray,
    after: np.ndarray,
    reference: np.ndarray,
    moved: np.ndarray | None,
    spacing: Sequence[float],
) -> list[dict[str, Any]]:
    goal = reference if moved is None else moved
    measured = [
        ("Dice", "", dice(before, reference), dice(after, goal)),
        ("IoU", "", iou(before, reference), iou(after, goal)),
        ("HD95", "mm", hd95(before, reference, spacing), hd95(after, goal, spacing)),
        ("Volume", "ml", volume_ml(before, spacing), volume_ml(after, spacing)),
    ]
    if moved is not None:
        measured.insert(1, (UNWARPED, "", dice(before, reference), dice(after, reference)))
    rows: list[dict[str, Any]] = []
    for metric, unit, old, new in measured:
        drop = (old - new) / old if metric in OVERLAP and old else math.nan
        rows.append({"structure": name, "metric": metric, "unit": unit, "before": old, "after": new, "drop": drop})
    rows[0]["success"] = rows[0]["drop"] >= SUCCESSFUL_DROP - _ROUNDING
    return rows


def _channel_rows(channel: str, original: np.ndarray, changed: np.ndarray) -> list[dict[str, Any]]:
    measured = [
        ("PSNR", "dB", psnr(original, changed)),
        ("SSIM", "", ssim(original, changed)),
        ("RMSE", "", rmse(original, changed)),
        ("Perceptibility", "SD", perceptibility(original, changed)),
        ("Largest change", "intensity", largest_change(original, changed)),
    ]
    return [_channel_row(channel, *row) for row in measured]


def _channel_row(channel: str, metric: str, unit: str, value: float) -> dict[str, Any]:
    return {"channel": channel, "metric": metric, "unit": unit, "value": value}
