"""What attacks that lead away from a reference have in common, whether or not they differentiate the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import field_validator

from SegAdversarialLib.attacks.attack import Attack, parameter, some_or_none
from SegAdversarialLib.case import Case
from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model import SegmentationModel


class AgainstReference(Attack):
    """Works against the reference or the network's own clean answer, counting all structures or some of them."""

    against: Literal["label", "prediction"] = parameter(
        "label",
        "label: the reference; prediction: the network's own clean answer, which needs no reference and leaks none.",
        texts={"label": "reference", "prediction": "network's own answer"},
    )
    classes: tuple[str | int, ...] | None = parameter(
        None,
        "Structures (names or labels) that the loss counts; none: all.",
        choose="classes",
        advanced=True,
        label="Structures",
        min_length=1,
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _one_class_is_a_list(cls, classes: Any) -> Any:
        return None if classes is None else some_or_none("structure", classes)

    @property
    def needs_reference(self) -> bool:
        """Whether it works against the reference."""
        return self.against == "label"

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether there is a reference, and whether the network has the classes."""
        super().check(model, case)
        if self.needs_reference and case.label is None:
            raise InputError(
                f"{self.title} works against the reference, but the case {case.name} has no label map; give one, or attack "
                "against the network's own prediction (against=prediction)."
            )
        if model is not None:
            if case.label is not None:
                model.head.check_label(case.label)
            for structure in self.classes or ():
                model.head.output(structure)

    def _reference(self, run: AttackRun) -> np.ndarray:
        """What the loss compares with: a label map (K, J, I), or one mask for each output (N, K, J, I)."""
        if self.against == "prediction":
            return run.clean_masks.cpu().numpy()
        assert run.case.label is not None  # as check has made sure
        return run.case.label
