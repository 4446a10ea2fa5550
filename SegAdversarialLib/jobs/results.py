"""Results as files: a folder for each attack, written whole or not at all, and one table over all of them."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib import __version__
from SegAdversarialLib.attacks import AttackResult
from SegAdversarialLib.case import Case, stored, write_volume
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation import Evaluation, write_table
from SegAdversarialLib.files import RESULT_MARKER, check_replaceable, check_writable, file_name, whole_file, whole_folder

if TYPE_CHECKING:
    from SegAdversarialLib.model import SegmentationModel

JOB_FILE = "job.json"
TABLE_FILE = "results.csv"
CLEAN_FILE = "segmentation-clean.nii.gz"


def prepare_output(folder: Path, runs: Sequence[str], inputs: Sequence[Path]) -> None:
    """Check before any work that results can be written and that nothing of the user's would be lost.

    Raises:
        InputError: the folder cannot be written to, holds files of that name from elsewhere, or an input lies in the way.
    """
    check_writable(folder)
    if not (folder / JOB_FILE).is_file():
        for name in (TABLE_FILE, CLEAN_FILE):
            if (folder / name).exists():
                raise InputError(f"{folder / name} is not from this software and would be overwritten; give another folder.")
    targets = [(folder / run).resolve() for run in runs]
    for target in targets:
        check_replaceable(target)
    for path in inputs:
        place = path.resolve()
        if place == (folder / CLEAN_FILE).resolve() or any(target in place.parents for target in targets):
            raise InputError(f"The input {path} lies where results would be written; give another output folder.")


def write_attack(folder: Path, result: AttackResult, evaluation: Evaluation, model: SegmentationModel) -> None:
    """Write one attack: adversarial channels, perturbation, segmentation, metrics, trace and the whole configuration."""
    case, adversarial = result.original, result.adversarial
    assert case.dtypes is not None
    with whole_folder(folder) as temporary:
        for n, channel in enumerate(case.channels):
            if np.array_equal(case.image[n], adversarial.image[n]):
                continue
            name = file_name(channel)
            write_volume(temporary / f"{name}.nii.gz", stored(adversarial.image[n], case.dtypes[n]), case.affine)
            if result.perturbation.additive is not None:
                added = stored(result.perturbation.additive[n], case.dtypes[n])
                write_volume(temporary / f"perturbation-{name}.nii.gz", added, case.affine)
        write_volume(temporary / "segmentation-attacked.nii.gz", evaluation.attacked, case.affine)
        evaluation.write_csv(temporary / "metrics.csv")
        if result.trace:
            write_table(result.trace, temporary / "trace.csv")
        record = {
            **result.describe(),
            "network": model.describe(),
            "evaluation": evaluation.rows,
            "reference": evaluation.reference,
            "versions": versions(),
        }
        write_json(temporary / RESULT_MARKER, record)


def write_segmentation(path: Path, labels: np.ndarray, case: Case) -> Path:
    """Write a label map (K, J, I) on a case's grid."""
    return write_volume(path, labels, case.affine)


def write_json(path: Path, data: Any) -> None:
    """Write JSON data, whole or not at all; numbers that JSON lacks (nan, infinity) become null."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(plain(data), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def plain(data: Any) -> Any:
    """`data` with null in the place of nan and infinity, so that every JSON reader takes it."""
    if isinstance(data, dict):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def versions() -> dict[str, str]:
    """The versions that a result was made with."""
    found = {"SegAdversarial": __version__, "python": platform.python_version()}
    for package in ("torch", "monai", "SimpleITK", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
