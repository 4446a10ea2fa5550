"""What attacks that lead away from a reference have in common, whether or not they differentiate the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import field_validator

from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.settings import parameter, some_or_none
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.objectives import OBJECTIVES
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.structures.output_head import OutputHead


class NothingToAttack(InputError):
    """What the attack works against holds nothing that its losses have a gradient for."""


class CountsStructures(Attack):
    """Counts all structures of the network, or some of them."""

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

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the network has the classes."""
        super().check(model, case)
        if model is not None:
            label = case.in_terms_of(model.head).label
            if label is not None:
                model.head.check_label(label)
            for structure in self.classes or ():
                model.head.output(structure)


class AgainstReference(CountsStructures):
    """Works against the reference or the network's own clean answer, counting all structures or some of them."""

    against: Literal["label", "prediction"] = parameter(
        "label",
        "label: the reference; prediction: the network's own clean answer, which needs no reference and leaks none.",
        texts={"label": "reference", "prediction": "network's own answer"},
    )

    @property
    def needs_reference(self) -> bool:
        """Whether it works against the reference."""
        return self.against == "label"

    @property
    def _cost_of_reference(self) -> Cost:
        """What it takes to know what the attack works against, and when it may stop."""
        return Cost(answers=self.against == "prediction" or getattr(self, "stop_at_drop", None) is not None)

    @property
    def followed_losses(self) -> tuple[str, ...]:
        """The objectives that it climbs or descends; none where it only counts Dice."""
        return ()

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether there is a reference."""
        super().check(model, case)
        if self.needs_reference and case.label is None:
            raise InputError(
                f"{self.title} works against the reference, but {case.called} has no label map; give one (--label FILE, or "
                "the label of the case), or attack against the network's own prediction (--set against=prediction)."
            )
        if self.needs_reference and model is not None and self._needs_structures(model.head):
            self._check_label(case, model.head)

    def _check_label(self, case: Case, head: OutputHead) -> None:
        """Refuse a reference that the losses have no gradient for.

        Raises:
            NothingToAttack: it is one.
        """
        assert case.label is not None
        held = set(np.unique(case.label).tolist())
        counted = self._structures(head)
        if not any(held & set(head.regions[n]) for n in counted):
            raise NothingToAttack(
                f"{self.title} cannot work against a reference without any structure that counts "
                f"({', '.join(head.names[n] for n in counted)}), and that of {case.name or 'the case'} has none: the loss "
                "would have no gradient; give the right label map, attack the network's own prediction (--set "
                "against=prediction), or choose a loss that counts the background (--set loss=cross_entropy)."
            )

    def _check_prediction(self, run: AttackRun) -> None:
        """Find out whether the network's own clean answer holds something that the losses have a gradient for.

        Raises:
            NothingToAttack: it does not.
        """
        if self._needs_structures(run.head) and not run.clean_masks[self._counted(run)].any():
            raise NothingToAttack(
                f"{self.title} cannot work against the network's own prediction, which holds none of the structures that "
                f"count in {run.case.name or 'the case'}: the loss would have no gradient; check the network's preprocessing, "
                "or choose a loss that counts the background (--set loss=cross_entropy)."
            )

    def _needs_structures(self, head: OutputHead) -> bool:
        """Whether its losses have no gradient where the reference holds none of the structures that count."""
        losses = [OBJECTIVES[name] for name in self.followed_losses]
        # of exclusive classes only the voxels of those chosen count; outputs that overlap are each asked of every voxel
        everywhere = self.classes is None or head.kind == "sigmoid"
        return bool(losses) and not (everywhere and any(x.counts_background for x in losses))

    def _reference(self, run: AttackRun) -> np.ndarray:
        """What the loss compares with: a label map (K, J, I), or one mask for each output (N, K, J, I)."""
        if self.against == "prediction":
            self._check_prediction(run)
            return run.clean_masks.cpu().numpy()
        assert run.case.label is not None  # as check has made sure
        return run.case.label

    def _mean_dice(self, run: AttackRun, logits: torch.Tensor) -> float:
        """Mean Dice over the structures that count against the reference, of what was just written into the trace."""
        if self.against == "label" or run.case.label is None:  # the trace has counted it
            return run.traced_dice(self._counted(run))
        return run.dice_of_prediction(tuple(self._counted(run))).mean(run.head.predicted(logits))

    def _clean_dice(self, run: AttackRun) -> float:
        """Mean Dice of the network's clean answer."""
        if self.against == "prediction":
            return 1.0
        from SegAdversarialLib.attacks.engine.dice import DiceMeter

        assert run.case.label is not None
        return DiceMeter(run.label_masks, self._counted(run)).mean(run.clean_masks)

    def _counted(self, run: AttackRun) -> list[int]:
        """The positions of the outputs that count."""
        return self._structures(run.head)

    def _structures(self, head: OutputHead) -> list[int]:
        """The positions of a network's outputs that count."""
        return sorted(head.foreground if self.classes is None else {head.output(x) for x in self.classes})


class StopsAtDrop(AgainstReference):
    """May stop once the mean Dice has fallen enough."""

    stop_at_drop: float | None = parameter(
        None,
        "Stop once the mean Dice has fallen by this share of its clean value (Chen et al. 2019 call 0.3 a success); none: go "
        "on to the end.",
        "share of the clean Dice",
        advanced=True,
        label="Stop at drop",
        texts={"none": "never"},
        gt=0,
        le=1,
        examples=[0.3],
    )

    @property
    def least_cost(self) -> Cost:
        """A gradient after what the reference takes, where it may stop."""
        whole: Cost = self.cost
        at_once = Cost(min(1, whole.gradients), min(1, whole.answers))  # the first gradient is exact
        return whole if self.stop_at_drop is None else at_once

    def _enough(self, run: AttackRun) -> float | None:
        """The lost share of Dice, 1 - mean Dice, at which it stops; None: it goes on to the end."""
        if self.stop_at_drop is None:
            return None
        return 1 - (1 - self.stop_at_drop) * self._clean_dice(run)
