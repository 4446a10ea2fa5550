"""Parts of the GPU check about time and memory: steps, the gradient of a whole case, and what happens when memory runs out."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from gpu_exact import gradient
from gpu_networks import (
    COMPILED,
    NETWORKS,
    PRECISIONS,
    Bare,
    Precision,
    differences,
    model_of,
    quickest,
    scored_case,
    seconds_of,
    wait,
)
from gpu_rows import Rows

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, objectives

MIB = 2**20


def steps(rows: Rows, device: str) -> None:
    """A gradient, and a step of an attack with its trace, against the bare forward and gradient of the same window."""
    on_gpu = device != "cpu"
    for size in (96, 64, 128) if on_gpu else (32,):
        for name in NETWORKS if on_gpu else NETWORKS[:2]:
            for label in PRECISIONS if on_gpu else ("float32", "bfloat16"):
                measure = partial(_step, name, label, PRECISIONS[label], size, device)
                rows.add(f"{name} 4x{size}^3 {label}", measure, 20)


def compiled(rows: Rows, device: str) -> None:
    """The same compiled; a GPU only."""
    if device != "cpu":
        for name in ("built-in", "DynUNet 32-320", "UNet 32-256"):
            for label, precision in COMPILED.items():
                rows.add(f"{name} 4x96^3 {label}", partial(_step, name, label, precision, 96, device), 45)


def _step(name: str, label: str, precision: Precision, size: int, device: str) -> dict[str, Any]:
    case = scored_case((size,) * 3)
    model, bare = model_of(name, device, precision.switches), Bare(name, device, precision)
    _start_measuring(device)
    with model.on(case) as bound:
        loss = objectives.SoftDice(case.label).bind(model.head, model.device, model.dtype)
        batch = bound.image[None].clone()

        def ours() -> None:
            with precision.convolutions():
                bound.search(bound.image, loss)

        ours_s, bare_s = quickest([ours, partial(bare.gradient, batch)], device)
    found: dict[str, Any] = {"gradient s": ours_s, "bare s": bare_s, "gradient / bare": ours_s / bare_s}
    found |= {"peak MiB": _peak(device), "in use": " ".join(model.describe()["acceleration"]["in_use"])}
    if ours_s < 1.5 and not precision.tf32 and not precision.quickest:  # an attack runs as the library wants it
        step = _step_of_attack(model, case, device)
        found |= {"step s": step, "step / bare": step / bare_s}
    return found


def _step_of_attack(model: SegmentationModel, case: Case, device: str) -> float:
    """Seconds of one step of PGD with its trace row: what eight more of them take."""
    few, many = (partial(attacks.PGD(steps=n, random_start=False), model, case) for n in (2, 10))
    few_s, many_s = quickest([few, many], device, rounds=2, warm=1)
    return (many_s - few_s) / 8


def _start_measuring(device: str) -> None:
    if device != "cpu":
        wait(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> float | None:
    return None if device == "cpu" else torch.cuda.max_memory_allocated() / MIB


class _Said(logging.Handler):
    """What the library says of windows and memory."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def window(self) -> dict[str, float]:
        """What a window was measured to take, and how many at a time were decided for."""
        for line in self.lines:
            if found := re.search(r"A window takes (\d+) MiB; going on with (\d+)", line):
                return {"window MiB": float(found[1]), "decided for": int(found[2])}
        return {}


@contextmanager
def _listening() -> Iterator[_Said]:
    logger, said = logging.getLogger("SegAdversarialLib"), _Said()
    level = logger.level
    logger.addHandler(said)
    logger.setLevel(logging.INFO)
    try:
        yield said
    finally:
        logger.removeHandler(said)
        logger.setLevel(level)


def whole_volume(rows: Rows, device: str) -> None:
    """The gradient of a whole case in windows: time beside that of its bare windows, and memory."""
    if device == "cpu":
        shape, runs = (40, 48, 48), [("built-in", (32, 32, 32), 0.25, ("float32",))]
    else:
        shape = (155, 240, 240)
        tall, cubes = (155, 128, 128), (96, 96, 96)
        runs = [
            ("built-in", tall, 0.25, ("float32", "TF32", "bfloat16", "float16")),
            ("built-in", cubes, 0.5, ("float32", "TF32", "bfloat16")),
            ("DynUNet 32-320", (128, 128, 128), 0.5, ("bfloat16", "TF32", "float32")),
            ("UNet 32-256", tall, 0.25, ("float32", "bfloat16")),
        ]
    for name, window, overlap, labels in runs:
        for label in labels:
            text = f"{name} 4x{'x'.join(map(str, shape))}, windows {'x'.join(map(str, window))}, overlap {overlap}, {label}"
            rows.add(text, partial(_whole, name, shape, window, overlap, PRECISIONS[label], device), 40)


def _whole(
    name: str, shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float, precision: Precision, device: str
) -> dict[str, Any]:
    case, calls = scored_case(shape), [0]

    def count(share: float) -> None:
        calls[0] += 1

    model = model_of(name, device, precision.switches, window=window, overlap=overlap)
    _start_measuring(device)
    with _listening() as said, model.on(case, count) as bound, precision.convolutions():
        loss = objectives.SoftDice(case.label).bind(model.head, model.device, model.dtype)
        work = partial(bound.differentiate, bound.image, loss)
        first = seconds_of(work, device)
        calls[0] = 0
        second = min(seconds_of(work, device) for _ in range(2))
        peak, at_once, passes = _peak(device), bound.window_batch, calls[0] / 2
        seen = bound.window
    found: dict[str, Any] = {"first gradient s": first, "gradient s": second, "windows at a time": at_once, **said.window()}
    found |= {"batches asked": passes, "peak MiB": peak}
    windows = _count(shape, seen, overlap)
    found["windows"] = windows
    if peak and "window MiB" in found:
        graphs = found["window MiB"] * min(at_once, windows)
        found["peak / (window MiB x windows)"] = peak / graphs
        found["volumes beyond"] = (peak - graphs) / (4 * 4 * math.prod(shape) / MIB)
    bare = Bare(name, device, precision)
    batch = torch.randn(min(at_once, windows), 4, *seen, device=device)
    forward, both = quickest([partial(bare.forward, batch), partial(bare.gradient, batch)], device, rounds=2, warm=1)
    found["bare windows s"] = (forward + both) * windows / len(batch)
    found["gradient / bare windows"] = second / found["bare windows s"]
    return found


def _count(shape: tuple[int, ...], window: tuple[int, ...], overlap: float) -> int:
    """How many windows MONAI's sliding window lays on a volume."""
    from monai.data.utils import dense_patch_slices
    from monai.inferers.utils import _get_scan_interval

    padded = tuple(max(n, w) for n, w in zip(shape, window))
    return len(dense_patch_slices(padded, window, _get_scan_interval(padded, window, 3, (overlap,) * 3)))


def out_of_memory(rows: Rows, device: str) -> None:
    """Memory that runs out for real, as PyTorch is allowed less and less of the GPU; the library is not told."""
    if device == "cpu":
        return
    case = scored_case((128, 128, 128))
    kept: dict[str, Any] = {}

    def unlimited() -> dict[str, Any]:
        kept["gradient"], found = _limited(case, None)
        kept["peak"] = found["peak MiB"]
        return found

    if rows.add("built-in 4x128^3 in windows of 64^3, no limit", unlimited, 40) is None:
        return
    for share in (0.6, 0.3, 0.15, 0.08, 0.04):
        rows.add(f"the same with {share:g} of that memory", partial(_compared, case, share * kept["peak"], kept["gradient"]))
    rows.add("one window of 128^3 that does not fit", partial(_refused, case, 0.02 * kept["peak"] + 200))
    rows.add("the same after all that, no limit", partial(_compared, case, None, kept["gradient"]))


def _limited(case: Case, allowed: float | None, window: int | None = 64) -> tuple[torch.Tensor, dict[str, Any]]:
    """A gradient while PyTorch may use so many MiB."""
    size = None if window is None else (window,) * 3
    with _listening() as said, _allowed(allowed):
        model = model_of("built-in", "cuda", window=size, overlap=0.5)
        _start_measuring("cuda")
        with model.on(case) as bound:
            loss = objectives.SoftDice(case.label).bind(model.head, model.device, model.dtype)
            found = bound.search(bound.image, loss)[1].cpu()
            at_once, peak = bound.window_batch, _peak("cuda")
    warnings = [x for x in said.lines if "Out of device memory" in x]
    return found, {"windows at a time": at_once, **said.window(), "peak MiB": peak, "times halved": len(warnings)}


@contextmanager
def _allowed(mebibytes: float | None) -> Iterator[None]:
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory / MIB
    torch.cuda.set_per_process_memory_fraction(1.0 if mebibytes is None else min(1.0, mebibytes / whole))
    try:
        yield
    finally:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0)


def _compared(case: Case, allowed: float | None, expected: torch.Tensor) -> dict[str, Any]:
    found, told = _limited(case, allowed)
    return {"allowed MiB": allowed, **told, **differences(found, expected), "same bits": bool(torch.equal(found, expected))}


def _refused(case: Case, allowed: float) -> dict[str, Any]:
    try:
        _limited(case, allowed, window=None)
    except InputError as error:
        return {"allowed MiB": allowed, "says": str(error)}
    return {"allowed MiB": allowed, "failed": "it fitted"}


def switches_left_to_be_measured(rows: Rows, device: str) -> None:
    """What "auto" decides for, and whether a gradient with it still agrees."""
    if device == "cpu":
        return
    case = scored_case((96, 96, 96))
    for name in NETWORKS:

        def measure(name: str = name) -> dict[str, Any]:
            expected = gradient(model_of(name, device), case)
            model = model_of(name, device, {"mixed_precision": "auto", "channels_last": "auto"})
            seconds = seconds_of(partial(gradient, model, case), device)
            found = differences(gradient(model, case), expected)
            return {**found, "in use": " ".join(model.describe()["acceleration"]["in_use"]), "first s": seconds}

        rows.add(f"{name} 4x96^3, left to be measured", measure)
