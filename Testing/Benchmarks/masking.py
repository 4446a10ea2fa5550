"""How much of what defensive distillation seems to gain is gradient masking: a small network, trained and audited.

    python Testing/Benchmarks/masking.py [--size 32] [--subjects 16] [--epochs 60] [--temperatures 100 500] [--output FOLDER]

The same small U-Net is trained on phantoms as it is and by defensive distillation at each temperature; each is audited on
phantoms that none of them has seen. The table has the plain attack's Dice (PGD on soft Dice, as papers report it), the audited
Dice, and the share of the apparent gain over the undefended network that is only hidden gradients: (apparent gain - real gain)
/ apparent gain, where it is above a point of Dice. A network that was trained already in the output folder is taken from
there.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from common import machine, save_table

import SegAdversarialLib
from SegAdversarialLib import Case, SegmentationModel, phantom
from SegAdversarialLib.defenses.audit import Audit
from SegAdversarialLib.defenses.recipes import DefensiveDistillation
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.training.loop import train
from SegAdversarialLib.training.recipe import Recipe

NETWORK = {
    "name": "UNet",
    "arguments": {"spatial_dims": 3, "channels": [8, 16, 32], "strides": [2, 2], "num_res_units": 1, "norm": "instance"},
}
WORTH_EXPLAINING = 0.01
"""An apparent gain of Dice below which there is no share to speak of."""


def main() -> int:
    """Train, audit, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="voxels of the phantoms along each axis (32)")
    parser.add_argument("--subjects", type=int, default=16, help="phantoms to train on (16)")
    parser.add_argument("--cases", type=int, default=2, help="phantoms to audit on (2)")
    parser.add_argument("--epochs", type=int, default=60, help="of each training (60)")
    parser.add_argument("--temperatures", type=float, nargs="*", default=[100.0, 500.0], help="of distillation (100 500)")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.01, 0.02, 0.05], help="of the audit (0.01 0.02 0.05)")
    parser.add_argument("--steps", type=int, default=20, help="of the audit's attacks (20)")
    parser.add_argument("--output", type=Path, default=Path("masking"), help="folder for networks, audits and the table")
    options = parser.parse_args()
    print(machine(), file=sys.stderr)
    cases = [phantom.subject(seed=seed, shape=(options.size,) * 3) for seed in range(40, 40 + options.subjects)]
    unseen = [phantom.subject(seed=seed, shape=(options.size,) * 3) for seed in range(options.cases)]
    recipes: dict[str, Recipe | None] = {"none": None}
    recipes |= {f"distillation, T = {t:g}": DefensiveDistillation(temperature=t) for t in options.temperatures}
    audits: dict[str, Audit] = {}
    for name, recipe in recipes.items():
        model = trained(name, recipe, cases, options)
        audits[name] = SegAdversarialLib.audit(model, unseen, epsilons=options.epsilons, steps=options.steps, queries=0)
        audits[name].save(options.output / "audits" / file_name(name))
        print(f"{name}: {audits[name]!r}", file=sys.stderr, flush=True)
    table = rows(audits, options.epsilons)
    print(format_table(table))
    save_table(table, options.output / "masking.csv")
    return 0


def trained(name: str, recipe: Recipe | None, cases: list[Case], options: argparse.Namespace) -> SegmentationModel:
    """The network that a recipe makes; gone on from where its folder says it stands."""
    settings = {"epochs": options.epochs, "learning_rate": 3e-3, "batch_size": 2, "tensorboard": False}
    folder = options.output / "networks" / file_name(name)
    return train(NETWORK, cases, settings, recipe=recipe, folder=folder, device="cpu", name=name)


def rows(audits: dict[str, Audit], epsilons: list[float]) -> list[dict[str, Any]]:
    """One row for each network and size."""
    found = []
    undefended = audits["none"]
    for name, audit in audits.items():
        masked = audit.get("masking")
        for epsilon in epsilons:
            plain, audited = audit.measured.mean("PGD", epsilon), audit.dice(epsilon)
            gain = plain - undefended.measured.mean("PGD", epsilon)
            real = audited - undefended.dice(epsilon)
            found.append(
                {
                    "defence": name,
                    "epsilon": epsilon,
                    "clean Dice": audit.measured.clean_mean,
                    "plain PGD": plain,
                    "audited Dice": audited,
                    "apparent gain": gain,
                    "real gain": real,
                    "share masked": (gain - real) / gain if gain > WORTH_EXPLAINING else math.nan,
                    "audit says": f"{masked.verdict} ({masked.number:.2f})",
                }
            )
    return found


def file_name(name: str) -> str:
    """The name of a folder."""
    return "".join(x if x.isalnum() else "-" for x in name)


if __name__ == "__main__":
    sys.exit(main())
