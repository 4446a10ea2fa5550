"""What a gradient costs: an attack's step, the exact gradient of a whole volume, and the switches of a GPU.

    python Testing/Benchmarks/gradient_cost.py [--only step|volume|search|gpu] [--output FOLDER] [--threads N]

(a) A step of an attack with its trace row against the bare forward and input gradient of the same network, where one window
    holds the volume, and against a step of torchattacks' PGD, if that is installed: at most 1.05 times the bare gradient.
(b) The exact gradient of a whole volume in windows, as window and overlap change: its time is at most 1.1 times that of two
    bare forwards and one bare backward of each window, on an image that the network takes as it is, as in (a), and with the
    built-in network's preprocessing in front. That is promised of an attack's gradients from its second on; the first one,
    which has some things to do once, is measured as well. Peak memory, preprocessing included, is at most one window's graph
    and 12 volumes of the image's own size. Plain autograd through all windows at once is measured on small volumes, where both
    gradients must agree to 1e-4, and its memory extrapolated along the number of windows.
(c) A step of an attack's search in the precision that it chooses, against single precision and, with --against CHECKOUT,
    against another checkout of this repository. Where the processor computes in bfloat16: the built-in network at most 0.55,
    two of MONAI's UNets and its DynUNet at most 0.3, the glioma network of the test data (SEGADVERSARIAL_TEST_DATA, or
    ../shared/data beside the repository) at most 0.38.
(d) With a GPU: float32, channels-last, mixed precision and compilation.

Prints ratios of numbers measured in one run, saves each part as CSV with the machine's name, and one figure; exits with status
1 if a promise is broken. Peak memory is what Linux says of a process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import machine, save_figure, save_table
from gpu_switches import switch_costs
from search_cost import NETWORKS, search_costs
from step_cost import STEP_LIMIT, step_costs
from whole_volume import ERROR_LIMIT, TIME_LIMIT, VOLUMES_LIMIT, against_plain, extrapolated, gradient_costs

from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.model.low_precision import computes_in_bfloat16

DATA = Path(os.environ.get("SEGADVERSARIAL_TEST_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
Rows = list[dict[str, Any]]


def step_part(options: argparse.Namespace) -> tuple[dict[str, Rows], list[str]]:
    """(a), and the promises that it breaks."""
    rows = [row for size in options.sizes for row in step_costs(size, options.rounds)]
    if not any("torchattacks / bare" in row for row in rows):
        print("torchattacks is not installed: its PGD is left out (pip install torchattacks).")
    broken = [
        f"a step at 4x{row['size']}^3 costs {row['step / bare']:.3f} bare gradients, more than {STEP_LIMIT}"
        for row in rows
        if row["input"] == "plain" and row["step / bare"] > STEP_LIMIT
    ]
    return {"step_cost": rows}, broken


def volume_part(options: argparse.Namespace) -> tuple[dict[str, Rows], list[str]]:
    """(b), and the promises that it breaks."""
    first = options.windows[0]
    small = [(first, first, first * n) for n in options.plain]
    plain = against_plain(small, first, 0.5)
    rows, broken = [], list[str]()
    for window in options.windows:
        for overlap in options.overlaps:
            row = gradient_costs(tuple(options.shape), window, overlap)
            if window == first:
                row["plain autograd MiB (extrapolated)"] = extrapolated(plain, row["windows"])
            rows.append(row)
            print(
                f"  window {window}^3, overlap {overlap}: {row['time / bare windows']:.3f} of the bare windows' time "
                f"({row['with preprocessing / bare windows']:.3f} with preprocessing), an attack's first one "
                f"{row['first gradient / bare windows']:.3f} ({row['first with preprocessing / bare windows']:.3f})",
                flush=True,
            )
            where = f"at {row['shape']} in windows of {window}^3 with overlap {overlap}"
            for key in ("time / bare windows", "with preprocessing / bare windows"):
                if row[key] > TIME_LIMIT:
                    broken.append(f"{where} a gradient costs {row[key]:.3f} ({key}), more than {TIME_LIMIT}")
            if row["volumes beyond one graph"] > VOLUMES_LIMIT:
                broken.append(f"{where} a gradient takes {row['volumes beyond one graph']:.1f} volumes beyond one graph")
    broken += [
        f"the gradient at {x['shape']} is off by {x['relative error']:.1e}" for x in plain if x["relative error"] > ERROR_LIMIT
    ]
    return {"whole_volume": rows, "plain_autograd": plain}, broken


def search_part(options: argparse.Namespace) -> tuple[dict[str, Rows], list[str]]:
    """(c), and the promises that it breaks."""
    rows = search_costs(options.networks, options.rounds, torch.get_num_threads(), options.against, DATA)
    key = "search / float32" if options.against is None else "search / other checkout"
    broken = [
        f"a step of the search with {row['network']} costs {row[key]:.3f} ({key}), more than {row['promised']}"
        for row in rows
        if computes_in_bfloat16() and row[key] > row["promised"]
    ]
    return {"search_cost": rows}, broken


def gpu_part(options: argparse.Namespace) -> tuple[dict[str, Rows], list[str]]:
    """(d); it promises nothing."""
    if not torch.cuda.is_available():
        print("There is no CUDA GPU here: mixed precision, channels-last and compilation were not measured.")
        return {}, []
    return {"gpu_switches": switch_costs(options.gpu_size, options.rounds, "cuda")}, []


PARTS = {"step": step_part, "volume": volume_part, "search": search_part, "gpu": gpu_part}


def draw(tables: dict[str, Rows], path: Path) -> None:
    """What was measured, in one figure; nothing of what a search costs, which is a few ratios."""
    from matplotlib.figure import Figure

    shown = [name for name in ("step_cost", "whole_volume", "gpu_switches") if tables.get(name)]
    if not shown:
        return
    figure = Figure(figsize=(5.5 * max(1, len(shown)), 4))
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        rows = tables[name]
        if name == "step_cost":
            plain = [row for row in rows if row["input"] == "plain"]
            labels = [f"4x{row['size']}³" for row in plain]
            for key, label in (("step / bare", "i-FGSM with trace"), ("torchattacks / bare", "torchattacks PGD")):
                axes.plot(labels, [row.get(key, float("nan")) for row in plain], "o-", label=label)
            axes.axhline(STEP_LIMIT, linestyle=":", color="grey", label="limit")
            axes.set(title="A step", ylabel="time / bare gradient")
        elif name == "whole_volume":
            labels = [f"{row['window']}³\n{row['overlap']}" for row in rows]
            axes.plot(labels, [row["time / bare windows"] for row in rows], "o-", label="time / bare windows")
            beyond = [row["volumes beyond one graph"] / VOLUMES_LIMIT for row in rows]
            axes.plot(labels, beyond, "s-", label=f"memory beyond one graph / {VOLUMES_LIMIT} volumes")
            axes.axhline(TIME_LIMIT, linestyle=":", color="grey", label="limit of time")
            axes.set(title=f"Gradient at 4x{rows[0]['shape']}", xlabel="window, overlap", ylim=(0, None))
        else:
            axes.barh([row["setting"] for row in rows], [row["time / float32"] for row in rows])
            axes.set(title=f"GPU, 4x{rows[0]['size']}³", xlabel="time / float32")
        if name != "gpu_switches":
            axes.legend()
    figure.suptitle(machine(), fontsize=7)
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and compare with the promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="one part (repeatable)")
    parser.add_argument("--output", type=Path, default=Path("gradient-cost-results"), help="folder (%(default)s)")
    parser.add_argument("--threads", type=int, help="of the processor; none: torch's own choice")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128], help="of the volumes of (a)")
    parser.add_argument("--shape", type=int, nargs=3, default=[155, 240, 240], help="of the volume of (b)")
    parser.add_argument("--windows", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--overlaps", type=float, nargs="+", default=[0.0, 0.25, 0.5])
    parser.add_argument("--plain", type=int, nargs="+", default=[2, 4], help="windows in a row that plain autograd is given")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="of (c)")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout of this repository, for (c)")
    parser.add_argument("--gpu-size", type=int, default=128)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    print(machine())
    tables, broken = dict[str, Rows](), list[str]()
    for name in options.only or PARTS:
        found, failed = PARTS[name](options)
        broken += failed
        for table, rows in found.items():
            tables[table] = rows
            save_table([{**row, "machine": machine()} for row in rows], options.output / f"{table}.csv")
            print(f"\n{table}\n{format_table(rows)}\n", flush=True)
    draw(tables, options.output / "gradient_cost.png")
    print("\n".join(f"Broken: {x}." for x in broken) or "All promises kept.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
