"""Train small networks with the real nnU-Net, for the tests that hold our answers against its own:

    python Testing/make_nnunet_networks.py --nnunet ENVIRONMENT/bin/python --work FOLDER [--only NAME]

ENVIRONMENT is a Python environment of its own with nnU-Net in it (pip install torch nnunetv2). Each network is planned,
trained and asked by nnU-Net's own commands on phantoms, and lies afterwards in Testing/networks/: the trained folder as it
leaves it (without pictures and logs), test cases that it never saw, and what nnUNetv2_predict said of them. On one core that
other programs use as well it took half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from SegAdversarialLib import phantom

KEPT = Path(__file__).parent / "networks"
COMMAND = Path(__file__).parent / "nnunet_command.py"
BRAIN, TUMOUR, IGNORED = 1, 2, 3

Spacing = tuple[float, float, float]
"""Millimetres along i, j, k."""


@dataclass(frozen=True)
class Task:
    """A network that is trained: on what, and how small."""

    number: int
    channels: dict[str, str]
    labels: dict[str, Any]
    shape: tuple[int, int, int]
    training: tuple[Spacing, ...]
    test: tuple[Spacing, ...]
    configuration: str
    patch: list[int]
    strides: list[list[int]]
    features: list[int]
    region_order: list[int] | None = None
    folds: tuple[str, ...] = ("0",)
    trainer: str = "nnUNetTrainer"
    epochs: int = 4
    iterations: int = 100


TASKS = {
    "nnunet-sagittal": Task(  # slices along i, so that the axes are turned; CT's normalisation; two folds
        number=601,
        channels={"CT": "FLAIR"},
        labels={"background": 0, "brain": BRAIN, "tumour": TUMOUR},
        shape=(56, 58, 32),
        training=((10, 3, 3), (10, 3.1, 3), (9, 3, 3), (10, 3, 3.2), (11, 3, 3), (10, 3, 3)),
        test=((9.0, 3.3, 2.9),),  # its sixteen passes for each window take a while
        configuration="3d_fullres",
        patch=[12, 40, 40],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        features=[6, 12, 24],
        folds=("0", "1"),
    ),
    "nnunet-slices": Task(  # 2D, two channels, z-scores of what is not 0
        number=602,
        channels={"T1ce": "T1ce", "FLAIR": "FLAIR"},
        labels={"background": 0, "brain": BRAIN, "tumour": TUMOUR},
        shape=(40, 56, 52),
        training=((3.1, 3.2, 4.4), (3.1, 3.2, 4.4), (3.3, 3.2, 4.2), (3.1, 3.4, 4.4), (3.1, 3.2, 4.6), (3.1, 3.2, 4.4)),
        test=((3.4, 3.1, 4.4), (3.1, 3.2, 4.1)),
        configuration="2d",
        patch=[32, 40],
        strides=[[1, 1], [2, 2], [2, 2]],
        features=[8, 16, 32],
    ),
    "nnunet-regions": Task(  # regions, an ignore label, no mirroring, trained on all cases
        number=603,
        channels={"T1ce": "T1ce", "FLAIR": "FLAIR"},
        labels={"background": 0, "head": [BRAIN, TUMOUR], "tumour": TUMOUR, "ignore": IGNORED},
        region_order=[BRAIN, TUMOUR],
        shape=(44, 46, 44),
        training=((3.8, 3.8, 3.8), (3.8, 4, 3.8), (3.8, 3.8, 3.9), (4, 3.8, 3.8), (3.8, 3.8, 3.8), (3.8, 3.8, 3.8)),
        test=((3.8, 4.1, 3.8), (4, 3.7, 4.1)),
        configuration="3d_fullres",
        patch=[32, 24, 32],
        strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        features=[6, 12, 24],
        folds=("all",),
        trainer="nnUNetTrainerNoMirroring",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet", type=Path, required=True, help="Python of the environment with nnU-Net")
    parser.add_argument("--work", type=Path, required=True, help="folder for what nnU-Net writes")
    parser.add_argument("--only", choices=TASKS, help="one of the networks")
    chosen = parser.parse_args()
    for name, task in TASKS.items():
        if chosen.only in (None, name):
            make(name, task, chosen.nnunet, chosen.work)


def make(name: str, task: Task, python: Path, work: Path) -> None:
    """Plan, train and ask one network, and keep what the tests need of it."""
    data = f"Dataset{task.number}_{name.replace('-', '_')}"
    raw = work / "raw" / data
    write_cases(task, raw)
    places = {f"nnUNet_{room}": str(work / room) for room in ("raw", "preprocessed", "results")}
    small = {"EPOCHS": str(task.epochs), "ITERATIONS": str(task.iterations), "OMP_NUM_THREADS": "1", "nnUNet_compile": "f"}

    def run(*words: str, workers: int = 0) -> None:
        environment = {**os.environ, **places, **small, "nnUNet_n_proc_DA": str(workers), "nnUNet_def_n_proc": "1"}
        subprocess.run([python, COMMAND, *words], env=environment, check=True)

    number, configuration = str(task.number), task.configuration
    planning = ("-d", number, "--verify_dataset_integrity", "-npfp", "1", "-np", "1", "-c", configuration)
    run("nnUNetv2_plan_and_preprocess", *planning, workers=1)
    plans = work / "preprocessed" / data / "nnUNetPlans.json"
    plans.write_text(json.dumps(smaller(json.loads(plans.read_text()), task), indent=4))
    for fold in task.folds:
        run("nnUNetv2_train", number, configuration, fold, "-tr", task.trainer, "-device", "cpu")
    predicted = work / "predicted" / name
    asked = ("-c", configuration, "-tr", task.trainer, "-f", *task.folds, "-device", "cpu", "-npp", "1", "-nps", "1")
    run("nnUNetv2_predict", "-d", number, "-i", str(raw / "imagesTs"), "-o", str(predicted), *asked)
    trained = work / "results" / data / f"{task.trainer}__nnUNetPlans__{configuration}"
    keep(trained, raw / "imagesTs", predicted, KEPT / name, task.folds)


def write_cases(task: Task, raw: Path) -> None:
    """Phantoms in the layout that nnU-Net wants: training cases with labels, test cases that it never sees in training."""
    cases = [("imagesTr", 400 + n, spacing) for n, spacing in enumerate(task.training)]
    cases += [("imagesTs", 500 + n, spacing) for n, spacing in enumerate(task.test)]
    for folder, seed, spacing in cases:
        case = phantom.subject(seed=seed, shape=task.shape, spacing=spacing)
        assert case.label is not None
        for n, channel in enumerate(task.channels.values()):
            write(raw / folder / f"case-{seed}_{n:04d}.nii.gz", case.channel(channel).astype(np.int16), case.affine)
        if folder == "imagesTr":
            label = np.where(case.channel("FLAIR") > 0, BRAIN, 0)
            label[case.label > 0] = TUMOUR
            if "ignore" in task.labels:
                label[:3] = IGNORED
            write(raw / "labelsTr" / f"case-{seed}.nii.gz", label.astype(np.uint8), case.affine)
    described = {
        "channel_names": {str(n): name for n, name in enumerate(task.channels)},
        "labels": task.labels,
        "numTraining": len(task.training),
        "file_ending": ".nii.gz",
    }
    if task.region_order is not None:
        described["regions_class_order"] = task.region_order
    (raw / "dataset.json").write_text(json.dumps(described, indent=1))


def write(path: Path, volume: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume (K, J, I) as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(volume.transpose(2, 1, 0)), affine), path)


def smaller(plans: dict[str, Any], task: Task) -> dict[str, Any]:
    """nnU-Net's plans with a network that is quickly trained and small on disk; spacing and normalisation stay."""
    planned = plans["configurations"][task.configuration]
    planned["patch_size"], planned["batch_size"] = task.patch, 2 if len(task.patch) == 3 else 8
    stages, size = len(task.features), len(task.patch)
    planned["architecture"]["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": task.features,
        "kernel_sizes": [[3] * size] * stages,
        "strides": task.strides,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [1] * (stages - 1),
    }
    return plans


def keep(trained: Path, cases: Path, predicted: Path, kept: Path, folds: tuple[str, ...]) -> None:
    """Copy what the tests need."""
    shutil.rmtree(kept, ignore_errors=True)
    for fold in folds:
        (kept / f"fold_{fold}").mkdir(parents=True)
        shutil.copy(trained / f"fold_{fold}" / "checkpoint_final.pth", kept / f"fold_{fold}")
    for name in ("plans.json", "dataset.json"):
        shutil.copy(trained / name, kept)
    shutil.copytree(cases, kept / "cases")
    shutil.copytree(predicted, kept / "predicted", ignore=shutil.ignore_patterns("*.json"))


if __name__ == "__main__":
    main()
