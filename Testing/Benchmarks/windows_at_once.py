"""Time and memory of a whole volume's gradient on a CPU, by how many windows, or slices, go through the network at once.

    python Testing/Benchmarks/windows_at_once.py [--threads N] [--only NAME]

Each number is a process of its own; "chosen" is what is measured by itself (`window_batch` not given), and measuring counts as
a part of the first gradient. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import torch
from gpu_networks import model_of, raw_case
from measuring import PeakMemory, in_own_process

from SegAdversarialLib import objectives

VOLUMES: dict[str, tuple[str, tuple[int, int, int], dict[str, Any], tuple[int | None, ...]]] = {
    "2D network, 64 slices of 240x240": ("UNet 2D", (64, 240, 240), {}, (1, 4, 16, None)),
    "built-in, windows of 48^3": ("built-in", (128, 128, 128), {"window": (48,) * 3, "overlap": 0.25}, (1, 2, 4, None)),
    "UNet 16-64, windows of 48^3": ("UNet 16-64", (128, 128, 128), {"window": (48,) * 3, "overlap": 0.25}, (1, 2, 4, None)),
}
"""The network, the volume, how it is cut, and what is tried."""


def _measure(what: str, batch: int | None, threads: int) -> dict[str, Any]:
    """One number, in this process."""
    torch.set_num_threads(threads)
    name, shape, how, _ = VOLUMES[what]
    case = raw_case(shape)
    model = model_of(name, "cpu", {"mixed_precision": False}, window_batch=batch, **how)
    objective = objectives.SoftDice(case.label)
    model.examine()
    memory, seconds = PeakMemory(), []
    for _ in range(2):
        started = time.process_time()
        model.value_and_gradient(case, objective)
        seconds.append(time.process_time() - started)
    row = {"volume": what, "window_batch": batch or "chosen", "at once": model.describe()["window_batch"]}
    return {**row, "first s": seconds[0], "second s": seconds[1], "peak MiB": memory.used() / 2**20}


def main() -> None:
    """One row for each number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of the processor (%(default)s)")
    parser.add_argument("--only", choices=list(VOLUMES), action="append", help="one volume (repeatable)")
    chosen = parser.parse_args()
    for what in chosen.only or VOLUMES:
        for batch in VOLUMES[what][-1]:
            row = in_own_process(__file__, {"what": what, "batch": batch, "threads": chosen.threads})
            print(", ".join(f"{key} {x:.1f}" if isinstance(x, float) else f"{key} {x}" for key, x in row.items()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps(_measure(**json.loads(sys.argv[1]))))
    else:
        main()
