"""Train a small SegResNet with MONAI's Auto3DSeg itself, for the tests that hold our answers against its own:

    python Testing/make_auto3dseg_network.py --template FOLDER --monai ENVIRONMENT/bin/python --work FOLDER

FOLDER is Auto3DSeg's algorithm template "segresnet" (github.com/Project-MONAI/research-contributions, in
auto3dseg/algorithm_templates); ENVIRONMENT has torch, monai, fire, pyyaml, psutil, tensorboard and nibabel. The network learns
from the phantoms of make_monai_bundles.py, and lies afterwards in Testing/networks/auto3dseg, with what the template's own
inference said of the test cases there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml
from make_monai_bundles import CASES, KEPT, keep, write_cases

SETTINGS = {
    "modality": "ct",
    "input_channels": 1,
    "output_classes": 3,
    "class_names": ["oedema", "core"],
    "normalize_mode": "range",
    "intensity_bounds": [50.0, 1400.0],
    "resample": True,
    "resample_resolution": [3.0, 4.2, 4.6],
    "anisotropic_scales": False,
    "image_size": [40, 44, 40],
    "image_size_mm_median": [160.0, 176.0, 160.0],
    "roi_size": [24, 24, 24],
    "num_epochs": 30,
    "num_warmup_epochs": 1,
    "num_epochs_per_validation": 30,
    "num_crops_per_image": 4,
    "learning_rate": 0.01,
    "num_workers": 0,
    "cache_rate": 1.0,
    "amp": False,
    "cuda": False,
    "auto_scale_allowed": False,
    "fork": False,
    "determ": True,
}
NETWORK = {"init_filters": 6, "blocks_down": [1, 1, 1], "dsdepth": 2}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the network, ask it, and keep what is small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--template", type=Path, required=True, help="Auto3DSeg's template segresnet")
    parser.add_argument("--monai", required=True, help="the Python of an environment with MONAI's tools")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is not kept")
    parser.add_argument("--trained", action="store_true", help="it lies in the folder already, trained: only ask it")
    options = parser.parse_args(arguments)
    data, root = options.work.absolute() / "data", options.work.absolute() / "segresnet_0"
    if not (data / "train_0_FLAIR.nii.gz").is_file():
        write_cases(data)
    config = root / "configs" / "hyper_parameters.yaml"
    if not options.trained:
        train(root, data, config, options)
    cases = {"testing": [{"image": str(KEPT / "monai-cases" / f"{name}_FLAIR.nii.gz")} for name in CASES]}
    (root / "list.json").write_text(json.dumps(cases))
    where = (f"--data_file_base_dir={KEPT / 'monai-cases'}", f"--infer#output_path={root / 'predicted'}")
    run(options.monai, root, "scripts/infer.py", "run", f"--config_file={config}", *where)
    kept = KEPT / "auto3dseg"
    shutil.rmtree(kept, ignore_errors=True)
    (kept / "predicted").mkdir(parents=True)
    (kept / "model").mkdir()
    shutil.copy(root / "model" / "model.pt", kept / "model")
    for name in CASES:
        keep(next((root / "predicted").rglob(f"{name}_FLAIR*.nii.gz")), kept / "predicted" / f"{name}.nii.gz")


def train(root: Path, data: Path, config: Path, options: argparse.Namespace) -> None:
    """Fill the template's configuration, and train by it."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(options.template, root)
    images = [{"image": f"train_{n}_FLAIR.nii.gz", "label": f"train_{n}_label.nii.gz", "fold": n % 4} for n in range(4)]
    (root / "list.json").write_text(json.dumps({"training": images}))
    filled = yaml.safe_load(config.read_text()) | SETTINGS
    filled |= {"bundle_root": str(root), "data_file_base_dir": str(data), "data_list_file_path": str(root / "list.json")}
    filled["network"] |= NETWORK
    config.write_text(yaml.safe_dump(filled, sort_keys=False))
    run(options.monai, root, "scripts/train.py", "run", f"--config_file={config}")


def run(python: str, root: Path, *words: str) -> None:
    """One of the template's own commands."""
    subprocess.run([python, *words], cwd=root, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""})


if __name__ == "__main__":
    main()
