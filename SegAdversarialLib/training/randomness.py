"""Random numbers that depend on nothing but the seed and the place in the training, so that a resumed one draws the same."""

from __future__ import annotations

import numpy as np

WEIGHTS, ORDER, SAMPLE, STEP = range(4)
"""What is drawn: the first weights, the order of an epoch, a sample's patch and augmentation, what happens in a step."""


def sequence(seed: int, *place: int) -> np.random.SeedSequence:
    """The source of the draws at a place: what is drawn, and numbers that say where."""
    return np.random.SeedSequence([seed, *place])


def torch_seed(seed: int, *place: int) -> int:
    """A seed for torch's generators at a place."""
    return int(sequence(seed, *place).generate_state(1, np.uint64)[0]) >> 1
