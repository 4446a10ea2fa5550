"""Liu et al. 2021, Tables 2 and 3, on phantoms, with the column that they lack: Dice under attacks that know the defence.

    python Testing/Benchmarks/defences.py --folder FOLDER [--dimensions 2] [--only NAME ...]

Trains a small U-Net without defence, by defensive distillation, by adversarial training and with noise, each by the library's
own loop and recipes, from the same first weights and on the same phantoms; then attacks each with FGSM on phantoms that none
of them has seen, and audits it on a few of these: the worst case, for each of them, of FGSM, PGD with restarts and with twice
the steps, PGD on rescaled logits (by the distillation's own temperature, too), other losses, all losses together, and attacks
transferred from the undefended network.

All rows are trained and attacked with FGSM first, and then audited. Everything is kept in the folder as it comes, trained
networks and single measurements, so that a run that was cut off goes on with the same command. Each row is printed as it
comes; at the end, and with --show at once from what is there, the tables beside the paper's, also in tables.md, and every
single measurement in dice.csv.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Cells, machine, save_table
from defence_cases import REGIONS, markdown, mean_and_deviation, parts
from scipy.stats import wilcoxon

from SegAdversarialLib import Case, SegmentationModel, attacks, evaluate
from SegAdversarialLib.defenses.audit import audit
from SegAdversarialLib.defenses.recipes import Recipe, make
from SegAdversarialLib.model.normalization import ZScore
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.studies.papers.liu2021.tables import DEFENCES, EPSILONS, printed
from SegAdversarialLib.training.loop import train

NOISE = "Noise augmentation, 0.01"
NOTHING = DEFENCES[0]
# without normalisation, which would keep logits from growing as far as a high temperature wants them to
NETWORK = {"name": "UNet", "arguments": {"channels": [8, 16, 32], "strides": [2, 2], "norm": None, "num_res_units": 1}}
AUDIT: dict[str, Any] = {
    "epsilons": [x for x in EPSILONS if x],
    "restarts": 3,
    "queries": 0,
    "losses": ["soft_dice", "cross_entropy", "margin"],
}
# with a background of 0 this is what an attack's epsilon is on the scan itself
UNITS = "range"


@dataclass(frozen=True)
class Defence:
    """A row of the table: its name in the paper, how it is trained, and its temperature where it has one."""

    name: str
    recipe: Recipe
    temperature: float | None = None

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return "".join(x if x.isalnum() or x == "." else "-" for x in self.name.lower()).strip("-")


def defences() -> list[Defence]:
    """All rows of the tables, and noise augmentation, which the paper has in its text."""
    found = [Defence(NOTHING, make("standard"))]
    for temperature in (20, 100, 500, 5000):
        recipe = make({"recipe": "defensive-distillation", "temperature": temperature})
        found.append(Defence(f"Distillation (T = {temperature})", recipe, temperature))
    for epsilon in (0.01, 0.05, 0.1):
        recipe = make({"recipe": "adversarial-training", "epsilon": epsilon, "epsilon_units": UNITS})
        found.append(Defence(f"Adversarial training, {epsilon:g}", recipe))
    noise = make({"recipe": "noise-augmentation", "radius": 0.01, "units": UNITS})
    return [*found, Defence(NOISE, noise)]


def trained(defence: Defence, options: argparse.Namespace, cases: Sequence[Case]) -> SegmentationModel:
    """The network of a row, from the folder where it has been trained already."""
    longer, faster = (options.distillation_epochs, 2.0) if defence.temperature else (1.0, 1.0)
    settings = {"epochs": round(options.epochs * longer), "learning_rate": options.learning_rate * faster}
    settings |= {
        "batch_size": options.batch_size,
        "schedule": "one-cycle",
        "augmentation": "axial",
        "seed": options.seed,
        "tensorboard": False,
    }
    return train(
        NETWORK,
        cases,
        settings,
        recipe=defence.recipe,
        folder=options.folder / "networks" / f"{options.dimensions}d" / defence.folder,
        device="cpu",
        name=defence.name,
        preprocessing=Preprocessing(normalization=ZScore(), axes="kji" if options.dimensions == 3 else "ji"),
    )


def under_fgsm(model: SegmentationModel, case: Case, epsilon: float) -> dict[str, float]:
    """Dice of each region and of each class after FGSM with this relative epsilon."""
    found = evaluate(attacks.FGSM(epsilon=epsilon)(model, case), model, warn=False)
    return {row["structure"]: row["after"] for row in found.rows if row["metric"] == "Dice"}


def audited(defence: Defence, cases: Sequence[Case], known: Sequence[Case], options: argparse.Namespace) -> dict[str, Any]:
    """What an audit leaves of Dice, and what it warns of."""
    temperatures = ["auto", "deviation", *([defence.temperature] if defence.temperature else [])]
    settings = {**AUDIT, "steps": options.steps, "temperatures": temperatures, "seed": options.seed}
    undefended = None if defence.name == NOTHING else trained(defences()[0], options, known)
    used = time.process_time()
    found = audit(trained(defence, options, known), cases, surrogate=undefended, **settings)
    found.save(options.folder / "audits" / f"{options.dimensions}d" / defence.folder)
    return {
        "seconds": round(found.seconds, 1),
        "processor": round(time.process_time() - used, 1),
        "clean": found.measured.clean_mean,
        "rows": found.epsilons,
        "audited": {f"{e:g}": [x.dice for x in found.measured.worst(e)] for e in settings["epsilons"]},
        "findings": [[x.check, x.verdict, x.number, x.sentence] for x in found.findings],
    }


def run(options: argparse.Namespace, rows: Sequence[Defence], measured: Cells, audits: Cells) -> None:
    """Train and attack one row after the other, then audit each; what is there already is not done again."""
    seeds = range(options.seed, options.seed + options.subjects + options.unseen)
    cases = parts(seeds, options.size, options.part or options.size, options.folder / "cases")
    known, unseen = cases[: options.subjects], cases[options.subjects :]
    for defence in rows:
        started, used = time.perf_counter(), time.process_time()
        model = trained(defence, options, known)
        spent = {"seconds": round(time.perf_counter() - started, 1), "processor": round(time.process_time() - used, 1)}
        key: dict[str, Any] = {"dimensions": options.dimensions, "defence": defence.name}
        audits.get({**key, "what": "training"}, partial(dict, spent))
        for epsilon in options.epsilons:
            at = {**key, "epsilon": epsilon}
            scores = [measured.get({**at, "case": x.name}, partial(under_fgsm, model, x, epsilon)) for x in unseen]
            told = ", ".join(f"{name} {mean_and_deviation([x[name] for x in scores])}" for name in REGIONS)
            print(f"{defence.name}, FGSM {epsilon:g}: {told}", flush=True)
    for defence in rows if options.audited else ():
        about = {"dimensions": options.dimensions, "defence": defence.name, "what": "audit"}
        found = audits.get(about, partial(audited, defence, unseen[: options.audited], known, options))
        worst = ", ".join(f"{x['epsilon']:g}: {x['audited Dice']:.3f}" for x in found["rows"])
        warns = ", ".join(x[0] for x in found["findings"] if x[1] == "warn")
        print(f"{defence.name}, audited mean Dice {worst}; warns: {warns or 'nothing'}; {found['seconds']} s", flush=True)


def tables(rows: Sequence[Mapping[str, Any]], audits: Sequence[Mapping[str, Any]], dimensions: int) -> str:
    """The paper's table with its figures beside ours, and the audited Dice."""
    rows = [x for x in rows if x["dimensions"] == dimensions]
    found = {x["defence"]: x for x in audits if x["what"] == "audit" and x["dimensions"] == dimensions}
    sizes = [x for x in EPSILONS if x]
    head = ["Segmentation", "Defense"]
    for epsilon in EPSILONS:
        head += [f"ε = {epsilon:g}: paper", "here"]
    lines = [[*head, *(f"p at {e:g}" for e in sizes), *(f"audited, {e:g}" for e in sizes)]]
    present = list(dict.fromkeys(x["defence"] for x in rows))
    for region, name in REGIONS.items():
        for defence in [x.name for x in defences() if x.name in present]:
            cells = []
            for epsilon in EPSILONS:
                here = mean_and_deviation(_dice(rows, defence, epsilon, region))
                cells += [printed(dimensions, region, defence, epsilon), here]
            chance = [_chance(rows, defence, epsilon, region) for epsilon in sizes]
            worst = found.get(defence, {}).get("audited", {})
            audited = [mean_and_deviation([x[region] for x in worst[f"{e:g}"]]) if worst else "-" for e in sizes]
            lines.append([name, defence, *cells, *chance, *audited])
    return markdown(lines)


def leaking(rows: Sequence[Mapping[str, Any]], dimensions: int) -> list[str]:
    """Where FGSM leaves more Dice than there was without it, or a larger epsilon more than a smaller one."""
    rows, found = [x for x in rows if x["dimensions"] == dimensions], []
    for defence in dict.fromkeys(x["defence"] for x in rows):
        for region in REGIONS:
            curve = {e: np.mean(_dice(rows, defence, e, region)) for e in sorted({x["epsilon"] for x in rows})}
            for less, more in zip(list(curve), list(curve)[1:]):
                if curve[more] > curve[less]:
                    what = f"{region} {curve[more]:.3f} at epsilon {more:g}, {curve[less]:.3f} at {less:g}"
                    found.append(f"{defence}: {what}")
    return found


def _dice(rows: Sequence[Mapping[str, Any]], defence: str, epsilon: float, region: str) -> list[float]:
    return [x[region] for x in rows if (x["defence"], x["epsilon"]) == (defence, epsilon)]


def _chance(rows: Sequence[Mapping[str, Any]], defence: str, epsilon: float, region: str) -> str:
    """Wilcoxon's signed-rank test against no defence, two-sided, not corrected."""
    here, before = (np.array(_dice(rows, x, epsilon, region)) for x in (defence, NOTHING))
    if defence == NOTHING or len(here) != len(before) or not np.any(here != before):
        return "-"
    return f"{wilcoxon(here, before).pvalue:.2g}"


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--dimensions", type=int, choices=(2, 3), default=3, help="Table 2 (3) or Table 3 (2)")
    parser.add_argument("--subjects", type=int, default=32, help="phantoms to train on")
    parser.add_argument("--unseen", type=int, default=8, help="phantoms to attack")
    parser.add_argument("--audited", type=int, default=4, help="how many of these are audited; 0: none")
    parser.add_argument("--size", type=int, default=48, help="voxels along each side of a phantom")
    parser.add_argument("--part", type=int, help="and of the part around its tumour that is used (the whole phantom)")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=2, help="volumes, or slices, in a step")
    parser.add_argument("--learning-rate", type=float, default=5e-3, help="the schedule's highest; distillation: twice")
    parser.add_argument("--distillation-epochs", type=float, default=1.5, help="as a multiple of --epochs; 4 in the paper")
    parser.add_argument("--steps", type=int, default=10, help="of the audit's iterative attacks; twice as many are tried, too")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.0, 0.01, 0.05, 0.1], help="of FGSM")
    parser.add_argument("--seed", type=int, default=0, help="of the first phantom and of every random draw")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows whose name holds one of these")
    parser.add_argument("--show", action="store_true", help="only the tables of what is there")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = Cells(options.folder / "dice.jsonl", ("dimensions", "defence", "epsilon", "case"), resume=True)
    audits = Cells(options.folder / "audits.jsonl", ("dimensions", "defence", "what"), resume=True)
    rows = [x for x in defences() if not options.only or any(name.lower() in x.name.lower() for name in options.only)]
    if not options.show:
        print(machine(), flush=True)
        run(options, rows, measured, audits)
    table = tables(measured.rows, audits.rows, options.dimensions)
    leaks = leaking(measured.rows, options.dimensions)
    text = "\n".join([table, "", "Dice that rises with epsilon (label leaking):", "", *(f"- {x}" for x in leaks or ["none"])])
    print(f"\n{text}")
    (options.folder / "tables.md").write_text(f"{text}\n")
    save_table(measured.rows, options.folder / "dice.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
