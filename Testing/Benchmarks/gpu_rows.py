"""Rows of a long check that must not be lost: each is tried by itself, within a time, and printed and kept at once."""

from __future__ import annotations

import gc
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class OutOfTime(BaseException):
    """A row has had its time; no `Exception`, so that nothing that tries again with fewer switches takes it for a failure."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` after so many seconds, as soon as Python is asked again; without limit where there are no alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Rows:
    """What a part has found so far.

    Args:
        path: a file of JSON lines that each row is added to; None: rows are only printed.
        part: which part of the check it is.
        seconds: what the whole part may take.
        patience: rows may take so many times what they ask for.
    """

    def __init__(self, path: Path | None, part: str, seconds: float, patience: float = 1.0) -> None:
        self._path, self._part, self._patience = path, part, patience
        self._until = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds until the part must be done."""
        return self._until - time.perf_counter()

    def add(self, name: str, measure: Callable[[], Mapping[str, Any]], seconds: float = 30.0) -> dict[str, Any] | None:
        """A row of what is measured within so many seconds; None where that fails, which the row then says."""
        started = time.perf_counter()
        try:
            if self.left < 1:
                raise OutOfTime
            with within(min(seconds * self._patience, self.left)):
                found: dict[str, Any] = dict(measure())
        except OutOfTime:
            self._keep(name, {"failed": "no time was left"}, started)
        except Exception as error:  # whatever a GPU, a driver or a compiler raises: the other rows go on
            lines = str(error).strip().splitlines() or [""]
            self._keep(name, {"failed": f"{type(error).__name__}: {lines[0][:300]}"}, started)
        else:
            self._keep(name, found, started)
            return found
        finally:
            _free()
        return None

    def _keep(self, name: str, found: Mapping[str, Any], started: float) -> None:
        row = {"part": self._part, "row": name, **found, "took s": round(time.perf_counter() - started, 2)}
        shown = "  ".join(f"{key} {short(value)}" for key, value in row.items() if key not in ("part", "row"))
        print(f"{self._part} | {name} | {shown}", flush=True)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, default=str) + "\n")


def short(value: object) -> str:
    """A value as rows show it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, but for a last one that was cut off."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
