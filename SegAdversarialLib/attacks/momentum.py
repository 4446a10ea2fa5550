"""Iterative FGSM with momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from SegAdversarialLib.attacks.gradient import IterativeAttack
from SegAdversarialLib.attacks.settings import ChosenLoss, parameter


class MomentumIFGSM(ChosenLoss, IterativeAttack):
    """Momentum i-FGSM: steps along the sign of a running sum of gradients; it transfers better.

    g_{t+1} = decay * g_t + grad / ||grad||_1, X_{t+1} = X_t + epsilon / steps * sign(g_{t+1}) (Dong et al. 2018).
    """

    name: ClassVar[str] = "momentum-ifgsm"
    title: ClassVar[str] = "Momentum i-FGSM"
    citation: ClassVar[str] = "Dong et al. 2018, CVPR"

    steps: int = parameter(10, "Number of steps.", unit="steps", ge=1, le=10000)
    decay: float = parameter(
        1.0, "Weight of the earlier gradients' sum; 0 is i-FGSM.", advanced=True, label="Momentum", ge=0, le=1
    )

    @property
    def plan(self) -> tuple[int, float]:
        """`steps` steps that add up to epsilon."""
        return self.steps, self.epsilon / self.steps

    def _memory(self) -> Any:
        from SegAdversarialLib.attacks.engine.momentum import Momentum

        return Momentum(self.decay)
