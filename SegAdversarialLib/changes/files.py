"""The parts of a perturbation as files in a folder of results, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.reading import read_channel, read_values
from SegAdversarialLib.volumes.volume import Space
from SegAdversarialLib.volumes.writing import stored, write_volume

DISPLACEMENT, LOG_BIAS, ADDITIVE = "displacement", "log-bias", "perturbation"
"""What the files are named after, with the channel's name where there is one for each."""

_LPS_RAS = np.array([-1, -1, 1], np.float32)
"""Signs that turn displacements in RAS to LPS, as files hold them, and back."""


def own_names(channel: str) -> set[str]:
    """The names, without ending, that the parts of a channel may take."""
    return {f"{ADDITIVE}-{channel}", f"{LOG_BIAS}-{channel}"}


def write_parts(
    folder: Path, perturbation: Perturbation, case: Case, names: Sequence[str], ending: str
) -> dict[str, list[str] | int | bool]:
    """Write the parts that are there.

    The displacement is an image of three components in mm, LPS, as ITK and Slicer read displacement fields; the bias field
    is the logarithm of a factor; what was added is in the channel's intensity units.

    Args:
        folder: where.
        names: each channel's name in files.
        ending: ".nii.gz" or ".nrrd".

    Returns:
        What `read_parts` needs to know, as plain JSON data.
    """
    added: list[str] = []
    assert case.dtypes is not None
    if perturbation.additive is not None:
        for channel, name, dtype, values in zip(case.channels, names, case.dtypes, perturbation.additive):
            if values.any():
                write_volume(folder / f"{ADDITIVE}-{name}{ending}", stored(values, dtype), case.affine, case.space)
                added.append(channel)
    fields = 0 if perturbation.log_bias is None else len(perturbation.log_bias)
    for name, values in zip(_bias_names(names, fields), perturbation.log_bias if perturbation.log_bias is not None else ()):
        write_volume(folder / f"{name}{ending}", values, case.affine, case.space)
    if perturbation.displacement is not None:
        write_displacement(folder / f"{DISPLACEMENT}{ending}", perturbation.displacement, case.affine, case.space)
    return {
        "added": added,
        "additive": perturbation.additive is not None,
        "bias_fields": fields,
        "displacement": perturbation.displacement is not None,
    }


def read_parts(folder: Path, record: Mapping[str, Any], case: Case, names: Sequence[str], ending: str) -> Perturbation:
    """Read back what `write_parts` wrote.

    Raises:
        InputError: a file is missing or damaged, or lies on another grid.
    """
    additive = np.zeros_like(case.image) if record["additive"] else None
    for n, (channel, name) in enumerate(zip(case.channels, names)):
        if additive is not None and channel in record["added"]:
            additive[n] = read_channel(folder / f"{ADDITIVE}-{name}{ending}", case.grid)
    fields = [read_channel(folder / f"{x}{ending}", case.grid) for x in _bias_names(names, record["bias_fields"])]
    displacement = read_displacement(folder / f"{DISPLACEMENT}{ending}", case) if record["displacement"] else None
    return Perturbation(additive, np.stack(fields) if fields else None, displacement)


def _bias_names(names: Sequence[str], fields: int) -> list[str]:
    """The names of the bias fields' files: one for all channels, or one for each."""
    if fields == len(names):
        return [f"{LOG_BIAS}-{name}" for name in names]
    return [LOG_BIAS] * fields


def write_displacement(path: Path, displacement: np.ndarray, affine: np.ndarray, space: Space | None = None) -> Path:
    """Write a displacement (3, K, J, I) in mm, RAS components, as a displacement field of ITK's: a vector image in LPS.

    Raises:
        InputError: the file cannot be written.
    """
    return write_volume(path, np.moveaxis(displacement, 0, -1) * _LPS_RAS, affine, space)


def read_displacement(path: Path, case: Case) -> np.ndarray:
    """Read a displacement field on a case's grid: (3, K, J, I) float32 in mm, RAS components.

    Raises:
        InputError: the file is missing or no displacement field, or lies on another grid.
    """
    return read_values(path, case.grid, 3, "displacement") * _LPS_RAS.reshape(3, 1, 1, 1)
