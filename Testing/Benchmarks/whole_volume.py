"""The exact gradient of a whole volume: time beside that of its bare windows, memory beside one window's and plain autograd's.

Each measurement runs in a process of its own (this file with a task as JSON), so that its peak of memory is its own.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
from measuring import PeakMemory, in_own_process, without_preprocessing

from SegAdversarialLib import Case, SegmentationModel, objectives, open_model
from SegAdversarialLib.model.quick_convolutions import QuickConvolutions

VOLUMES_LIMIT, TIME_LIMIT, ERROR_LIMIT = 12, 1.1, 1e-4
BLOCKS, SAMPLES = 2, 6
"""In each pass of a gradient bare windows are timed so often, so many in a row, between its own windows; on the way back in
the second half of it, when the graphs that were kept are gone."""

Shape = tuple[int, int, int]


def gradient_costs(shape: Shape, window: int, overlap: float) -> dict[str, Any]:
    """Time and memory of one gradient at a shape, beside one window's.

    The bare windows see an image as it is, and so does the network in what is compared with them. What the built-in network's
    turned axes and normalisation add is measured as well. Times are those of an attack's second gradient; its first one, which
    prepares the importance of the windows and meets memory that the process never had, is given beside it.
    """
    task = {"shape": shape, "window": window, "overlap": overlap}
    graph = in_own_process(__file__, {**task, "what": "window"})["bytes"]
    found = in_own_process(__file__, {**task, "what": "volume"})
    plain = in_own_process(__file__, {**task, "what": "volume as it is"})
    volume = 4 * 4 * int(np.prod(shape))
    return {
        "shape": "x".join(map(str, shape)),
        "window": window,
        "overlap": overlap,
        "windows": found["windows"],
        "seconds": plain["seconds"],
        "bare windows s": plain["bare"],
        "time / bare windows": plain["seconds"] / plain["bare"],
        "first gradient / bare windows": plain["first"],
        "with preprocessing / bare windows": found["seconds"] / found["bare"],
        "first with preprocessing / bare windows": found["first"],
        "peak MiB": found["bytes"] / 2**20,
        "one window's graph MiB": graph / 2**20,
        "volume MiB": volume / 2**20,
        "volumes beyond one graph": (found["bytes"] - graph) / volume,
    }


def against_plain(shapes: list[Shape], window: int, overlap: float) -> list[dict[str, Any]]:
    """Small volumes that plain autograd through all windows can hold, too: both gradients, their time and memory."""
    rows = []
    for shape in shapes:
        task = {"shape": shape, "window": window, "overlap": overlap}
        plain, ours = (in_own_process(__file__, {**task, "what": what}) for what in ("plain", "volume"))
        rows.append(
            {
                "shape": "x".join(map(str, shape)),
                "window": window,
                "overlap": overlap,
                "windows": ours["windows"],
                "seconds": ours["seconds"],
                "plain autograd s": plain["seconds"],
                "peak MiB": ours["bytes"] / 2**20,
                "plain autograd MiB": plain["bytes"] / 2**20,
                "relative error": plain["error"],
            }
        )
    return rows


def extrapolated(rows: list[dict[str, Any]], windows: int) -> float | None:
    """MiB that plain autograd would need for so many windows, on the line through what was measured."""
    counts = [row["windows"] for row in rows]
    if len(set(counts)) < 2:
        return None
    slope, start = np.polyfit(counts, [row["plain autograd MiB"] for row in rows], 1)
    return float(start + slope * windows)


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    """One task, in this process."""
    torch.set_num_threads(task["threads"])
    window, shape = (task["window"],) * 3, tuple(task["shape"])
    model = open_model("builtin:brain-tumour-phantom", device="cpu", window=window, overlap=task["overlap"])
    case = _noise(model, window if task["what"] == "window" else shape)
    small = _noise(model, (16, 16, 16))
    # the first use of a network loads libraries that have nothing to do with the volume
    open_model("builtin:brain-tumour-phantom", device="cpu").value_and_gradient(small, objectives.SoftDice(small.label))
    if task["what"] == "plain":
        return _plain(model, case, task["overlap"])
    if task["what"] == "window":
        leaf = torch.from_numpy(case.image)[None]
        with model.on(small):
            peak = PeakMemory()
            _bare_gradient(model, leaf)
        return {"bytes": peak.used()}
    if task["what"] == "volume as it is":
        model, case = without_preprocessing(model, case)
    return _volume(model, case)


def _noise(model: SegmentationModel, shape: tuple[int, ...]) -> Case:
    generator = np.random.default_rng(0)
    image = generator.normal(300, 80, (4, *shape)).astype(np.float32)
    return Case(image, model.channels, np.eye(4), generator.choice(np.array([0, 1, 2, 4], np.int16), shape))


def _bare_forward(model: SegmentationModel, window: torch.Tensor) -> None:
    with torch.no_grad(), QuickConvolutions():
        model.network(window)


def _bare_gradient(model: SegmentationModel, window: torch.Tensor) -> None:
    """One window's forward and input gradient with nothing around it."""
    leaf = window.detach().requires_grad_(True)
    with torch.enable_grad(), QuickConvolutions():
        logits = model.network(leaf)
    torch.autograd.grad(logits, leaf, torch.ones_like(logits))


def _volume(model: SegmentationModel, case: Case) -> dict[str, Any]:
    """Two whole gradients; between their windows, bare windows are timed, so that both meet the same moments of the machine.

    Gives the seconds of the second one and of its bare windows ("bare"), and for the first one the ratio of these.
    """
    sample = torch.from_numpy(case.image[:, : model.window[0], : model.window[1], : model.window[2]].copy())[None]
    spent: dict[str, list[float]] = {"forward": [], "backward": []}
    calls = 0

    def between(done: float) -> None:
        nonlocal calls
        if done == 0:
            calls += 1
        kind = "forward" if calls % 2 == 1 else "backward"
        # beside a graph that was kept, another one would count as memory of the gradient's
        share = done if kind == "forward" else 2 * done - 1
        if share < 0 or len(spent[kind]) > share * BLOCKS * SAMPLES:
            return
        for _ in range(SAMPLES):
            started = time.perf_counter()
            _bare_forward(model, sample) if kind == "forward" else _bare_gradient(model, sample)
            spent[kind].append(time.perf_counter() - started)

    peak, first = PeakMemory(), float("nan")
    with model.on(case, between) as bound:
        loss = objectives.SoftDice(case.label).bind(model.head, "cpu", torch.float32)
        # the first use of the convolutions at a size prepares them: once for an attack, not for each of its gradients
        _bare_forward(model, sample)
        _bare_gradient(model, sample)
        for number in range(2):
            spent["forward"].clear()
            spent["backward"].clear()
            started = time.perf_counter()
            bound.differentiate(bound.image, loss)
            seconds = time.perf_counter() - started - sum(spent["forward"]) - sum(spent["backward"])
            windows = len(bound._windows.views)
            # where one window holds the volume, nothing comes between
            bare = sum(float(np.mean(x)) for x in spent.values() if x) * windows or float("nan")
            first = seconds / bare if number == 0 else first
    return {"seconds": seconds, "bare": bare, "first": first, "windows": windows, "bytes": peak.used()}


def _plain(model: SegmentationModel, case: Case, overlap: float) -> dict[str, Any]:
    """Plain autograd through MONAI's sliding window, and by how much the exact gradient differs from its."""
    from monai.inferers import sliding_window_inference

    loss = objectives.SoftDice(case.label).bind(model.head, "cpu", torch.float32)
    with model.on(case) as bound:
        peak = PeakMemory()
        started = time.perf_counter()
        leaf = bound.image.detach().requires_grad_(True)
        prepared = bound._prepare(leaf)[None]
        logits = sliding_window_inference(
            prepared, model.window, 1, model.network, overlap=overlap, mode="gaussian", sigma_scale=0.125
        )
        (expected,) = torch.autograd.grad(loss(bound._steps.restore(logits[0])), leaf)
        seconds, used = time.perf_counter() - started, peak.used()
        del logits, prepared
        _, found, _ = bound.differentiate(bound.image, loss)
    error = float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))
    return {"seconds": seconds, "bytes": used, "error": error}


if __name__ == "__main__":
    print(json.dumps(_measure(json.loads(sys.argv[1]))))
