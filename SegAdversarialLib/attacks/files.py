"""An attack's result as a folder of files, written whole or not at all; `jobs.results` reads all of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from SegAdversarialLib.changes.files import DISPLACEMENT, LOG_BIAS, own_names, write_parts
from SegAdversarialLib.evaluation.attacked import AttackedCase
from SegAdversarialLib.evaluation.evaluation import Evaluation
from SegAdversarialLib.evaluation.files import ATTACKED, CLEAN, write_measured
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import file_name, whole_folder
from SegAdversarialLib.volumes.reading import read_channel
from SegAdversarialLib.volumes.writing import stored, write_volume

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

REGION, ITERATIONS, MOVED_LABEL = "region", "iterations", "label-moved"
"""The names, without ending, of what only some results have."""


class Written(AttackedCase, Protocol):
    """What is written: an `AttackResult`."""

    @property
    def trace(self) -> Sequence[Mapping[str, Any]]:
        """A row for each iteration."""

    @property
    def snapshots(self) -> Sequence[Any]:
        """The iterations that were kept."""

    @property
    def seconds(self) -> float:
        """How long it took."""

    def describe(self) -> dict[str, Any]:
        """The record."""


def write_attack(
    folder: Path,
    result: Written,
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
        parts = write_parts(temporary, result.perturbation, case, file_names(case.channels), ending)
        if moved is not None:
            write_volume(temporary / f"{MOVED_LABEL}{ending}", moved, case.affine, case.space)
        if isinstance(result.attack.region, np.ndarray):  # a region that is a file stays where it is
            write_volume(
                temporary / f"{REGION}{ending}", (result.attack.region != 0).astype(np.uint8), case.affine, case.space
            )
        snapshots = [_write_snapshot(temporary / ITERATIONS, case, snapshot, ending) for snapshot in result.snapshots]
        if result.trace:
            write_table(result.trace, temporary / "trace.csv")
        record = {**(about or {}), **result.describe(), "seconds": result.seconds, "snapshots": snapshots}
        record |= {"parts": parts, "label_moved": moved is not None}
        write_measured(temporary, evaluation, case, model, ending, {**record, "changed": changed})


def _write_snapshot(folder: Path, case: Case, snapshot: Any, ending: str) -> dict[str, Any]:
    start = f"{snapshot.iteration:04d}-"
    changed = _write_changed(folder, start, case, snapshot.image, ending)
    write_volume(folder / f"{start}segmentation{ending}", snapshot.segmentation, case.affine, case.space)
    return {"iteration": snapshot.iteration, "changed": changed}


def _write_changed(folder: Path, start: str, case: Case, image: np.ndarray, ending: str) -> list[str]:
    """Write the channels of an image (C, K, J, I) that differ from the case's, and return their names."""
    changed = []
    assert case.dtypes is not None
    for n, (channel, name) in enumerate(zip(case.channels, file_names(case.channels))):
        if not np.array_equal(case.image[n], image[n]):
            write_volume(folder / f"{start}{name}{ending}", stored(image[n], case.dtypes[n]), case.affine, case.space)
            changed.append(channel)
    return changed


def changed_image(folder: Path, start: str, case: Case, changed: Sequence[str], ending: str) -> np.ndarray:
    """Read back the image (C, K, J, I) of which `changed` channels were written; the others are the case's.

    Raises:
        InputError: a file is missing, damaged, or lies on another grid.
    """
    image = case.image.copy()
    for n, (channel, name) in enumerate(zip(case.channels, file_names(case.channels))):
        if channel in changed:
            image[n] = read_channel(folder / f"{start}{name}{ending}", case.grid)
    return image


def file_names(channels: Sequence[str]) -> list[str]:
    """A file name without ending for each channel, different from each other and from the other files of a result."""
    taken, names = {CLEAN, ATTACKED, REGION, MOVED_LABEL, DISPLACEMENT, LOG_BIAS, "segmentation"}, []
    for channel in channels:
        base = file_name(channel)
        for name in itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2))):
            own = {x.lower() for x in (name, *own_names(name))}
            if not own & taken:
                break
        taken |= own
        names.append(name)
    return names
