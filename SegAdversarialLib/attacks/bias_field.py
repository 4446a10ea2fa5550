"""The worst bias field."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.attacks.transforming import TransformingAttack

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.transforms import Place, Transform


class AdversarialBiasField(TransformingAttack):
    """Bias field: the smooth brightening and darkening, as of an MR coil, that lowers Dice most.

    The image is multiplied by exp(b), where b is a cubic B-spline on control points spacing_mm apart, bent so that no factor
    is more than max_bias away from 1.
    """

    name: ClassVar[str] = "bias-field"
    title: ClassVar[str] = "Bias field"
    citation: ClassVar[str] = "Chen et al. 2020, MICCAI (realistic adversarial data augmentation)"
    bounds: ClassVar[tuple[str, ...]] = ("max_bias",)

    max_bias: float = parameter(
        0.3, "Largest change of the brightness: 0.3 is 30 % more or less.", "share of the intensity", ge=0, le=0.9
    )
    spacing_mm: float = parameter(
        40.0, "Distance of the field's control points: the larger, the smoother.", "mm", label="Smoothness", ge=1, le=1000
    )
    per_channel: bool = parameter(False, "One field for each channel, not one for all of them.", label="Each by itself")

    clip: bool = parameter(
        False,
        "Keep the result inside each channel's own intensity range, which cuts the field off where the image is brightest.",
        advanced=True,
        label="Keep to range",
    )

    @property
    def does_nothing(self) -> bool:
        """Whether the budget is zero."""
        return self.max_bias == 0

    def transforms(self, place: Place) -> list[Transform]:
        """The bias field."""
        from SegAdversarialLib.attacks.engine.transforms import Bias

        return [Bias(place, self.max_bias, self.spacing_mm, self.per_channel)]

    def _budget_in_words(self) -> str:
        return self._in_words([f"max bias {100 * self.max_bias:g} %"])
