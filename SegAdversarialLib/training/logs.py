"""What a training leaves of each epoch: a table, and the same as TensorBoard events."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SegAdversarialLib.evaluation.tables import write_table

_log = logging.getLogger(__name__)

TABLE_FILE, EVENTS_FOLDER = "training.csv", "tensorboard"

Row = dict[str, float]
"""What the table says of an epoch."""


class Logs:
    """The table of a training in its folder, and its curves for TensorBoard.

    Args:
        folder: where they lie; None: nowhere.
        tensorboard: whether there are events; without tensorboardX there are none, which is said once.
    """

    def __init__(self, folder: Path | None, tensorboard: bool = True) -> None:
        self._folder = folder
        self._events: Any = _events(folder) if folder is not None and tensorboard else None

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The table with all rows, whole; the last of them as an event."""
        if self._folder is None:
            return
        write_table(rows, self._folder / TABLE_FILE)
        if self._events is not None:
            numbers = {key: value for key, value in rows[-1].items() if key != "epoch" and isinstance(value, (int, float))}
            self._events.log_metrics(numbers, step=int(rows[-1]["epoch"]))
            self._events.save()

    def close(self) -> None:
        """Let go of the files."""
        if self._events is not None:
            self._events.finalize("success")


def means(rows: Sequence[Mapping[str, float]]) -> Row:
    """The mean of each column over the rows that have it."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in columns}


def _events(folder: Path) -> Any:
    try:
        import tensorboardX  # noqa: F401
        from lightning_fabric.loggers import TensorBoardLogger
    except ImportError:
        _log.warning(
            "There are no TensorBoard events of this training: tensorboardX is not installed (pip install tensorboardX)."
        )
        return None
    return TensorBoardLogger(folder, name=EVENTS_FOLDER, version="")
