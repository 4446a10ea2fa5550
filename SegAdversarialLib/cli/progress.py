"""How far a job is, for people: a bar in a terminal, a line now and then where there is none."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Any, TextIO

from SegAdversarialLib.jobs.time_left import TimeLeft, says_time_left

LINE_EVERY = 30.0
"""Seconds between two lines on the same part of a job, where there is no bar."""

_BAR = "{percentage:3.0f}% |{bar}| {elapsed} < LEFT  {desc}"
_BAR_ALONE = _BAR.replace(" < LEFT", "")
"""Of a job whose message says how much time is left."""
_NARROW = "{percentage:3.0f}% {desc}"

_WIDE = 60
"""Columns from which on a bar fits beside its text."""


class Progress:
    """Shows the finished fraction of a job.

    In a terminal that can go back to the start of a line it is a bar, in a narrow one the percentage. Anywhere else (a file, a
    pipe, TERM=dumb) it is a line when another part of the job begins and every half minute, without control characters.

    Args:
        stream: where to.
        clock: seconds that go on.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._started = clock()
        self._bar: Any = None
        self._part, self._last_line = "", float("-inf")
        self._fraction = 0.0
        self._pace = TimeLeft(clock)

    def show(self, fraction: float, message: str, left: float | None = None) -> None:
        """A job is this far, and this is what it does; the text before a colon says which part of it.

        Args:
            left: the seconds that are left, where the job can tell; else they follow from the pace since the fraction grew.
        """
        self._fraction = max(self._fraction, fraction)
        paced = self._pace.after(self._fraction)
        left = paced if left is None else left
        if self._stream.isatty() and os.environ.get("TERM", "") != "dumb":
            self._show_bar(message, left)
            return
        part, now = message.partition(":")[0], self._clock()
        if part != self._part or now - self._last_line >= LINE_EVERY:
            self._part, self._last_line = part, now
            told = "" if says_time_left(message) else self._remaining(left)
            print(f"{self._fraction:4.0%}  {message}{told}", file=self._stream, flush=True)

    def pause(self) -> None:
        """Make room for a line of text."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Nothing more comes."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show_bar(self, message: str, left: float | None) -> None:
        from tqdm import tqdm

        columns = shutil.get_terminal_size().columns
        wide = columns >= _WIDE
        layout = (_BAR_ALONE if says_time_left(message) else _BAR) if wide else _NARROW
        layout = layout.replace("LEFT", "?" if left is None else tqdm.format_interval(left))
        if self._bar is None:
            self._bar = tqdm(total=1.0, file=self._stream, leave=False, ncols=columns - 1, nrows=24, bar_format=layout)
        self._bar.bar_format = layout
        self._bar.ncols = columns - 1  # the last column would begin another line in some terminals
        self._bar.set_description_str(message[: columns // 2] if wide else message, refresh=False)
        self._bar.n = self._fraction
        self._bar.refresh()

    def _remaining(self, left: float | None) -> str:
        if left is None or self._fraction >= 1 or self._clock() - self._started < LINE_EVERY:
            return ""
        from SegAdversarialLib.attacks.cost import duration

        return f" (about {duration(left)} left)"
