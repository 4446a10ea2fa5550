"""What each switch of `Acceleration` brings on a GPU: time, memory, and what it does to the gradient."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from SegAdversarialLib import open_model, phantom
from SegAdversarialLib.objectives import SoftDice

SWITCHES: dict[str, dict[str, Any]] = {
    "float32": {},
    "channels-last": {"channels_last": True},
    "float16": {"mixed_precision": "float16"},
    "bfloat16": {"mixed_precision": "bfloat16"},
    "float16, channels-last": {"mixed_precision": "float16", "channels_last": True},
    "compiled": {"compiled": True},
    "float16, compiled": {"mixed_precision": "float16", "compiled": True},
}


def switch_costs(size: int, rounds: int, device: str) -> list[dict[str, Any]]:
    """One row for each setting, with its time over that of float32, and how far its gradient is from float32's."""
    case = phantom.subject(seed=0, shape=(size,) * 3)
    rows: list[dict[str, Any]] = []
    expected: torch.Tensor | None = None
    for name, switches in SWITCHES.items():
        model = open_model("builtin:brain-tumour-phantom", device=device, acceleration=switches)
        with model.on(case) as bound:
            loss = SoftDice(case.label).bind(model.head, model.device, model.dtype)
            _, gradient, _ = bound.search(bound.image, loss)  # compiles
            if expected is None:
                expected = gradient
            _reset(model.device)
            work = partial(bound.search, bound.image, loss)
            seconds = [_timed(work, model.device) for _ in range(rounds + 2)]
        taken = float(np.median(seconds[2:]))
        rows.append(
            {
                "setting": name,
                "in use": " ".join(model.describe()["acceleration"]["in_use"]),
                "size": size,
                "seconds": taken,
                "time / float32": taken / rows[0]["seconds"] if rows else 1.0,
                "peak MiB": torch.cuda.max_memory_allocated(model.device) / 2**20 if model.device.type == "cuda" else None,
                "relative error": float(torch.linalg.vector_norm(gradient - expected) / torch.linalg.vector_norm(expected)),
                "equal signs": float((gradient.sign() == expected.sign()).float().mean()),
            }
        )
    return rows


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
