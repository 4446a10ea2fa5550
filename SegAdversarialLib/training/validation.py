"""How good a network in training is, on cases that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.errors import CancelCheck
from SegAdversarialLib.metrics import dice, iou

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.volumes.case import Case

MEAN = "Dice"
"""The column of the mean over the structures."""


def columns_of(names: Sequence[str]) -> list[str]:
    """The columns of a validation: the mean Dice, then Dice and IoU of each structure."""
    return [MEAN, *(f"{MEAN} {x}" for x in names), *(f"IoU {x}" for x in names)]


def scores_of(model: SegmentationModel, case: Case, cancel: CancelCheck | None = None) -> np.ndarray:
    """Dice and IoU (2, structures) of what a network says of a case, on the case's own grid."""
    prediction = model.predict(case, cancel=cancel)
    assert case.label is not None
    found = [
        (dice(prediction.masks[n], reference), iou(prediction.masks[n], reference))
        for n in model.head.foreground
        for reference in [np.isin(case.label, model.head.regions[n])]
    ]
    return np.array(found).T


def row_of(scores: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The means over cases of scores (cases, 2, structures), by column."""
    means = scores.mean(0)
    return dict(zip(columns_of(names), map(float, [means[0].mean(), *means[0], *means[1]])))
