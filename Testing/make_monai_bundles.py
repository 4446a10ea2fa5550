"""Build and train small MONAI bundles with monai.bundle itself, for the tests that hold our answers against its own:

    python Testing/make_monai_bundles.py --monai ENVIRONMENT/bin/python --work FOLDER [--only NAME]

ENVIRONMENT is a Python environment of its own with MONAI's tools in it (pip install torch monai pytorch-ignite fire pyyaml
nibabel). Each bundle is trained by "monai.bundle run" on phantoms, and lies afterwards in Testing/networks/ with what
"monai.bundle run" said of the test cases, which it never saw (Testing/networks/monai-cases). It takes a minute or two.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from SegAdversarialLib import phantom

KEPT = Path(__file__).resolve().parent / "networks"
CHANNELS = ("T1ce", "FLAIR")
CASES = ("flat", "turned", "oblique")
"""MONAI 1.6.1 cannot save the second one's answer where the channels come from several files."""
EPOCHS = 90

Transform = dict[str, Any]


def t(name: str, **arguments: Any) -> Transform:
    """A transform of the image."""
    return {"_target_": name, "keys": "@image_key", **arguments}


def after(name: str, **arguments: Any) -> Transform:
    """A step on what the network says."""
    return {"_target_": name, "keys": "pred", **arguments}


INVERT = {"transform": "@preprocessing", "orig_keys": "@image_key", "to_tensor": True}
SAVE = after("SaveImaged", output_dir="@output_dir", output_postfix="", separate_folder=False, resample=False, print_log=False)
LOAD = [t("LoadImaged"), t("EnsureChannelFirstd")]
RAS = t("Orientationd", axcodes="RAS", labels=None)
UNET = {"_target_": "UNet", "spatial_dims": 3, "channels": [8, 16, 32], "strides": [2, 2], "num_res_units": 1}
SAVER = {
    "_target_": "CheckpointSaver",
    "save_dir": "$@bundle_root + '/models'",
    "save_dict": {"model": "@network"},
    "save_final": True,
    "final_filename": "model.pt",
}
CLASSES = ("background", "oedema", "core")

BUNDLES: dict[str, dict[str, Any]] = {
    "monai-softmax": {  # resampled, scaled by fixed numbers, cropped; probabilities come back
        "channels": ("FLAIR",),
        "classes": CLASSES,
        "network_def": {**UNET, "in_channels": "@channels", "out_channels": "$len(@names)", "norm": "instance"},
        "preprocessing": [
            *LOAD,
            RAS,
            t("Spacingd", pixdim=[4.4, 4.1, 4.6], mode="bilinear"),
            t("ScaleIntensityRanged", a_min=50, a_max=1400, b_min=0.0, b_max=1.0, clip=True),
            t("CropForegroundd", source_key="@image_key", margin=2),
            t("EnsureTyped"),
        ],
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 24], "sw_batch_size": 2, "overlap": 0.5},
        "postprocessing": [
            after("Activationsd", softmax=True),
            after("Invertd", nearest_interp=False, **INVERT),
            after("AsDiscreted", argmax=True),
        ],
    },
    "monai-regions": {  # overlapping regions above a threshold of their own, painted by a function; YAML
        "channels": CHANNELS,
        "classes": ("Tumor core", "Whole tumor"),
        "network_def": {
            "_target_": "monai.networks.nets.SegResNet",
            "blocks_down": [1, 1, 1],
            "blocks_up": [1, 1],
            "init_filters": 8,
            "in_channels": "@channels",
            "out_channels": "$len(@names)",
        },
        "preprocessing": [
            *LOAD,
            t("Spacingd", pixdim=[4.0, 4.0, -1], mode="bilinear"),
            t("NormalizeIntensityd", nonzero=True, channel_wise=True),
        ],
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [40, 48, 24],
            "sw_batch_size": 1,
            "overlap": 0.25,
            "mode": "gaussian",
        },
        "postprocessing": [
            after("Activationsd", sigmoid=True),
            after("Invertd", nearest_interp=False, **INVERT),
            after("AsDiscreted", threshold=0.4),
            after("Lambdad", func="$lambda x: torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0))"),
        ],
        "ending": "yaml",
        "cases": ("flat",),
    },
    "monai-labels": {  # several steps on intensities, labels come back by the nearest voxel
        "channels": ("FLAIR",),
        "classes": CLASSES,
        "network_def": {**UNET, "in_channels": "@channels", "out_channels": "$len(@names)", "norm": "batch"},
        "preprocessing": [
            *LOAD,
            t("Orientationd", axcodes="LPS", labels=None),
            t("Spacingd", pixdim="$[5.0, 5.0, 5.0] if not @highres else [2.5, 2.5, 2.5]", mode="bilinear"),
            t("NormalizeIntensityd", nonzero=True),
            t("ScaleIntensityd", minv=-1.0, maxv=1.0),
        ],
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 24], "overlap": 0.25, "mode": "gaussian"},
        "postprocessing": [
            after("Activationsd", softmax=True),
            after("AsDiscreted", argmax=True),
            after("Invertd", nearest_interp=True, **INVERT),
        ],
    },
    "monai-slices": {  # a network of two dimensions, slice by slice
        "channels": CHANNELS,
        "classes": CLASSES,
        "network_def": {**UNET, "spatial_dims": 2, "in_channels": "@channels", "out_channels": "$len(@names)"},
        "preprocessing": [
            *LOAD,
            RAS,
            t("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0, b_max=1, clip=True, channel_wise=True),
        ],
        "inferer": {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2, "sw_batch_size": 8, "overlap": 0.5},
        "postprocessing": [
            after("Activationsd", softmax=True),
            after("Invertd", nearest_interp=False, **INVERT),
            after("AsDiscreted", argmax=True),
        ],
        "cases": ("flat", "oblique"),
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all bundles, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--monai", required=True, help="the Python of an environment with MONAI's tools")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is not kept")
    parser.add_argument("--only", choices=BUNDLES, help="one of them")
    parser.add_argument("--trained", action="store_true", help="they lie in the folder already, trained: only ask them")
    options = parser.parse_args(arguments)
    data = options.work.absolute() / "data"
    write_cases(data)
    for name in [options.only] if options.only else BUNDLES:
        root = options.work.absolute() / name
        if not options.trained:
            train(name, root, data, options.monai)
        ask(name, root, options.monai)


def write_cases(data: Path) -> None:
    """Phantoms to train on, and the test cases, which are kept: one as scanned, one of other axes, one oblique."""
    for n in range(4):
        write_case(data, f"train_{n}", phantom.subject(seed=400 + n, shape=(40, 44, 40)))
    kept = KEPT / "monai-cases"
    shutil.rmtree(kept, ignore_errors=True)
    write_case(kept, "flat", phantom.subject(seed=500, shape=(32, 42, 40), spacing=(4.05, 4.2, 5.6)), learned=False)
    other = phantom.subject(seed=501, shape=(36, 34, 38), spacing=(4.3, 5.1, 4.5))
    write_case(kept, "turned", other, axes="SPR", learned=False)
    write_case(kept, "oblique", other, angle=12, learned=False)


def write_case(folder: Path, name: str, case: Any, axes: str = "", angle: float = 0, learned: bool = True) -> None:
    """A subject's channels, and what is to be learned: 1 oedema, 2 core; stored along other axes, or turned about k."""
    folder.mkdir(parents=True, exist_ok=True)
    radians = np.deg2rad(angle)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
    volumes = {channel: case.channel(channel).astype(np.int16) for channel in CHANNELS}
    if learned:
        volumes["label"] = np.select([case.label == 2, case.label > 0], [1, 2], 0).astype(np.uint8)
    for what, voxels in volumes.items():
        image = nibabel.Nifti1Image(np.ascontiguousarray(voxels.transpose(2, 1, 0)), turn @ case.affine)
        if axes:
            there, wanted = nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(axes))
            image = image.as_reoriented(nibabel.orientations.ornt_transform(there, wanted))
        nibabel.save(image, folder / f"{name}_{what}.nii.gz")


def train(name: str, root: Path, data: Path, python: str) -> None:
    """Make one bundle, and train it."""
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True)
    write(root / "configs" / "metadata.json", metadata(BUNDLES[name]))
    write(root / "configs" / "train.json", training(BUNDLES[name], data))
    run(python, root, "run", "--config_file", "configs/train.json", "--bundle_root", ".")


def ask(name: str, root: Path, python: str) -> None:
    """Ask a trained bundle about the test cases, and keep what is small."""
    config = f"configs/inference.{BUNDLES[name].get('ending', 'json')}"
    write(root / config, inference(BUNDLES[name]))
    shutil.rmtree(root / "eval", ignore_errors=True)
    run(python, root, "run", "--config_file", config, "--bundle_root", ".")
    if name == "monai-softmax":
        exported = ("--net_id", "network_def", "--filepath", "models/model.ts", "--ckpt_file", "models/model.pt")
        settings = ("--meta_file", "configs/metadata.json", "--config_file", config)
        run(python, root, "ckpt_export", *exported, *settings, "--input_shape", "[1,1,24,24,24]")
    kept = KEPT / name
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(root / "configs", kept / "configs", ignore=shutil.ignore_patterns("train.json"))
    shutil.copytree(root / "models", kept / "models")
    (kept / "predicted").mkdir()
    for case in BUNDLES[name].get("cases", CASES):
        keep(next((root / "eval").rglob(f"{case}_*.nii.gz")), kept / "predicted" / f"{case}.nii.gz")


def keep(found: Path, kept: Path) -> None:
    """A label map as whole numbers."""
    image = nibabel.load(found)
    voxels = np.rint(np.asarray(image.dataobj).squeeze()).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), kept)
    print(kept, voxels.shape, np.bincount(voxels.ravel()))


def run(python: str, root: Path, *words: str) -> None:
    """One of monai.bundle's commands, in a bundle's folder."""
    subprocess.run(
        [python, "-m", "monai.bundle", *words],
        cwd=root,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CASES": str(KEPT / "monai-cases")},
    )


def write(path: Path, content: dict[str, Any]) -> None:
    """A configuration; YAML takes JSON, but is written as people do."""
    if path.suffix == ".json":
        path.write_text(json.dumps(content, indent=1) + "\n")
    else:
        import yaml

        path.write_text(yaml.safe_dump(content, sort_keys=False))


def metadata(plan: dict[str, Any]) -> dict[str, Any]:
    """What a bundle says of its channels and classes."""

    def described(names: Sequence[str], kind: str) -> dict[str, Any]:
        named = {str(n): name for n, name in enumerate(names)}
        return {"type": "image", "format": kind, "num_channels": len(names), "channel_def": named, "is_patch_data": True}

    inputs, found = described(plan["channels"], "magnitude"), described(plan["classes"], "segmentation")
    return {
        "version": "0.1.0",
        "monai_version": "1.6.1",
        "task": "Segmentation of tumours in phantoms",
        "network_data_format": {
            "inputs": {"image": {**inputs, "spatial_shape": ["4*n", "4*n", "4*n"]}},
            "outputs": {"pred": found},
        },
    }


def common(plan: dict[str, Any]) -> dict[str, Any]:
    """What training and inference both say."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "highres": False,
        "channels": len(plan["channels"]),
        "names": list(plan["classes"]),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": plan["network_def"],
        "network": "$@network_def.to(@device)",
    }


def inference(plan: dict[str, Any]) -> dict[str, Any]:
    """The configuration that is kept."""
    cases = plan.get("cases", CASES)
    files = [[f"{case}_{channel}.nii.gz" for channel in plan["channels"]] for case in cases]
    return {
        **common(plan),
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "$os.environ.get('CASES', '.')",
        "datalist": f"$[{{'image': [os.path.join(@dataset_dir, x) for x in files]}} for files in {files}]",
        "preprocessing": {"_target_": "Compose", "transforms": plan["preprocessing"]},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": plan["inferer"],
        "postprocessing": {"_target_": "Compose", "transforms": [*plan["postprocessing"], SAVE]},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def training(plan: dict[str, Any], data: Path) -> dict[str, Any]:
    """A training of some seconds with the same preprocessing."""
    flat = plan["network_def"].get("spatial_dims") == 2
    prepared = [x for x in plan["preprocessing"] if x["_target_"] != "CropForegroundd"]
    both = [
        {**x, "keys": ["image", "label"], **({"mode": ["bilinear", "nearest"]} if "mode" in x else {})}
        if x["_target_"] in ("LoadImaged", "EnsureChannelFirstd", "Orientationd", "Spacingd")
        else x
        for x in prepared
    ]
    regions = len(plan["classes"]) == 2
    to_regions = {"_target_": "Lambdad", "keys": "label", "func": "$lambda x: torch.cat([x == 2, x > 0]).float()"}
    patch = {"_target_": "RandCropByPosNegLabeld", "keys": ["image", "label"], "label_key": "label", "num_samples": 4}
    patch["spatial_size"] = [24, 24, 1] if flat else [24, 24, 16]
    images = [[str(data / f"train_{n}_{channel}.nii.gz") for channel in plan["channels"]] for n in range(4)]
    labels = [str(data / f"train_{n}_label.nii.gz") for n in range(4)]
    loss = {"sigmoid": True} if regions else {"softmax": True, "to_onehot_y": True}
    batch = "$lambda b, device, non_blocking, **kw: (b['image'][..., 0], b['label'][..., 0])"
    return {
        **common(plan),
        "data": [{"image": image, "label": label} for image, label in zip(images, labels)],
        "transforms": {
            "_target_": "Compose",
            "transforms": [*both, patch, *([to_regions] if regions else [])],
        },
        "dataset": {"_target_": "CacheDataset", "data": "@data", "transform": "@transforms", "progress": False},
        "loader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 2, "shuffle": True, "num_workers": 0},
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.01},
        "handlers": [SAVER],
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": EPOCHS,
            "device": "@device",
            "train_data_loader": "@loader",
            "network": "@network",
            "loss_function": {"_target_": "DiceCELoss", **loss},
            "optimizer": "@optimizer",
            "train_handlers": "@handlers",
            **({"prepare_batch": batch} if flat else {}),
        },
        "initialize": ["$monai.utils.set_determinism(seed=0)"],
        "run": ["$@trainer.run()"],
    }


if __name__ == "__main__":
    main()
