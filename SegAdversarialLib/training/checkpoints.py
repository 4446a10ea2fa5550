"""Where a training run stands, in a file from which it can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.volumes.files import check_writable, whole_file

CHECKPOINT_FILE = "checkpoint.pt"

_MAY_DIFFER = {"epochs"}


class Checkpoint:
    """One checkpoint of a training run, written whole and read without running anything in it.

    Random numbers need no state in it: each epoch draws from generators that are seeded by the run's seed and its number.

    Args:
        folder: where it lies; None: nowhere, nothing is kept.
        identity: what makes it the same run, as plain JSON data: settings, networks; the number of epochs may differ.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, folder: str | Path | None, identity: Mapping[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.path = None if self.folder is None else self.folder / CHECKPOINT_FILE
        self._identity = dict(identity)
        if folder is not None:
            check_writable(folder)

    def save(self, parts: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> None:
        """Write the states of all parts, and the table so far.

        Raises:
            InputError: it cannot be written.
        """
        import torch

        if self.path is None:
            return
        content = {
            "run": json.dumps(self._identity),
            "rows": json.dumps(list(rows)),
            "states": {name: part.state_dict() for name, part in parts.items()},
        }
        with whole_file(self.path) as temporary:
            torch.save(content, temporary)

    def check(self) -> None:
        """Find out whether it can be gone on from, or there is none.

        Raises:
            InputError: it is damaged, or of another run.
        """
        self._read()

    def restore(self, parts: Mapping[str, Any]) -> list[dict[str, float]]:
        """Put all parts where the checkpoint has them; the table so far, empty where there is no checkpoint.

        Raises:
            InputError: it is damaged, or of another run.
        """
        content = self._read()
        if content is None:
            return []
        try:
            for name, part in parts.items():
                part.load_state_dict(content["states"][name])
            rows: list[dict[str, float]] = json.loads(content["rows"])
        except Exception as error:  # what is damaged can break anywhere
            raise self._damaged(error) from error
        return rows

    def _read(self) -> dict[str, Any] | None:
        """What the file holds; None: there is none."""
        import torch

        if self.path is None or not self.path.is_file():
            return None
        try:
            content: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            run = json.loads(content["run"])
        except Exception as error:  # a damaged file can break the reader anywhere
            raise self._damaged(error) from error
        self._check(run)
        return content

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"The checkpoint {self.path} is damaged ({detail_of(error)}); remove it to begin again.")

    def _check(self, run: Mapping[str, Any]) -> None:
        wanted = {key: value for key, value in self._identity.items() if key not in _MAY_DIFFER}
        other = sorted(key for key, value in wanted.items() if run.get(key) != value)
        if other:
            raise InputError(
                f"The checkpoint {self.path} is of a run with another {other[0].replace('_', ' ')}; use the same settings, or "
                "another folder."
            )
