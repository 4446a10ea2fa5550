"""What an attack did to a segmentation and to the image: before and after in one table."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.changes.perturbation import Perturbation, warped
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation import notebook
from SegAdversarialLib.evaluation.attacked import AttackedCase
from SegAdversarialLib.metrics import dice, hd95, iou, largest_change, perceptibility, psnr, rmse, ssim, volume_ml
from SegAdversarialLib.structures.brats import brats_regions
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import whole_file
from SegAdversarialLib.volumes.geometry import describe_two_grids, same_grid

if TYPE_CHECKING:
    import pandas

    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel

COLUMNS = ("structure", "channel", "metric", "unit", "before", "after", "drop", "success", "value")
"""The columns of an evaluation as a table."""

SUCCESSFUL_DROP = 0.3
"""The relative drop of Dice from which on Chen et al. 2019 call an attack on a structure a success."""

UNWARPED = "Dice unwarped"
"""The metric of Dice against the reference left in place, where an attack has moved the anatomy."""

_OVERLAP = ("Dice", UNWARPED, "IoU")
# 0.8 to 0.56 is a drop of 30 %, although floating-point numbers make it 0.2999999
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An attack's effect on one case.

    Attributes:
        rows: for each structure Dice, IoU, HD95 (mm) and Volume (ml, of the prediction):
            `{"structure": "WT", "metric": "Dice", "unit": "", "before": 0.93, "after": 0.21, "drop": 0.77, "success": True}`.
            "drop" is the relative drop (before - after) / before of Dice and IoU; it is nan where before is 0, and for
            HD95 and Volume, of which neither less nor more is better. "success" stands in Dice rows only. For each channel
            PSNR (dB), SSIM, RMSE, Perceptibility (SD) and Largest change (intensity):
            `{"channel": "T1", "metric": "PSNR", "unit": "dB", "value": 31.2}`. Undefined numbers are nan. Where the attack has
            moved the anatomy, "after" is measured against the reference moved with it, and Dice unwarped rows say what Dice
            would be against the reference left in place (Chen et al. 2019). What a bias field or a displacement did stands
            beside the channels: Max bias (%), Max displacement (mm), Mean displacement (mm) and Min Jacobian.
        clean: (K, J, I) int16, the label map of the original.
        attacked: (K, J, I) int16, the label map of the adversarial image.
        reference: what "before" and "after" are measured against: "label", or "prediction" (the one of the original) where
            the case has no labels.
    """

    rows: list[dict[str, Any]]
    clean: np.ndarray
    attacked: np.ndarray
    reference: str

    def __repr__(self) -> str:
        return notebook.evaluation_line(self.rows, self.reference)

    def _repr_html_(self) -> str:
        return notebook.table(self.rows, COLUMNS, f"Before and after, against the {self.reference}")

    @property
    def success(self) -> dict[str, bool]:
        """Whether the attack succeeded on each structure: a relative drop of Dice of 30 % or more (Chen et al. 2019)."""
        return {row["structure"]: row["success"] for row in self.rows if row["metric"] == "Dice"}

    def get(self, name: str, metric: str) -> dict[str, Any]:
        """The row of one structure or channel and one metric; capitals do not matter.

        Raises:
            InputError: there is none.
        """
        for row in self.rows:
            subject = row.get("structure", row.get("channel", ""))
            if (subject.lower(), row["metric"].lower()) == (name.lower(), metric.lower()):
                return row
        known = ", ".join(f"{row.get('structure', row.get('channel'))} {row['metric']}" for row in self.rows)
        raise InputError(f"The evaluation has no {metric} of {name}; it has {known}.")

    def frame(self) -> pandas.DataFrame:
        """The rows as a pandas data frame with the columns `COLUMNS`; what a row lacks is missing.

        Raises:
            InputError: pandas is not installed.
        """
        return notebook.frame(self.rows, COLUMNS)

    def table(self) -> str:
        """The rows as text for a terminal, structures above, channels below; nan reads "undefined"."""
        blocks = [f"Before and after the attack, against the {self.reference} of the original:"]
        blocks.append(format_table([_shown(row) for row in self.rows if "structure" in row]))
        blocks.append(format_table([row for row in self.rows if "channel" in row]))
        return "\n\n".join(blocks)

    def write_csv(self, path: str | Path) -> Path:
        """Write the rows with the columns `COLUMNS`, whole or not at all; nan and what a row lacks are empty.

        Raises:
            InputError: the file cannot be written.
        """
        return write_table(self.rows, path, COLUMNS)


@checked(result="an attack's result")
def evaluate(
    result: AttackedCase,
    model: SegmentationModel,
    regions: Mapping[str, Sequence[int]] | None = None,
    clean: Prediction | None = None,
    attacked: Prediction | None = None,
) -> Evaluation:
    """Measure what an attack did to a model's answer and to the image: `evaluate_pair` of the case before and after.

    Args:
        result: the attack.
        model: the model that is asked; not necessarily the one that was attacked.
        regions, clean, attacked: see `evaluate_pair`.

    Raises:
        InputError: the reference holds labels that the model does not know, or a region does not fit the model's classes.
    """
    return _evaluate(result.original, result.adversarial, model, regions, clean, attacked, result.perturbation)


@checked
def evaluate_pair(
    original: Case,
    adversarial: Case,
    model: SegmentationModel,
    regions: Mapping[str, Sequence[int]] | None = None,
    clean: Prediction | None = None,
    attacked: Prediction | None = None,
) -> Evaluation:
    """Measure what any change of a case's images, however it was made, does to a model's answer and to the images.

    The structures are the foreground outputs of the model by their names and, for a softmax model whose classes are by
    their names those of BraTS, the regions WT, TC and ET; or, in the place of these regions, the caller's.

    Args:
        original: the case before, with the reference labels if there are any.
        adversarial: the case after; same channels and grid. If its reference labels differ, the anatomy has moved: "after" is
            measured against them.
        model: the model that is asked.
        regions: further structures as sets of reference label values, such as `{"tumour": (1, 2, 4)}`.
        clean, attacked: the model's predictions before and after, if they are there already; it saves asking again.

    Raises:
        InputError: the cases have different channels or grids, the reference holds labels that the model does not know, or
            a region does not fit the model's classes.
    """
    return _evaluate(original, adversarial, model, regions, clean, attacked, Perturbation())


def _evaluate(
    original: Case,
    adversarial: Case,
    model: SegmentationModel,
    regions: Mapping[str, Sequence[int]] | None,
    clean: Prediction | None,
    attacked: Prediction | None,
    perturbation: Perturbation,
) -> Evaluation:
    head = model.head
    original, adversarial = original.in_terms_of(head), adversarial.in_terms_of(head)
    case = original
    _check_same(original, adversarial)
    for known in (x.label for x in (original, adversarial) if x.label is not None):
        head.check_label(known)
    wanted = check_regions(head, regions)
    clean = model.predict(case) if clean is None else clean
    _check_grid(clean, case)
    attacked = model.predict(adversarial) if attacked is None else attacked
    _check_grid(attacked, case)
    before, after = _structures(clean, head, wanted), _structures(attacked, head, wanted)
    reference = before if case.label is None else _reference(case.label, head, wanted)
    moved = _moved_reference(original, adversarial, head, wanted, before, perturbation)
    rows: list[dict[str, Any]] = []
    for name in before:
        masks = (before[name], after[name], reference[name], None if moved is None else moved[name])
        rows += _structure_rows(name, *masks, case.spacing)
    for channel, unchanged, changed in zip(case.channels, case.image, adversarial.image):
        rows += _channel_rows(channel, unchanged, changed)
    rows += [_channel_row(*row) for row in perturbation.measured(case)]
    labels = [np.asarray(x.labels, dtype=np.int16) for x in (clean, attacked)]
    return Evaluation(rows, labels[0], labels[1], "prediction" if case.label is None else "label")


@checked
def compare(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Line up several attacks, one row for each: Dice before and after for each structure, and the mean PSNR.

    The mean PSNR (dB) is over the channels that were changed; it is infinite if none was.
    """
    rows = []
    for name, evaluation in evaluations.items():
        row: dict[str, Any] = {"attack": name, "reference": evaluation.reference}
        for found in evaluation.rows:
            if found["metric"] == "Dice":
                row[f"{found['structure']} Dice before"] = found["before"]
                row[f"{found['structure']} Dice after"] = found["after"]
        ratios = [x["value"] for x in evaluation.rows if x["metric"] == "PSNR" and x["value"] != math.inf]
        rows.append({**row, "mean PSNR": sum(ratios) / len(ratios) if ratios else math.inf})
    return rows


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as aligned text for a terminal: four significant digits, nan reads "undefined", what a row lacks is blank.

    Column names are broken at spaces, so that a table with many columns stays narrow; no rows make an empty text.
    """
    columns = _columns(rows)
    texts = [[notebook.cell(row.get(column)) for column in columns] for row in rows]
    words = [column.split() for column in columns]
    height = max(map(len, words), default=0)
    header = list(zip(*([""] * (height - len(parts)) + parts for parts in words)))
    widths = [max(map(len, column)) for column in zip(*header, *texts)]
    numeric = [any(isinstance(row.get(column), float) for row in rows) for column in columns]
    lines = [
        "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in zip(line, widths, numeric))
        for line in (*header, ["-" * width for width in widths], *texts)
    ]
    return "\n".join(line.rstrip() for line in lines if rows)


def write_table(rows: Sequence[Mapping[str, Any]], path: str | Path, columns: Sequence[str] | None = None) -> Path:
    """Write rows as CSV, whole or not at all; nan and what a row lacks are empty; columns as in the rows unless given.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or _columns(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: "" if _is_nan(value) else value for key, value in row.items()} for row in rows)
    return path


def check_regions(head: OutputHead, regions: Mapping[str, Sequence[int]] | None) -> dict[str, tuple[int, ...]]:
    """The regions to measure beside a model's own outputs, as sets of reference labels: the caller's, or else BraTS'.

    Raises:
        InputError: a region does not fit the model's classes.
    """
    names = {head.names[n] for n in head.foreground}
    if regions is None:
        return brats_regions(head)
    taken = sorted(names & set(regions))
    if taken:
        raise InputError(f"The region name(s) {', '.join(taken)} are names of the model's own outputs; give other names.")
    wanted = {str(name): tuple(int(x) for x in values) for name, values in regions.items()}
    for name, values in wanted.items():
        _check_region(head, name, set(values))
    return wanted


def _check_region(head: OutputHead, name: str, values: set[int]) -> None:
    unknown = sorted(values - set(head.labels).union(*head.regions))
    if unknown or not values:
        raise InputError(
            f"The region {name} needs label values that the model knows ({head.describe()}); it has {sorted(values)}."
        )
    for label, region in zip(head.labels, head.regions):
        if head.kind == "softmax" and values & set(region) and not values >= set(region):
            raise InputError(
                f"The region {name} {sorted(values)} takes only a part of the labels {sorted(region)}, which the model's "
                f"class {label} does not tell apart; take all of them or none."
            )


def _structures(prediction: Prediction, head: OutputHead, regions: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The mask of each structure as the model sees it."""
    masks = {head.names[n]: np.asarray(prediction.masks[n], dtype=bool) for n in head.foreground}
    for name, values in regions.items():
        masks[name] = np.isin(prediction.labels, _written_labels(head, values))
    return masks


def _written_labels(head: OutputHead, values: Sequence[int]) -> list[int]:
    """The values in the model's label maps that stand for a set of reference labels; they differ where classes are merged."""
    if head.kind == "sigmoid":
        return list(values)
    return [label for label, region in zip(head.labels, head.regions) if set(region) & set(values)]


def _reference(label: np.ndarray, head: OutputHead, regions: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    wanted = {**{head.names[n]: head.regions[n] for n in head.foreground}, **regions}
    return {name: np.isin(label, values) for name, values in wanted.items()}


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


def _moved_reference(
    original: Case,
    adversarial: Case,
    head: OutputHead,
    regions: Mapping[str, tuple[int, ...]],
    before: Mapping[str, np.ndarray],
    perturbation: Perturbation,
) -> dict[str, np.ndarray] | None:
    """What "after" is measured against where the anatomy has moved; None where it has not."""
    if original.label is None:
        if perturbation.displacement is None:
            return None
        masks = np.stack(list(before.values())).astype(np.uint8)
        moved = warped(masks, perturbation.displacement, original.affine, "nearest") != 0
        return dict(zip(before, moved))
    if adversarial.label is None or np.array_equal(original.label, adversarial.label):
        return None
    return _reference(adversarial.label, head, regions)


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
        drop = (old - new) / old if metric in _OVERLAP and old else math.nan
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


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the drop where it has no meaning, so that it does not read "undefined"."""
    return {key: value for key, value in row.items() if key != "drop" or row["metric"] in _OVERLAP}


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
