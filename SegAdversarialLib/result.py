"""What an attack gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.case import Case
from SegAdversarialLib.perturbation import Perturbation

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.attack import Attack


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The attack's state at one iteration: the image (C, K, J, I) float32 and what the network says of it (K, J, I) int16."""

    iteration: int
    image: np.ndarray
    segmentation: np.ndarray


@dataclass(frozen=True, eq=False)
class AttackResult:
    """An attack on one case, with all that is needed to run it again.

    Attributes:
        original, adversarial: the case before and after; same grid, channels and labels.
        perturbation: what was done.
        attack: the attack's configuration, its seed included.
        model: the attacked network's name.
        trace: a row for each iteration of each restart: "restart", "iteration", "loss", "psnr" (dB, over the attacked
            channels), "dice NAME" for each structure and their mean "dice mean". Iteration 0 is the starting point, the
            last row of the kept restart is the result. Empty for attacks that do not ask the network.
        restart: which of several restarts was kept.
        snapshots: every k-th iteration of the kept restart, if they were asked for.
        gradient_evaluations, forward_evaluations: how often the network was differentiated, and asked without a gradient.
        seconds: wall-clock time.
        device: where the network ran.
    """

    original: Case
    adversarial: Case
    perturbation: Perturbation
    attack: Attack
    model: str
    trace: list[dict[str, float]] = field(default_factory=list)
    restart: int = 0
    snapshots: list[Snapshot] = field(default_factory=list)
    gradient_evaluations: int = 0
    forward_evaluations: int = 0
    seconds: float = 0.0
    device: str = "cpu"

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        return self.attack.seed

    def describe(self) -> dict[str, Any]:
        """Configuration, counts and sizes as plain JSON data."""
        return {
            "attack": self.attack.describe(),
            "model": self.model,
            "case": self.original.name,
            "channels": list(self.original.channels),
            "restart": self.restart,
            "gradient_evaluations": self.gradient_evaluations,
            "forward_evaluations": self.forward_evaluations,
            "seconds": round(self.seconds, 3),
            "device": self.device,
            "largest_change": dict(zip(self.original.channels, self.perturbation.linf().tolist())),
        }
