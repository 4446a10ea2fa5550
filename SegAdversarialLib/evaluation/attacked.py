"""What is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.volumes.case import Case


@runtime_checkable
class AttackedCase(Protocol):
    """What is measured: a case before and after, and what was done to it; an `AttackResult` is one."""

    @property
    def original(self) -> Case:
        """Before."""

    @property
    def adversarial(self) -> Case:
        """After."""

    @property
    def perturbation(self) -> Perturbation:
        """What was done."""

    @property
    def moved_label(self) -> np.ndarray | None:
        """The reference labels where the anatomy was moved; None where it was not."""

    @property
    def thresholds(self) -> Sequence[Any]:
        """The least budgets that were found, each with a `sentence`; none where nobody searched for them."""

    @property
    def attack(self) -> Any:
        """The attack's configuration, whose `helps` says whether it is meant to raise Dice."""
