"""What a network says of a case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SegAdversarialLib.volumes.geometry import sizes


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of a case: `labels` (K, J, I) int16, and `masks` (N, K, J, I) bool, what each output claims."""

    labels: np.ndarray
    masks: np.ndarray

    def __repr__(self) -> str:
        counts = ", ".join(f"{np.count_nonzero(mask)}" for mask in self.masks)
        return f"<Prediction of {sizes(self.labels.shape)} voxels; its outputs claim {counts}>"
