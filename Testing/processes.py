"""Other programs that are run: what they say in few lines, and Ctrl-C. Needs nothing but Python."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STOPPED = 130
"""The exit status of what Ctrl-C has ended."""

_QUIET = 15.0
"""Seconds between two lines on the same step, where a line cannot be written over."""


@contextmanager
def stopped_in_one_line() -> Iterator[None]:
    """End the program in one line and with status 130 when Ctrl-C comes."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\nStopped; run this command again to go on.", file=sys.stderr, flush=True)
        os._exit(STOPPED)


def run(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run a program that shows what it does by itself; its exit status.

    Ctrl-C reaches it, too: it is given the time to end in its own way and to say so.
    """
    process = subprocess.Popen(command, cwd=cwd, env=env)
    with _left_to(process):
        return process.wait()


def run_with_steps(command: Sequence[str], step_of: Callable[[str], str | None], name: str) -> int:
    """Run a program that says much, and show its steps with the time since its start; all it said if it fails.

    Args:
        step_of: what to show for one of its lines; None: nothing.
        name: what it is called at first.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    said: deque[str] = deque(maxlen=40)
    steps = _Steps(name)
    try:
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                steps.show()
                continue
            if line is None:
                break
            said.append(line)
            steps.show(step_of(line))
    except KeyboardInterrupt:
        steps.end()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.terminate()
        process.wait()
        raise
    status = process.wait()
    steps.end()
    if status:
        print("".join(said), end="", file=sys.stderr, flush=True)
    return status


def step_of_pip(line: str) -> str | None:
    """What pip does, in a few words, for those of its lines that begin something."""
    if found := re.match(r"Collecting ([\w.\-]+)", line):
        return f"looking for {found[1]}"
    if found := re.match(r"\s*(?:Downloading|Using cached) (\S+?)(?:\.metadata)? \(([\d.]+ [kMG]B)\)", line):
        return None if ".metadata" in line else f"getting {found[1].split('-')[0].rpartition('/')[2]} ({found[2]})"
    if line.startswith("Installing collected packages:"):
        return f"installing {line.count(',') + 1} packages"
    return None


class _Steps:
    """Steps of a long work: in a terminal in one line, else in a line now and then."""

    def __init__(self, name: str) -> None:
        self._started, self._step = time.monotonic(), name
        self._rewrites = sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
        self._last = float("-inf")

    def show(self, step: str | None = None) -> None:
        """Another step begins, or the same goes on."""
        self._step = step or self._step
        now = time.monotonic()
        minutes, seconds = divmod(int(now - self._started), 60)
        text = f"  {minutes}:{seconds:02}  {self._step}"
        if self._rewrites:
            columns = shutil.get_terminal_size().columns - 1
            print("\r" + text[:columns].ljust(columns), end="", flush=True)
        elif now - self._last >= _QUIET:
            print(text, flush=True)
            self._last = now

    def end(self) -> None:
        """Nothing more comes."""
        if self._rewrites:
            print(flush=True)


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


@contextmanager
def _left_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C, which a terminal sends to both, is the other program's to answer."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
