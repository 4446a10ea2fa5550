"""What an attack's step costs beside the bare gradient, and what memory a whole volume's gradient takes.

    python Testing/Benchmarks/gradient_cost.py [--step-only | --memory-only] [--shape 155 240 240] [--window 64 64 64]

Prints ratios of numbers measured in one run, and exits with status 1 if a promise is broken: a step of an attack at most 1.05
times the bare forward and input gradient of the same network, where one window holds the volume; peak memory of a whole
volume's gradient at most one window's graph and 12 volumes of the image's own size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from SegAdversarialLib import Case, SegmentationModel, attacks, objectives, open_model, phantom
from SegAdversarialLib.attacks.engine.run import AttackRun

STEP_LIMIT, VOLUMES_LIMIT = 1.05, 12


def interleaved(functions: list[Callable[[], object]], rounds: int) -> np.ndarray:
    """Seconds of each function in each round, (rounds, functions), run in turns so that a busy moment hits all of them."""
    seconds = np.zeros((rounds + 2, len(functions)))
    for number in range(rounds + 2):
        for n, function in enumerate(functions):
            started = time.perf_counter()
            function()
            seconds[number, n] = time.perf_counter() - started
    return seconds[2:]  # the first rounds warm up


def step_cost(size: int, rounds: int) -> float:
    """Seconds of one i-FGSM step with its trace row, over those of the bare forward and input gradient of the same network.

    Measured on images that the network takes as they are. For comparison, also with the built-in network's preprocessing
    in front, against the same steps in plain autograd.
    """
    case = phantom.subject(seed=0, shape=(size,) * 3)
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    with model.on(case) as bound:
        scores = bound._prepare(bound.image).numpy()
    classes = dict(zip(model.head.labels, model.head.names))
    plain = SegmentationModel.from_network(model.network, channels=model.channels, classes=classes, size_multiple=8)
    ratio = compared(f"step at 4x{size}^3", plain, case.with_image(scores), lambda image: image, rounds)
    compared("  with preprocessing", model, case, plain_zscore, rounds)
    return ratio


def compared(
    what: str,
    model: SegmentationModel,
    case: Case,
    prepare: Callable[[torch.Tensor], torch.Tensor],
    rounds: int,
) -> float:
    """The ratio of a step to the bare gradient, printed."""
    attack = attacks.IFGSM()
    with AttackRun.start(attack, model, case, None, None) as run:
        loss = objectives.SoftDice(case.label).bind(model.head, "cpu", torch.float32)

        def bare() -> None:
            leaf = run.original.detach().requires_grad_(True)
            torch.autograd.grad(loss(model.network(prepare(leaf)[None])[0]), leaf)

        def step() -> None:
            value, gradient, logits = run.differentiate(run.original, loss)
            run.record(0, 0, value, logits, run.original)
            run.project(attack._step(run, run.original, gradient, 0.005))

        seconds = interleaved([step, bare], rounds)
    ours, alone = np.median(seconds, axis=0)
    ratio = float(np.median(seconds[:, 0] / seconds[:, 1]))
    print(f"{what}: {ours:.3f} s; bare forward + input gradient: {alone:.3f} s; median ratio {ratio:.3f}", flush=True)
    return ratio


def plain_zscore(image: torch.Tensor) -> torch.Tensor:
    """The built-in network's normalisation in plain autograd."""
    inside = (image > 0).to(image.dtype)
    count = inside.sum((1, 2, 3), keepdim=True)
    centred = (image - (image * inside).sum((1, 2, 3), keepdim=True) / count) * inside
    return centred / ((centred**2).sum((1, 2, 3), keepdim=True) / count).sqrt()


def memory_bytes(what: str) -> int:
    """What Linux says of this process: "VmRSS", the memory that it holds, or "VmHWM", the most since the last reset."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(what))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Let the peak start from what is held now, so that making the test data does not count."""
    Path("/proc/self/clear_refs").write_text("5")


def measure_memory(what: str, shape: tuple[int, int, int], window: tuple[int, int, int]) -> None:
    """In a process of its own: print by how many bytes one window's graph, or a whole volume's gradient, raises the peak."""
    model = open_model("builtin:brain-tumour-phantom", device="cpu", window=window)
    held = shape if what == "volume" else window
    generator = np.random.default_rng(0)
    image = generator.normal(300, 80, (4, *held)).astype(np.float32)
    label = generator.choice(np.array([0, 1, 2, 4], np.int16), held)
    case = Case(image, model.channels, np.eye(4), label)
    del image
    small = Case(case.image[:, :16, :16, :16], case.channels, np.eye(4), label[:16, :16, :16])
    # the first use of a network loads libraries that have nothing to do with the volume
    open_model("builtin:brain-tumour-phantom", device="cpu").value_and_gradient(small, objectives.SoftDice(small.label))
    reset_peak()
    before = memory_bytes("VmRSS")
    if what == "window":
        bare_window(model, case)
    else:
        model.value_and_gradient(case, objectives.SoftDice(case.label))
    print(memory_bytes("VmHWM") - before)


def bare_window(model: SegmentationModel, case: Case) -> None:
    """One window's forward and input gradient with nothing around it."""
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    leaf = torch.from_numpy(case.image)[None].requires_grad_(True)
    logits = model.network.eval()(leaf)
    torch.autograd.grad(logits, leaf, torch.ones_like(logits))


def memory(shape: tuple[int, int, int], window: tuple[int, int, int]) -> float:
    """How many volumes of the image's own size a whole gradient takes beyond one window's graph."""

    def measured(what: str) -> int:
        words = [sys.executable, __file__, "--measure", what, "--shape", *map(str, shape), "--window", *map(str, window)]
        return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])

    graph, whole = measured("window"), measured("volume")
    volume = 4 * 4 * int(np.prod(shape))
    beyond = (whole - graph) / volume
    print(
        f"gradient at 4x{'x'.join(map(str, shape))}, windows of {'x'.join(map(str, window))}: peak {whole / 2**20:.0f} MiB, "
        f"one window's graph {graph / 2**20:.0f} MiB, one volume {volume / 2**20:.0f} MiB: "
        f"{beyond:.2f} volumes beyond one window's graph"
    )
    return beyond


def main() -> int:
    """Measure and compare with the promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-only", action="store_true")
    parser.add_argument("--memory-only", action="store_true")
    parser.add_argument("--measure", choices=("window", "volume"), help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", type=int, nargs=3, default=[155, 240, 240])
    parser.add_argument("--window", type=int, nargs=3, default=[64, 64, 64])
    options = parser.parse_args()
    shape, window = tuple(options.shape), tuple(options.window)
    if options.measure:
        measure_memory(options.measure, shape, window)
        return 0
    kept = True
    if not options.memory_only:
        kept &= all([step_cost(size, options.rounds) <= STEP_LIMIT for size in options.sizes])
    if not options.step_only:
        kept &= memory(shape, window) <= VOLUMES_LIMIT
    print("All promises kept." if kept else "A promise is broken.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
