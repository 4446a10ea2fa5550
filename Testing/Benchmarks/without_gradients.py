"""What is possible without the attacked network's gradient: by asking it (square attack), or by patterns learned on others.

    python Testing/Benchmarks/without_gradients.py [--output FOLDER] [--subjects 3] [--queries 2000] [--learn 16] [--test 10]

On the built-in network and phantoms that it has not seen, epsilon as a share of each channel's largest intensity, everything
clipped to the channels' own range:

- queries: `SquareAttack`, from logits and from label maps alone, against the worst of as many random sign patterns of the same
  size, and against `WorstCase` with 40 gradients; and the memory that a tenth of the queries takes beside that of all.
- universal: `UniversalPerturbation` learned on some phantoms, added to others, against Cheng's random pattern of the same
  L-inf and random signs of it.

Prints the tables and saves them as CSV. Exits with status 1 if the square attack is not between noise and the worst case, if
its memory grows with the queries, or if the learned pattern lowers Dice by no more than Cheng's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, mean_dice, save_table
from measuring import PeakMemory

from SegAdversarialLib import Case, SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.evaluation.tables import format_table

SIGNS = {"radius": 0.0, "epsilon_units": "relative", "clip": True}
TRAINED_FROM = 200
"""The first seed of the phantoms that patterns are learned on."""


def sign_noise(epsilon: float, seed: int) -> attacks.Attack:
    """A random pattern whose every voxel is at the budget's edge."""
    return attacks.make_attack("universal-random-perturbation", {**SIGNS, "epsilon": epsilon, "seed": seed})


def worst_noise(model: SegmentationModel, case: Case, epsilon: float, draws: int) -> float:
    """The lowest mean Dice of some random sign patterns."""
    images = (sign_noise(epsilon, seed)(None, case).adversarial.image for seed in range(draws))
    return min(mean_dice(model, case, image) for image in images)


def queries(model: SegmentationModel, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """The square attack on each phantom; and what is wrong with it."""
    rows, wrong = [], []
    for seed in range(options.subjects):
        case = phantom.subject(seed=seed, shape=(options.size,) * 3)
        row: dict[str, Any] = {"subject": case.name, "clean": mean_dice(model, case, case.image)}
        row["worst noise"] = worst_noise(model, case, options.epsilon, options.draws)
        for answers in ("logits", "labels"):
            square = attacks.SquareAttack(epsilon=options.epsilon, queries=options.queries, answers=answers)
            row[f"square, {answers}"] = mean_dice(model, case, square(model, case).adversarial.image)
        worst = attacks.WorstCase(epsilon=options.epsilon)(model, case)
        row["worst case"] = mean_dice(model, case, worst.adversarial.image)
        print(", ".join(f"{key} {x:.4f}" for key, x in row.items() if key != "subject"), file=sys.stderr, flush=True)
        rows.append(row)
        for key in ("square, logits", "square, labels"):
            if not row["worst case"] <= row[key] < row["worst noise"]:
                wrong.append(f"{key} is not between noise and worst case on {case.name}")
    return rows, wrong


def memory(model: SegmentationModel, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Peak memory of two numbers of queries."""
    case, rows = phantom.subject(seed=0, shape=(options.size,) * 3), []
    few = max(3, options.queries // 10)
    for number in (few, few, options.queries // 2):  # the first one warms up
        peak = PeakMemory()
        attacks.SquareAttack(epsilon=options.epsilon, queries=number)(model, case)
        rows.append({"queries": number, "peak MiB": peak.used() / 2**20})
    grown = rows[2]["peak MiB"] > 1.2 * rows[1]["peak MiB"] + 16
    return rows[1:], ["the square attack's memory grows with the queries"] if grown else []


def universal(model: SegmentationModel, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Mean Dice on unseen phantoms under a learned pattern and random ones of the same L-inf."""
    shape = (options.size,) * 3
    subjects = [phantom.subject(seed=TRAINED_FROM + n, shape=shape) for n in range(options.learn)]
    learned = attacks.UniversalPerturbation.learn(model, subjects, epsilon=options.epsilon)
    cheng = {"radius": options.epsilon / 2, "epsilon": options.epsilon / 2, "epsilon_units": "relative", "clip": True}
    compared = {
        "none": None,
        "random signs": sign_noise(options.epsilon, 0),
        "Cheng's": attacks.make_attack("universal-random-perturbation", cheng),
        "learned": learned,
    }
    found: dict[str, list[float]] = {name: [] for name in compared}
    for seed in range(options.test):
        case = phantom.subject(seed=seed, shape=shape)
        for name, attack in compared.items():
            image = case.image if attack is None else attack(None, case).adversarial.image
            largest = np.abs(image - case.image).max((1, 2, 3)) / np.abs(case.image).max((1, 2, 3))
            assert (largest <= options.epsilon * (1 + 1e-5)).all()
            found[name].append(mean_dice(model, case, image))
    rows = [{"pattern": name, "mean Dice": np.mean(x), "lowest": min(x), "highest": max(x)} for name, x in found.items()]
    weaker = np.mean(found["learned"]) >= np.mean(found["Cheng's"])
    return rows, ["the learned pattern is no stronger than Cheng's"] if weaker else []


PARTS = {"queries": queries, "memory": memory, "universal": universal}


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part (repeatable)")
    parser.add_argument("--output", type=Path, default=Path("without-gradients"), help="folder for the tables")
    parser.add_argument("--subjects", type=int, default=3, help="phantoms of the seeds 0, 1, ... that are queried")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=200, help="random patterns, of which the worst counts")
    parser.add_argument("--learn", type=int, default=16, help="phantoms that the universal pattern is learned on")
    parser.add_argument("--test", type=int, default=10, help="phantoms of the seeds 0, 1, ... that it is tried on")
    parser.add_argument("--size", type=int, default=64, help="voxels of a phantom along each axis")
    parser.add_argument("--epsilon", type=float, default=0.02)
    parser.add_argument("--threads", type=int, help="of the CPU; torch's own choice if left out")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save; 0 if all is as it should be."""
    options = parsed(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    model, failures = open_model("builtin:brain-tumour-phantom", device="cpu"), []
    print(f"epsilon {options.epsilon:g}, {options.size}^3 voxels; {machine()}")
    for name in options.only or PARTS:
        rows, wrong = PARTS[name](model, options)
        print(f"\n{name}\n\n{format_table(rows)}\n", flush=True)
        save_table(rows, options.output / f"{name}.csv")
        failures += wrong
    print("\n".join(f"A promise is broken: {x}." for x in failures) or "All promises hold.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
