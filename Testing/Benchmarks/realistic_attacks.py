"""Attacks that a scanner or a body could have made, beside the worst of random draws of the same budget.

    python Testing/Benchmarks/realistic_attacks.py [--output FOLDER] [--seeds 0 1 ...] [--size 64] [--resume]

On the built-in network and phantoms that it has not seen, with the attacks' default budgets. Where the anatomy is moved, Dice
is against the reference that moved with it; "unwarped" is Dice against the reference left in place. The chain's noise is
also measured alone.

Prints a table of means, and saves it and every single measurement as CSV. Exits with status 1 unless bias field and
deformation each lower mean Dice by more than the worst of the random draws, and the chain by more than each of its parts.
Finished measurements are kept in realistic_attacks.jsonl as they come in, so that a run that was cut off goes on with
--resume; --again measures the named attacks once more, as after a change of their code.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Cells, machine, save_table

from SegAdversarialLib import SegmentationModel, attacks, evaluate, open_model, phantom
from SegAdversarialLib.evaluation.evaluation import UNWARPED
from SegAdversarialLib.evaluation.tables import format_table

CHAIN, BIAS, DEFORMATION = "chain", "bias-field", "deformation"
ATTACKS: dict[str, dict[str, Any]] = {
    BIAS: {},
    DEFORMATION: {},
    "affine": {},
    "noise alone": {"attack": CHAIN, "order": ["noise"]},
    CHAIN: {},
}
"""What is compared, by the name in the table."""

KEY = ("case", "attack", "how", "effort")


def measure(model: SegmentationModel, seed: int, size: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One attack on one phantom: mean Dice over the network's structures, what was done, and what it cost."""
    given, case = dict(settings), phantom.subject(seed=seed, shape=(size, size, size))
    result = attacks.make_attack(given.pop("attack"), given)(model, case)
    found = evaluate(result, model, regions={})
    names = [model.head.names[n] for n in model.head.foreground]
    rows = {(row.get("structure"), row["metric"]): row for row in found.rows if "structure" in row}
    unwarped = [rows.get((name, UNWARPED), rows[name, "Dice"])["after"] for name in names]
    sizes = result.perturbation.describe(case)
    return {
        "clean": float(np.mean([rows[name, "Dice"]["before"] for name in names])),
        "dice": float(np.mean([rows[name, "Dice"]["after"] for name in names])),
        "unwarped": float(np.mean(unwarped)),
        "max bias %": max(sizes.get("max_bias_percent", {"": 0.0}).values()),
        "max mm": sizes.get("max_displacement_mm", 0.0),
        "mean mm": sizes.get("mean_displacement_mm", 0.0),
        "min Jacobian": sizes.get("min_jacobian_determinant", 1.0),
        "gradients": result.gradient_evaluations,
        "forwards": result.forward_evaluations,
        "seconds": result.seconds,
    }


def summarised(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the cases, one row for each attack."""
    table = []
    for name in dict.fromkeys(row["attack"] for row in rows):
        own = [row for row in rows if row["attack"] == name]
        random, found = ([row for row in own if row["how"] == how] for how in ("random", "adversarial"))
        table.append(
            {
                "attack": name,
                "cases": len(found),
                "clean": float(np.mean([row["clean"] for row in found])),
                "worst of random": float(np.mean([row["dice"] for row in random])),
                "adversarial": float(np.mean([row["dice"] for row in found])),
                "unwarped": float(np.mean([row["unwarped"] for row in found])),
                "max bias %": max(row["max bias %"] for row in found),
                "max mm": max(row["max mm"] for row in found),
                "mean mm": float(np.mean([row["mean mm"] for row in found])),
                "min Jacobian": min(row["min Jacobian"] for row in found),
                "stronger in": sum(a["dice"] < r["dice"] for a, r in zip(found, random)),
            }
        )
    return table


def is_as_promised(table: Sequence[dict[str, Any]]) -> bool:
    """Whether bias field and deformation beat the random draws, and the chain each of its parts."""
    means = {row["attack"]: row for row in table}
    beaten = all(means[name]["adversarial"] < means[name]["worst of random"] for name in (BIAS, DEFORMATION))
    parts = [row["adversarial"] for name, row in means.items() if name != CHAIN]
    return beaten and means[CHAIN]["adversarial"] < min(parts)


def main() -> int:
    """Measure, print, save, and compare with the promises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of the phantoms")
    parser.add_argument("--size", type=int, default=64, help="of the phantoms")
    parser.add_argument("--steps", type=int, default=20, help="gradients for each attack")
    parser.add_argument("--draws", type=int, default=20, help="random draws")
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), default=list(ATTACKS), help="only these attacks")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--resume", action="store_true", help="keep finished measurements")
    parser.add_argument("--again", nargs="+", default=[], help="measure these attacks once more")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    cells = Cells(options.output / "realistic_attacks.jsonl", KEY, options.resume, options.again)
    model, rows = open_model("builtin:brain-tumour-phantom", device=options.device), list[dict[str, Any]]()
    efforts = {"random": (options.draws, {"steps": 0, "restarts": options.draws})}
    efforts["adversarial"] = (options.steps, {"steps": options.steps})
    for seed, name in itertools.product(options.seeds, options.only):
        for how, (effort, more) in efforts.items():
            key = {"case": f"{seed} at {options.size}", "attack": name, "how": how, "effort": effort}
            settings = {"attack": name, **ATTACKS[name], **more}
            row = cells.get(key, partial(measure, model, seed, options.size, settings))
            print(f"phantom {seed}, {name}, {how}: {row['clean']:.3f} -> {row['dice']:.3f}", flush=True)
            rows.append(row)
    table = summarised(rows)
    print(f"\n{len(options.seeds)} phantoms of {options.size}^3; {machine()}\n\n{format_table(table)}\n")
    save_table(table, options.output / "realistic_attacks.csv")
    save_table(rows, options.output / "realistic_attacks_cases.csv")
    if set(options.only) != set(ATTACKS):
        return 0
    kept = is_as_promised(table)
    print("All promises kept." if kept else "A promise is broken.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
