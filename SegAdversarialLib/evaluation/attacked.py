"""What is measured."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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
