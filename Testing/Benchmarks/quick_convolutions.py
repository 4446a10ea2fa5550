"""What it brings that 3D convolutions in single precision with which PyTorch is slow on a CPU are computed in another way.

    python Testing/Benchmarks/quick_convolutions.py [--sizes 32 64 96] [--rounds 5] [--threads 1] [--output CSV]

A row is a network with windows of one size: what an answer, a gradient by the image, and one by the weights take with
`QuickConvolutions`, as a share of what they take as torch does it, each in its quickest round, in turns. Processor time
of all threads.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from common import machine, save_table
from measuring import interleaved

from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.model.quick_convolutions import QuickConvolutions
from SegAdversarialLib.networks.liu_unet import LiuUNet3D

CHANNELS = 4
Context = Callable[[], AbstractContextManager[Any]]


def networks() -> dict[str, Callable[[], torch.nn.Module]]:
    """Networks that people attack, by name."""
    from monai.networks.nets import DynUNet, SegResNet, UNet

    widths = [32, 64, 128, 256, 320]
    return {
        "UNet 8-16-32": lambda: UNet(3, CHANNELS, 4, (8, 16, 32), (2, 2), num_res_units=1),
        "UNet 16-256": lambda: UNet(3, CHANNELS, 4, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2),
        "SegResNet 16": lambda: SegResNet(3, 16, CHANNELS, 4),
        "LiuUNet3D 8": lambda: LiuUNet3D(CHANNELS, 4, features=8),
        "LiuUNet3D 16": lambda: LiuUNet3D(CHANNELS, 4, features=16),
        "DynUNet 32-320": lambda: DynUNet(3, CHANNELS, 4, [3] * 5, [1, 2, 2, 2, 2], [2] * 4, filters=widths),
    }


def tasks(network: torch.nn.Module, image: torch.Tensor) -> dict[str, Callable[[Context], None]]:
    """What is asked of a network, by name."""

    def answer(context: Context) -> None:
        with torch.no_grad(), context():
            network(image)

    def gradient(context: Context, by_weights: bool = False) -> None:
        network.requires_grad_(by_weights)
        leaf = image.clone().requires_grad_(not by_weights)
        with context():
            loss = network(leaf).square().mean()
        torch.autograd.grad(loss, list(network.parameters()) if by_weights else leaf, allow_unused=True)

    return {"answer": answer, "gradient": gradient, "training": lambda context: gradient(context, True)}


def row_of(name: str, network: torch.nn.Module, size: int, rounds: int) -> dict[str, Any]:
    """The shares of one network and size."""
    row: dict[str, Any] = {"network": name, "window": f"{size}^3"}
    for task, work in tasks(network, torch.randn(1, CHANNELS, *(size,) * 3)).items():
        both = [partial(work, QuickConvolutions), partial(work, nullcontext)]
        quickest = interleaved(both, rounds, time.process_time).min(0)
        row |= {f"{task} s": float(quickest[0]), f"{task}, share": float(quickest[0] / quickest[1])}
    return row


def main() -> None:
    """One row for each network and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 96], help="of windows (32 64 96)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", help="CSV file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(machine())
    rows = []
    for size in options.sizes:
        for name, make in networks().items():
            rows.append(row_of(name, make().eval(), size, options.rounds))
            print(rows[-1], file=sys.stderr, flush=True)
    print(format_table(rows))
    if options.output:
        save_table(rows, options.output)


if __name__ == "__main__":
    main()
