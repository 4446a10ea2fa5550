"""Pervin et al. 2023, Tables 1 to 3, on slices of phantoms: mean IoU by epoch, under attack, and by augmentation.

    python Testing/Benchmarks/augmentations.py --folder FOLDER [--seeds 0 1 2] [--only NAME ...]

Trains a small U-Net (with --network pervin the paper's own, which takes many more epochs to begin to learn) to find the whole
tumour in axial slices: on the slices alone, and with flipped, rotated, cropped, jittered, generated, FGSM and Inverse-FGSM
copies, each by the library's own loop and recipes; the attacks' copies are made on the first of these networks, as in the
paper's Figure 1. Then attacks the networks on phantoms that none of them has seen, with the paper's two attacks, with PGD, and
with random signs of the same size. Mean IoU is the mean of background and tumour, as the paper's 0.4955 at its epoch 0 has it,
of all voxels of a subject, averaged over subjects.

Everything is kept in the folder as it comes, so that a run that was cut off goes on with the same command; --show prints the
tables of what is there.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Cells, machine, save_table
from defence_cases import markdown, mean_and_deviation

from SegAdversarialLib import Case, SegmentationModel, attacks, phantom
from SegAdversarialLib.defenses.recipes import make
from SegAdversarialLib.metrics import iou
from SegAdversarialLib.model.normalization import ZScore
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.studies.papers.pervin2023.tables import (
    EPSILONS,
    FGSM,
    INVERSE,
    PLAIN,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    of_both,
)
from SegAdversarialLib.training.loop import train
from SegAdversarialLib.volumes.files import whole_file

EPOCHS = (1, 10, 20, 30)
CLASSES = [{"label": 0, "name": "background"}, {"label": 1, "name": "tumour", "stands_for": [1, 2, 4]}]
NETWORKS: dict[str, dict[str, Any]] = {
    "pervin": {"name": "PervinUNet", "arguments": {"features": 4}},
    "small": {
        "name": "UNet",
        "arguments": {"channels": [8, 16, 32], "strides": [2, 2], "norm": "instance", "num_res_units": 1},
    },
}
CLASSIC = {"Flipping": "flip", "Rotating": "rotate", "Cropping": "crop", "Color Jitter": "jitter"}
ATTACKS: dict[str, dict[str, Any]] = {
    "FGSM": {"attack": "fgsm", "loss": "cross_entropy"},
    "InvFGSM": {"attack": "inverse-fgsm"},
    "PGD": {"attack": "pgd", "steps": 10, "loss": "cross_entropy"},
    "random signs": {
        "attack": "universal-random-perturbation",
        "radius": 0.0,
        "epsilon_units": "relative",
        "clip": True,
    },
}


def recipes(plain: Path) -> dict[str, dict[str, Any]]:
    """The rows of Table 3 as recipes; `plain` is the folder of the network that learned from the slices alone."""
    copies = {"recipe": "attack-augmentation", "epsilon": 0.1, "epsilon_units": "range", "network": str(plain / "model.json")}
    found: dict[str, dict[str, Any]] = {PLAIN: {"recipe": "standard"}}
    found |= {f"{PLAIN} + {name}": {**copies, "attack": ATTACKS[name]["attack"]} for name in ("FGSM", "InvFGSM")}
    found |= {f"{PLAIN} + {name}": {"recipe": "classic-augmentation", "kinds": kind} for name, kind in CLASSIC.items()}
    return found | {f"{PLAIN} + GAN": {"recipe": "generative-augmentation"}}


def slices(seed: int, options: argparse.Namespace) -> Case:
    """The axial slices of a phantom with the most tumour, as a case."""
    path = options.folder / "cases" / f"phantom-{seed:03d}-{options.size}-{options.slices}.npz"
    if not path.is_file():
        case = phantom.subject(seed, (phantom.SMALLEST, options.size, options.size))
        assert case.label is not None
        middle = round(float(np.nonzero(case.label)[0].mean()))
        first = max(0, min(middle - options.slices // 2, len(case.label) - options.slices))
        part, affine = slice(first, first + options.slices), case.affine.copy()
        affine[:3, 3] = (case.affine @ [0, 0, first, 1])[:3]
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, image=case.image[:, part], label=case.label[part], affine=affine)
    with np.load(path) as kept:
        image, label, affine = kept["image"], kept["label"], kept["affine"]
    return Case(image, phantom.CHANNELS, affine, label, label_names=phantom.LABEL_NAMES, name=f"phantom-{seed:03d}")


def trained(
    name: str, epochs: int, seed: int, options: argparse.Namespace, cases: Sequence[Case], place: Path
) -> SegmentationModel:
    """The network of a row after so many epochs; it goes on from where its folder stands."""
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": options.batch, "loss": "ce", "seed": seed}
    settings |= {"optimizer": options.optimizer, "learning_rate": options.learning_rate, "momentum": options.momentum}
    return train(
        NETWORKS[options.network],
        cases,
        {**settings, "tensorboard": False},
        recipe=make(recipes(place / "u-net")[name]),
        folder=place / "".join(x if x.isalnum() else "-" for x in name.lower().replace(" + ", "-")),
        device="cpu",
        classes=CLASSES,
        preprocessing=Preprocessing(normalization=ZScore(), axes="ji"),
    )


def mean_iou(model: SegmentationModel, case: Case, image: np.ndarray) -> float:
    """Mean IoU of background and tumour of what a network says of an image (C, K, J, I)."""
    assert case.label is not None
    claimed, wanted = model.predict(case.with_image(image)).labels > 0, case.label > 0
    return float(np.mean([iou(claimed, wanted), iou(~claimed, ~wanted)]))


def attacked(model: SegmentationModel, case: Case, name: str, epsilon: float) -> dict[str, float]:
    """Mean IoU after an attack."""
    settings = {key: value for key, value in ATTACKS[name].items() if key != "attack"}
    attack = attacks.make_attack(ATTACKS[name]["attack"], {**settings, "epsilon": epsilon})
    return {"mean IoU": mean_iou(model, case, attack(model, case).adversarial.image)}


def run(options: argparse.Namespace, measured: Cells) -> None:
    """All trainings and attacks that are not there yet."""
    cases = [slices(options.first + n, options) for n in range(options.subjects + options.unseen)]
    known, unseen = cases[: options.subjects], cases[options.subjects :]
    for seed in options.seeds:
        place = options.folder / "networks" / f"seed-{seed}"
        for name in recipes(place):
            if options.only and name not in [PLAIN, *(f"{PLAIN} + {x}" for x in options.only)]:
                continue
            started, used = time.perf_counter(), time.process_time()
            key: dict[str, Any] = {"seed": seed, "network": name}
            for epochs in EPOCHS:
                model = trained(name, epochs, seed, options, known, place)
                clean = measure({**key, "epochs": epochs, "attack": "", "epsilon": 0.0}, model, unseen, measured)
                spent = f"{time.perf_counter() - started:.0f} s, {time.process_time() - used:.0f} s of a processor"
                print(f"seed {seed}, {name}, after {epochs} epochs: mean IoU {clean} ({spent})", flush=True)
            for attack in ATTACKS if name in (PLAIN, FGSM, INVERSE) else ():
                at = {**key, "epochs": EPOCHS[-1], "attack": attack}
                left = [measure({**at, "epsilon": epsilon}, model, unseen, measured) for epsilon in EPSILONS]
                print(f"seed {seed}, {name}, {attack}: {', '.join(left)}", flush=True)


def measure(key: dict[str, Any], model: SegmentationModel, unseen: Sequence[Case], measured: Cells) -> str:
    """Mean IoU of a network on all unseen subjects, attacked or not, in words."""

    def one(case: Case) -> dict[str, float]:
        if not key["attack"]:
            return {"mean IoU": mean_iou(model, case, case.image)}
        return attacked(model, case, key["attack"], key["epsilon"])

    found = [measured.get({**key, "case": case.name}, partial(one, case)) for case in unseen]
    return mean_and_deviation([x["mean IoU"] for x in found])


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """The three tables, ours beside the paper's."""
    last = EPOCHS[-1]
    by_epoch = [["Model", *(x for n, e in zip((0, 10, 20, 30), EPOCHS) for x in (f"epoch {n}: paper", f"after {e}: here"))]]
    for name in (PLAIN, FGSM, INVERSE):
        here = [_shown(rows, network=name, epochs=e, attack="") for e in EPOCHS]
        by_epoch.append([name, *(x for pair in zip(of_both(TABLE_1, (name,)), here) for x in pair)])
    under = [["Attack", "Network", *(x for e in EPSILONS for x in (f"ε = {e}: paper", "here"))]]
    for attack in ATTACKS:
        for name in (PLAIN, FGSM, INVERSE):
            here = [_shown(rows, network=name, epochs=last, attack=attack, epsilon=e) for e in EPSILONS]
            when = {PLAIN: "before", f"{PLAIN} + {attack}": "after"}.get(name, "")
            paper = of_both(TABLE_2, (attack, when)) if (attack, when) in TABLE_2.rows else ["-"] * len(EPSILONS)
            under.append([attack, f"{name} ({when})" if when else name, *(x for pair in zip(paper, here) for x in pair)])
    by_augmentation = [["Model", "paper", "here"]]
    for (name,) in TABLE_3.rows:
        by_augmentation.append([name, *of_both(TABLE_3, (name,)), _shown(rows, network=name, epochs=last, attack="")])
    titles = ("Table 1", by_epoch), ("Table 2", under), ("Table 3", by_augmentation)
    return "\n\n".join(f"{title}\n\n{markdown(table)}" for title, table in titles)


def _shown(rows: Sequence[dict[str, Any]], **wanted: Any) -> str:
    """Mean and deviation over the seeds of the mean over the subjects; of one seed, over the subjects."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if all(row[key] == value for key, value in wanted.items()):
            found.setdefault(row["seed"], []).append(row["mean IoU"])
    if not found:
        return "-"
    return mean_and_deviation([float(np.mean(x)) for x in found.values()] if len(found) > 1 else next(iter(found.values())))


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--subjects", type=int, default=12, help="phantoms to train on")
    parser.add_argument("--unseen", type=int, default=6, help="phantoms to measure on")
    parser.add_argument("--first", type=int, default=0, help="seed of the first phantom")
    parser.add_argument("--size", type=int, default=48, help="voxels along each side of a slice")
    parser.add_argument("--slices", type=int, default=6, help="slices of each phantom")
    parser.add_argument(
        "--network", choices=tuple(NETWORKS), default="small", help="MONAI's U-Net, or the paper's, at a quarter of its width"
    )
    parser.add_argument("--batch", type=int, default=8, help="the paper's is 16")
    parser.add_argument("--optimizer", default="adam", help="the paper's is sgd")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="the paper's is 0.1")
    parser.add_argument("--momentum", type=float, default=0.99, help="of sgd")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these augmentations, as Table 3 names them")
    parser.add_argument("--show", action="store_true", help="only the tables of what is there")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = Cells(options.folder / "iou.jsonl", ("seed", "network", "epochs", "attack", "epsilon", "case"), resume=True)
    if not options.show:
        print(machine(), flush=True)
        run(options, measured)
    text = tables(measured.rows)
    print(f"\n{text}")
    (options.folder / "tables.md").write_text(f"{text}\n")
    save_table(measured.rows, options.folder / "iou.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
