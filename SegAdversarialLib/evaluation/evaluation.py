"""What an attack did to a segmentation and to the image: before and after in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.tables import format_table, write_table
from SegAdversarialLib.metrics import mean_dice, mean_psnr
from SegAdversarialLib.showing import notebook

if TYPE_CHECKING:
    import pandas

COLUMNS = ("structure", "channel", "metric", "unit", "before", "after", "drop", "success", "value")
"""The columns of an evaluation as a table."""

UNWARPED = "Dice unwarped"
"""The metric of Dice against the reference left in place, where an attack has moved the anatomy."""

OVERLAP = ("Dice", UNWARPED, "IoU")
"""The metrics of which less is worse, so that a drop has a meaning."""


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
        regions: the structures that were measured beside the network's own ones: they do not count in the mean Dice.
        notes: the least budgets that were found, where these were searched for, and what makes these figures say less than
            they seem to, one sentence each; empty where nothing does.
    """

    rows: list[dict[str, Any]]
    clean: np.ndarray
    attacked: np.ndarray
    reference: str
    notes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return notebook.evaluation_line(self.rows, self.reference, self.mean_psnr)

    def _repr_html_(self) -> str:
        return notebook.table(self.rows, COLUMNS, f"Before and after, against the {self.reference}")

    @property
    def success(self) -> dict[str, bool]:
        """Whether the attack succeeded on each structure: a relative drop of Dice of 30 % or more (Chen et al. 2019)."""
        return {row["structure"]: row["success"] for row in self.rows if row["metric"] == "Dice"}

    @property
    def mean_dice(self) -> tuple[float, float]:
        """Before and after, the mean Dice (`metrics.mean_dice`): over the network's own structures, without `regions`."""
        own = [row for row in self.rows if row["metric"] == "Dice" and row["structure"] not in self.regions]
        return mean_dice(row["before"] for row in own), mean_dice(row["after"] for row in own)

    @property
    def mean_psnr(self) -> float:
        """The mean PSNR (`metrics.mean_psnr`), in dB."""
        return mean_psnr(row["value"] for row in self.rows if row["metric"] == "PSNR")

    @checked
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
        """The rows as text for a terminal, structures above, channels below, then the notes; nan reads "undefined"."""
        blocks = [f"Before and after the attack, against the {self.reference} of the original:"]
        blocks.append(format_table([_shown(row) for row in self.rows if "structure" in row]))
        blocks.append(format_table([row for row in self.rows if "channel" in row]))
        return "\n\n".join([*blocks, *(f"Note: {note}" for note in self.notes)])

    @checked
    def write_csv(self, path: str | Path) -> Path:
        """Write the rows with the columns `COLUMNS`, whole or not at all; nan and what a row lacks are empty.

        Raises:
            InputError: the file cannot be written.
        """
        return write_table(self.rows, path, COLUMNS)


@checked
def compare(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Line up several attacks, one row for each: Dice before and after for each structure, their means, and the mean PSNR.

    The mean Dice is that of the network's own structures, where it has several. The mean PSNR (dB) is over
    the channels that were changed (`metrics.mean_psnr`).
    """
    rows = []
    for name, evaluation in evaluations.items():
        row: dict[str, Any] = {"attack": name, "reference": evaluation.reference}
        for found in evaluation.rows:
            if found["metric"] == "Dice":
                row[f"{found['structure']} Dice before"] = found["before"]
                row[f"{found['structure']} Dice after"] = found["after"]
        if sum(x["metric"] == "Dice" and x["structure"] not in evaluation.regions for x in evaluation.rows) > 1:
            row["mean Dice before"], row["mean Dice after"] = evaluation.mean_dice
        rows.append({**row, "mean PSNR": evaluation.mean_psnr})
    return rows


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the drop where it has no meaning, so that it does not read "undefined"."""
    return {key: value for key, value in row.items() if key != "drop" or row["metric"] in OVERLAP}
