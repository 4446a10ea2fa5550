"""Projected gradient descent, and its forms for segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from SegAdversarialLib.attacks.additive import EPSILON_UNIT
from SegAdversarialLib.attacks.gradient import IterativeAttack
from SegAdversarialLib.attacks.settings import ChosenLoss, parameter

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun

NORM_TEXTS = {"linf": "L-infinity", "l2": "L2"}


class ProjectedAttack(IterativeAttack):
    """Steps of one length in L-inf or L2, each projected back into the budget."""

    norm: Literal["linf", "l2"] = parameter("linf", "Norm that epsilon bounds.", texts=NORM_TEXTS)
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
    def is_random(self) -> bool:
        """Whether a try starts at a random point."""
        return (self.random_start or self.restarts > 1) and not self.does_nothing

    @property
    def plan(self) -> tuple[int, float]:
        """`steps` steps of `step_size`."""
        return self.steps, self.step_size if self.step_size is not None else 2.5 * self.epsilon / self.steps

    def _start(self, run: AttackRun, restart: int) -> torch.Tensor:
        return run.random_point(restart) if self.random_start or restart else run.original


class PGD(ChosenLoss, ProjectedAttack):
    """Projected gradient descent: steps longer than i-FGSM's, each projected back into the budget; the best one is kept.

    In L-inf the steps follow the gradient's sign, in L2 the gradient itself, scaled to the step's length (Madry et al.
    2018). As published it is with `random_start` and `keep="last"`: of three networks that were tried, 5 to 20 steps from a
    random start were weaker on one and equal within 0.001 on the others. An L2 epsilon bounds the Euclidean norm of the whole
    change over all channels (relative: each channel in units of its largest absolute intensity), so that it grows with the
    square root of the number of voxels.
    """

    name: ClassVar[str] = "pgd"
    title: ClassVar[str] = "PGD"
    citation: ClassVar[str] = "Madry et al. 2018, ICLR (cited by Liu et al. 2021)"

    random_start: bool = parameter(
        False,
        "Begin at a random point of the budget, as published, not at the image itself.",
        advanced=True,
    )


class SegPGD(ProjectedAttack):
    """SegPGD: PGD whose loss turns from voxels still right to those that are lost.

    Cross-entropy with the weight 1 - lambda where the network is right and lambda where it is wrong, lambda = (t - 1) / (2 T)
    in step t of T (Gu et al. 2022).
    """

    name: ClassVar[str] = "segpgd"
    title: ClassVar[str] = "SegPGD"
    citation: ClassVar[str] = "Gu et al. 2022, ECCV"

    @property
    def loss_name(self) -> str:
        """SegPGD's weighted cross-entropy."""
        return "segpgd"


class CosPGD(ProjectedAttack):
    """CosPGD: PGD whose loss weighs voxels by their agreement with the reference.

    Cross-entropy times the cosine between the probabilities and the one-hot reference (Agnihotri et al. 2024).
    """

    name: ClassVar[str] = "cospgd"
    title: ClassVar[str] = "CosPGD"
    citation: ClassVar[str] = "Agnihotri et al. 2024, ICML"

    @property
    def loss_name(self) -> str:
        """CosPGD's weighted cross-entropy."""
        return "cospgd"
