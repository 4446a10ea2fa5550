"""The worst lossy compression."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.attacks.transforming import TransformingAttack

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.transforms import Place, Transform


class FrequencyAttack(TransformingAttack):
    """Frequency: the lossy compression, as of an image file but different in every block, that lowers Dice most.

    The image is cut into blocks, each block written as a sum of cosines (DCT), their coefficients divided by a table, rounded
    and multiplied again (Hanif et al. 2023, eq. 1). Each coefficient of each channel has a step of its own in the table, up to
    q_max; so none changes by more than half of that. The loss is climbed together with the similarity to the original
    (eq. 2), along the gradient of the whole volume, where the paper takes one window after the other; and instead of a smooth
    stand-in for rounding, the search goes to the nearest values that a table makes. Steps below 1 are allowed, too: an image
    that is best left alone is.
    """

    name: ClassVar[str] = "frequency"
    title: ClassVar[str] = "Frequency"
    citation: ClassVar[str] = "Hanif et al. 2023, MICCAI (VAFA)"
    bounds: ClassVar[tuple[str, ...]] = ("q_max",)

    q_max: float = parameter(
        20.0,
        "Largest step of the tables; no coefficient changes by more than half of it.",
        "255ths of the range",
        ge=0,
        le=255,
    )
    block_mm: float = parameter(
        24.0,
        "Edge of the blocks, in whole voxels along each axis; at the volume's ends blocks are shorter.",
        "mm",
        label="Block size",
        ge=0.01,
        le=1000,
    )
    least_ssim: float | None = parameter(
        None,
        "Structural similarity to the original that each channel keeps at least; none: any.",
        label="Least SSIM",
        texts={"none": "any"},
        ge=0,
        le=0.9999,
        examples=[0.98],
    )
    ssim_weight: float = parameter(
        1.0,
        "Weight of the mean SSIM beside the loss: 1 as published; 0: none.",
        advanced=True,
        label="SSIM weight",
        ge=0,
        le=1000,
    )
    first_draws: int = parameter(
        0,
        "Random changes that use the whole budget, of which the steps begin at the worst; 0: they begin at the original.",
        "draws",
        advanced=True,
        label="First draws",
        ge=0,
        le=10000,
    )

    @property
    def does_nothing(self) -> bool:
        """Whether the budget is zero."""
        return self.q_max == 0

    @property
    def is_random(self) -> bool:
        """Whether a try starts with a random change."""
        return bool(self.first_draws or self.restarts > 1 or not self.steps) and not self.does_nothing

    def transforms(self, place: Place) -> list[Transform]:
        """The compression."""
        from SegAdversarialLib.attacks.engine.frequencies import Frequencies

        return [Frequencies(place, self.q_max, self.block_mm, self.ssim_weight if self.steps else 0.0, self.least_ssim)]

    def _budget_in_words(self) -> str:
        similar = [] if self.least_ssim is None else [f"SSIM {self.least_ssim:g} or more"]
        return self._in_words([f"q_max {self.q_max:g}", *similar])
