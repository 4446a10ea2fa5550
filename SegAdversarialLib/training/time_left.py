"""How far a training is, and how long it will still take."""

from __future__ import annotations

import time

from SegAdversarialLib.attacks.cost import duration
from SegAdversarialLib.errors import ProgressCallback


class Remaining:
    """Progress of epochs, with the time that the rest will take at the pace so far.

    Args:
        epochs: how many there are.
        done: how many were done before.
        part: where the epochs begin and end in the progress of the whole.
        progress: called with the finished fraction and a text.
    """

    def __init__(self, epochs: int, done: int, part: tuple[float, float], progress: ProgressCallback | None) -> None:
        self._epochs, self._done, self._before, self._part = epochs, done, done, part
        self._progress, self._begun = progress, time.monotonic()

    def finished(self, epochs: int) -> None:
        """So many epochs are done."""
        self._done = epochs

    def __call__(self, share: float, text: str) -> None:
        """Report a share of the present epoch."""
        if self._progress is None:
            return
        begin, end = self._part
        now = self._done + share
        left = ""
        if now - self._before > 0:
            pace = (time.monotonic() - self._begun) / (now - self._before)
            left = f", {duration(pace * (self._epochs - now))} left"
        self._progress(begin + (end - begin) * now / self._epochs, f"epoch {self._done + 1} of {self._epochs}{left}: {text}")
