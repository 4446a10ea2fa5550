"""Time and memory as the cost benchmarks measure them."""

from __future__ import annotations

import contextlib
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from SegAdversarialLib import Case, SegmentationModel


def interleaved(
    functions: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> np.ndarray:
    """Seconds of each function in each round, (rounds, functions), in turns to and fro: a busy moment hits all of them.

    `time.process_time` as the clock leaves out what other processes take; with several threads it adds them up.
    """
    seconds = np.zeros((rounds + 2, len(functions)))
    for number in range(rounds + 2):
        forth = list(enumerate(functions))
        for n, function in forth if number % 2 == 0 else reversed(forth):
            started = clock()
            function()
            seconds[number, n] = clock() - started
    return seconds[2:]  # the first rounds warm up


def memory_bytes(what: str) -> int:
    """What Linux says of this process: "VmRSS", the memory that it holds, or "VmHWM", the most since the last reset."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(what))
    return int(line.split()[1]) * 1024


class PeakMemory:
    """By how many bytes a piece of work raises this process's memory at most; it starts from what is held now."""

    def __init__(self) -> None:
        # memory that was freed but kept would be used again without showing
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self._before = memory_bytes("VmRSS")

    def used(self) -> int:
        """Bytes so far."""
        return memory_bytes("VmHWM") - self._before


def in_own_process(script: str, task: dict[str, Any]) -> dict[str, Any]:
    """Run a script with a task as JSON in a process of its own, whose memory nothing else has touched; what it prints last."""
    import torch

    words = [sys.executable, script, json.dumps({"threads": torch.get_num_threads(), **task})]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{script} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def without_preprocessing(model: SegmentationModel, case: Case, acceleration: Any = None) -> tuple[SegmentationModel, Case]:
    """The same network in the same windows, and the case as the network sees it, so that nothing stands between them."""
    from SegAdversarialLib import SegmentationModel

    with model.on(case) as bound:
        scores = bound._prepare(bound.image).numpy()
    classes = dict(zip(model.head.labels, model.head.names))
    plain = SegmentationModel.from_network(
        model.network,
        channels=model.channels,
        classes=classes,
        window=model.window,
        overlap=model.windows.overlap,
        size_multiple=model.windows.size_multiple,
        acceleration=acceleration,
    )
    return plain, case.with_image(scores)
