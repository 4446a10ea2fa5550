"""How long the attacks of a job will take, and what share of it each of them is."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.attacks.cost import ANSWER, Cost, duration
from SegAdversarialLib.errors import CancelCheck, check_cancel
from SegAdversarialLib.evaluation.structures import check_regions, claimed, extent, wanted_masks

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.attack import Attack
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel
    from SegAdversarialLib.volumes.case import Case

WORTH_MEASURING = 20
"""With fewer gradients in a whole job, one more only to measure it would cost more than it tells."""

_PACKED = 1
"""How hard NIfTI files are compressed (nibabel's default)."""

_SLAB, _WINDOW = 8, 11
"""SSIM and files are timed in one part of so many of a channel, which is not thinner than SSIM's window."""

_PACKED_CHANGE = 0.01
"""Of a channel's range, by which it is changed where files are timed."""

_SMOOTH = 33
"""As many values as a channel of a smooth change were timed with."""

_MOST_OF_CLEAN = 0.05

_MOST_OF_GRADIENT = 0.5
"""An answer takes no larger part of a gradient; the first one, whose seconds are known, may take several times the others'."""


@dataclass(frozen=True)
class Forecast:
    """What a job's attacks will take.

    Attributes:
        costs: of each attack by its name, in the order in which they run.
        gradient, answer: seconds of one gradient of the case, and of one answer.
        own_paces: by name, the attacks from which nothing is learnt of the network's speed, as they work much by themselves or
            may end early, and what they are: what one took is expected of its kind only.
        search: what a gradient of a search takes, beside another one; less than 1 where searches are of low precision.
        measuring, writing: seconds in which a result is measured and written.
        writings: by name, seconds in which an attack's result is written, of those of which more is known.
        measured_gradients: how many gradients were measured, of which the shortest counts.
        bounds: the least and the most that attacks may ask, of those that may end early.
        needed: the share of the time that an attack needs where windows are spared, of those that spare some.
    """

    costs: Mapping[str, Cost]
    gradient: float
    answer: float
    measuring: float
    writing: float
    measured_gradients: int = 0
    bounds: Mapping[str, tuple[Cost, Cost]] = field(default_factory=dict)
    needed: Mapping[str, float] = field(default_factory=dict)
    search: float = 1.0
    own_paces: Mapping[str, str] = field(default_factory=dict)
    writings: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def measured(
        cls,
        attacks: Mapping[str, Attack],
        model: SegmentationModel,
        case: Case,
        clean: Prediction,
        answer: float,
        regions: Mapping[str, Sequence[int]] | None = None,
        cancel: CancelCheck | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Forecast:
        """The forecast for a case. One gradient, or the second of two, is measured where that is a small part of the whole; in
        which precision attacks search is decided here, which else the first of them would do.

        Args:
            attacks: by their names.
            model: the network.
            case: what is attacked.
            clean: the network's clean answer.
            answer: the seconds that it took.
            regions: what is measured beside the network's own structures.
            cancel: asked between windows.
            clock: gives the seconds.
        """
        costs = {name: x.likely_cost for name, x in attacks.items()}
        bounds = {name: (x.least_cost, x.cost) for name, x in attacks.items() if x.least_cost != x.cost}
        gradient, asked = answer / ANSWER, sum(costs.values(), Cost())
        measured = min(asked.gradients // WORTH_MEASURING, 2)
        search = _search_share(model, case, measured > 0) if asked.searched else 1.0
        if measured:
            gradient = _gradient_seconds(model, case, clean.masks, cancel, clock, measured)
            answer = min(answer, _MOST_OF_GRADIENT * gradient)
        measuring = _measuring_seconds(model, case, clean, regions, clock)
        needed, writings = _needed(attacks, model, case), _writings(attacks, case, clean.masks, clock)
        own = {name: x.name for name, x in attacks.items() if x.works_itself or name in bounds}
        writing = max(writings.values(), default=0.0)
        return cls(costs, gradient, answer, measuring, writing, measured, bounds, needed, search, own, writings)

    @property
    def seconds(self) -> float:
        """Of all attacks."""
        return sum(sum(self.seconds_of(name).values()) for name in self.costs)

    def seconds_of(self, name: str) -> dict[str, float]:
        """Of one attack: searching, answering once more, measuring and writing."""
        searching, writing = self._searching(name, self.costs[name]), self.writings.get(name, self.writing)
        return {"searching": searching, "answering": self.answer, "measuring": self.measuring, "writing": writing}

    def sentence(self) -> str:
        """What is to be expected, in words."""
        least, most = (sum((self._bound(name, n) for name in self.costs), Cost()) for n in (0, 1))
        attacks = f"{len(self.costs)} attack{'s' if len(self.costs) > 1 else ''}"
        counts = ((least.gradients, most.gradients, "gradient"), (least.answers, most.answers, "answer"))
        asked = [f"{_between(low, high)} {name}{'s' if high > 1 else ''}" for low, high, name in counts if high]
        of_network = f" of {' and '.join(asked)} of the network" if asked else ""
        if least == most:
            return f"{attacks}{of_network}: about {duration(self.seconds)} on this case."
        around = self.seconds - sum(self._searching(name, x) for name, x in self.costs.items())
        sooner, later = (
            duration(around + sum(self._searching(name, self._bound(name, n)) for name in self.costs)) for n in (0, 1)
        )
        return f"{attacks}{of_network}: from {sooner} to {later} on this case, as it may end early."

    def _searching(self, name: str, cost: Cost) -> float:
        """Seconds of what an attack asks."""
        return cost.seconds(self.gradient, self.answer, self.search * self.gradient) * self.needed.get(name, 1.0)

    def _bound(self, name: str, which: int) -> Cost:
        """The least (0) or the most (1) that an attack may ask."""
        return self.bounds[name][which] if name in self.bounds else self.costs[name]

    def is_worth_telling(self) -> bool:
        """Whether it says more than that something short begins."""
        return len(self.costs) > 1 or sum(x.gradients + x.answers for x in self.costs.values()) >= WORTH_MEASURING


def _between(low: int, high: int) -> str:
    return f"{high:,}" if low == high else f"{low:,} to {high:,}"


def share_of_clean(costs: Mapping[str, Cost]) -> float:
    """The part of a job's progress that its first answer is, before anything is known of the time that it takes."""
    answers = sum(x.seconds(1 / ANSWER, 1.0) + 2 for x in costs.values())
    return min(_MOST_OF_CLEAN, 1 / (1 + answers))


def _needed(attacks: Mapping[str, Attack], model: SegmentationModel, case: Case) -> dict[str, float]:
    """The share of the time that attacks within a region need: windows that this does not reach are spared, forwards or both
    ways."""
    inside = {name: x for name, x in attacks.items() if x.region is not None and x.asks_network}
    if not inside:
        return {}
    with model.on(case) as bound:
        shares = {name: bound.share_fixed(x.budget_on(model, case).allowed(bound.image)) for name, x in inside.items()}
    return {name: 1 - share * (ANSWER if inside[name].looks_everywhere else 1.0) for name, share in shares.items() if share}


def _search_share(model: SegmentationModel, case: Case, measures: bool) -> float:
    """What a gradient of a search takes, beside another one; 1 where that is unknown."""
    with model.on(case) as bound:
        return bound.settle_search(bound.image, measures=measures)


def _gradient_seconds(
    model: SegmentationModel,
    case: Case,
    masks: np.ndarray,
    cancel: CancelCheck | None,
    clock: Callable[[], float],
    times: int,
) -> float:
    """How long one gradient takes: the shortest of so many, as the first also gets memory and makes plans for the others."""
    from SegAdversarialLib.objectives import SoftDice

    with model.on(case, between_windows=lambda done: check_cancel(cancel)) as bound:
        loss = SoftDice(masks).bind(model.head, model.device, model.dtype)
        taken = []
        for _ in range(times):
            started = clock()
            bound.differentiate(bound.image, loss)
            taken.append(clock() - started)
    return min(taken)


def _measuring_seconds(
    model: SegmentationModel,
    case: Case,
    clean: Prediction,
    regions: Mapping[str, Sequence[int]] | None,
    clock: Callable[[], float],
) -> float:
    """How long measuring a result takes, by HD95 of the largest structure and SSIM of a slab, which nearly all of it is."""
    from SegAdversarialLib.metrics import hd95, ssim

    wanted = check_regions(model.head, regions)
    before = claimed(clean, model.head, wanted)
    reference = before if case.label is None else wanted_masks(case.label, model.head, wanted)
    # what is imported at the first call is no work
    hd95(np.eye(2, dtype=bool), np.ones((2, 2), dtype=bool), (1.0, 1.0))
    ssim(np.eye(11), np.ones((11, 11)))
    boxes = {x: extent(before[x] | reference[x]) for x in before if before[x].any() and reference[x].any()}
    distances = 0.0
    if boxes:
        largest = max(boxes, key=boxes.__getitem__)
        # two equal masks would take no time: the answer for the changed image is another one
        other = np.roll(before[largest], 1, axis=-1)
        started = clock()
        hd95(other, reference[largest], case.spacing)
        distances = (clock() - started) / boxes[largest] * sum(boxes.values())
    slab = _slab(case.image[0])
    started = clock()
    ssim(slab, np.roll(slab, 1, axis=-1))
    similarities = (clock() - started) * case.image.size / slab.size
    return distances * (1 if case.label is None else 2) + similarities


def _writings(attacks: Mapping[str, Attack], case: Case, masks: np.ndarray, clock: Callable[[], float]) -> dict[str, float]:
    """How long the files of a result take, by the attack's name: the more values a change has, the less it can be packed. The
    sum of some signs has few, noise has any; smooth changes are packed better than noise, but have files of their fields."""
    gradients = {name: x.likely_cost.gradients for name, x in attacks.items()}
    levels = {name: _SMOOTH if attacks[name].works_itself else round(2 * n**0.5) for name, n in gradients.items()}
    seconds = {n: _writing_seconds(case, masks, n, clock) for n in set(levels.values())}
    return {name: seconds[n] for name, n in levels.items()}


def _writing_seconds(case: Case, masks: np.ndarray, levels: int, clock: Callable[[], float]) -> float:
    """How long the files take of a result whose change has so many values in a channel (0: any), by packing and unpacking a
    slab of a channel, of its change and of the answers before and after: files are read again once they are written."""
    slab, generator = _slab(case.image[0]), np.random.default_rng(0)
    change = generator.integers(levels, size=slab.shape) / max(levels - 1, 1) if levels else generator.random(slab.shape)
    change = (change * (_PACKED_CHANGE * max(float(np.ptp(slab)), 1.0))).astype(np.float32)
    answer = np.stack([_slab(x) for x in masks]).argmax(axis=0).astype(np.int16)

    def seconds(*parts: np.ndarray) -> float:
        started = clock()
        for part in parts:
            gzip.decompress(gzip.compress(part.tobytes(), _PACKED))
        return clock() - started

    return (len(case.image) * seconds(slab + change, change) + seconds(answer, answer)) * case.image[0].size / slab.size


def _slab(channel: np.ndarray) -> np.ndarray:
    """(k, J, I) of a channel's middle, no thinner than SSIM's window."""
    thickness = min(len(channel), max(_WINDOW, len(channel) // _SLAB))
    return channel[(len(channel) - thickness) // 2 :][:thickness]
