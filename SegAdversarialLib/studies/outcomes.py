"""What was measured in a cell, as the rows that the store keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.evaluation.evaluation import UNWARPED, Evaluation
from SegAdversarialLib.metrics.normality import quantile_line
from SegAdversarialLib.studies.records import THRESHOLD_COLUMNS

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.threshold import Threshold
    from SegAdversarialLib.defenses.audit import Audit
    from SegAdversarialLib.volumes.case import Case

Row = dict[str, Any]
Line = tuple[float, float]

_BEFORE_AFTER = {"Dice": "dice", "IoU": "iou", "HD95": "hd95", "Volume": "volume"}
_OF_CHANNELS = {
    **{"PSNR": "psnr", "SSIM": "ssim", "RMSE": "rmse"},
    **{"Perceptibility": "perceptibility", "Largest change": "largest_change"},
}


def structure_rows(evaluation: Evaluation) -> list[Row]:
    """A row with STRUCTURE_COLUMNS for each structure."""
    found: dict[str, Row] = {}
    for row in evaluation.rows:
        if "structure" not in row:
            continue
        name = row["structure"]
        about = {"structure": name, "region": name in evaluation.regions, "dice_unwarped": math.nan}
        of = found.setdefault(name, about)
        if row["metric"] == UNWARPED:
            of["dice_unwarped"] = float(row["after"])
            continue
        name = _BEFORE_AFTER[row["metric"]]
        of |= {f"{name}_before": float(row["before"]), f"{name}_after": float(row["after"])}
        if row["metric"] == "Dice":
            of |= {"drop": float(row["drop"]), "success": bool(row["success"])}
    for of in found.values():
        for when in ("before", "after"):
            # no overlap and no distance: one of both is empty, and the structure missed or made up
            if math.isnan(of[f"hd95_{when}"]) and of[f"dice_{when}"] == 0:
                of[f"hd95_{when}"] = math.inf
    return list(found.values())


def threshold_rows(thresholds: Iterable[Threshold]) -> list[Row]:
    """A row with THRESHOLD_COLUMNS for each least budget; infinite where the largest budget did not do."""
    described = ({**x.describe(), "upper": math.inf if x.upper is None else x.upper} for x in thresholds)
    return [{column: row[column] for column in THRESHOLD_COLUMNS} for row in described]


def channel_rows(evaluation: Evaluation, case: Case, adversarial: Case, before: Sequence[Line]) -> list[Row]:
    """A row with CHANNEL_COLUMNS for each channel.

    Args:
        evaluation: what was measured.
        case, adversarial: before and after.
        before: the lines of the unchanged channels, as `qq_lines` gives them.
    """
    found: dict[str, Row] = {channel: {"channel": channel} for channel in case.channels}
    for row in evaluation.rows:
        if row.get("channel") in found and row["metric"] in _OF_CHANNELS:
            found[row["channel"]][_OF_CHANNELS[row["metric"]]] = float(row["value"])
    lines = zip(found.values(), before, qq_lines(case, adversarial))
    return [row | _said("before", old) | _said("after", new) for row, old, new in lines]


def qq_lines(case: Case, adversarial: Case) -> list[Line]:
    """Slope and intercept of the normal QQ plot of each channel's intensities after a change, where the unchanged case has
    its foreground: voxels above 0 in any channel (Cheng & Ji 2020)."""
    inside = (case.image > 0).any(0)
    found = [quantile_line(channel[inside]) for channel in adversarial.image]
    return [(line.slope, line.intercept) for line in found]


def _said(when: str, line: Line) -> Row:
    return {f"qq_slope_{when}": line[0], f"qq_intercept_{when}": line[1]}


def audited_rows(audit: Audit) -> list[Row]:
    """A row with AUDITED_COLUMNS for each size and each structure, and for their mean ("mean")."""
    from SegAdversarialLib.defenses.audit.probes import ITERATIVE

    measured, rows = audit.measured, []
    for epsilon in measured.epsilons():
        strongest = measured.strongest(epsilon)
        plain = measured.of(ITERATIVE, epsilon) or (measured.clean if epsilon == 0 else ())
        for structure, left in measured.audited(epsilon).items():
            values = [x.mean if structure == "mean" else x.dice.get(structure, math.nan) for x in plain]
            mean = float(np.mean(values)) if values else math.nan
            rows.append({"epsilon": epsilon, "structure": structure, "plain": mean, "audited": left, "strongest": strongest})
    return rows
