"""The defaults of `pgd` and `apgd` against the plain PGD that people write themselves, at 5, 10 and 20 gradients.

    python Testing/Benchmarks/defaults.py [--output FOLDER] [--networks NAME ...] [--epsilon 0.02]

Plain PGD begins at the image and follows the sign of soft Dice's gradient with the same step length (2.5 epsilon / steps) as
`pgd`; both its last step and its best one (by Dice) are told. Networks of different kinds: the built-in one on phantoms that
it has not seen; a MONAI bundle and two networks that nnU-Net trained (Testing/networks), and, where they are
(SEGADVERSARIAL_TEST_DATA, SEGADVERSARIAL_NETWORKS), TorchIO's T1 network and nnU-Net's nested regions. A case without a
reference is measured against the network's own clean answer. Mean Dice over structures and cases; all in float32.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import FLOAT32, machine, mean_dice, save_table

from SegAdversarialLib import Case, SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.objectives import SoftDice

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "Testing" / "networks"
DATA = Path(os.environ.get("SEGADVERSARIAL_TEST_DATA", ROOT.parent / "shared" / "data"))
ELSEWHERE = Path(os.environ.get("SEGADVERSARIAL_NETWORKS", ROOT.parent / "shared" / "networks"))

STEPS = (5, 10, 20)
OURS: dict[str, dict[str, Any]] = {"pgd": {}, "apgd": {}, "apgd, as published": {"schedule": "published"}}

Cohort = tuple[SegmentationModel, list[Case]]


def built_in(size: int = 48) -> Cohort:
    """The built-in network and three phantoms."""
    model = open_model("builtin:brain-tumour-phantom", device="cpu", acceleration=FLOAT32)
    return model, [phantom.subject(seed=seed, shape=(size,) * 3) for seed in range(3)]


def bundle() -> Cohort:
    """A MONAI bundle with a softmax head."""
    model = open_model(HERE / "monai-softmax", device="cpu", acceleration=FLOAT32)
    return model, [_of(HERE / "monai-cases", x, [f"{x}_{y}" for y in model.channels], model) for x in ("flat", "turned")]


def nnunet(name: str, cases: Sequence[str], folder: Path = HERE) -> Cohort:
    """A network that nnU-Net trained, without mirroring."""
    model = open_model(folder / name, device="cpu", mirror="", acceleration=FLOAT32)
    images = folder / name / "cases" / "imagesTs"
    images = images if images.is_dir() else folder / name / "cases"
    return model, [_of(images, x, [f"{x}_{n:04d}" for n in range(len(model.channels))], model) for x in cases]


def brain() -> Cohort:
    """TorchIO's tutorial network on two T1 volumes of 4 mm."""
    folder = DATA / "brain_t1_4mm"
    classes = [{"label": 0, "name": "background"}, {"label": 1, "name": "brain"}]
    normalisation = {"axes": "ijk", "normalization": {"kind": "zscore", "mask": "above_mean"}}
    model = open_model(
        folder / "ixi_tiny_unet.ts",
        trust=True,
        device="cpu",
        channels=["T1"],
        classes=classes,
        size_multiple=4,
        preprocessing=normalisation,
        acceleration=FLOAT32,
    )
    pairs = {"T1_A_4mm_48x60x48": "T1_A_brain_ref_meshnet", "T1_B_pddl_4mm_48x60x48": "T1_B_pddl_brain_ref_meshnet"}
    return model, [Case.read({"T1": folder / f"{x}.nii.gz"}, folder / f"{y}.nii.gz", name=x[:4]) for x, y in pairs.items()]


NETWORKS: dict[str, tuple[Callable[[], Cohort], Path | None]] = {
    "built-in (MONAI U-Net), phantoms": (built_in, None),
    "MONAI bundle, softmax": (bundle, HERE / "monai-softmax"),
    "nnU-Net, regions": (lambda: nnunet("nnunet-regions", _cases("nnunet-regions")), HERE / "nnunet-regions"),
    "nnU-Net, 2D": (lambda: nnunet("nnunet-slices", _cases("nnunet-slices")), HERE / "nnunet-slices"),
    "nnU-Net, nested regions": (
        lambda: nnunet("nnunet-regions-3d", ("ts_000", "ts_001"), ELSEWHERE),
        ELSEWHERE / "nnunet-regions-3d",
    ),
    "TorchIO's U-Net, T1": (brain, DATA / "brain_t1_4mm"),
}
"""How each is opened, and the folder that it needs."""


def _cases(name: str) -> list[str]:
    """The names of the cases beside a network."""
    return sorted({x.name.removesuffix(".nii.gz")[:-5] for x in (HERE / name / "cases").glob("*.nii.gz")})[:2]


def _of(folder: Path, name: str, files: Sequence[str], model: SegmentationModel) -> Case:
    """A case whose reference is the network's own answer."""
    case = Case.read({x: folder / f"{y}.nii.gz" for x, y in zip(model.channels, files)}, name=name)
    return replace(case, label=model.segment(case))


def plain_pgd(model: SegmentationModel, case: Case, epsilon: float, steps: int) -> Iterator[np.ndarray]:
    """The points of PGD as it stands in papers' scripts, but for the start, which is the image itself."""
    unit = np.abs(case.image).max((1, 2, 3), keepdims=True)
    low, high = case.image.min((1, 2, 3), keepdims=True), case.image.max((1, 2, 3), keepdims=True)
    image = case.image
    for _ in range(steps):
        _, gradient = model.value_and_gradient(case.with_image(image), SoftDice(case.label))
        image = image + 2.5 * epsilon / steps * unit * np.sign(gradient)
        image = np.clip(np.clip(image, case.image - epsilon * unit, case.image + epsilon * unit), low, high)
        image = image.astype(np.float32)
        yield image


def compared(model: SegmentationModel, case: Case, epsilon: float, steps: int) -> dict[str, float]:
    """Mean Dice that each leaves of a case."""
    plain = [mean_dice(model, case, x) for x in plain_pgd(model, case, epsilon, steps)]
    found = {"plain PGD, last": plain[-1], "plain PGD, best": min(plain)}
    for label, settings in OURS.items():
        name = label.partition(",")[0]
        result = attacks.make_attack(name, {"epsilon": epsilon, "steps": steps, **settings})(model, case)
        found[label] = mean_dice(model, case, result.adversarial.image)
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("defaults"), help="folder for the table")
    parser.add_argument("--networks", nargs="+", default=[""], help="parts of their names")
    parser.add_argument("--epsilon", type=float, default=0.02, help="of each channel's largest absolute intensity")
    parser.add_argument("--cases", type=int, help="of each network at most; all if left out")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    table: list[dict[str, Any]] = []
    for name, (opened, folder) in NETWORKS.items():
        if not any(part in name for part in options.networks):
            continue
        if folder is not None and not folder.is_dir():
            print(f"Left out: {name}; {folder} is not there.", file=sys.stderr)
            continue
        model, cases = opened()
        cases = cases[: options.cases]
        clean = float(np.mean([mean_dice(model, x, x.image) for x in cases]))
        for steps in STEPS:
            found = [compared(model, x, options.epsilon, steps) for x in cases]
            row = {key: float(np.mean([x[key] for x in found])) for key in found[0]}
            table.append({"network": f"{name} ({len(cases)})", "gradients": steps, "clean": clean, **row})
            print(table[-1], file=sys.stderr, flush=True)
    print(f"epsilon {options.epsilon:g}; {machine()}\n\n{format_table(table)}")
    save_table(table, options.output / "defaults.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
