"""Results as files: a folder for each attack (`attacks.files`), one table over all of them, and the way back.

Reading needs neither torch nor the network: it is what the graphical interface does with what its worker has written.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.attacks import Attack, AttackResult, Snapshot, make_attack
from SegAdversarialLib.attacks.files import ITERATIONS, MOVED_LABEL, REGION, changed_image, file_names
from SegAdversarialLib.attacks.threshold import Threshold
from SegAdversarialLib.changes.files import read_parts
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.evaluation import Evaluation
from SegAdversarialLib.evaluation.files import ATTACKED, CLEAN
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import RESULT_MARKER
from SegAdversarialLib.volumes.json_data import number
from SegAdversarialLib.volumes.reading import read_label, read_mask
from SegAdversarialLib.volumes.writing import write_volume

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel
    from SegAdversarialLib.structures.output_head import OutputHead

JOB_FILE = "job.json"
TABLE_FILE = "results.csv"
PERTURBATION_FILE = "perturbation.safetensors"
"""What a learned universal perturbation is written to."""
EVALUATION = "evaluation"
"""The folder of what an evaluation job finds."""
PICTURES = "pictures"
"""The folder of a job's pictures, which are called like its results."""

_ENDINGS = (".nii.gz", ".nrrd")
CLEAN_FILES = tuple(f"{CLEAN}{ending}" for ending in _ENDINGS)
"""What the segmentation of the unchanged case may be called in a job's folder."""
_TEXTS = ("structure", "channel", "metric", "unit")
"""The columns of tables that hold texts, not numbers."""


def first_dice(clean: Prediction, head: OutputHead, case: Case) -> str:
    """In few words, the Dice of the network's answer for the unchanged case; empty without a reference."""
    from SegAdversarialLib.metrics import dice, mean_dice

    if case.label is None:
        return ""
    found = {head.names[n]: dice(clean.masks[n], np.isin(case.label, head.regions[n])) for n in head.foreground}
    single = f" ({', '.join(f'{name} {value:.3f}' for name, value in found.items())})" if 1 < len(found) < 5 else ""
    return f"mean Dice {mean_dice(found.values()):.3f}{single}"


def write_clean(folder: Path, labels: np.ndarray, case: Case, ending: str) -> Path:
    """Write the segmentation (K, J, I) of the unchanged case."""
    return write_volume(folder / f"{CLEAN}{ending}", labels, case.affine, case.space)


def read_attack(folder: str | Path, case: Case) -> tuple[AttackResult, Evaluation]:
    """Read back what `write_attack` wrote, equal to what it was given.

    Args:
        folder: one attack's folder of results.
        case: the case that was attacked.

    Raises:
        InputError: the folder holds no such result, something in it is missing or damaged, or it belongs to another case.
    """
    folder = Path(folder)
    record = _record(folder, case)
    try:
        attack = _attack(folder, record, case)
        image = changed_image(folder, "", case, record["changed"], record["ending"])
        adversarial = case.with_image(image)
        if record.get("label_moved"):
            adversarial = replace(adversarial, label=read_label(folder / f"{MOVED_LABEL}{record['ending']}", case.grid))
        result = AttackResult(
            original=case,
            adversarial=adversarial,
            perturbation=_perturbation(folder, record, adversarial, case),
            attack=attack,
            model=record["model"],
            trace=_trace(folder / "trace.csv"),
            restart=record["restart"],
            iteration=record.get("iteration", 0),
            snapshots=[_snapshot(folder / ITERATIONS, case, x, record["ending"]) for x in record["snapshots"]],
            gradient_evaluations=record["gradient_evaluations"],
            forward_evaluations=record["forward_evaluations"],
            windows_spared=record.get("windows_spared", 0.0),
            seconds=record["seconds"],
            device=record["device"],
            intensities=record.get("intensities", {}),
            thresholds=tuple(Threshold(**x) for x in record.get("thresholds", ())),
        )
        return result, _evaluation(folder, record, case)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error


def read_evaluation(folder: str | Path, case: Case) -> Evaluation:
    """Read back what an evaluation job found.

    Args:
        folder: the job's output folder.
        case: the case before the change.

    Raises:
        InputError: the folder holds no such result, something in it is missing or damaged, or it belongs to another case.
    """
    folder = Path(folder) / EVALUATION
    record = _record(folder, case)
    try:
        return _evaluation(folder, record, case)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error


def read_segmentation(folder: str | Path) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Read back what a segmentation job found: the label map (K, J, I) int16 and the rows of its table.

    Raises:
        InputError: the folder holds no such result, or it is damaged.
    """
    folder = Path(folder)
    place = next((x for name in CLEAN_FILES if (x := folder / name).is_file()), folder / CLEAN_FILES[0])
    labels = Case.read({"segmentation": place}).image[0].astype(np.int16)
    return labels, _table(folder / TABLE_FILE)


def read_record(folder: Path) -> dict[str, Any]:
    """The record (result.json) of one result.

    Raises:
        InputError: the folder holds none, or it is damaged.
    """
    path = folder / RESULT_MARKER
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable result ({error}); give a folder of results.") from error
    if not isinstance(record, dict) or "channels" not in record:
        raise _damaged(folder, KeyError("channels"))
    return record


def measured_rows(record: Mapping[str, Any]) -> Evaluation:
    """What was measured of a result, by its record, without the segmentations.

    Raises:
        InputError: the record is damaged.
    """
    try:
        rows = [{key: x if key in _TEXTS else number(x) for key, x in row.items()} for row in record["evaluation"]]
        nothing = np.zeros((0, 0, 0), np.int16)
        own = {x["name"] for x in record["network"]["classes"]}
        beside = dict.fromkeys(x["structure"] for x in rows if "structure" in x and x["structure"] not in own)
        return Evaluation(rows, nothing, nothing, record["reference"], tuple(record.get("notes", ())), tuple(beside))
    except (KeyError, TypeError, AttributeError) as error:
        of = record.get("case") or "a case"
        raise InputError(f"A result of {of} is damaged or of another version ({type(error).__name__}: {error}).") from error


def _record(folder: Path, case: Case) -> dict[str, Any]:
    record = read_record(folder)
    if record["channels"] != list(case.channels):
        raise InputError(
            f"The result in {folder} belongs to another case: its channels are {', '.join(map(str, record['channels']))}, "
            f"those of {case.name or 'the case'} {', '.join(case.channels)}."
        )
    return record


def _attack(folder: Path, record: Mapping[str, Any], case: Case) -> Attack:
    settings = dict(record["attack"])
    if isinstance(settings.get("region"), dict):  # it was an array: `describe` keeps a fingerprint, the folder the mask
        settings["region"] = read_mask(folder / f"{REGION}{record['ending']}", case.grid)
    return make_attack(settings.pop("attack"), settings)


def _perturbation(folder: Path, record: Mapping[str, Any], adversarial: Case, case: Case) -> Perturbation:
    parts = record.get("parts")
    if not parts or not (parts["bias_fields"] or parts["displacement"]):
        return Perturbation.between(case, adversarial)
    return read_parts(folder, parts, case, file_names(case.channels), record["ending"])


def _snapshot(folder: Path, case: Case, record: Mapping[str, Any], ending: str) -> Snapshot:
    start = f"{record['iteration']:04d}-"
    image = changed_image(folder, start, case, record["changed"], ending)
    return Snapshot(record["iteration"], image, read_label(folder / f"{start}segmentation{ending}", case.grid))


def _evaluation(folder: Path, record: Mapping[str, Any], case: Case) -> Evaluation:
    labels = [read_label(folder / f"{name}{record['ending']}", case.grid) for name in (CLEAN, ATTACKED)]
    return replace(measured_rows(record), clean=labels[0], attacked=labels[1])


def _trace(path: Path) -> list[dict[str, Any]]:
    return _table(path) if path.is_file() else []


def _table(path: Path) -> list[dict[str, Any]]:
    """The rows that `write_table` wrote, for tables whose rows all have the same columns."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{key: x if key in _TEXTS else _cell(x) for key, x in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"The table {path} is missing or damaged ({error}).") from error


def _cell(text: str) -> float:
    if not text:
        return math.nan
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _damaged(folder: Path, error: Exception) -> InputError:
    return InputError(f"The result in {folder} is damaged or of another version ({type(error).__name__}: {error}).")


def clean_rows(prediction: Prediction, model: SegmentationModel, case: Case) -> list[dict[str, Any]]:
    """Volume, and Dice where there is a reference, of each structure that a network sees in a case."""
    from SegAdversarialLib.metrics import dice, volume_ml

    head = model.head
    rows: list[dict[str, Any]] = []
    for n in head.foreground:
        row: dict[str, Any] = {"structure": head.names[n], "Volume (ml)": volume_ml(prediction.masks[n], case.spacing)}
        if case.label is not None:
            row["Dice"] = dice(prediction.masks[n], np.isin(case.label, head.regions[n]))
        rows.append(row)
    return rows
