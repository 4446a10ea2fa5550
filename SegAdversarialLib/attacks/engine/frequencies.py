"""Lossy compression as a change: every coefficient of the image's blocks quantised, each with a step of its own."""

from __future__ import annotations

import torch

from SegAdversarialLib.attacks.engine.similarity import Similarity
from SegAdversarialLib.attacks.engine.transforms import Change, Place, Transform
from SegAdversarialLib.changes.quantisation import BlockCosines, Quantise
from SegAdversarialLib.volumes.intensity import IntensityRange

LEVELS = 255.0
"""In what q_max counts: the tables were published for images from 0 to 255."""

_TRIES = 25
_ABOVE = 1e-6
"""What the similarity is held above its limit, which is measured again in another precision."""


class Frequencies(Transform):
    """The image's blocks as cosines, divided by tables, rounded and multiplied again (Hanif et al. 2023, eq. 1).

    The control says for each coefficient how far it is wanted to change, in units of the largest change, q_max / 2; what is
    done is the nearest that a table with steps up to q_max can do. So the search moves along the gradient by the coefficients
    and no surrogate of rounding is needed: what the network sees is always rounded.

    Args:
        place: where.
        q_max: the largest step of a table, in 255ths of each channel's range.
        block_mm: edge of the blocks.
        weight: of the mean similarity to the original, beside what is climbed.
        least_similarity: of each channel; None: any.
    """

    name, pace, decay, begins = "frequencies", 1.0, 0.0, 0.0

    def __init__(self, place: Place, q_max: float, block_mm: float, weight: float, least_similarity: float | None) -> None:
        super().__init__(place)
        run = self._run = place.run
        self._weight, self._least = weight, least_similarity
        self._positions = list(place.positions)
        self._cosines = BlockCosines.of_mm(block_mm, place.affine, place.shape, run.original)
        # above the least intensity, so that there is nothing to quantise in a block of air; padding would ring at its edge
        above = [run.without_padding(n) - run.lowest[n] for n in self._positions]
        self._coefficients = self._cosines.coefficients(torch.stack(above))
        self._q_max = (run.highest - run.lowest)[self._positions] * (q_max / LEVELS)
        self._allowed = None if run.allowed is None else run.allowed[self._positions]
        self._similarities: dict[int, Similarity] = {}
        if weight or least_similarity is not None:
            found = {n: Similarity(run.original[n], IntensityRange.of(run.case.image[n])) for n in self._positions}
            self._similarities = {n: x for n, x in found.items() if x.is_defined}

    @property
    def size(self) -> tuple[int, ...]:
        """One number for each coefficient of each channel."""
        return (len(self._positions), *self.place.shape)

    def random(self, generator: torch.Generator, share: float) -> torch.Tensor:
        """Random signs: the nearest to the largest changes."""
        drawn = torch.randint(0, 2, self.size, generator=generator, dtype=torch.int8)
        return self.project(drawn.to(self.place.like).mul_(2).sub_(1).mul_(share))

    def add_to(self, change: Change, control: torch.Tensor) -> Change:
        """Add what compression changes."""
        added = self._cosines.voxels(Quantise.apply(control, self._coefficients, self._q_max))
        if self._allowed is not None:
            added = torch.where(self._allowed, added, 0.0)
        return change.plus(self.place.spread(added))

    def project(self, control: torch.Tensor) -> torch.Tensor:
        """Also made smaller, channel by channel, until the image is similar enough to the original."""
        control.clamp_(-1, 1)
        if self._least is None:
            return control
        for attempt in range(_TRIES):
            missing = self._missing(control)
            if not missing:
                return control
            for row, n in enumerate(self._positions):
                # the dissimilarity grows with the square of small changes
                control[row] *= min(1.0, missing.get(n, 1.0) ** 0.5) - (n in missing) * 0.01 * (1 + attempt)
        for row in (self._positions.index(n) for n in self._missing(control)):
            control[row] = 0
        return control

    def own_gradient(self, image: torch.Tensor) -> torch.Tensor | None:
        """The gradient of the weighted similarity, the mean of the channels that change (Hanif et al. 2023, eq. 2)."""
        if not self._weight or not self._similarities:
            return None
        found = torch.zeros_like(image)
        for n, similarity in self._similarities.items():
            found[n] = similarity.value_and_gradient(image[n])[1] * (self._weight / len(self._similarities))
        return found

    def _missing(self, control: torch.Tensor) -> dict[int, float]:
        """The channels that are not similar enough, with the share of the dissimilarity that is allowed."""
        assert self._least is not None
        run = self._run
        with torch.no_grad():
            image = run.finish(run.keep_to_range(self.add_to(Change(), control).of(run.original, self.place.affine)))
        allowed = 1 - self._least - _ABOVE
        found = {n: 1 - similarity.value(image[n]) for n, similarity in self._similarities.items()}
        return {n: allowed / value for n, value in found.items() if value > allowed}
