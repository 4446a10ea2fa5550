"""What a step of the attacks that a scanner or a body could have made costs beside the bare gradient, in time and memory.

    python Testing/Benchmarks/transform_cost.py [--sizes 64 96] [--rounds 9] [--time-only | --memory-only]

Prints ratios of numbers measured in one run, and exits with status 1 if a promise is broken: a step, its trace row included,
in single precision at most 1.3 (bias field) and 2.0 (deformation) times the bare forward and input gradient of the same
network where one window holds the volume; peak memory of a step on a whole volume at most one window's graph and 20 volumes of
the image's own size. Beside it, where the processor computes in bfloat16, a step as attacks search in that.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from common import FLOAT32, machine
from measuring import PeakMemory, in_own_process, interleaved, without_preprocessing

from SegAdversarialLib import Case, SegmentationModel, attacks, objectives, open_model, phantom
from SegAdversarialLib.attacks.engine.change_search import ChangeSearch
from SegAdversarialLib.model.low_precision import computes_in_bfloat16

LIMITS = {"bias-field": 1.3, "deformation": 2.0, "affine": None, "chain": None, "frequency": None}
VOLUMES_LIMIT = 20


def step_cost(name: str, size: int, rounds: int) -> float:
    """Seconds of one step of an attack in single precision over those of the bare forward and input gradient of the same
    network, on images that the network takes as they are."""
    found = in_own_process(__file__, {"what": "time", "name": name, "size": size, "rounds": rounds})
    ratio = float(found["step"] / found["bare"])
    searched = f"; a search's in bfloat16 {found['searched'] / found['bare']:.2f}" if "searched" in found else ""
    print(
        f"{name}, 4x{size}^3: step {found['step']:.3f} s, bare gradient {found['bare']:.3f} s, ratio {ratio:.2f}{searched}",
        flush=True,
    )
    return ratio


def _time(name: str, size: int, rounds: int) -> dict[str, Any]:
    """Seconds of the steps and of the bare gradient, each in its quickest round: whatever else there is only adds time."""
    case = phantom.subject(seed=100, shape=(size,) * 3)
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    switches: dict[str, Any] = {"step": FLOAT32}
    if computes_in_bfloat16():
        switches["searched"] = {"mixed_precision": "bfloat16"}
    attack: Any = attacks.make_attack(name)
    with ExitStack() as stack:
        work = {}
        for key, acceleration in switches.items():
            plain, scores = without_preprocessing(model, case, acceleration)
            run = stack.enter_context(attack.running(plain, scores))
            search = ChangeSearch(attack.plan_on(run), run)
            controls, momenta = search.start(0), search.momenta()
            search.step(1, controls, momenta)  # a run's first gradient is exact
            work[key] = partial(search.step, 1, controls, momenta)
        loss = objectives.SoftDice(case.label).bind(plain.head, "cpu", torch.float32)

        def bare() -> None:
            leaf = run.original.detach().requires_grad_(True)
            torch.autograd.grad(loss(plain.network(leaf[None])[0]), leaf)

        least = interleaved([*work.values(), bare], rounds).min(0)
    return dict(zip([*work, "bare"], map(float, least)))


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: times, or by how many bytes one window's bare gradient, or a step of an attack, raises the
    peak."""
    torch.set_num_threads(task["threads"])
    if task["what"] == "time":
        return _time(task["name"], task["size"], task["rounds"])
    window, what = tuple(task["window"]), task["what"]
    model = open_model("builtin:brain-tumour-phantom", device="cpu", window=window)
    case, small = (some_case(model, shape) for shape in (window if what == "window" else tuple(task["shape"]), (16, 16, 16)))
    # the first use of a network loads libraries that have nothing to do with the volume
    open_model("builtin:brain-tumour-phantom", device="cpu").value_and_gradient(small, objectives.SoftDice(small.label))
    if what == "window":
        leaf = torch.from_numpy(case.image)[None].requires_grad_(True)
        with model.on(small):
            peak = PeakMemory()
            logits = model.network(leaf)
            torch.autograd.grad(logits, leaf, torch.ones_like(logits))
    else:
        peak = PeakMemory()
        attacks.make_attack(what, {"steps": 1})(model, case)
    return {"bytes": peak.used()}


def some_case(model: SegmentationModel, shape: tuple[int, ...]) -> Case:
    """Noise, and three structures in a box of a sixth of each axis."""
    generator = np.random.default_rng(0)
    image = generator.uniform(0, 300, (4, *shape)).astype(np.float32)
    label = np.zeros(shape, np.int16)
    middle = tuple(slice(size // 3, size // 2) for size in shape)
    label[middle] = generator.choice(np.array([1, 2, 4], np.int16), label[middle].shape)
    return Case(image, model.channels, np.eye(4), label)


def memory(name: str, shape: tuple[int, ...], window: tuple[int, ...]) -> float:
    """How many volumes of the image's own size an attack takes beyond one window's graph."""
    task = {"shape": shape, "window": window}
    graph, whole = (in_own_process(__file__, {**task, "what": what})["bytes"] for what in ("window", name))
    volume = 4 * 4 * int(np.prod(shape))
    beyond = (whole - graph) / volume
    print(
        f"{name}, 4x{'x'.join(map(str, shape))}, windows of {'x'.join(map(str, window))}: peak {whole / 2**20:.0f} MiB, one "
        f"window's graph {graph / 2**20:.0f} MiB, one volume {volume / 2**20:.0f} MiB: {beyond:.1f} volumes beyond the graph",
        flush=True,
    )
    return float(beyond)


def main() -> int:
    """Measure and compare with the promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time-only", action="store_true")
    parser.add_argument("--memory-only", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), default=list(LIMITS), help="only these attacks")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--shape", type=int, nargs=3, default=[155, 240, 240])
    parser.add_argument("--window", type=int, nargs=3, default=[64, 64, 64])
    options = parser.parse_args()
    shape, window = tuple(options.shape), tuple(options.window)
    print(machine())
    kept = True
    for name in options.only:
        limit = LIMITS[name] or np.inf
        if not options.memory_only:
            kept &= all([step_cost(name, size, options.rounds) <= limit for size in options.sizes])
        if not options.time_only:
            kept &= memory(name, shape, window) <= VOLUMES_LIMIT
    print("All promises kept." if kept else "A promise is broken.")
    return 0 if kept else 1


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):  # a task, in a process of its own
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        sys.exit(main())
