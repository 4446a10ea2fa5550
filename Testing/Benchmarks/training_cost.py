"""What a step of each recipe costs beside a standard step, all measured in turns in one run.

    python Testing/Benchmarks/training_cost.py --size 64 --rounds 5
    python Testing/Benchmarks/training_cost.py --size 32 --features 4 --dice-seeds 0 1 2

A row is a recipe in a precision; "step / standard" is its quickest step by the quickest standard step in single precision, and
"update / standard" the same for each update of the weights. Limits are what is promised; in bfloat16, on a CPU that has AMX.
Seconds are the processor's on a CPU, of all threads together, and the clock's on a GPU.

With --dice-seeds the network is trained instead, from the same first weights in each precision, on parts of phantoms around
the tumour: a row has the validation Dice at the end, and what the training took of the processor. The rows "nudged" are
single precision with first weights larger by a millionth: by how much a change of no meaning moves that Dice, too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import machine, save_table
from defence_cases import parts
from measuring import interleaved

from SegAdversarialLib import Case, Preprocessing, recipes
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.model.normalization import ZScore
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training.learner import NetworkLearner
from SegAdversarialLib.training.loop import train
from SegAdversarialLib.training.machine import machine as fabric_for
from SegAdversarialLib.training.recipe import Batch, Recipe
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import Task

CLASSES = ("background", "necrotic", "oedema", "enhancing")

RECIPES: dict[str, tuple[Recipe, int]] = {
    "standard": (recipes.Standard(), 1),
    "FGSM, eq. 9": (recipes.AdversarialTraining(), 1),
    "FGSM, alternating": (recipes.AdversarialTraining(order="alternating"), 2),
    "FGSM, free": (recipes.AdversarialTraining(order="free", replays=4), 4),
    "noise": (recipes.NoiseAugmentation(), 2),
}
"""Each with its number of updates."""

LIMITS = {("FGSM, eq. 9", "32-true"): 2.1, ("FGSM, free", "32-true"): 1.15, ("FGSM, eq. 9", "bf16-mixed"): 1.0}
"""Of eq. 9 for a step, of free training for an update."""


def network(features: int) -> torch.nn.Module:
    """Liu's 3D U-Net."""
    from SegAdversarialLib.networks.liu_unet import LiuUNet3D

    return LiuUNet3D(4, len(CLASSES), features=features)


def batch_of(size: int, batch_size: int) -> Batch:
    """Random images and targets."""
    source = torch.Generator().manual_seed(0)
    shape = (batch_size, len(CLASSES), *(size,) * 3)
    classes = torch.randint(len(CLASSES), (batch_size, *(size,) * 3), generator=source)
    targets = torch.nn.functional.one_hot(classes, len(CLASSES)).movedim(-1, 1).float()
    return Batch(torch.randn(shape, generator=source), targets, 0, ("random",) * batch_size)


def step_of(
    make: Callable[[], torch.nn.Module], recipe: Recipe, precision: str, batch: Batch, device: str
) -> Callable[[], object]:
    """One step of a recipe, on a network of its own."""
    settings = TrainingSettings(precision=precision, optimizer="adam", learning_rate=1e-4)
    task = Task(("T1", "T1ce", "T2", "FLAIR"), OutputHead.of(CLASSES), Preprocessing())
    fabric = fabric_for(settings, device)
    learner = NetworkLearner(make().train(), task, settings, fabric)
    stepper = recipe.begin(learner)
    given = Batch(batch.images.to(fabric.device), batch.targets.to(fabric.device), batch.step, batch.names)

    def step() -> None:
        stepper.step(given)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def training_costs(
    make: Callable[[], torch.nn.Module],
    size: int,
    rounds: int,
    precisions: list[str],
    device: str = "cpu",
    batch_size: int = 1,
) -> list[dict[str, Any]]:
    """A row for each recipe and precision."""
    batch = batch_of(size, batch_size)
    cells = [(name, precision) for precision in precisions for name in RECIPES]
    steps = [step_of(make, RECIPES[name][0], precision, batch, device) for name, precision in cells]
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    quickest = dict(zip(cells, interleaved(steps, rounds, clock).min(0)))
    standard = quickest["standard", "32-true"]
    rows = []
    for (name, precision), seconds in quickest.items():
        updates = RECIPES[name][1]
        row = {"recipe": name, "precision": precision, "updates": updates, "step s": float(seconds)}
        row |= {"step / standard": float(seconds / standard), "update / standard": float(seconds / standard / updates)}
        rows.append({**row, "limit": LIMITS.get((name, precision))})
    return rows


def validation_dice(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each seed, recipe and precision: what the network is worth at the end of a training, and what that took."""
    seeds = range(options.subjects + options.unseen)
    cases = parts(seeds, options.size * 3 // 2, options.size, options.cases)
    variants = {"32-true": ("32-true", 1.0), "32-true, nudged": ("32-true", 1 + 1e-6), "bf16-mixed": ("bf16-mixed", 1.0)}
    rows: list[dict[str, Any]] = []
    for seed in options.dice_seeds:
        for name in options.dice_recipes:
            found = {}
            for variant, (precision, scale) in variants.items():
                torch.manual_seed(seed)
                module = network(options.features)
                with torch.no_grad():
                    for weight in module.parameters():
                        weight *= scale
                found[variant] = trained(module, RECIPES[name][0], precision, seed, cases, options)
                row = {"seed": seed, "recipe": name, "precision": variant, **found[variant]}
                row["Dice - float32's"] = row["Dice"] - found["32-true"]["Dice"]
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    return rows


def trained(
    module: torch.nn.Module, recipe: Recipe, precision: str, seed: int, cases: list[Case], options: argparse.Namespace
) -> dict[str, float]:
    """Validation Dice after a training's last epoch, and the processor's seconds."""
    told: list[dict[str, float]] = []
    settings = {"epochs": options.epochs, "learning_rate": options.learning_rate, "schedule": "one-cycle", "batch_size": 2}
    settings |= {"seed": seed, "precision": precision, "validate_every": options.epochs, "augmentation": "axial"}
    started = time.process_time()
    train(
        module,
        cases[: options.subjects],
        {**settings, "tensorboard": False},
        recipe=recipe,
        validation=cases[options.subjects :],
        device=options.device,
        on_epoch=told.append,
        preprocessing=Preprocessing(normalization=ZScore()),
    )
    return {"loss": told[-1]["loss"], "Dice": told[-1]["Dice"], "processor s": time.process_time() - started}


def bfloat16_is_quick(device: str) -> str:
    """What makes bfloat16 quick there; empty: nothing."""
    if device.startswith("cuda"):
        return "GPU"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.is_file() else ""
    return next((name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-bf16")) if flag in flags), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="voxels along each axis (default: %(default)s)")
    parser.add_argument("--features", type=int, default=16, help="of the network's first level (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dice-seeds", type=int, nargs="+", metavar="SEED", help="train with these seeds, and compare Dice")
    parser.add_argument("--dice-recipes", nargs="+", choices=tuple(RECIPES), default=["standard"], help="(standard)")
    parser.add_argument("--subjects", type=int, default=16, help="phantoms to train on (default: %(default)s)")
    parser.add_argument("--unseen", type=int, default=8, help="and to validate on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="of each such training (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="of each such training (default: %(default)s)")
    parser.add_argument("--cases", type=Path, default=Path("training-cases"), help="where phantoms lie (%(default)s)")
    parser.add_argument("--output", help="CSV file")
    options = parser.parse_args()
    quick = bfloat16_is_quick(options.device)
    print(machine())
    print(
        f"bfloat16: {quick}"
        if quick
        else "bfloat16 is left out: this CPU has neither AMX nor AVX512-bf16, and would only emulate it"
    )
    precisions = ["32-true", *(["bf16-mixed"] if quick else [])]
    make = partial(network, options.features)
    if options.dice_seeds:
        rows = validation_dice(options)
    else:
        rows = training_costs(make, options.size, options.rounds, precisions, options.device, options.batch_size)
    print(format_table(rows))
    if options.output:
        save_table(rows, options.output)


if __name__ == "__main__":
    main()
