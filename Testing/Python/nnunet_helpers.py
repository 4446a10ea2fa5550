"""Files as nnU-Net leaves them, without networks worth the name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

CONFIGURATION: dict[str, Any] = {
    "preprocessor_name": "DefaultPreprocessor",
    "patch_size": [12, 40, 32],
    "spacing": [5.0, 1.0, 1.5],
    "normalization_schemes": ["ZScoreNormalization"],
    "use_mask_for_norm": [True],
    "resampling_fn_data": "resample_data_or_seg_to_shape",
    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None},
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2,
            "features_per_stage": [4, 4],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
            "strides": [[1, 1, 1], [1, 2, 2]],
            "n_conv_per_stage": [1, 1],
            "n_conv_per_stage_decoder": [1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    },
}
PLANS: dict[str, Any] = {
    "dataset_name": "Dataset011_Liver",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [2, 0, 1],
    "transpose_backward": [1, 2, 0],
    "configurations": {"3d_fullres": CONFIGURATION},
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 50.0, "std": 20.0, "percentile_00_5": -10.0, "percentile_99_5": 90.0}
    },
}
DATASET: dict[str, Any] = {
    "channel_names": {"0": "T1"},
    "labels": {"background": 0, "liver": 1, "tumour": 2},
    "file_ending": ".nii.gz",
}


def plans_with(configuration: str = "3d_fullres", *, other: dict[str, Any] | None = None, **entries: Any) -> dict[str, Any]:
    """The plans with other entries for a configuration, or (`other`) for all."""
    plans = copy.deepcopy(PLANS) | (other or {})
    plans["configurations"][configuration] = copy.deepcopy(CONFIGURATION) | entries
    return plans


def write_checkpoint(path: Path, plans: Any = PLANS, dataset: Any = DATASET, weights: Any = None, **said: Any) -> Path:
    """A checkpoint with all that nnU-Net writes into one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    initial = {"plans": plans, "configuration": said.pop("configuration", "3d_fullres"), "fold": 0, "dataset_json": dataset}
    content = {
        "network_weights": weights or {"weight": torch.zeros(1)},
        "optimizer_state": {},
        "grad_scaler_state": None,
        "logging": {"ema_fg_dice": [np.float64(0.5)]},
        "_best_ema": np.float32(0.5),
        "current_epoch": 1,
        "init_args": initial | {"device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(content | said, path)
    return path


def write_folder(
    folder: Path, plans: Any = PLANS, dataset: Any = DATASET, folds: tuple[str, ...] = ("0",), **said: Any
) -> Path:
    """A trained folder."""
    for fold in folds:
        write_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", plans, dataset, **said)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder
