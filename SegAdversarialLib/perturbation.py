"""What an attack did to an image, as data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SegAdversarialLib.case import Case


@dataclass(frozen=True, eq=False)
class Perturbation:
    """The difference between an image and its adversarial version.

    Attributes:
        additive: (C, K, J, I) float32 in the channels' own intensity units, or None.
    """

    additive: np.ndarray | None = None

    @classmethod
    def between(cls, original: Case, adversarial: Case) -> Perturbation:
        """The additive perturbation that leads from one image to the other."""
        return cls(additive=adversarial.image - original.image)

    def apply(self, case: Case) -> Case:
        """The case with the perturbation carried out."""
        return case if self.additive is None else case.with_image(case.image + self.additive)

    def linf(self) -> np.ndarray:
        """The largest absolute change in each channel: (C,), in intensity units."""
        return np.zeros(0) if self.additive is None else np.abs(self.additive).max(axis=(1, 2, 3))

    def perceptibility(self, original: Case) -> np.ndarray:
        """Mean absolute change in standard deviations of each channel: (C,) (Chen et al. 2019, eq. 7)."""
        from SegAdversarialLib.metrics import perceptibility

        return np.array([perceptibility(*x) for x in zip(original.image, self.apply(original).image)])

    def l2(self) -> np.ndarray:
        """The Euclidean norm of the change in each channel: (C,), in intensity units."""
        if self.additive is None:
            return np.zeros(0)
        return np.sqrt((self.additive.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
