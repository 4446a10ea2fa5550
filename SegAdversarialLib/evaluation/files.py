"""An evaluation as files in a folder of results."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib import __version__
from SegAdversarialLib.evaluation.evaluation import Evaluation
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import RESULT_MARKER, whole_folder
from SegAdversarialLib.volumes.json_data import write_json
from SegAdversarialLib.volumes.writing import write_volume

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

CLEAN, ATTACKED = "segmentation-clean", "segmentation-attacked"
"""The names, without ending, of the files of both segmentations."""


def write_evaluation(
    folder: Path,
    adversarial: Case,
    evaluation: Evaluation,
    model: SegmentationModel,
    ending: str = ".nii.gz",
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write what a change of a case's images did: both segmentations and all metrics; `about` is what else its record says."""
    with whole_folder(folder) as temporary:
        record = {**(about or {}), "case": adversarial.name, "channels": list(adversarial.channels)}
        write_measured(temporary, evaluation, adversarial, model, ending, record)


def write_measured(
    folder: Path, evaluation: Evaluation, case: Case, model: SegmentationModel, ending: str, record: Mapping[str, Any]
) -> None:
    """Write into a folder what was measured: both segmentations, the table, and the record with what else it says."""
    for name, labels in ((CLEAN, evaluation.clean), (ATTACKED, evaluation.attacked)):
        write_volume(folder / f"{name}{ending}", labels, case.affine, case.space)
    evaluation.write_csv(folder / "metrics.csv")
    measured = {"evaluation": evaluation.rows, "reference": evaluation.reference, "notes": list(evaluation.notes)}
    made = {"network": model.describe(), "versions": versions(), "ending": ending}
    write_json(folder / RESULT_MARKER, {**record, **measured, **made})


def versions() -> dict[str, str]:
    """The versions that a result was made with."""
    found = {"SegAdversarial": __version__, "python": platform.python_version()}
    for package in ("torch", "monai", "SimpleITK", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
