"""`frequency` beside VAFA's published form (Hanif et al. 2023), at the same similarity and the same number of gradients.

    python Testing/Benchmarks/frequency.py [--output FOLDER] [--networks phantom glioma] [--resume]

The published form learns its tables window by window, each with the loss of that window alone. `frequency` gets the same
q_max, the same blocks and as many gradients, and must keep in every channel at least the mean similarity (SSIM of the whole
volume, as the results count it) that the published form has left. The networks see overlapping windows; images are those that
they take as they are, so that nothing stands between.

Prints a table for each network and saves it as CSV with every single measurement. Exits with status 1 if `frequency` leaves a
higher mean Dice than a published form at the same similarity. Finished measurements are kept in frequency.jsonl.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import FLOAT32, Cells, machine, mean_dice, save_table
from measuring import without_preprocessing
from strength import REAL_DATA, glioma
from vafa import Vafa

from SegAdversarialLib import Case, SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.metrics import ssim

Q_MAX = 20.0
FORMS = {
    "as printed: from 1, with SSIM": {"q_min": 1.0, "begins": 1.0, "weight": 1.0},
    "as released: from q_max, 5 to q_max, with SSIM": {"q_min": 5.0, "begins": Q_MAX, "weight": 1.0},
    "as printed, without SSIM": {"q_min": 1.0, "begins": 1.0, "weight": 0.0},
}
KEY = ("network", "case", "form", "block", "steps", "by")
OURS, THEIRS = "whole volume", "window by window"


def cohorts(options: argparse.Namespace) -> Iterator[tuple[str, SegmentationModel, Case]]:
    """Networks, in overlapping windows, with cases that they take as they are."""
    window, shape = (options.window,) * 3, (options.size,) * 3
    if "phantom" in options.networks:
        network = open_model("builtin:brain-tumour-phantom", device="cpu", window=window)
        for seed in options.seeds:
            yield "phantom", *without_preprocessing(network, phantom.subject(seed=seed, shape=shape), FLOAT32)
    if "glioma" in options.networks and (REAL_DATA / "glioma_mr4").is_dir():
        cohort = glioma(REAL_DATA / "glioma_mr4", shape)
        classes = [{"label": 0, "name": "background"}, {"label": 1, "name": "whole tumour", "stands_for": [1, 2, 4]}]
        path = REAL_DATA / "glioma_mr4" / "whole_tumour_axial.ts"
        said = {"channels": cohort.model.channels, "classes": classes, "window": window}
        model = open_model(path, trust=True, device="cpu", acceleration=FLOAT32, **said)
        for case in cohort.cases:
            yield "glioma", model, case


def theirs(model: SegmentationModel, case: Case, settings: dict[str, float], block: int, steps: int) -> dict[str, Any]:
    """The published form on one case."""
    started = time.perf_counter()
    image, count = Vafa(q_max=Q_MAX, block=block, steps=steps, **settings).attack(model, case)
    return {
        "clean": mean_dice(model, case, case.image),
        **seen(model, case, image.numpy()),
        "gradients": count,
        **took(started),
    }


def ours(model: SegmentationModel, case: Case, similarity: float, block: int, steps: int) -> dict[str, Any]:
    """`frequency` with the same blocks, at least as similar."""
    started = time.perf_counter()
    spacing = float(np.linalg.norm(case.affine[:3, :3], axis=0).mean())
    attack = attacks.FrequencyAttack(q_max=Q_MAX, block_mm=block * spacing, steps=steps, least_ssim=min(similarity, 0.9999))
    result = attack(model, case)
    return {**seen(model, case, result.adversarial.image), "gradients": result.gradient_evaluations, **took(started)}


def seen(model: SegmentationModel, case: Case, image: np.ndarray) -> dict[str, float]:
    """What an image does, and how similar it is: the mean of its channels."""
    similar = [ssim(before, after) for before, after in zip(case.image, image)]
    return {"dice": mean_dice(model, case, image), "ssim": float(np.mean(similar))}


def took(started: float) -> dict[str, float]:
    """Seconds since then."""
    return {"seconds": round(time.perf_counter() - started, 1)}


def summarised(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the cases, one row for each form."""
    table = []
    for form in dict.fromkeys(row["form"] for row in rows):
        own = {by: [row for row in rows if row["form"] == form and row["by"] == by] for by in (THEIRS, OURS)}
        line: dict[str, Any] = {"published form": form, "cases": len(own[OURS])}
        line["clean"] = float(np.mean([row["clean"] for row in own[THEIRS]]))
        for by, found in own.items():
            line[f"Dice, {by}"] = float(np.mean([row["dice"] for row in found]))
            line[f"SSIM, {by}"] = float(np.mean([row["ssim"] for row in found]))
        line["lower in"] = sum(a["dice"] < b["dice"] for a, b in zip(own[OURS], own[THEIRS]))
        table.append(line)
    return table


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--networks", nargs="+", choices=("phantom", "glioma"), default=["phantom", "glioma"])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of the phantoms")
    parser.add_argument("--size", type=int, default=48, help="voxels of a volume along each axis")
    parser.add_argument("--window", type=int, default=32, help="voxels of a window, a multiple of a block's")
    parser.add_argument("--block", type=int, default=8, help="voxels of a block along each axis")
    parser.add_argument("--steps", type=int, default=20, help="gradients of the volume, and of each window")
    parser.add_argument("--forms", type=int, nargs="+", default=[0, 1, 2], help="which published forms, by number")
    parser.add_argument("--resume", action="store_true", help="keep finished measurements")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save; 0 if `frequency` leaves the lower Dice everywhere."""
    options = parsed(words)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    cells, rows = Cells(options.output / "frequency.jsonl", KEY, options.resume), list[dict[str, Any]]()
    for name, model, case in cohorts(options):
        for form in [list(FORMS)[n] for n in options.forms]:
            key = {"network": name, "case": f"{case.name} {options.size}", "form": form, "block": options.block}
            key["steps"] = options.steps
            first = cells.get({**key, "by": THEIRS}, partial(theirs, model, case, FORMS[form], options.block, options.steps))
            second = cells.get({**key, "by": OURS}, partial(ours, model, case, first["ssim"], options.block, options.steps))
            rows += [first, second]
            told = ", ".join(f"{x['by']} Dice {x['dice']:.3f} at SSIM {x['ssim']:.4f}" for x in (first, second))
            print(f"{name}, {case.name}, {form}: clean {first['clean']:.3f}; {told}", flush=True)
    kept = True
    for name in dict.fromkeys(row["network"] for row in rows):
        table = summarised([row for row in rows if row["network"] == name])
        kept &= all(line[f"Dice, {OURS}"] < line[f"Dice, {THEIRS}"] for line in table)
        kept &= all(line[f"SSIM, {OURS}"] >= line[f"SSIM, {THEIRS}"] for line in table)
        what = f"{options.steps} gradients, {options.size}^3, blocks of {options.block}^3"
        print(f"\n{name}, {what}; {machine()}\n\n{format_table(table)}\n")
        save_table(table, options.output / f"frequency_{name}.csv")
    save_table(rows, options.output / "frequency_cases.csv")
    print("The promise is kept." if kept else "The promise is broken.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
