"""The fast gradient sign method and its relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import field_serializer, field_validator

from SegAdversarialLib.attacks.additive import EPSILON_UNIT
from SegAdversarialLib.attacks.attack import fingerprint
from SegAdversarialLib.attacks.gradient import GradientAttack, IterativeAttack, UntargetedAttack
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import LOSS_TEXTS, ChosenLoss, KeepsBest, LossName, parameter
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.reading import read_label

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel


class FGSM(ChosenLoss, UntargetedAttack):
    """Fast gradient sign method: one step of epsilon along the sign of the loss's gradient.

    X + epsilon * sign(grad loss(X, Y)) (Goodfellow et al. 2014; Liu et al. 2021, eq. 1).
    """

    name: ClassVar[str] = "fgsm"
    title: ClassVar[str] = "FGSM"
    groups: ClassVar[tuple[Group, ...]] = ("paper", "gradient")
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
    citation: ClassVar[str] = "Pervin et al. 2023, eq. 3"
    ascends: ClassVar[bool] = False

    epsilon: float = parameter(0.0118, "Largest change of a voxel.", EPSILON_UNIT, ge=0)
    loss: LossName = parameter("cross_entropy", "Loss whose gradient is followed.", advanced=True, texts=LOSS_TEXTS)

    @property
    def helps(self) -> bool:
        """Always: this is what it is for."""
        return True


class IFGSM(ChosenLoss, IterativeAttack):
    """Iterative FGSM: several smaller steps of epsilon / steps, each along the sign of a fresh gradient.

    X_{k+1} = X_k + alpha * sign(grad loss(X_k, Y)), alpha = epsilon / steps (Liu et al. 2021, eq. 2).
    """

    name: ClassVar[str] = "ifgsm"
    title: ClassVar[str] = "i-FGSM"
    groups: ClassVar[tuple[Group, ...]] = ("paper", "gradient")
    citation: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 2"

    steps: int = parameter(10, "Number of steps.", unit="steps", ge=1, le=10000)

    @property
    def plan(self) -> tuple[int, float]:
        """`steps` steps that add up to epsilon."""
        return self.steps, self.epsilon / self.steps


class TIFGSM(ChosenLoss, KeepsBest, GradientAttack):
    """Targeted iterative FGSM: steps that lower the loss towards a target label map.

    X_{k+1} = X_k - alpha * sign(grad loss(X_k, Y_target)); the paper's target is label 1 everywhere (Liu et al. 2021, eq. 3,
    printed there with a plus, although its text says that the loss is minimised).
    """

    name: ClassVar[str] = "tifgsm"
    title: ClassVar[str] = "ti-FGSM"
    groups: ClassVar[tuple[Group, ...]] = ("paper", "gradient")
    citation: ClassVar[str] = "Liu et al. 2021, J Digit Imaging 34, eq. 3"
    ascends: ClassVar[bool] = False

    steps: int = parameter(10, "Number of steps.", unit="steps", ge=1, le=10000)
    target: Any = parameter(
        1,
        "What the network should say: a class (label value or name) for every voxel, or a label map (array (K, J, I) or image "
        "file).",
        choose="class",
        label="Target class",
    )

    @field_validator("target", mode="after")
    @classmethod
    def _target_is_class_or_map(cls, target: Any) -> Any:
        if isinstance(target, (int, np.integer)):
            return int(target)
        if isinstance(target, (str, np.ndarray)) or hasattr(target, "__fspath__"):
            return target if isinstance(target, np.ndarray) else str(target)
        raise ValueError("target must be a class (label value or name) or a label map (array or image file)")

    @field_serializer("target")
    def _target_as_data(self, target: Any) -> Any:
        return {"label map": fingerprint(target)} if isinstance(target, np.ndarray) else target

    @property
    def plan(self) -> tuple[int, float]:
        """`steps` steps that add up to epsilon."""
        return self.steps, self.epsilon / self.steps

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the target is a class of the network, or a map of its classes on the case's grid."""
        super().check(model, case)
        if model is not None:
            self._target_map(model.head, case)

    def _reference(self, run: AttackRun) -> np.ndarray:
        return self._target_map(run.head, run.case)

    def _target_map(self, head: OutputHead, case: Case) -> np.ndarray:
        """The target as a label map (K, J, I)."""
        if isinstance(self.target, np.ndarray):
            target = self.target
        elif (label := self._target_label(head)) is not None:
            return np.full(case.shape, label, dtype=np.int16)
        else:
            target = read_label(self.target, case.grid, head)
        if target.shape != case.shape:
            raise InputError(f"The target has the shape {target.shape}, the case {case.shape}; both must agree.")
        head.check_label(target)
        return target

    def _target_label(self, head: OutputHead) -> int | None:
        """The reference label that every voxel is to have; None: the target is the file of a map.

        Raises:
            InputError: no class has the number.
        """
        if head.kind == "sigmoid" and str(self.target).lower() in ("0", "background"):
            return 0  # of overlapping regions none
        if isinstance(self.target, int):
            if any(self.target in region for region in head.regions):
                return self.target
        elif self.target.lower() not in [name.lower() for name in head.names]:
            return None
        # of the labels of a region the one that lies in the fewest others: oedema for the whole tumour
        return min(head.regions[head.output(self.target)], key=lambda x: sum(x in region for region in head.regions))
