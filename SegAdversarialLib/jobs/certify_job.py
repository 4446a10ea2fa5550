"""The job of certifying a network's answer for a case."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.jobs.sources import CaseSource, Overwriting, WithVolumes


class CertifyJob(Overwriting, WithVolumes):
    """Certify, by randomised smoothing, what no attack within a radius can change of a network's answer for a case."""

    kind: Literal["certify"] = "certify"
    model: ModelSource = ModelSource()
    case: CaseSource
    sigma: float | dict[str, float] = Field(
        0.05, description="Standard deviation of the noise: one for all channels, or one for each by name."
    )
    sigma_units: Literal["relative", "absolute"] = Field(
        "relative", description="relative: a fraction of each channel's largest absolute intensity; absolute: scanner units."
    )
    n: int = Field(200, ge=1, description="Noisy copies that vote.")
    n0: int = Field(20, ge=1, description="Noisy copies that guess what is tested.")
    alpha: float = Field(0.001, gt=0, lt=1, description="Chance that anything is wrongly said to be certain.")
    tau: float = Field(0.75, gt=0.5, lt=1, description="Share of all noisy copies that must agree.")
    seed: int = Field(0, ge=0, description="Of the noise.")
    regions: dict[str, tuple[int, ...]] | None = Field(
        None, description="Structures to certify beside the network's own, as label values; none: BraTS' where they apply."
    )
    scene: str | None = Field(None, description="Slicer scene (.mrb) to write.")

    @field_validator("sigma")
    @classmethod
    def _of_noise(cls, sigma: float | dict[str, float]) -> float | dict[str, float]:
        for value in sigma.values() if isinstance(sigma, dict) else [sigma]:
            if not 0 < value < math.inf:
                raise ValueError(f"sigma must be above 0 and finite; it is {value:g}")
        return sigma
