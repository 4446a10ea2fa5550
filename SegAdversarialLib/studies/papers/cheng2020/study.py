"""Cheng & Ji 2020 as a study: universal random perturbations of one modality and of all, on an ensemble of three networks."""

from __future__ import annotations

from dataclasses import dataclass

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
    unet: tuple[int, ...]
    residual: int
    cascaded: int
    """Features of each network's finest level; of the U-Net, of all levels."""
    settings: Data
    grid: tuple[float, ...] = SIZES
    """Of epsilon and of rad."""


_SIZES = {
    "ci": _Size(("phantom:0-1@32", "phantom:100-101@32"), 32, (4, 8), 8, 4, {"epochs": 1, "learning_rate": 3e-3}, SIZES[::2]),
    "phantom": _Size(
        ("phantom:0-11@48", "phantom:100-107@48"),
        48,
        (8, 16, 32),
        4,
        2,
        {"epochs": 16, "learning_rate": 3e-3, "schedule": "one-cycle"},
    ),
    "paper": _Size(
        ("", ""),
        128,
        (30, 60, 120, 240, 320),
        32,
        16,
        {"epochs": 300, "learning_rate": 1e-4, "schedule": "polynomial", "patch": [128, 128, 128], "augmentation": "mirror"},
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
        "arguments": {"init_filters": size.residual, "input_image_size": [size.side] * 3, "norm": groups},
    }
    cascaded = {"name": "ChengCascadedUNet", "arguments": {"features": size.cascaded}}
    return [unet, residual, cascaded]


def _trained(network: Data, cohort: Data, size: _Size) -> Data:
    """All see windows of one size: that of the variational branch, which takes no other; an ensemble needs them to agree."""
    described = {"window": [size.side] * 3, "size_multiple": size.side, "preprocessing": {"normalization": {"kind": "zscore"}}}
    how = {"cohort": cohort, "network": network, "described": described, "settings": {**size.settings, "tensorboard": False}}
    return {"train": how, "attacked": False}
