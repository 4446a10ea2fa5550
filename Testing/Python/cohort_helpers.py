"""Tiny image files as data sets have them, written with nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

SHAPE = (6, 5, 4)


def write_image(path: Path, seed: int = 0, shape: tuple[int, ...] = SHAPE, spacing: float = 1.0) -> Path:
    """A NIfTI file of random whole numbers."""
    values = np.random.default_rng(seed).integers(1, 500, shape).astype(np.int16)
    return _written(path, values, spacing)


def write_label(path: Path, values: tuple[int, ...] = (1, 2, 4), shape: tuple[int, ...] = SHAPE, spacing: float = 1.0) -> Path:
    """A label map in which each of some values has one row of voxels."""
    label = np.zeros(shape, np.uint8)
    for n, value in enumerate(values):
        label[n, 0] = value
    return _written(path, label, spacing)


def _written(path: Path, values: np.ndarray, spacing: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([spacing, spacing, spacing, 1.0])), path)
    return path


def write_brats(folder: Path, name: str, *, leave_out: tuple[str, ...] = (), ending: str = ".nii.gz", **options: int) -> Path:
    """A case as BraTS gives it: with names from 2023 on if its name has dashes, else those until 2021."""
    late = name.lower().startswith("brats-")
    channels = ("t1n", "t1c", "t2w", "t2f") if late else ("t1", "t1ce", "t2", "flair")
    sign, place = "-" if late else "_", folder / name
    for n, channel in enumerate(channels):
        if channel not in leave_out:
            write_image(place / f"{name}{sign}{channel}{ending}", seed=n)
    if "seg" not in leave_out:
        write_label(place / f"{name}{sign}seg{ending}", (1, 2, 3) if late else (1, 2, 4))
    return place
