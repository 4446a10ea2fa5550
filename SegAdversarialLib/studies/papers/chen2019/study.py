"""Chen et al. 2019 as a study: a learned generator of deformations and intensity variations, for each xi, and either alone."""

from __future__ import annotations

from dataclasses import dataclass

from SegAdversarialLib.studies.papers.chen2019.names import BOTH, DEFORMED, NETWORK, SHADED
from SegAdversarialLib.studies.papers.chen2019.tables import ABLATED, STRENGTHS
from SegAdversarialLib.studies.papers.scales import CohortLike, Data, Scale, parts

_DESCRIPTION = (
    "Chen et al. 2019: a VAE-GAN draws a smooth deformation and a smooth intensity variation that change the answer by a set "
    "amount, xi. The paper trains a generator for each xi against a 2D U-Net of abdominal CT. Dice is that of the reference "
    "moved with the deformation; where it was left in place stands in the results as dice_unwarped."
)
_HELD_BACK = 0.5
"""The paper tests on 75 of 150 subjects."""


@dataclass(frozen=True)
class _Size:
    phantoms: tuple[str, str]
    samples: int
    generator: Data | None
    """How the generators are trained; None: the built-in one, against the built-in network."""
    network: Data | None = None


_SIZES = {
    "ci": _Size(("", "phantom:100-101@32"), 1, None),
    "phantom": _Size(("", "phantom:100-107@64"), 1, None),
    "paper": _Size(
        ("", ""),
        1,
        {"settings": {"epochs": 50, "compare": "original"}},
        {
            "name": "UNet",
            "arguments": {"channels": [64, 128, 256, 512, 1024], "strides": [2, 2, 2, 2], "norm": "batch"},
        },
    ),
}


def study(scale: Scale, cohort: CohortLike | None) -> Data:
    """The study file's content; with a cohort all is trained, on phantoms the built-in network and generator are attacked."""
    size = _SIZES[scale]
    learned, attacked = parts(scale, cohort, size.phantoms, _HELD_BACK)
    found = {
        "study": "chen2019",
        "description": _DESCRIPTION,
        "paper": "chen2019",
        "cohort": attacked,
        "networks": {NETWORK: "builtin:brain-tumour-phantom"},
        "attacks": _attacks({x: None for x in STRENGTHS}, size.samples),
        "audit": False,
    }
    if cohort is None:
        return found
    names = {x: f"xi {x:g}" for x in STRENGTHS}
    generators = {names[x]: _generator(x, size, learned) for x in STRENGTHS}
    networks = {NETWORK: _network(size, learned)}
    return {**found, "networks": networks, "generators": generators, "attacks": _attacks(names, size.samples)}


def _attacks(generators: dict[float, str] | dict[float, None], samples: int) -> list[Data]:
    def attack(name: str, part: str, strength: float) -> Data:
        chosen = {} if generators[strength] is None else {"generator": generators[strength]}
        return {"attack": "generative", "name": name, "parts": part, "xi": strength, "samples": samples, **chosen}

    found = [attack(BOTH, "both", x) for x in STRENGTHS]
    return [*found, attack(DEFORMED, "deformation", ABLATED), attack(SHADED, "intensity", ABLATED)]


def _generator(strength: float, size: _Size, cohort: Data) -> Data:
    how = size.generator or {"settings": {"epochs": 2}}
    return {"network": NETWORK, "cohort": cohort, "generator": {"xi": [strength, strength]}, **how}


def _network(size: _Size, cohort: Data) -> Data:
    small = {"name": "UNet", "arguments": {"channels": [8, 16, 32], "strides": [2, 2], "norm": "instance"}}
    settings = {"epochs": 100, "batch_size": 16, "learning_rate": 1e-3, "loss": "ce"} if size.network else {"epochs": 3}
    described = {"preprocessing": {"normalization": {"kind": "zscore"}, "axes": "ji"}}
    return {"train": {"cohort": cohort, "network": size.network or small, "described": described, "settings": settings}}
