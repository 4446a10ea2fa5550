"""Mean Dice of the built-in network on unseen phantoms, clean and under every attack: a table of docs/figures.md.

python Testing/Benchmarks/phantom_attacks.py [--subjects 10] [--output table.csv]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from SegAdversarialLib import attacks, open_model, phantom
from SegAdversarialLib.evaluation.measuring import evaluate
from SegAdversarialLib.evaluation.tables import format_table, write_table

SIGNS = {"radius": 0.0, "epsilon_units": "relative", "clip": True}
ATTACKS = {
    "random signs, epsilon 0.05": attacks.UniversalRandomPerturbation(epsilon=0.05, **SIGNS),
    "uniform noise, epsilon 0.05": attacks.UniformNoise(epsilon=0.05),
    "Cheng's noise, 15 + 15 scanner units": attacks.UniversalRandomPerturbation(),
    "FGSM": attacks.FGSM(),
    "i-FGSM, 10 steps": attacks.IFGSM(keep="last"),
    "ti-FGSM, 10 steps": attacks.TIFGSM(keep="last"),
    "PGD, 20 steps": attacks.PGD(keep="last", random_start=True),
    "Inverse FGSM, epsilon 0.0118": attacks.InverseFGSM(),
}
REGIONS = ("WT", "TC", "ET")


def main() -> int:
    """Attack every subject in every way; print and save the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=10, help="phantoms of the seeds 0, 1, ... (never trained on)")
    parser.add_argument("--output", type=Path, help="CSV file")
    options = parser.parse_args()
    model = open_model("builtin:brain-tumour-phantom")
    found: dict[str, list[list[float]]] = {"none": [], **{name: [] for name in ATTACKS}}
    quality: dict[str, list[float]] = {name: [] for name in ATTACKS}
    for seed in range(options.subjects):
        case = phantom.subject(seed=seed)
        clean = model.predict(case)
        for number, (name, attack) in enumerate(ATTACKS.items()):
            evaluation = evaluate(attack(model, case), model, clean=clean)
            rows = [evaluation.get(region, "Dice") for region in REGIONS]
            if not number:
                found["none"].append([row["before"] for row in rows])
            found[name].append([row["after"] for row in rows])
            quality[name].append(float(np.mean([evaluation.get(x, "PSNR")["value"] for x in case.channels])))
        print(f"subject {seed} done", file=sys.stderr, flush=True)
    table = [
        {
            "attack": name,
            **{region: float(np.mean(column)) for region, column in zip(REGIONS, zip(*values))},
            "PSNR (dB)": float(np.mean(quality[name])) if name in quality else float("inf"),
        }
        for name, values in found.items()
    ]
    print(format_table(table))
    if options.output:
        write_table(table, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
