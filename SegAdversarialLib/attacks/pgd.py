"""Projected gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from SegAdversarialLib.attacks.attack import EPSILON_UNIT, parameter
from SegAdversarialLib.attacks.gradient import UntargetedAttack

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun


class PGD(UntargetedAttack):
    """Projected gradient descent: steps longer than i-FGSM's from a random start, projected back into the budget.

    In L-inf the steps follow the gradient's sign, in L2 the gradient itself, scaled to the step's length (Madry et al.
    2018). An L2 epsilon bounds the Euclidean norm of the whole change over all channels (relative: each channel in units
    of its largest absolute intensity), so that it grows with the square root of the number of voxels.
    """

    name: ClassVar[str] = "pgd"
    title: ClassVar[str] = "PGD"
    citation: ClassVar[str] = "Madry et al. 2018, ICLR (cited by Liu et al. 2021)"

    norm: Literal["linf", "l2"] = parameter("linf", "Norm that epsilon bounds.", texts={"linf": "L-infinity", "l2": "L2"})
    steps: int = parameter(20, "Number of steps.", unit="steps", ge=1, le=10000)
    step_size: float | None = parameter(
        None, "Length of a step; none: 2.5 epsilon / steps.", EPSILON_UNIT, advanced=True, gt=0, examples=[0.01]
    )
    random_start: bool = parameter(True, "Begin at a random point of the budget, not at the image itself.", advanced=True)

    @property
    def bounded_norm(self) -> Literal["linf", "l2"]:
        """The norm that epsilon bounds."""
        return self.norm

    @property
    def plan(self) -> tuple[int, float]:
        """`steps` steps of `step_size`."""
        return self.steps, self.step_size if self.step_size is not None else 2.5 * self.epsilon / self.steps

    def _start(self, run: AttackRun, restart: int) -> torch.Tensor:
        return self._random_point(run, restart) if self.random_start or restart else run.original
