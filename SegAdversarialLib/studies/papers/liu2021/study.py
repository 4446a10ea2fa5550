"""Liu et al. 2021 as a study: FGSM, i-FGSM and ti-FGSM on U-Nets without defence, and FGSM on those with one."""

from __future__ import annotations

from dataclasses import dataclass

from SegAdversarialLib.studies.papers.liu2021.names import FGSM, IFGSM, NETWORKS, NOISE, TIFGSM, in_2d
from SegAdversarialLib.studies.papers.liu2021.tables import DISTILLED, EPSILONS, NOTHING, TRAINED
from SegAdversarialLib.studies.papers.scales import OTHER_CHANNELS, CohortLike, Data, Scale, parts

_DESCRIPTION = (
    "Liu et al. 2021, J Digit Imaging 34: FGSM, i-FGSM and ti-FGSM on a 3D and a 2D U-Net, and FGSM on those that were "
    "distilled, trained on adversarial images, or trained with noise. Beside what the paper has, at its own scale the "
    "networks are audited by attacks that know the defence."
)
_UNITS = "range"
"""Of epsilon in training: on standardised images, what a share of the largest intensity is on the scan."""


@dataclass(frozen=True)
class _Size:
    phantoms: tuple[str, str]
    network_3d: Data
    network_2d: Data
    plain_3d: Data
    """Settings of the training without defence."""
    defended_3d: Data
    distilled_3d: Data
    plain_2d: Data
    defended_2d: Data
    distilled_2d: Data
    preprocessing: Data
    epsilons: tuple[float, ...]
    audit: Data | bool


def _small(kernels: list[int]) -> Data:
    # without normalisation, which would keep logits from growing as far as a high temperature wants them to
    arguments = {"channels": kernels, "strides": [2] * (len(kernels) - 1), "norm": None, "num_res_units": 1}
    return {"name": "UNet", "arguments": arguments}


def _quick(epochs: int, batch: int, **settings: object) -> Data:
    usual = {"learning_rate": 5e-3, "schedule": "one-cycle", "augmentation": "axial", "tensorboard": False}
    return {**usual, "epochs": epochs, "batch_size": batch, **settings}


def _papers(epochs: int, rate: float, batch: int) -> Data:
    return {"epochs": epochs, "learning_rate": rate, "batch_size": batch, "augmentation": "axial", "loss": "dice"}


_SIZES = {
    "ci": _Size(
        phantoms=("phantom:0-1@32", "phantom:100-101@32"),
        network_3d=_small([4, 8]),
        network_2d=_small([4, 8]),
        plain_3d=_quick(1, 1, patch=[16, 16, 16]),
        defended_3d=_quick(1, 1, patch=[16, 16, 16]),
        distilled_3d=_quick(1, 1, patch=[16, 16, 16]),
        plain_2d=_quick(1, 8, patches=8),
        defended_2d=_quick(1, 8, patches=8),
        distilled_2d=_quick(1, 8, patches=8),
        preprocessing={},
        epsilons=EPSILONS,
        audit=False,
    ),
    "phantom": _Size(
        phantoms=("phantom:0-11@40", "phantom:100-107@40"),
        network_3d=_small([8, 16, 32]),
        network_2d=_small([8, 16, 32]),
        plain_3d=_quick(20, 2, patch=[24, 24, 24]),
        defended_3d=_quick(20, 2, patch=[24, 24, 24]),
        distilled_3d=_quick(24, 2, patch=[24, 24, 24], learning_rate=1e-2),
        plain_2d=_quick(14, 16, patches=8),
        defended_2d=_quick(14, 16, patches=8),
        distilled_2d=_quick(16, 16, patches=8, learning_rate=1e-2),
        preprocessing={},
        epsilons=EPSILONS,
        audit=False,
    ),
    "paper": _Size(
        phantoms=("", ""),
        network_3d={"name": "LiuUNet3D"},
        network_2d={"name": "LiuUNet2D"},
        plain_3d=_papers(100, 1e-4, 1),
        defended_3d=_papers(400, 5e-4, 1),
        distilled_3d=_papers(400, 5e-4, 1),
        plain_2d=_papers(400, 1e-5, 64),
        defended_2d=_papers(400, 1e-5, 64),
        distilled_2d=_papers(400, 1e-5, 64),
        preprocessing={"size": [128, 128, 128]},
        epsilons=tuple(n / 100 for n in range(11)),
        audit={"cases": 8, "effort": "usual"},
    ),
}


def study(scale: Scale, cohort: CohortLike | None) -> Data:
    """The study file's content."""
    size = _SIZES[scale]
    learned, attacked = parts(scale, cohort, size.phantoms, 0.2, channels=OTHER_CHANNELS)
    networks = {name: _network(name, 3, learned, size) for name in NETWORKS}
    networks |= {in_2d(name): _network(name, 2, learned, size) for name in NETWORKS}
    usual = EPSILONS[1]
    return {
        "study": "liu2021",
        "description": _DESCRIPTION,
        "paper": "liu2021",
        "cohort": attacked,
        "networks": networks,
        "attacks": [
            {"attack": "fgsm", "name": FGSM, "epsilon": list(size.epsilons)},
            {"attack": "ifgsm", "name": IFGSM, "epsilon": usual, "networks": [NOTHING]},
            {"attack": "tifgsm", "name": TIFGSM, "epsilon": usual, "networks": [NOTHING]},
        ],
        "audit": size.audit,
    }


def _network(name: str, dimensions: int, cohort: Data, size: _Size) -> Data:
    recipe = _recipe(name)
    kind = {"standard": "plain", "defensive-distillation": "distilled"}.get(recipe["recipe"], "defended")
    preprocessing = {**size.preprocessing, "normalization": {"kind": "zscore"}, "axes": "kji" if dimensions == 3 else "ji"}
    how = {
        "cohort": cohort,
        "network": size.network_3d if dimensions == 3 else size.network_2d,
        "described": {"preprocessing": preprocessing},
        "recipe": recipe,
        "settings": getattr(size, f"{kind}_{dimensions}d"),
    }
    return {"train": how}


def _recipe(name: str) -> Data:
    if name == NOTHING:
        return {"recipe": "standard"}
    if name == NOISE:
        return {"recipe": "noise-augmentation", "radius": 0.01, "units": _UNITS}
    for temperature, distilled in DISTILLED.items():
        if name == distilled:
            return {"recipe": "defensive-distillation", "temperature": temperature}
    epsilon = next(x for x, trained in TRAINED.items() if trained == name)
    return {"recipe": "adversarial-training", "epsilon": epsilon, "epsilon_units": _UNITS}
