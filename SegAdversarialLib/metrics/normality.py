"""How near a channel's intensities are to a normal distribution: the straight line of a normal quantile-quantile plot.

Cheng & Ji 2020 (Table 7) print the slope and intercept of that line for each modality (SciPy's `probplot`). The slope is
nearly the standard deviation and the intercept the mean, in intensities, and neither says how normal a distribution is; the
correlation does, which stays the same under any normalisation that shifts and scales.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class QuantileLine:
    """The least-squares line through a normal QQ plot: ordered intensities against the normal order statistics' medians.

    Attributes:
        slope, intercept: in intensities; nan with fewer than two voxels.
        correlation: of the plot's points, at most 1; the nearer to 1, the nearer to normal; nan for a constant.
    """

    slope: float
    intercept: float
    correlation: float


def quantile_line(values: ArrayLike) -> QuantileLine:
    """The line of the normal QQ plot of intensities, in any shape; infinite and missing ones are left out."""
    from scipy.stats import probplot

    given = np.asarray(values, dtype=np.float64).ravel()
    given = given[np.isfinite(given)]
    if given.size < 2:
        return QuantileLine(math.nan, math.nan, math.nan)
    if given.min() == given.max():
        return QuantileLine(0.0, float(given[0]), math.nan)
    slope, intercept, correlation = probplot(given, dist="norm", fit=True)[1]
    return QuantileLine(float(slope), float(intercept), float(correlation))
