"""Is a search in low precision as strong? `python Testing/Benchmarks/search_strength.py [--seeds N ...] [--output FOLDER]`

On the built-in network and phantoms that it has not seen: the mean Dice that each attack leaves, once with the search in
single precision and once in bfloat16, judged by the float32 network, and the processor time that both take. Let PyTorch use
one thread (OMP_NUM_THREADS=1). Exits with status 1 if, over all phantoms, a search in bfloat16 leaves more than 0.005 of mean
Dice more than one in single precision.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import FLOAT32, machine, mean_dice, save_table

from SegAdversarialLib import attacks, open_model, phantom
from SegAdversarialLib.evaluation.tables import format_table

MARGIN = 0.005
ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {"steps": 20, "epsilon": 0.02},
    "apgd": {"steps": 40, "epsilon": 0.02},
    "worst-case": {"gradient_budget": 40, "epsilon": 0.02},
    "bias-field": {},
    "deformation": {},
    "affine": {},
    "chain": {},
    "frequency": {},
}
"""The settings of each; nothing: its default ones."""

DEFAULT = ("pgd", "apgd", "worst-case")


def measured(name: str, seed: int, size: int) -> dict[str, Any]:
    """What an attack leaves of a phantom, and the seconds of computing, in both precisions."""
    case = phantom.subject(seed=seed, shape=(size,) * 3)
    row: dict[str, Any] = {"attack": name, "seed": seed}
    for precision, switches in {"float32": FLOAT32, "bfloat16": {"mixed_precision": "bfloat16"}}.items():
        model = open_model("builtin:brain-tumour-phantom", device="cpu", acceleration=switches)
        begun = time.process_time()
        result = attacks.make_attack(name, ATTACKS[name])(model, case)
        row[f"{precision} s"] = time.process_time() - begun
        row[f"{precision} Dice"] = mean_dice(model, result.adversarial, result.adversarial.image)
    return row


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each attack: means over the phantoms, and how often bfloat16 was the weaker one."""
    found = []
    for name in dict.fromkeys(row["attack"] for row in rows):
        own = [row for row in rows if row["attack"] == name]
        dice = {x: float(np.mean([row[f"{x} Dice"] for row in own])) for x in ("float32", "bfloat16")}
        seconds = [sum(row[f"{x} s"] for row in own) for x in ("bfloat16", "float32")]
        found.append(
            {
                "attack": name,
                "phantoms": len(own),
                "float32 Dice": round(dice["float32"], 4),
                "bfloat16 Dice": round(dice["bfloat16"], 4),
                "difference": round(dice["bfloat16"] - dice["float32"], 4),
                "weaker on": sum(row["bfloat16 Dice"] > row["float32 Dice"] for row in own),
                "time": round(seconds[0] / seconds[1], 2),
            }
        )
    return found


def main(arguments: list[str]) -> int:
    """Measure, print, and fail if a search in bfloat16 is weaker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of the phantoms")
    parser.add_argument("--size", type=int, default=64, help="voxels of a phantom in each direction")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=DEFAULT)
    parser.add_argument("--output", type=Path, help="a folder for the table of all measurements")
    options = parser.parse_args(arguments)
    rows = []
    for seed in options.seeds:
        for name in options.attacks:
            rows.append(measured(name, seed, options.size))
            print(rows[-1], file=sys.stderr, flush=True)
    table = summary(rows)
    print(machine())
    print(format_table(table))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        save_table(rows, options.output / "search_strength.csv")
    return int(any(row["difference"] > MARGIN for row in table))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
