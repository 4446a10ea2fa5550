"""The worst deformation, and the worst position."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.attacks.transforming import TransformingAttack

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.transforms import Place, Transform


class AdversarialDeformation(TransformingAttack):
    """Deformation: the smooth displacement without folds, as of another body, that lowers Dice most.

    A stationary velocity on control points spacing_mm apart is integrated by scaling and squaring (Arsigny et al. 2006), so
    that tissue is moved but never folded or torn. The reference moves along: what counts is whether the network follows.
    """

    name: ClassVar[str] = "deformation"
    title: ClassVar[str] = "Deformation"
    citation: ClassVar[str] = "Chen et al. 2022, Medical Image Analysis (AdvChain)"
    bounds: ClassVar[tuple[str, ...]] = ("max_displacement",)

    max_displacement: float = parameter(4.0, "How far anything moves at most.", "mm", label="Displacement", ge=0, le=100)
    spacing_mm: float = parameter(
        30.0, "Distance of the velocity's control points: the larger, the smoother.", "mm", label="Smoothness", ge=1, le=1000
    )

    @property
    def moves(self) -> bool:
        """Always."""
        return True

    @property
    def does_nothing(self) -> bool:
        """Whether the budget is zero."""
        return self.max_displacement == 0

    def transforms(self, place: Place) -> list[Transform]:
        """The deformation."""
        from SegAdversarialLib.attacks.engine.transforms import Deformation

        return [Deformation(place, self.max_displacement, self.spacing_mm)]

    def _budget_in_words(self) -> str:
        return self._in_words([f"up to {self.max_displacement:g} mm"])


class AdversarialAffine(TransformingAttack):
    """Position and size: the small rotation, shift and change of size, as of another patient's head, that lowers Dice most.

    Each is bounded about or along each of the body's axes by itself. The reference moves along: what counts is whether the
    network follows.
    """

    name: ClassVar[str] = "affine"
    title: ClassVar[str] = "Position and size"
    citation: ClassVar[str] = "Chen et al. 2022, Medical Image Analysis (AdvChain)"
    bounds: ClassVar[tuple[str, ...]] = ("max_rotation", "max_translation", "max_scale")

    max_rotation: float = parameter(10.0, "Largest rotation about each axis.", "degrees", label="Rotation", ge=0, le=45)
    max_translation: float = parameter(10.0, "Largest shift along each axis.", "mm", label="Translation", ge=0, le=200)
    max_scale: float = parameter(10.0, "Largest growth or shrinkage along each axis.", "percent", label="Scale", ge=0, le=50)

    @property
    def moves(self) -> bool:
        """Always."""
        return True

    @property
    def does_nothing(self) -> bool:
        """Whether the budget is zero."""
        return self.max_rotation == self.max_translation == self.max_scale == 0

    def transforms(self, place: Place) -> list[Transform]:
        """The affine map."""
        from SegAdversarialLib.attacks.engine.transforms import Affine

        return [Affine(place, self.max_rotation, self.max_translation, self.max_scale)]

    def _budget_in_words(self) -> str:
        bounds = f"{self.max_rotation:g} degrees", f"{self.max_translation:g} mm", f"{self.max_scale:g} %"
        return self._in_words([f"up to {' and '.join((', '.join(bounds[:2]), bounds[2]))}"])
