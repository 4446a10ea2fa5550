"""What an attack climbs or descends: scalars of a volume's logits and a reference.

Every objective is a loss: low where the network agrees with the reference. Attacks that break a segmentation climb it;
attacks towards a target, and the inverse ones, descend it. The reference is a label map (K, J, I), or what each output
should claim, (N, K, J, I) bool or probabilities (a network's own answer).
"""

from __future__ import annotations

from SegAdversarialLib.objectives.joint import BoundJoint, JointObjective, Part
from SegAdversarialLib.objectives.objective import BoundObjective, Objective, Temperature
from SegAdversarialLib.objectives.overlap import SoftDice
from SegAdversarialLib.objectives.voxelwise import (
    BalancedMaskedCrossEntropy,
    CosPGDWeighted,
    CrossEntropy,
    JensenShannon,
    Margin,
    MaskedCrossEntropy,
    SegPGDWeighted,
)

__all__ = [
    "OBJECTIVES",
    "BalancedMaskedCrossEntropy",
    "BoundJoint",
    "BoundObjective",
    "CosPGDWeighted",
    "CrossEntropy",
    "JensenShannon",
    "JointObjective",
    "Margin",
    "MaskedCrossEntropy",
    "Objective",
    "Part",
    "SegPGDWeighted",
    "SoftDice",
    "Temperature",
]

OBJECTIVES: dict[str, type[Objective]] = {
    x.name: x
    for x in (
        SoftDice,
        CrossEntropy,
        MaskedCrossEntropy,
        BalancedMaskedCrossEntropy,
        JensenShannon,
        Margin,
        SegPGDWeighted,
        CosPGDWeighted,
    )
}
"""The objectives by the name that configurations use."""


def __dir__() -> list[str]:
    return sorted(__all__)
