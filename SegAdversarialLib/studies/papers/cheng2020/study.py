"""Cheng & Ji 2020 as a study: universal random perturbations of one modality and of all, on an ensemble of three networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from SegAdversarialLib.studies.papers.cheng2020.names import ATTACK, ENSEMBLE, MEMBERS
from SegAdversarialLib.studies.papers.cheng2020.tables import ALL, MODALITIES, SIZES
from SegAdversarialLib.studies.papers.scales import OTHER_CHANNELS, CohortLike, Data, Scale, parts

_DESCRIPTION = (
    "Cheng & Ji 2020, IEEE Access 8: a universal random perturbation epsilon * sgn(v1) + rad * v2 of each modality and of all "
    "four, on the mean of three networks. The paper attacks a network that others had trained, and has BraTS' server measure "
    "it; here the three are trained on one part of the patients and measured on the other."
)


@dataclass(frozen=True)
class _Size:
    phantoms: tuple[str, str]
    side: int
    """Voxels along each side of what a network sees at once."""
    patch: int
    """Voxels along each side of what it learns from at once; the variational branch takes no other size."""
    unet: tuple[int, ...]
    residual: int
    cascaded: int
    """Features of each network's finest level; of the U-Net, of all levels."""
    settings: Data
    grid: tuple[float, ...] = SIZES
    """Of epsilon and of rad."""
    residual_blocks: Data = field(default_factory=dict)
    cascaded_levels: int = 4


_SIZES = {
    "ci": _Size(
        ("phantom:0-1@32", "phantom:100-101@32"), 32, 32, (4, 8), 8, 4, {"epochs": 1, "learning_rate": 3e-3}, SIZES[::2]
    ),
    "phantom": _Size(
        ("phantom:0-15@32", "phantom:100-107@32"),
        32,
        24,
        (8, 16, 32),
        8,
        4,
        # the variational branch's term at its usual 0.1, or whole volumes, and the core of the tumour is not found in minutes
        {"epochs": 20, "patches": 2, "learning_rate": 4e-3, "schedule": "one-cycle", "network_loss_weight": 0.01},
        residual_blocks={"blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
        cascaded_levels=3,
    ),
    "paper": _Size(
        ("", ""),
        128,
        128,
        (30, 60, 120, 240, 320),
        32,
        16,
        {"epochs": 300, "learning_rate": 1e-4, "schedule": "polynomial", "augmentation": "mirror"},
    ),
}


def study(scale: Scale, cohort: CohortLike | None) -> Data:
    """The study file's content."""
    size = _SIZES[scale]
    learned, attacked = parts(scale, cohort, size.phantoms, 0.2, channels=OTHER_CHANNELS)
    networks = {name: _trained(x, learned, size) for name, x in zip(MEMBERS, _architectures(size))}
    return {
        "study": "cheng2020",
        "description": _DESCRIPTION,
        "paper": "cheng2020",
        "cohort": attacked,
        "networks": {**networks, ENSEMBLE: {"members": list(MEMBERS)}},
        "attacks": [
            {
                "attack": "universal-random-perturbation",
                "name": ATTACK,
                "epsilon": list(size.grid),
                "radius": list(size.grid),
                "channels": [*([x] for x in MODALITIES), ALL],
            }
        ],
        "audit": False,
    }


def _architectures(size: _Size) -> list[Data]:
    """The three networks, in the order of `MEMBERS`."""
    unet = {
        "name": "UNet",
        "arguments": {"channels": list(size.unet), "strides": [2] * (len(size.unet) - 1), "norm": "instance"},
    }
    groups = ["group", {"num_groups": min(8, size.residual)}]
    residual = {
        "name": "SegResNetVAE",
        "arguments": {
            "init_filters": size.residual,
            "input_image_size": [size.patch] * 3,
            "norm": groups,
            **size.residual_blocks,
        },
    }
    cascaded = {"name": "ChengCascadedUNet", "arguments": {"features": size.cascaded, "levels": size.cascaded_levels}}
    return [unet, residual, cascaded]


def _trained(network: Data, cohort: Data, size: _Size) -> Data:
    """All see windows of one size, as an ensemble needs them to agree, and take sizes that divide windows and patches."""
    multiple = math.gcd(size.side, size.patch)
    described = {"window": [size.side] * 3, "size_multiple": multiple, "preprocessing": {"normalization": {"kind": "zscore"}}}
    settings = {**size.settings, "patch": [size.patch] * 3, "tensorboard": False}
    how = {"cohort": cohort, "network": network, "described": described, "settings": settings}
    return {"train": how, "attacked": False}
