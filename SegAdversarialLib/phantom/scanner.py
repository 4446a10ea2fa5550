"""The scanner: tissue contrasts of four MR sequences, coil shading and Rician noise.

The levels lie near the means that Cheng & Ji (2020), table 7, report for BraTS: T1 380, T1ce 438, T2 466, FLAIR 294.
"""

from __future__ import annotations

import numpy as np

from SegAdversarialLib.phantom.anatomy import TISSUES, Tissues
from SegAdversarialLib.phantom.fields import Grid, Noise

CHANNELS = ("T1", "T1ce", "T2", "FLAIR")

# one row for each tissue, in scanner units, in the order of CHANNELS
_LEVELS = {
    "CSF": (140, 155, 920, 95),
    "grey matter": (375, 415, 375, 335),
    "white matter": (505, 560, 265, 265),
    "deep grey matter": (430, 480, 320, 315),
    "vessel": (260, 1000, 190, 190),
    "choroid plexus": (330, 900, 640, 330),
    "white-matter lesion": (435, 480, 450, 470),
    "oedema": (385, 430, 560, 500),
    "necrosis": (240, 290, 745, 300),
    "non-enhancing tumour": (330, 385, 560, 450),
    "enhancing tumour": (400, 860, 450, 430),
}
_TUMOUR = ("oedema", "necrosis", "non-enhancing tumour", "enhancing tumour")


def tissue_levels(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The four intensities of each tissue in one subject: healthy tissue varies little, tumours vary more."""
    levels = {}
    for tissue in TISSUES:
        spread = 0.09 if tissue in _TUMOUR else 0.035
        levels[tissue] = np.array(_LEVELS[tissue]) * np.exp(spread * np.clip(generator.standard_normal(4), -2, 2))
    return levels


def bias_field(generator: np.random.Generator, grid: Grid) -> np.ndarray:
    """Smooth multiplicative shading (K, J, I) of one channel, near 1."""
    strength = generator.uniform(0.05, 0.16)
    tilt = generator.uniform(-0.1, 0.1, 3)
    slope = sum(np.float32(t / 80) * p for t, p in zip(tilt, grid.position))
    return np.exp(strength * Noise.random(generator, 45.0).on(grid) + slope)


def acquire(tissues: Tissues, generator: np.random.Generator, grid: Grid) -> np.ndarray:
    """The four skull-stripped channels (4, K, J, I) float32: whole numbers, 0 outside the brain and at least 1 inside."""
    levels = tissue_levels(generator)
    tumour = tissues.share(*_TUMOUR)
    channels = []
    for number in range(len(CHANNELS)):
        clean = sum(np.float32(levels[tissue][number]) * share for tissue, share in tissues.fractions.items())
        clean = clean * (1 + (0.015 + 0.07 * tumour) * Noise.random(generator, 4.0).on(grid))
        gain = np.float32(np.exp(0.18 * np.clip(generator.standard_normal(), -2, 2)))
        clean = clean * gain * bias_field(generator, grid)
        sigma = gain * generator.uniform(0.025, 0.05) * _LEVELS["white matter"][number]
        channels.append(_rician(clean, sigma, generator))
    image = np.clip(np.round(np.stack(channels)), 1, np.iinfo(np.int16).max)
    return np.where(tissues.brain, image, 0).astype(np.float32)


def _rician(clean: np.ndarray, sigma: float | np.floating, generator: np.random.Generator) -> np.ndarray:
    """The magnitude of a complex signal with normal noise of `sigma` in both parts."""
    real, imaginary = generator.standard_normal((2, *clean.shape), dtype=np.float32) * np.float32(sigma)
    return np.hypot(clean + real, imaginary)
