"""Pervin et al. 2023 as a study: a 2D U-Net with copies of FGSM, of Inverse FGSM and of other augmentations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from SegAdversarialLib.studies.papers.pervin2023.names import BACKGROUND, BY_FGSM, BY_INVERSE, EARLY, OBJECT, TUMOUR, after
from SegAdversarialLib.studies.papers.pervin2023.tables import EPSILONS, FGSM, INVERSE, PLAIN
from SegAdversarialLib.studies.papers.scales import CohortLike, Data, Scale, parts

_DESCRIPTION = (
    "Pervin et al. 2023: a 2D U-Net that learns from images alone, and with copies that FGSM, Inverse FGSM, flips, turns, "
    "crops, jitter and a generator have made; mean IoU of background and object, by epoch, under attack and by augmentation. "
    "The paper does not say what its GAN is; the generator of Chen et al. stands in its place."
)
_CLASSIC = {"Flipping": "flip", "Rotating": "rotate", "Cropping": "crop", "Color Jitter": "jitter"}
_GENERATOR = "GAN"
_PHANTOM: Data = {"name": TUMOUR, "stands_for": [1, 2, 4]}
_PICTURES: Data = {"name": OBJECT}
"""What is to be found; white in the masks of pictures."""
_EPSILON = 0.1
"""Of the copies: Section 4.4."""


@dataclass(frozen=True)
class _Size:
    phantoms: tuple[str, str]
    network: Data
    epochs: int
    settings: Data
    preprocessing: Data
    generator: Data | None
    """How a generator is trained; None: the built-in one."""


def _small(kernels: list[int]) -> Data:
    arguments = {"channels": kernels, "strides": [2] * (len(kernels) - 1), "norm": "instance", "num_res_units": 1}
    return {"name": "UNet", "arguments": arguments}


def _quick(patches: int) -> Data:
    return {"batch_size": 8, "patches": patches, "loss": "ce", "learning_rate": 3e-3, "tensorboard": False}


_SIZES = {
    "ci": _Size(("phantom:0-1@32", "phantom:100-101@32"), _small([4, 8]), 3, _quick(8), {}, None),
    "phantom": _Size(("phantom:0-11@32,48,48", "phantom:100-107@32,48,48"), _small([8, 16, 32]), 30, _quick(8), {}, None),
    "paper": _Size(
        ("", ""),
        {"name": "PervinUNet"},
        30,
        {"batch_size": 16, "loss": "ce", "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.99},
        {"size": [128, 128, 1]},
        {"settings": {"epochs": 50}},
    ),
}


def study(scale: Scale, cohort: CohortLike | None) -> Data:
    """The study file's content. A network of an earlier epoch is a training of its own: fewer epochs, the same seed."""
    size = _SIZES[scale]
    learned, attacked = parts(scale, cohort, size.phantoms, 0.2)
    wanted = _PHANTOM if cohort is None else _PICTURES
    networks: Data = {}
    for name, recipe in _recipes(cohort is not None).items():
        networks[name] = _network(size, learned, wanted, recipe, size.epochs)
        if name in (PLAIN, FGSM, INVERSE):
            for epoch, epochs in EARLY.items():
                shorter = max(1, round(epochs * size.epochs / 30))
                networks[after(name, epoch)] = _network(size, learned, wanted, recipe, shorter)
    found = {
        "study": "pervin2023",
        "description": _DESCRIPTION,
        "paper": "pervin2023",
        "cohort": attacked,
        "networks": networks,
        "attacks": _attacks(),
        "regions": {BACKGROUND: [0]},
        "audit": False,
    }
    if cohort is not None:
        found["generators"] = {
            _GENERATOR: {"network": PLAIN, "cohort": learned, **(size.generator or {"settings": {"epochs": 2}})}
        }
    return found


def _attacks() -> list[Data]:
    """Table 2's on its networks; on all others one that does nothing, which measures them as they are."""
    table_2 = [PLAIN, FGSM, INVERSE]
    kinds: Mapping[str, Data] = {BY_FGSM: {"attack": "fgsm", "loss": "cross_entropy"}, BY_INVERSE: {"attack": "inverse-fgsm"}}
    found = [{**x, "name": name, "epsilon": list(EPSILONS), "networks": table_2} for name, x in kinds.items()]
    return [*found, {"attack": "uniform-noise", "name": "none", "epsilon": 0.0, "repeats": 1}]


def _recipes(own_generator: bool) -> dict[str, Data]:
    """The rows of Table 3."""
    copies = {"recipe": "attack-augmentation", "epsilon": _EPSILON, "epsilon_units": "range", "network": PLAIN}
    gan: Data = {"recipe": "generative-augmentation"}
    return {
        PLAIN: {"recipe": "standard"},
        **{f"{PLAIN} + {name}": {"recipe": "classic-augmentation", "kinds": kind} for name, kind in _CLASSIC.items()},
        f"{PLAIN} + GAN": {**gan, "generator": _GENERATOR} if own_generator else gan,
        FGSM: {**copies, "attack": "fgsm"},
        INVERSE: {**copies, "attack": "inverse-fgsm"},
    }


def _network(size: _Size, cohort: Data, wanted: Data, recipe: Data, epochs: int) -> Data:
    classes = [{"label": 0, "name": BACKGROUND}, {"label": 1, **wanted}]
    preprocessing = {**size.preprocessing, "normalization": {"kind": "zscore"}, "axes": "ji"}
    how = {
        "cohort": cohort,
        "network": size.network,
        "described": {"classes": classes, "preprocessing": preprocessing},
        "recipe": recipe,
        "settings": {**size.settings, "epochs": epochs},
    }
    return {"train": how}
