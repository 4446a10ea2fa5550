"""How long the attacks of a job will take, and what share of it each of them is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.attacks.cost import ANSWER, Cost
from SegAdversarialLib.errors import CancelCheck, check_cancel

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.volumes.case import Case

WORTH_MEASURING = 20
"""With fewer gradients in a whole job, one more only to measure it would cost more than it tells."""

_SECONDS_PER_VALUE = 5e-7
"""What metrics and files of a result take for each voxel of each channel, on one core; a guess for the first forecast."""

_MOST_OF_CLEAN = 0.05


@dataclass(frozen=True)
class Forecast:
    """What a job's attacks will take.

    Attributes:
        costs: of each attack by its name, in the order in which they run.
        gradient, answer: seconds of one gradient of the case, and of one answer.
        rest: seconds in which a result is asked about once more, measured and written.
    """

    costs: Mapping[str, Cost]
    gradient: float
    answer: float
    rest: float

    @classmethod
    def measured(
        cls,
        costs: Mapping[str, Cost],
        model: SegmentationModel,
        case: Case,
        masks: np.ndarray,
        answer: float,
        cancel: CancelCheck | None = None,
    ) -> Forecast:
        """The forecast for a case; one gradient is measured where that is a small part of the whole.

        Args:
            costs: of each attack.
            model: the network.
            case: what is attacked.
            masks: (N, K, J, I) bool, the network's clean answer.
            answer: the seconds that it took.
            cancel: asked between windows.
        """
        gradient = answer / ANSWER
        if sum(x.gradients for x in costs.values()) >= WORTH_MEASURING:
            gradient = _gradient_seconds(model, case, masks, cancel)
        return cls(costs, gradient, answer, answer + case.image.size * _SECONDS_PER_VALUE)

    @property
    def seconds(self) -> float:
        """Of all attacks."""
        return sum(map(self._of, self.costs))

    def part(self, name: str) -> tuple[float, float]:
        """Where an attack begins and ends, as shares of all of them."""
        before = sum(self._of(x) for x in list(self.costs)[: list(self.costs).index(name)])
        return before / self.seconds, (before + self._of(name)) / self.seconds

    def searching(self, name: str) -> float:
        """The share of an attack's time in which it searches; then it is measured."""
        return 1 - self.rest / self._of(name)

    def asked_again(self, name: str) -> float:
        """The share of an attack's time at which the network has answered for the changed image."""
        return 1 - (self.rest - self.answer) / self._of(name)

    def sentence(self) -> str:
        """What is to be expected, in words."""
        total = sum(self.costs.values(), Cost())
        attacks = f"{len(self.costs)} attack{'s' if len(self.costs) > 1 else ''}"
        counts = ((total.gradients, "gradient"), (total.answers, "answer"))
        asked = [f"{count:,} {name}{'s' if count > 1 else ''}" for count, name in counts if count]
        of_network = f" of {' and '.join(asked)} of the network" if asked else ""
        return f"{attacks}{of_network}: about {duration(self.seconds)} on this case."

    def is_worth_telling(self) -> bool:
        """Whether it says more than that something short begins."""
        return len(self.costs) > 1 or sum(x.gradients + x.answers for x in self.costs.values()) >= WORTH_MEASURING

    def _of(self, name: str) -> float:
        return self.costs[name].seconds(self.gradient, self.answer) + self.rest


def share_of_clean(costs: Mapping[str, Cost]) -> float:
    """The part of a job's progress that its first answer is, before anything is known of the time that it takes."""
    answers = sum(x.seconds(1 / ANSWER, 1.0) + 2 for x in costs.values())
    return min(_MOST_OF_CLEAN, 1 / (1 + answers))


def duration(seconds: float) -> str:
    """A time in words: "40 seconds", "12 minutes", "3.5 hours"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} second{'s' if seconds >= 1.5 else ''}"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _gradient_seconds(model: SegmentationModel, case: Case, masks: np.ndarray, cancel: CancelCheck | None) -> float:
    """How long one gradient takes."""
    from SegAdversarialLib.objectives import SoftDice

    with model.on(case, between_windows=lambda done: check_cancel(cancel)) as bound:
        loss = SoftDice(masks).bind(model.head, model.device, model.dtype)
        started = time.perf_counter()
        bound.differentiate(bound.image, loss)
        return time.perf_counter() - started
