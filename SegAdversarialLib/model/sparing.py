"""Windows that need not go through the network again, because what comes of them is known to the last bit.

An answer is known where the network was asked the same before. The same means the same bits in the same batch (a window's
answer has other bits beside other windows), by a network that computes in the same way, with autograd's graph as without:
all of that may change how numbers are rounded. So whole batches are compared with what they were asked last, not masks.

Kept are the answers for windows that nothing of what may change reaches (see `reach`), and for constant ones, such as those
beside the body. No way back is needed where the gradient with respect to the logits is 0 in all of a batch, or where nobody
looks at the image's gradient. Answers that are spared are added up in the same order as all others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_KEPT = 4.0
"""So many times the memory of the volume may be taken by what is kept for windows that cannot change."""

_CONSTANTS = 3
"""So many answers for constant windows are kept, those that were used last."""

_BITS = {2: "int16", 4: "int32", 8: "int64"}
"""Integers of so many bytes: as these, numbers are the same only where their bits are (0 and -0 are not, NaN is)."""


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a batch was asked, and the logits (B, N, *window) that came."""

    batch: range
    crops: torch.Tensor
    logits: torch.Tensor


class Sparing:
    """What is known of the windows of one volume.

    Args:
        active: False: nothing is spared.
        state: says how the network computes now; answers of one state are none of another's.

    Attributes:
        looks_everywhere: the gradient of the image counts also where it may not change.
        asked, spared: windows that went through the network, forwards or backwards, and that need not.
    """

    def __init__(self, active: bool = True, state: Callable[[], Hashable] = lambda: None) -> None:
        self.active, self._state = active, state
        self._fixed: Sequence[bool] = ()
        self.looks_everywhere = True
        self.asked = self.spared = 0
        self._answers: dict[Hashable, _Answer] = {}
        self._constants: dict[Hashable, torch.Tensor] = {}
        self._pace: dict[str, np.ndarray] = {}

    @property
    def state(self) -> Hashable:
        """How the network computes now."""
        return self._state()

    @property
    def fixed(self) -> Sequence[bool]:
        """For each window, whether nothing that may change reaches it; empty: nobody knows."""
        return self._fixed

    @fixed.setter
    def fixed(self, fixed: Sequence[bool]) -> None:
        if fixed is self._fixed:
            return
        self._fixed = fixed
        self._answers = {key: x for key, x in self._answers.items() if self.is_fixed(x.batch)}

    def forget(self) -> None:
        """Let go of all answers: other windows come."""
        self._answers.clear()
        self._constants.clear()
        self._pace.clear()

    def stop(self) -> None:
        """There is no memory for answers."""
        self.forget()
        self.active = False

    def is_fixed(self, batch: range) -> bool:
        """Whether nothing that may change reaches a batch of windows."""
        return self.active and bool(self._fixed) and all(self._fixed[batch.start : batch.stop])

    def needs_no_gradient(self, batch: range) -> bool:
        """Whether nobody looks at what a batch adds to the image's gradient."""
        return not self.looks_everywhere and self.is_fixed(batch)

    def adds_nothing(self, seeds: torch.Tensor) -> bool:
        """Whether the gradient with respect to some logits (B, N, *window) is 0 everywhere."""
        # most often, one row of each tells
        return self.active and not bool(seeds[..., seeds.shape[-2] // 2, :].any()) and not bool(seeds.any())

    def known(self, batch: range, crops: torch.Tensor, with_graph: bool) -> torch.Tensor | None:
        """The logits (B, N, *window) of a batch that was asked the same before; they must not be changed."""
        if not self.active:
            return None
        constant = self._constant(crops, with_graph)
        if constant is not None:
            found = self._constants.pop(constant, None)
            if found is not None:
                self._constants[constant] = found
            return found
        kept = self._answers.get(self._key(batch, with_graph)) if self.is_fixed(batch) else None
        return kept.logits if kept is not None and _is_same(kept.crops, crops) else None

    def keep(self, batch: range, crops: torch.Tensor, logits: torch.Tensor, with_graph: bool, volume: torch.Tensor) -> None:
        """Remember an answer, if it may be asked for again and there is room for it beside `volume`."""
        if not self.active:
            return
        try:
            self._keep(batch, crops, logits, with_graph, volume)
        except (MemoryError, RuntimeError):  # also what PyTorch says where memory is too little
            self.stop()

    def _keep(self, batch: range, crops: torch.Tensor, logits: torch.Tensor, with_graph: bool, volume: torch.Tensor) -> None:
        constant = self._constant(crops, with_graph)
        if constant is not None:
            self._constants[constant] = logits.detach().clone()
            while len(self._constants) > _CONSTANTS:
                del self._constants[next(iter(self._constants))]
        elif self.is_fixed(batch):
            key = self._key(batch, with_graph)
            self._answers.pop(key, None)
            taken = sum(_bytes(x.crops) + _bytes(x.logits) for x in self._answers.values())
            if taken + _bytes(crops) + _bytes(logits) <= _KEPT * _bytes(volume):
                # a network may go on writing into what it gave
                self._answers[key] = _Answer(batch, crops.detach().clone(), logits.detach().clone())

    def count(self, way: str, batch: range, spared: bool) -> None:
        """A batch went through the network ("there" or "back"), or was spared that."""
        if spared:
            self.spared += len(batch)
        else:
            self.asked += len(batch)
        pace = self._pace.get(way, np.zeros(0, dtype=bool))
        if len(pace) < batch.stop:
            pace = np.concatenate([pace, np.ones(batch.stop - len(pace), dtype=bool)])
        pace[batch.start : batch.stop] = not spared
        self._pace[way] = pace

    def done(self, way: str, windows: range, of: int) -> float:
        """The share of a way that is behind it once these windows are done; those that were spared last time take no time."""
        pace = self._pace.get(way)
        if pace is None or len(pace) != of or not pace.any():
            return len(windows) / of
        return int(np.count_nonzero(pace[windows.start : windows.stop])) / int(np.count_nonzero(pace))

    def _key(self, batch: range, with_graph: bool) -> Hashable:
        return self._state(), with_graph, batch.start, batch.stop

    def _constant(self, crops: torch.Tensor, with_graph: bool) -> Hashable | None:
        """What tells apart batches of constant windows; None: some window is not constant."""
        bits = _as_bits(crops).flatten(2)
        if not bool((bits[..., :: max(1, bits.shape[-1] // 7)] == bits[..., :1]).all()):
            return None
        lowest, highest = bits.aminmax(dim=-1)
        if not bool((lowest == highest).all()):
            return None
        return self._state(), with_graph, len(crops), tuple(lowest.flatten().tolist())


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(_as_bits(one), _as_bits(other))


def _as_bits(numbers: torch.Tensor) -> torch.Tensor:
    import torch

    return numbers.detach().contiguous().view(getattr(torch, _BITS[numbers.element_size()]))


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
