"""The fast gradient sign method and its relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import field_serializer

from SegAdversarialLib.attacks.attack import EPSILON_UNIT, fingerprint, parameter
from SegAdversarialLib.attacks.gradient import GradientAttack, LossName
from SegAdversarialLib.case import Case, read_label
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.head import OutputHead

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model import SegmentationModel


class FGSM(GradientAttack):
    """Fast gradient sign method: one step of epsilon along the sign of the loss's gradient.

    X + epsilon * sign(grad loss(X, Y)) (Goodfellow et al. 2014; Liu et al. 2021, eq. 1).
    """

    name: ClassVar[str] = "fgsm"
    title: ClassVar[str] = "FGSM"
    citation: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 1"

    @property
    def plan(self) -> tuple[int, float]:
        """One step of epsilon."""
        return 1, self.epsilon


class InverseFGSM(FGSM):
    """FGSM the other way round: one step that lowers the loss and so helps the network; used to augment training data.

    X - epsilon * sign(grad loss(X, Y)) (Pervin et al. 2023, eq. 3).
    """

    name: ClassVar[str] = "inverse-fgsm"
    title: ClassVar[str] = "Inverse FGSM"
    citation: ClassVar[str] = "Pervin et al. 2023, IAES IJ-AI, eq. 3"
    ascends: ClassVar[bool] = False

    epsilon: float = parameter(0.0118, "Largest change of a voxel.", EPSILON_UNIT, ge=0)
    loss: LossName = parameter("cross_entropy", "Loss whose gradient is followed.")


class IFGSM(GradientAttack):
    """Iterative FGSM: several smaller steps of epsilon / steps, each along the sign of a fresh gradient.

    X_{k+1} = X_k + alpha * sign(grad loss(X_k, Y)), alpha = epsilon / steps (Liu et al. 2021, eq. 2).
    """

    name: ClassVar[str] = "ifgsm"
    title: ClassVar[str] = "i-FGSM"
    citation: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 2"

    steps: int = parameter(10, "Number of steps.", unit="steps", ge=1, le=10000)

    @property
    def plan(self) -> tuple[int, float]:
        """`steps` steps that add up to epsilon."""
        return self.steps, self.epsilon / self.steps


class TIFGSM(IFGSM):
    """Targeted iterative FGSM: steps that lower the loss towards a target label map.

    X_{k+1} = X_k - alpha * sign(grad loss(X_k, Y_target)); the paper's target is label 1 everywhere (Liu et al. 2021, eq. 3,
    printed there with a plus, although its text says that the loss is minimised).
    """

    name: ClassVar[str] = "tifgsm"
    title: ClassVar[str] = "ti-FGSM"
    citation: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 3"
    ascends: ClassVar[bool] = False

    target: Any = parameter(
        1, "What the network should say: a label value for every voxel, or a label map (array (K, J, I) or image file)."
    )

    @field_serializer("target")
    def _target_as_data(self, target: Any) -> Any:
        return {"label map": fingerprint(target)} if isinstance(target, np.ndarray) else target

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the target is a class of the network."""
        super().check(model, case)
        if model is not None:
            self._target_map(model.head, case)

    def _check_reference(self, case: Case) -> None:
        """A target takes the reference's place, so that none is needed."""

    def _reference(self, run: AttackRun) -> np.ndarray:
        return self._target_map(run.head, run.case)

    def _target_map(self, head: OutputHead, case: Case) -> np.ndarray:
        """The target as a label map (K, J, I)."""
        if isinstance(self.target, np.ndarray):
            return self.target
        if not isinstance(self.target, (int, np.integer)):
            return read_label(str(self.target), case)
        if int(self.target) not in {value for region in head.regions for value in region}:
            raise InputError(f"The target label {self.target} is no class of the network ({head.describe()}).")
        return np.full(case.shape, self.target, dtype=np.int16)
