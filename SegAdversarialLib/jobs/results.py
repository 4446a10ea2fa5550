"""Results as files: a folder for each attack, written whole or not at all, one table over all of them, and the way back.

Reading needs neither torch nor the network: it is what the graphical interface does with what its worker has written.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib import __version__
from SegAdversarialLib.attacks import Attack, AttackResult, Snapshot, make_attack
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.evaluation import Evaluation
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.jobs.json_data import exact, number
from SegAdversarialLib.jobs.parts import DISPLACEMENT, LOG_BIAS, own_names, read_parts, write_parts
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import (
    RESULT_MARKER,
    file_name,
    whole_file,
    whole_folder,
)
from SegAdversarialLib.volumes.reading import read_channel, read_label
from SegAdversarialLib.volumes.writing import stored, write_volume

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

JOB_FILE = "job.json"
TABLE_FILE = "results.csv"
PERTURBATION_FILE = "perturbation.safetensors"
"""What a learned universal perturbation is written to."""
EVALUATION = "evaluation"
"""The folder of what an evaluation job finds."""
PICTURES = "pictures"
"""The folder of a job's pictures, which are called like its results."""

_CLEAN, _ATTACKED, _REGION, _ITERATIONS = "segmentation-clean", "segmentation-attacked", "region", "iterations"
_LABEL = "label-moved"
_ENDINGS = (".nii.gz", ".nrrd")
CLEAN_FILES = tuple(f"{_CLEAN}{ending}" for ending in _ENDINGS)
"""What the segmentation of the unchanged case may be called in a job's folder."""
_TEXTS = ("structure", "channel", "metric", "unit")
"""The columns of tables that hold texts, not numbers."""


def write_clean(folder: Path, labels: np.ndarray, case: Case, ending: str) -> Path:
    """Write the segmentation (K, J, I) of the unchanged case."""
    return write_volume(folder / f"{_CLEAN}{ending}", labels, case.affine)


def write_attack(
    folder: Path,
    result: AttackResult,
    evaluation: Evaluation,
    model: SegmentationModel,
    ending: str = ".nii.gz",
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write one attack: adversarial channels, the perturbation's parts, reference labels that were moved with the anatomy,
    segmentations, iterations, metrics, trace and configuration; `about` is what else its record says."""
    case, moved = result.original, result.moved_label
    with whole_folder(folder) as temporary:
        changed = _write_changed(temporary, "", case, result.adversarial.image, ending)
        parts = write_parts(temporary, result.perturbation, case, _file_names(case.channels), ending)
        if moved is not None:
            write_volume(temporary / f"{_LABEL}{ending}", moved, case.affine)
        if isinstance(result.attack.region, np.ndarray):  # a region that is a file stays where it is
            write_volume(temporary / f"{_REGION}{ending}", (result.attack.region != 0).astype(np.uint8), case.affine)
        snapshots = [_write_snapshot(temporary / _ITERATIONS, case, snapshot, ending) for snapshot in result.snapshots]
        if result.trace:
            write_table(result.trace, temporary / "trace.csv")
        record = {**(about or {}), **result.describe(), "seconds": result.seconds, "snapshots": snapshots}
        record |= {"parts": parts, "label_moved": moved is not None}
        _write_evaluation(temporary, evaluation, case, model, ending, {**record, "changed": changed})


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
        _write_evaluation(temporary, evaluation, adversarial, model, ending, record)


def _write_evaluation(
    folder: Path, evaluation: Evaluation, case: Case, model: SegmentationModel, ending: str, record: Mapping[str, Any]
) -> None:
    for name, labels in ((_CLEAN, evaluation.clean), (_ATTACKED, evaluation.attacked)):
        write_volume(folder / f"{name}{ending}", labels, case.affine)
    evaluation.write_csv(folder / "metrics.csv")
    measured = {"evaluation": evaluation.rows, "reference": evaluation.reference, "notes": list(evaluation.notes)}
    made = {"network": model.describe(), "versions": versions(), "ending": ending}
    write_json(folder / RESULT_MARKER, {**record, **measured, **made})


def _write_snapshot(folder: Path, case: Case, snapshot: Snapshot, ending: str) -> dict[str, Any]:
    start = f"{snapshot.iteration:04d}-"
    changed = _write_changed(folder, start, case, snapshot.image, ending)
    write_volume(folder / f"{start}segmentation{ending}", snapshot.segmentation, case.affine)
    return {"iteration": snapshot.iteration, "changed": changed}


def _write_changed(folder: Path, start: str, case: Case, image: np.ndarray, ending: str) -> list[str]:
    """Write the channels of an image (C, K, J, I) that differ from the case's, and return their names."""
    changed = []
    assert case.dtypes is not None
    for n, (channel, name) in enumerate(zip(case.channels, _file_names(case.channels))):
        if not np.array_equal(case.image[n], image[n]):
            write_volume(folder / f"{start}{name}{ending}", stored(image[n], case.dtypes[n]), case.affine)
            changed.append(channel)
    return changed


def _file_names(channels: Sequence[str]) -> list[str]:
    """A file name without ending for each channel, different from each other and from the other files of a result."""
    taken, names = {_CLEAN, _ATTACKED, _REGION, _LABEL, DISPLACEMENT, LOG_BIAS, "segmentation"}, []
    for channel in channels:
        base = file_name(channel)
        for name in itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2))):
            own = {x.lower() for x in (name, *own_names(name))}
            if not own & taken:
                break
        taken |= own
        names.append(name)
    return names


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
        image = _changed_image(folder, "", case, record["changed"], record["ending"])
        adversarial = case.with_image(image)
        if record.get("label_moved"):
            adversarial = replace(adversarial, label=read_label(folder / f"{_LABEL}{record['ending']}", case.grid))
        result = AttackResult(
            original=case,
            adversarial=adversarial,
            perturbation=_perturbation(folder, record, adversarial, case),
            attack=attack,
            model=record["model"],
            trace=_trace(folder / "trace.csv"),
            restart=record["restart"],
            iteration=record.get("iteration", 0),
            snapshots=[_snapshot(folder / _ITERATIONS, case, x, record["ending"]) for x in record["snapshots"]],
            gradient_evaluations=record["gradient_evaluations"],
            forward_evaluations=record["forward_evaluations"],
            seconds=record["seconds"],
            device=record["device"],
            intensities=record.get("intensities", {}),
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
        return Evaluation(rows, nothing, nothing, record["reference"], tuple(record.get("notes", ())))
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
        settings["region"] = read_label(folder / f"{_REGION}{record['ending']}", case.grid) != 0
    return make_attack(settings.pop("attack"), settings)


def _perturbation(folder: Path, record: Mapping[str, Any], adversarial: Case, case: Case) -> Perturbation:
    parts = record.get("parts")
    if not parts or not (parts["bias_fields"] or parts["displacement"]):
        return Perturbation.between(case, adversarial)
    return read_parts(folder, parts, case, _file_names(case.channels), record["ending"])


def _snapshot(folder: Path, case: Case, record: Mapping[str, Any], ending: str) -> Snapshot:
    start = f"{record['iteration']:04d}-"
    image = _changed_image(folder, start, case, record["changed"], ending)
    return Snapshot(record["iteration"], image, read_label(folder / f"{start}segmentation{ending}", case.grid))


def _changed_image(folder: Path, start: str, case: Case, changed: Sequence[str], ending: str) -> np.ndarray:
    image = case.image.copy()
    for n, (channel, name) in enumerate(zip(case.channels, _file_names(case.channels))):
        if channel in changed:
            image[n] = read_channel(folder / f"{start}{name}{ending}", case.grid)
    return image


def _evaluation(folder: Path, record: Mapping[str, Any], case: Case) -> Evaluation:
    labels = [read_label(folder / f"{name}{record['ending']}", case.grid) for name in (_CLEAN, _ATTACKED)]
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


def write_json(path: Path, data: Any) -> None:
    """Write JSON data, whole or not at all; nan becomes null, and infinities the texts "Infinity" and "-Infinity"."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(exact(data), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """The versions that a result was made with."""
    found = {"SegAdversarial": __version__, "python": platform.python_version()}
    for package in ("torch", "monai", "SimpleITK", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
