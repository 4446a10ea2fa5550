"""Dice against the number of gradients: our attacks, those of other packages, and the ten lines that people write.

    python Testing/Benchmarks/strength.py [--output FOLDER] [--resume [--again NAME ...]]

On the built-in network and phantoms that it has not seen, and on the glioma network of the test data where that is there
(SEGADVERSARIAL_TEST_DATA, or ../shared/data beside the repository; --glioma-crop K J I takes a larger part of its case). Every
attack is run anew for each number of gradients, since its schedule depends on it, with the same L-inf budget, float type and
threads. A gradient is one backward pass of one volume, counted where the network is differentiated; what an attack hands back
is checked against the budget and measured by one and the same code.

Prints a table for each network, best attack first, and saves it as CSV with every single measurement and a figure. Exits with
status 1 if `WorstCase` does not leave the lowest mean Dice at the largest number of gradients, or takes more than that.
Finished measurements are kept in strength.jsonl as they come in, so that a run that was cut off goes on with --resume; --again
measures the named attacks (parts of their names) once more, as after a change of their code.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from common import FLOAT32, Cells, machine, mean_dice, save_figure, save_table
from peers import PEERS, Budget, Found, Missing, run_peer

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.evaluation.tables import format_table

ROOT = Path(__file__).resolve().parents[2]
REAL_DATA = Path(os.environ.get("SEGADVERSARIAL_TEST_DATA", ROOT.parent / "shared" / "data"))
WORST, OURS = "worst-case", "ours"
WITHOUT_GRADIENTS = {"universal-random-perturbation": {"radius": 0.0, "epsilon_units": "relative", "clip": True}}
PUBLISHED = {
    "pgd, as published": {"random_start": True, "keep": "last"},
    "apgd, as published": {"schedule": "published"},
    "apgd, as SEA's": {"shrinking": True, "loss": "balanced_masked_cross_entropy", "schedule": "published"},
}
"""Forms that are not the library's defaults."""
KEY = ("network", "case", "attack", "budget", "epsilon")
ITERATED = ("ifgsm", "momentum-ifgsm", "segpgd", "cospgd", "apgd")

Attacker = Callable[[SegmentationModel, Case, float, int], Found]
"""Model, case, epsilon and number of gradients to what was found."""


@dataclass(frozen=True)
class Contestant:
    """An attack in the comparison: its name, whose it is, and how it is run; with or without gradients."""

    name: str
    by: str
    run: Attacker
    gradients: bool = True


@dataclass(frozen=True, eq=False)
class Cohort:
    """A network and the cases that it is attacked on."""

    name: str
    model: SegmentationModel
    cases: Sequence[Case]


@contextmanager
def counted(model: SegmentationModel) -> Iterator[list[int]]:
    """While it lasts, a list whose only number is how often the model has been differentiated."""
    count, plain = [0], model.on

    @contextmanager
    def on(*arguments: Any, **settings: Any) -> Iterator[Any]:
        with plain(*arguments, **settings) as bound:
            differentiate = bound.differentiate

            def and_count(*arguments: Any, **settings: Any) -> Any:
                count[0] += 1
                return differentiate(*arguments, **settings)

            bound.differentiate = and_count
            yield bound

    model.on = on  # type: ignore[method-assign]
    try:
        yield count
    finally:
        del model.on


def run_ours(name: str, settings: dict[str, Any], model: SegmentationModel, case: Case, epsilon: float) -> Found:
    """Attack a case with one of our attacks, and check what it says of itself."""
    with counted(model) as count:
        result = attacks.make_attack(name, {**settings, "epsilon": epsilon})(model, case)
    image, outside = Budget.of(case, epsilon).enforce(torch.from_numpy(result.adversarial.image))
    return Found(image.numpy(), max(count[0], result.gradient_evaluations), outside)


def contestants() -> list[Contestant]:
    """Everything that is compared; attacks that this version of the library lacks are named and left out."""
    found: list[Contestant] = []

    def add(label: str, name: str, settings: Callable[[int], dict[str, Any]], gradients: bool = True) -> None:
        if name not in attacks.ATTACKS:
            print(f"Left out: this version of the library has no attack {name}.", file=sys.stderr)
            return
        found.append(Contestant(label, OURS, lambda m, c, epsilon, n: run_ours(name, settings(n), m, c, epsilon), gradients))

    for name, settings in WITHOUT_GRADIENTS.items():
        add(name, name, lambda steps, settings=settings: settings, gradients=False)  # type: ignore[misc]
    for loss in get_args(attacks.attack_class("pgd").model_fields["loss"].annotation):
        if loss not in attacks.ATTACKS:  # SegPGD's and CosPGD's are compared as attacks
            add(f"pgd, {loss}", "pgd", lambda steps, loss=loss: {"steps": steps, "loss": loss})  # type: ignore[misc]
    for name in ITERATED:
        add(name, name, lambda steps: {"steps": steps})
    add("apgd, cross_entropy", "apgd", lambda steps: {"steps": steps, "loss": "cross_entropy"})
    for label, settings in PUBLISHED.items():
        add(label, label.partition(",")[0], lambda steps, settings=settings: {"steps": steps, **settings})  # type: ignore[misc]
    add(WORST, WORST, lambda steps: {"gradient_budget": steps})
    for label, peer in PEERS.items():
        found.append(Contestant(label, peer.package, lambda *inputs, peer=peer: run_peer(peer, *inputs)))  # type: ignore[misc]
    return found


def phantoms(seeds: Sequence[int], size: int) -> Cohort:
    """The built-in network and phantoms of these seeds."""
    model = open_model("builtin:brain-tumour-phantom", device="cpu", acceleration=FLOAT32)
    return Cohort("phantom", model, [phantom.subject(seed=seed, shape=(size,) * 3) for seed in seeds])


def glioma(folder: Path, crop: Sequence[int] | None) -> Cohort:
    """The glioma network and the tumour of its case: the crop that lies beside it, or a larger one of the whole brain,
    normalised as a whole first, as the network was trained."""
    classes = [{"label": 0, "name": "background"}, {"label": 1, "name": "whole tumour", "stands_for": [1, 2, 4]}]
    channels = ["FLAIR", "T1", "T1ce", "T2"]
    path = folder / "whole_tumour_axial.ts"
    model = open_model(path, trust=True, device="cpu", channels=channels, classes=classes, acceleration=FLOAT32)
    if crop is None:
        image = {",".join(channels): folder / "crop" / "TCGA-DU-7294_input_zscored_4ch.nii.gz"}
        label = folder / "crop" / "TCGA-DU-7294_seg_consensus.nii.gz"
        return Cohort("glioma", model, [Case.read(image, label, name="TCGA-DU-7294 crop")])
    whole = folder / "TCGA-DU-7294"
    case = Case.read({name: whole / f"{name.lower()}.nii.gz" for name in channels}, whole / "seg_consensus.nii.gz")
    inside = case.image > 0
    scores = np.stack([np.where(m, (x - x[m].mean()) / x[m].std(), 0) for x, m in zip(case.image, inside)])
    middle = [int(x.mean()) for x in np.nonzero(case.label)]
    starts = [max(0, min(m - n // 2, have - n)) for m, n, have in zip(middle, crop, case.shape)]
    part = tuple(slice(start, start + n) for start, n in zip(starts, crop))
    affine = case.affine.copy()
    affine[:3, 3] = (case.affine @ [*starts[::-1], 1])[:3]
    larger = Case(scores[(slice(None), *part)], channels, affine, case.label[part], name="TCGA-DU-7294")
    return Cohort("glioma", model, [larger])


def measured(contestant: Contestant, cohort: Cohort, case: Case, epsilon: float, budget: int) -> dict[str, Any]:
    """One measurement: Dice after, gradients taken, by which share outside the budget, seconds; or why there is none."""
    started = time.perf_counter()
    try:
        found = contestant.run(cohort.model, case, epsilon, budget)
    except (Missing, InputError) as error:
        return {"dice": None, "why": str(error)}
    seconds = time.perf_counter() - started
    after = mean_dice(cohort.model, case, found.image)
    return {"dice": after, "gradients": found.gradients, "outside": found.outside, "seconds": round(seconds, 2)}


def compare(
    cohort: Cohort, compared: Sequence[Contestant], epsilon: float, budgets: Sequence[int], cells: Cells
) -> list[dict[str, Any]]:
    """All measurements of one cohort; the clean image's is that of the attack "none"."""
    nothing = Contestant("none", "", lambda model, case, epsilon, n: Found(case.image, 0, 0.0), gradients=False)
    jobs = [
        (case, contestant, budget)
        for budget in sorted(budgets, reverse=True)  # the one that decides comes first
        for case in cohort.cases
        for contestant in (nothing, *compared)
        if contestant.gradients or budget == max(budgets)
    ]
    rows, told = [], set()
    for number, (case, contestant, budget) in enumerate(jobs):
        key: dict[str, Any] = {
            "network": cohort.name,
            "case": f"{case.name} {'x'.join(map(str, case.shape))}",
            "attack": contestant.name,
        }
        key |= {"by": contestant.by, "budget": budget if contestant.gradients else 0, "epsilon": epsilon}
        row = cells.get(key, lambda job=(contestant, cohort, case, epsilon, budget): measured(*job))  # type: ignore[misc]
        rows.append(row)
        if row["dice"] is None:
            if (contestant.name, row["why"]) not in told:
                print(f"Left out on {cohort.name} at {budget}: {contestant.name}: {row['why']}", file=sys.stderr)
            told.add((contestant.name, row["why"]))
        else:
            done = f"{cohort.name} {number + 1}/{len(jobs)}: {case.name}, {contestant.name}, {key['budget']} gradients"
            print(f"{done}: Dice {row['dice']:.4f}", file=sys.stderr, flush=True)
    return rows


def means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[int, np.ndarray]]:
    """Dice of all cases by attack and number of gradients, where every case has one."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        value = np.nan if row["dice"] is None else row["dice"]
        found.setdefault(row["attack"], {}).setdefault(row["budget"], []).append(value)
    whole = {name: {n: np.array(x) for n, x in curve.items() if not np.isnan(x).any()} for name, curve in found.items()}
    return {name: curve for name, curve in whole.items() if curve}


def summary(rows: Sequence[dict[str, Any]], budgets: Sequence[int]) -> list[dict[str, Any]]:
    """The table: one row for each attack, lowest mean Dice at the largest number of gradients first."""
    most, curves = max(budgets), means(rows)
    worst = curves.get(WORST, {}).get(most)
    clean = curves["none"][0]
    table = []
    for name, curve in curves.items():
        last = curve[0] if 0 in curve else curve.get(most)
        if last is None:
            continue
        mine = [row for row in rows if row["attack"] == name and row["dice"] is not None]
        line: dict[str, Any] = {"attack": name, "by": mine[0]["by"]}
        line |= {f"Dice at {n}": float(curve[n].mean()) if n in curve else np.nan for n in sorted(budgets)}
        line[f"Dice at {most}"] = float(last.mean())
        if worst is not None:
            line["above WorstCase"] = float((last - worst).mean())
            line["cases below WorstCase"] = f"{int((last < worst).sum())} of {len(last)}"
            line["share of WorstCase's drop"] = float((clean - last).mean() / max((clean - worst).mean(), 1e-12))
        line["gradients"] = max(row["gradients"] for row in mine)
        line["outside budget"] = float(max(row["outside"] for row in mine))
        line["seconds"] = float(np.mean([row["seconds"] for row in mine if row["budget"] in (0, most)]))
        table.append(line)
    return sorted(table, key=lambda line: line[f"Dice at {most}"])


def verdict(rows: Sequence[dict[str, Any]], table: Sequence[dict[str, Any]], most: int) -> str:
    """What is wrong with `WorstCase`, or nothing."""
    worst = next((line for line in table if line["attack"] == WORST), None)
    if worst is None:
        return "WorstCase was not measured."
    spent = [row for row in rows if row["attack"] == WORST and row["dice"] is not None and row["gradients"] > row["budget"]]
    if spent:
        return f"WorstCase took {spent[0]['gradients']} gradients where {spent[0]['budget']} were allowed."
    lower = [line["attack"] for line in table if line[f"Dice at {most}"] < worst[f"Dice at {most}"]]
    return f"Lower than WorstCase: {', '.join(lower)}." if lower else ""


def draw(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Dice against the number of gradients; ours solid, the others' dashed."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    whose = {row["attack"]: row["by"] for row in rows}
    figure = Figure(figsize=(10, 6))
    axes = figure.add_subplot()
    curves = sorted(means(rows).items(), key=lambda item: -item[1][max(item[1])].mean())
    for number, (name, curve) in enumerate(curves):
        budgets = sorted(curve)
        values = [curve[n].mean() for n in budgets]
        colour = "black" if name == WORST else colormaps["tab20"](number % 20)
        if budgets == [0]:
            axes.axhline(values[0], color=colour, linestyle=":", label="no attack" if name == "none" else name)
            continue
        ours = whose[name] == OURS
        style: dict[str, Any] = {"linestyle": "-" if ours else "--", "marker": "o" if ours else "s", "markersize": 4}
        axes.plot(budgets, values, color=colour, linewidth=2.5 if name == WORST else 1.2, label=name, **style)
    axes.set(xlabel="gradients", ylabel="mean Dice", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8)
    save_figure(figure, path)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("strength"), help="folder for tables and figures")
    parser.add_argument("--networks", nargs="+", choices=("phantom", "glioma"), default=["phantom", "glioma"])
    parser.add_argument("--subjects", type=int, default=10, help="how many phantoms")
    parser.add_argument("--first-seed", type=int, default=0, help="the first phantom's seed; 0 to 9 are the benchmark's")
    parser.add_argument("--size", type=int, default=64, help="voxels of a phantom along each axis")
    parser.add_argument("--glioma-crop", type=int, nargs=3, metavar=("K", "J", "I"), help="such as 96 128 128")
    parser.add_argument("--epsilon", type=float, default=0.02, help="of each channel's largest absolute intensity")
    parser.add_argument("--budgets", type=int, nargs="+", default=[5, 10, 20, 40], help="numbers of gradients")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the names of the attacks that are compared")
    parser.add_argument("--threads", type=int, help="of the CPU, for all alike; torch's own choice if left out")
    parser.add_argument("--resume", action="store_true", help="go on with what the output folder holds")
    parser.add_argument("--again", nargs="+", default=[], help="with --resume: parts of names of attacks to measure anew")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save; 0 if `WorstCase` is the strongest everywhere."""
    options = parsed(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    cells = Cells(options.output / "strength.jsonl", KEY, options.resume, options.again)
    compared = [x for x in contestants() if any(part in x.name for part in options.only)]
    failures = []
    for network in options.networks:
        if network == "phantom":
            cohort = phantoms(range(options.first_seed, options.first_seed + options.subjects), options.size)
        elif (REAL_DATA / "glioma_mr4").is_dir():
            cohort = glioma(REAL_DATA / "glioma_mr4", options.glioma_crop)
        else:
            print(f"Left out: the glioma network; {REAL_DATA} has no glioma_mr4 (set SEGADVERSARIAL_TEST_DATA).")
            continue
        rows = compare(cohort, compared, options.epsilon, options.budgets, cells)
        table, where = summary(rows, options.budgets), f"{len(cohort.cases)} case(s) of {cohort.name}"
        print(f"\n{where}, epsilon {options.epsilon:g}; {machine()}\n\n{format_table(table)}\n")
        save_table(table, options.output / f"strength_{network}.csv")
        save_table(rows, options.output / f"strength_{network}_cells.csv")
        draw(rows, f"{where}, L-inf {options.epsilon:g} of the largest intensity", options.output / f"strength_{network}.png")
        wrong = verdict(rows, table, max(options.budgets))
        print(f"{network}: {wrong or 'WorstCase leaves the lowest mean Dice.'}")
        failures.append(wrong)
    return 1 if any(failures) else 0


if __name__ == "__main__":
    sys.exit(main())
