"""What the benchmarks share: the machine's name, tables and figures in files."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.metrics import dice
from SegAdversarialLib.volumes.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from SegAdversarialLib import Case, SegmentationModel

FLOAT32 = {"mixed_precision": False}
"""Switches of a model with which attacks search in single precision, as their peers do."""


def machine() -> str:
    """One line that names processor, memory, system, versions, threads and, if there is one, the GPU."""
    import torch

    parts = [f"{_processor()}, {os.cpu_count()} logical cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB")
    parts += [f"{platform.system()} {platform.machine()}", f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    parts.append(f"{torch.get_num_threads()} thread(s)")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def save_table(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Write rows as CSV, whole or not at all."""
    return write_table(rows, path)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, whole or not at all; the ending says in which format."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, bbox_inches="tight")
    return Path(path)


def mean_dice(model: SegmentationModel, case: Case, image: np.ndarray) -> float:
    """Mean Dice over the network's structures, against the reference, of what it says of an image (C, K, J, I)."""
    import torch

    claimed = model.predict(case.with_image(image)).masks
    wanted = model.head.masks(torch.from_numpy(case.label)).numpy()
    return float(np.mean([dice(claimed[n], wanted[n]) for n in model.head.foreground]))


class Cells:
    """Finished measurements of a long run, kept in a file of JSON lines as they come in, so that it can go on.

    Args:
        path: the file.
        key: the columns that tell one measurement from another.
        resume: keep what the file holds already; else it begins anew.
        again: parts of names of attacks (column "attack") whose earlier measurements do not count.
    """

    def __init__(self, path: Path, key: Sequence[str], resume: bool, again: Sequence[str] = ()) -> None:
        self._path, self._columns = path, tuple(key)
        self._known: dict[str, dict[str, Any]] = {}
        earlier = path.read_text().splitlines() if resume and path.is_file() else []
        for line in earlier:
            if not line.endswith("}"):  # the last one may have been cut off
                continue
            row = json.loads(line)
            if not any(part in row.get("attack", "") for part in again):
                self._known[self._key(row)] = row
        with whole_file(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self._known.values()))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All measurements so far."""
        return list(self._known.values())

    def get(self, key: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The measurement with this key, made now if it is not known."""
        known = self._known.get(self._key(key))
        if known is None:
            known = self._known[self._key(key)] = {**key, **measure()}
            with self._path.open("a") as file:
                file.write(json.dumps(known) + "\n")
        return known

    def _key(self, row: Mapping[str, Any]) -> str:
        return json.dumps([row[column] for column in self._columns])


def _processor() -> str:
    """The processor's name as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
