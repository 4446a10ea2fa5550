"""The worst of several changes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from SegAdversarialLib.attacks.settings import parameter, some_or_none
from SegAdversarialLib.attacks.transforming import TransformingAttack
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.transforms import Place, Transform
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

Link = Literal["noise", "bias", "deformation", "affine"]

LINK_TEXTS = {"noise": "noise", "bias": "bias field", "deformation": "deformation", "affine": "position and size"}


class AdversarialChain(TransformingAttack):
    """Chain: position, deformation, bias field and noise in any order, sought together, each within its own budget.

    All movements are carried out at once, so that the image is interpolated only once; a bias field or noise that comes before
    a movement moves along, and noise that comes before a bias field is multiplied by it. So every order is a warp, a factor
    and a sum, which is what a `Perturbation` holds: nothing of it is approximate. Noise and bias field change the chosen
    channels only; a movement moves all.
    """

    name: ClassVar[str] = "chain"
    title: ClassVar[str] = "Chain"
    citation: ClassVar[str] = "Chen et al. 2022, Medical Image Analysis (AdvChain)"
    bounds: ClassVar[tuple[str, ...]] = (
        *("epsilon", "max_bias", "max_displacement"),
        *("max_rotation", "max_translation", "max_scale"),
    )

    order: tuple[Link, ...] = parameter(
        ("affine", "deformation", "bias", "noise"), "What is done, the first first.", texts=LINK_TEXTS, min_length=1
    )
    epsilon: float = parameter(
        0.01, "Noise: largest change of a voxel.", "fraction of the largest intensity", label="Noise", ge=0, le=1
    )
    max_bias: float = parameter(
        0.3,
        "Bias field: largest change of the brightness, 0.3 is 30 % more or less.",
        "share of the intensity",
        label="Bias",
        ge=0,
        le=0.9,
    )
    bias_spacing_mm: float = parameter(
        40.0, "Bias field: distance of its control points.", "mm", advanced=True, label="Bias smoothness", ge=1, le=1000
    )
    bias_per_channel: bool = parameter(
        False, "Bias field: one for each channel, not one for all of them.", advanced=True, label="Bias by channel"
    )
    max_displacement: float = parameter(
        4.0, "Deformation: how far anything moves at most.", "mm", label="Displacement", ge=0, le=100
    )
    deformation_spacing_mm: float = parameter(
        30.0, "Deformation: distance of its control points.", "mm", advanced=True, label="Smoothness", ge=1, le=1000
    )
    max_rotation: float = parameter(
        10.0, "Position: largest rotation about each axis.", "degrees", label="Rotation", ge=0, le=45
    )
    max_translation: float = parameter(
        10.0, "Position: largest shift along each axis.", "mm", label="Translation", ge=0, le=200
    )
    max_scale: float = parameter(
        10.0, "Position: largest growth or shrinkage along each axis.", "percent", label="Scale", ge=0, le=50
    )

    @field_validator("order", mode="before")
    @classmethod
    def _one_link_is_a_list(cls, order: Any) -> Any:
        return some_or_none("part", order)

    @field_validator("order", mode="after")
    @classmethod
    def _each_once(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({x for x in order if order.count(x) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is named twice; name each part once")
        return order

    @property
    def moves(self) -> bool:
        """Whether a deformation or a change of position is among the parts."""
        return bool({"deformation", "affine"} & set(self.order))

    @property
    def by_channel(self) -> bool:
        """Whether noise or a bias field is among the parts."""
        return bool({"noise", "bias"} & set(self.order))

    @property
    def does_nothing(self) -> bool:
        """Whether all budgets are zero."""
        sizes = {
            "noise": self.epsilon,
            "bias": self.max_bias,
            "deformation": self.max_displacement,
            "affine": max(self.max_rotation, self.max_translation, self.max_scale),
        }
        return not any(sizes[link] for link in self.order)

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that may differ afterwards: all of them where the anatomy moves.

        Raises:
            InputError: the case or the network has no channel that was chosen, or there is nothing to be done to these alone.
        """
        chosen = self.changed_channels(model, case)
        if not self.moves:
            return chosen
        if self.channels is not None and not self.by_channel:
            raise InputError(
                "A chain of movements moves all channels; choose none, or put noise or a bias field for the chosen ones in it."
            )
        return list(range(len(case.channels)))

    def transforms(self, place: Place) -> list[Transform]:
        """The parts in their order."""
        from SegAdversarialLib.attacks.engine.transforms import Affine, Bias, Deformation, Noise

        makers = {
            "noise": lambda: Noise(place, self.epsilon),
            "bias": lambda: Bias(place, self.max_bias, self.bias_spacing_mm, self.bias_per_channel),
            "deformation": lambda: Deformation(place, self.max_displacement, self.deformation_spacing_mm),
            "affine": lambda: Affine(place, self.max_rotation, self.max_translation, self.max_scale),
        }
        return [makers[link]() for link in self.order]

    def _budget_in_words(self) -> str:
        words = {
            "noise": f"noise {100 * self.epsilon:g} %",
            "bias": f"bias {100 * self.max_bias:g} %",
            "deformation": f"deformation {self.max_displacement:g} mm",
            "affine": f"position {self.max_rotation:g} degrees, {self.max_translation:g} mm, {self.max_scale:g} %",
        }
        return self._in_words([words[link] for link in self.order])
