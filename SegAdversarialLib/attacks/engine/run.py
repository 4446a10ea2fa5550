"""One attack on one case while it goes on: tensors, budget, counters and trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.engine.budget import Budget, shortened
from SegAdversarialLib.attacks.engine.dice import DiceMeter
from SegAdversarialLib.attacks.engine.progress import Progress
from SegAdversarialLib.attacks.engine.trace import TraceWriter
from SegAdversarialLib.attacks.result import Snapshot
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.metrics.overlap import mean_dice
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.bound_model import BoundModel, Loss
    from SegAdversarialLib.model.segmentation_model import SegmentationModel


_WITHIN = 1 - 1e-6
"""What a change that is scaled back into an L2 ball is made shorter by, so that rounding does not put it outside."""


class AttackRun:
    """What an attack works with.

    Args:
        title: what people call the attack.
        budget: what it may do to the case's image.
        model: the network; None: there is none.
        bound: the network on the case's grid; None for attacks that ask none.
        case: the subject.

    Attributes:
        original: (C, K, J, I) the case's image on the network's device.
        allowed: (C, K, J, I) or smaller by broadcasting, bool: what may change; None for everything.
        positions: of the channels that may change.
        unit: (C, 1, 1, 1) what epsilon = 1 is in each channel, in intensity units.
        lowest, highest: (C, 1, 1, 1) the ends of each channel's range.
        begins_at: what a search of the same kind, with another budget, ended with: an image, or `Resumed`; None: there was
            none.
        is_rough: the last loss and logits were computed in low precision.
        trace, snapshots, gradient_evaluations, forward_evaluations: see `AttackResult`.
    """

    def __init__(
        self, title: str, budget: Budget, model: SegmentationModel | None, bound: BoundModel | None, case: Case
    ) -> None:
        self.title, self.budget, self.case, self.model, self._bound = title, budget, case, model, bound
        self.original = torch.from_numpy(case.image) if bound is None else bound.image
        self.device = self.original.device
        self.positions = list(budget.positions)
        self.allowed = budget.allowed(self.original)
        self.unit = self._by_channel(budget.units)
        self.lowest = self._by_channel(x.low for x in budget.ranges)
        self.highest = self._by_channel(x.high for x in budget.ranges)
        self.snapshots: list[Snapshot] = []
        self.begins_at: Any = None
        self.is_rough = False
        self.kept_restart = 0
        self.kept_iteration: int | None = None
        self._wider_bounds: tuple[float, tuple[torch.Tensor, torch.Tensor]] | None = None
        self.gradient_evaluations = self.forward_evaluations = 0
        self._prediction_meter: tuple[tuple[int, ...], DiceMeter] | None = None
        self._progress = Progress(Cost(), None, None)
        self._trace: TraceWriter | None = None
        self._windows_before = self._windows_at_row = (0, 0) if bound is None else bound.windows_asked

    @classmethod
    @contextmanager
    def start(
        cls,
        title: str,
        budget: Budget,
        model: SegmentationModel | None,
        case: Case,
        *,
        asks_network: bool = True,
        progress: Progress | None = None,
    ) -> Iterator[AttackRun]:
        """A run on the model's device; for attacks that ask no network, on the CPU without it."""
        progress = progress or Progress(Cost(), None, None)
        if model is None or not asks_network:
            run = cls(title, budget, model, None, case)
            run._progress = progress
            yield run
            return
        with model.on(case, between_windows=progress.between_windows) as bound:
            run = cls(title, budget, model, bound, case)
            run._progress = progress
            yield run

    @contextmanager
    def inner(self, title: str, budget: Budget, start: Any, *, asks_network: bool) -> Iterator[AttackRun]:
        """A run of another attack on the same case and network; what it asks is counted here, too."""
        run = AttackRun(title, budget, self.model, self._bound if asks_network else None, self.case)
        run._progress, run.begins_at = self._progress, start
        if asks_network and "clean_masks" in vars(self):
            run.clean_masks = self.clean_masks
        try:
            yield run
        finally:
            self.gradient_evaluations += run.gradient_evaluations
            self.forward_evaluations += run.forward_evaluations

    @property
    def head(self) -> OutputHead:
        """What the network's outputs stand for."""
        assert self.model is not None
        return self.model.head

    @property
    def trace(self) -> list[dict[str, float]]:
        """The rows written so far."""
        return self._trace.rows if self._trace is not None else []

    @property
    def result_iteration(self) -> int:
        """The iteration that is handed out: the one that was kept, or the last."""
        if self.kept_iteration is not None:
            return self.kept_iteration
        return int(self.trace[-1]["iteration"]) if self.trace else 0

    def generator(self, stream: int | str = 0) -> torch.Generator:
        """A generator for one purpose (a restart, a channel); always on the CPU, so that every device draws the same."""
        key = np.random.SeedSequence([self.budget.seed, *str(stream).encode()]).generate_state(2, np.uint32)
        return torch.Generator().manual_seed(int(key[0]) << 32 | int(key[1]))

    def report(self, fraction: float, message: str) -> None:
        """Tell how far the attack is by its own count, and stop if the user wants it."""
        self._progress.report(fraction, message)

    @property
    def windows_spared(self) -> float:
        """The share of the windows' passes through the network, forwards or backwards, that were spared so far."""
        return 0.0 if self._bound is None else _share(self._windows_before, self._bound.windows_asked)

    def differentiate(
        self, image: torch.Tensor, loss: Loss, *, exactly: bool | None = None, looks_everywhere: bool = True
    ) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Loss, gradient (C, K, J, I) and logits at an image; counted.

        All but a run's first may be of low precision (`is_rough`): what a search begins with is told as the network says it,
        and an attack of one step gains nothing.

        Args:
            image: the same as the original where nothing may change.
            loss: of logits (N, K, J, I).
            exactly: not of low precision; None: the run's first one.
            looks_everywhere: False: the gradient may come out as 0 where nothing may change, which spares windows.
        """
        assert self._bound is not None
        self._bound.expect(self.allowed, looks_everywhere)
        exactly = self.gradient_evaluations == 0 if exactly is None else exactly
        self.gradient_evaluations += 1
        if not exactly:
            self._progress.weigh(self._bound.settle_search(image))
        self._progress.begin(Cost(gradients=1, searched=int(not exactly)))
        loss = self._telling(loss)
        found = self._bound.differentiate(image, loss) if exactly else self._bound.search(image, loss)
        self.is_rough = not (exactly or self._bound.searches_exactly)
        self._progress.end()
        return found

    def ask(self, image: torch.Tensor) -> torch.Tensor:
        """Logits at an image, without a gradient; counted."""
        assert self._bound is not None
        self._bound.expect(self.allowed)
        self.forward_evaluations += 1
        self.is_rough = False
        self._progress.begin(Cost(answers=1))
        logits = self._bound.logits(image)
        self._progress.end()
        return logits

    def _telling(self, loss: Loss) -> Loss:
        """A loss that tells the Dice of the first logits that it sees: the way back through many windows takes long."""
        if self.trace or self._bound is None or not self._bound.in_windows:
            return loss

        def told(logits: torch.Tensor) -> torch.Tensor:
            self._tell_dice(logits.detach())
            return loss(logits)

        return told

    def _tell_dice(self, logits: torch.Tensor) -> None:
        """Tell the Dice of logits (N, K, J, I) against the reference label map, where there is one and many windows are."""
        if self.case.label is not None and self._bound is not None and self._bound.in_windows:
            found = DiceMeter(self.label_masks, self.head.foreground).mean(self.head.predicted(logits))
            self._progress.note(f"mean Dice {found:.3f}")

    @cached_property
    def clean_masks(self) -> torch.Tensor:
        """What the network says of the original: (N, K, J, I) bool; asked once."""
        self.report(0.0, f"{self.title}: segmenting the original")
        logits = self.ask(self.original)
        self._tell_dice(logits)
        return self.head.predicted(logits)

    @cached_property
    def label_masks(self) -> torch.Tensor:
        """What each output should claim by the reference label map: (N, K, J, I) bool."""
        assert self.case.label is not None
        return self.head.masks(torch.from_numpy(self.case.label).to(self.device))

    def dice_of_prediction(self, outputs: tuple[int, ...]) -> DiceMeter:
        """Counts Dice against the network's own clean answer."""
        if self._prediction_meter is None or self._prediction_meter[0] != outputs:
            self._prediction_meter = outputs, DiceMeter(self.clean_masks, outputs)
        return self._prediction_meter[1]

    def record(
        self,
        restart: int,
        iteration: int,
        loss: float,
        logits: torch.Tensor,
        image: torch.Tensor,
        targets: torch.Tensor | None = None,
    ) -> None:
        """Add a row to the trace from what the step has computed anyway.

        Args:
            restart, iteration, loss, logits, image: what the row is about.
            targets: (N, K, J, I) bool, the reference where it lies in this image; None: where it was.
        """
        if self._trace is None:
            self._trace = self._new_trace()
        self._trace.add(restart, iteration, loss, logits, image, targets)
        if self._bound is not None and self._bound.in_windows:
            row, asked = self._trace.rows[-1], self._bound.windows_asked
            row["windows spared"], self._windows_at_row = _share(self._windows_at_row, asked), asked
            self._progress.note(f"mean Dice {row['dice mean']:.3f}")

    def traced_dice(self, outputs: Sequence[int]) -> float:
        """Mean Dice of some outputs in the trace's last row."""
        row, names = self.trace[-1], self.head.names
        return mean_dice(row[f"dice {names[n]}"] for n in outputs)

    def keep_snapshot(self, iteration: int, image: torch.Tensor, logits: torch.Tensor) -> Snapshot:
        """The state at one iteration, on the CPU: the image as the network saw it, which must not be changed afterwards."""
        return Snapshot(iteration, self._in_single_precision(image), self.head.label_map(logits).cpu().numpy())

    @cached_property
    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The least and the greatest image (C, K, J, I) that budget, intensity range, channels and region allow.

        Where nothing may change both are the original, so that one clamp enforces all four at once, exactly.
        """
        return self._bounds_of(1.0)

    def _bounds_of(self, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
        least, greatest = self.budget.bounds(self.original, radius)
        if self.allowed is not None:
            least = torch.where(self.allowed, least, self.original)
            greatest = torch.where(self.allowed, greatest, self.original)
        return least, greatest

    def project(self, image: torch.Tensor, radius: float = 1.0) -> torch.Tensor:
        """The nearest image within the budget, the intensity range, the channels and the region; works in place.

        Args:
            image: (C, K, J, I).
            radius: the budget as a multiple of the attack's own, for searches that begin outside it.
        """
        if self.budget.norm == "l2":
            change = image.sub_(self.original)
            if self.allowed is not None:
                change.mul_(self.allowed)
            length = self.l2_norm(change)
            if length > radius * self.budget.radius:
                change.mul_(radius * self.budget.radius / length * _WITHIN)
            image = shortened(change + self.original, self.original, change)
        return image.clamp_(*self.limits(radius))

    def limits(self, radius: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """The `bounds` with a multiple of the budget; the last wider ones are kept."""
        if radius == 1.0:
            self._wider_bounds = None
            return self.bounds
        if self._wider_bounds is None or self._wider_bounds[0] != radius:
            self._wider_bounds = radius, self._bounds_of(radius)
        return self._wider_bounds[1]

    def keep_to_range(self, image: torch.Tensor) -> torch.Tensor:
        """The image inside each channel's range, if it has to stay there; voxels that lie outside may stay where they are."""
        if not self.budget.clip:
            return image
        if self._all_in_range:
            return torch.clamp(image, self.lowest, self.highest)
        return torch.clamp(image, torch.minimum(self.lowest, self.original), torch.maximum(self.highest, self.original))

    @cached_property
    def _all_in_range(self) -> bool:
        return bool(((self.original >= self.lowest) & (self.original <= self.highest)).all())

    def without_padding(self, position: int) -> torch.Tensor:
        """A channel (K, J, I) of the original, with its least intensity in the place of padding."""
        padding = self.budget.ranges[position].padding
        channel = self.original[position]
        return channel if padding is None else torch.where(channel == padding, self.lowest[position], channel)

    def random_point(self, stream: int, radius: float = 1.0) -> torch.Tensor:
        """A random image of the budget: uniform in L-inf, in the ball of L2; each stream draws its own."""
        generator = self.generator(stream)
        if self.budget.norm == "linf":
            noise = torch.rand(self.original.shape, generator=generator).mul_(2).sub_(1)
        else:
            noise = torch.randn(self.original.shape, generator=generator)
            length = float(torch.rand((), generator=generator, dtype=torch.float64)) ** (1 / noise.numel())
            noise *= length / torch.linalg.vector_norm(noise)
        return self.project(self.original + noise.to(self.original) * self.unit * (radius * self.budget.radius), radius)

    def l2_norm(self, change: torch.Tensor) -> float:
        """Euclidean norm of a change (C, K, J, I) in epsilon's units."""
        squares = 0.0
        for part, unit in zip(change, self.budget.units):
            if unit:
                squares += (float(torch.linalg.vector_norm(part, dtype=self._exact)) / unit) ** 2
        return math.sqrt(squares)

    def finished_image(self, image: torch.Tensor) -> np.ndarray:
        """The (C, K, J, I) float32 array of an image: untouched voxels bit-identical, integers where they were asked for."""
        array = self._in_single_precision(image)
        if self.budget.whole_numbers:
            array = self._quantized(array)
        return array if self.allowed is None else np.where(self.allowed.cpu().numpy(), array, self.case.image)

    def finish(self, image: torch.Tensor) -> torch.Tensor:
        """The image as it will be handed out (rounded, if so asked), back on the device: what the last trace row measures."""
        return torch.from_numpy(self.finished_image(image)).to(self.original)

    def _in_single_precision(self, image: torch.Tensor) -> np.ndarray:
        """An image (C, K, J, I) as float32 on the CPU, its change no longer than it was."""
        rounded = image.detach().to(torch.float32)
        if self.budget.norm == "l2" and image.dtype != torch.float32:
            rounded = shortened(rounded, self.original.float(), image.detach() - self.original)
        return rounded.cpu().numpy()

    def _quantized(self, array: np.ndarray) -> np.ndarray:
        """Whole numbers in the channels that are stored as integers, never further from the original than before the limit."""
        array = array.copy()
        assert self.case.dtypes is not None
        for n, dtype in enumerate(self.case.dtypes):
            if np.dtype(dtype).kind not in "iu" or n not in self.positions:
                continue
            original = self.case.image[n]
            if not np.array_equal(np.rint(original), original):
                raise InputError(
                    f"Channel {self.case.channels[n]} is said to be stored as {dtype} but holds fractions; "
                    "correct its type, or leave quantize off."
                )
            change = array[n] - original
            if self.budget.norm == "linf":
                radius = self.budget.radius * self.budget.units[n]
                # whole numbers that a product such as 0.29 * 100 misses by its own rounding
                limit = np.floor(radius * (1 + 1e-12)) if math.isfinite(radius) else np.inf
                change = np.clip(np.rint(change), -limit, limit)
            else:
                change = np.trunc(change)  # towards the original, so that no norm grows
            array[n] = np.clip(original + change, *self.budget.whole_ends(n, original, dtype))
        return array

    def _new_trace(self) -> TraceWriter:
        label = self.case.label
        if label is not None:
            self.head.check_label(label)
        masks = self.clean_masks if label is None else self.label_masks
        scales = []
        for n in self.positions:
            found, channel = self.budget.ranges[n], self.original[n]
            counted = channel.numel() if found.padding is None else int((channel != found.padding).count_nonzero())
            scales.append((found.high - found.low) ** 2 * counted)
        return TraceWriter(self.head, masks, self.original, self.positions, scales)

    def _by_channel(self, values: Iterable[float]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.float64).to(self.original.dtype).to(self.device).view(-1, 1, 1, 1)

    @property
    def _exact(self) -> torch.dtype:
        """In what sums are made that may not be too small."""
        return torch.float32 if self.device.type == "mps" else torch.float64


def _share(before: tuple[int, int], now: tuple[int, int]) -> float:
    """The share of windows that were spared since then, from (asked, spared)."""
    asked, spared = now[0] - before[0], now[1] - before[1]
    return spared / (asked + spared) if spared else 0.0
