"""A network over a whole volume in overlapping windows: blended logits, and their exact gradient at bounded memory.

With windows f_w, importance weights m and their sum M over all windows, the blended logits are
L = sum_w place(m * f_w(crop_w(z))) / M. The gradient of a scalar of L with respect to z is therefore the sum over windows of
place(J_w^T [crop_w(dL / M) * m]): each window needs only its own graph, and memory for one will do, whatever the volume's.
A window that is shown flipped as well is so many windows in the same place.

Memory fresh from the system costs as much as what is done with it: windows are cut out and seeded where the ones before them
were. The graphs of the last windows are kept from the forward pass, as far as they are small beside the volume.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.model.gradient_checks import check_graph, input_gradient, power_of_two_that_saves
from SegAdversarialLib.model.graph_memory import WindowsTooLarge, of_the_network, with_its_bytes
from SegAdversarialLib.model.sparing import Sparing
from SegAdversarialLib.model.window_grid import Slices, WindowGrid, flipped

if TYPE_CHECKING:
    from SegAdversarialLib.model.devices import GpuMemory

_log = logging.getLogger(__name__)

_FILLED = 0.8
"""Share of the free memory that batches of windows may fill; the rest is for what comes in pieces that do not fit."""

_KEPT = 4.0
"""So many times the memory of the volume may be taken by kept graphs; the last batch's is kept even if it takes more."""


_CHANGES_INPUT = (
    "The network changes its input in place, though it did not when it was tried out; say so "
    '(--in-place, or "in_place": true in its settings), so that it gets a copy each time.'
)


@dataclass(frozen=True, eq=False)
class _Graph:
    """Windows that the network was asked about with autograd's graph: (B, C, *window) in, (B, N, *window) out."""

    batch: range
    crops: torch.Tensor
    logits: torch.Tensor


class SlidingWindow:
    """A network on volumes (C, *shape) of the shape that a grid of windows is for.

    Args:
        network: maps (B, C, *window) to logits (B, N, *window); a 2D network gets (B, C, rows, columns).
        grid: where the windows lie in the volumes.
        outputs: N.
        batch_size: windows in one go; halved when a GPU runs out of memory.
        dtype: what the network computes in, where that is not the volumes' type; everything around it stays in theirs.
        between: called before each batch of windows with the share of the windows that this pass has behind it; what it
            raises ends the pass.
        memory: readings of the GPU's memory: after the first batch that is differentiated, batches grow (or shrink) to what
            the free memory holds; None: they stay as they are.
        most: windows in one go at most, however much memory there is.
        sparing: knows which windows need not be asked; None: all are.

    Attributes:
        views: the grid's: its windows, once for each way in which they are flipped; a batch is a range of them.
        scales_gradients: gradients are scaled on their way through the network, so that half precision does not flush them.
        keeps_graphs: the graphs of the last batches are kept from the forward pass for `pull_back`, which saves asking about
            them again.
        kept_a_graph: so it was in the last forward pass.
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        grid: WindowGrid,
        outputs: int,
        batch_size: int = 1,
        dtype: torch.dtype | None = None,
        between: Callable[[float], None] | None = None,
        memory: GpuMemory | None = None,
        most: int | None = None,
        sparing: Sparing | None = None,
    ) -> None:
        self._network, self._grid, self._outputs, self._dtype = network, grid, outputs, dtype
        self._between, self._memory, self.most = between, memory, most or batch_size
        self._sparing = sparing or Sparing(active=False)
        self.scales_gradients = dtype is not None
        self.batch_size = batch_size
        self.views = grid.views
        self._kept: list[_Graph] = []
        self._rooms: dict[str, torch.Tensor] = {}
        """Memory that all windows of a pass use in turn, by what for."""
        self._graph_bytes: dict[Hashable, float] = {}
        """What the graph of a window takes, as far as is known, by how the network computes."""
        self.keeps_graphs, self.kept_a_graph = True, False

    def lay(self, grid: WindowGrid) -> None:
        """Go on with the windows of another grid, for volumes of another shape."""
        self.let_go()
        self._sparing.forget()
        self._grid, self.views = grid, grid.views

    @property
    def is_single(self) -> bool:
        """Whether the volume goes through the network in one go, so that one graph holds it all."""
        is_mirrored = len(self.views) > len(self._grid.places)
        return len(self.views) <= self.batch_size and self._grid.sees_all and not is_mirrored

    def use_less_memory(self, cause: Exception) -> None:
        """Go on with half as many windows at a time.

        Raises:
            InputError: there is but one already.
            OutOfMemoryError: there is but one already, and it is not the network that needs too much: the `cause`.
        """
        at_once = min(self.batch_size, len(self.views))
        if at_once == 1 and not isinstance(cause, WindowsTooLarge):
            raise cause
        if at_once == 1:
            raise InputError(
                f"A single window of {'x'.join(map(str, self._grid.window))} voxels does not fit into the device's memory; "
                "use a smaller window or another device."
            ) from cause
        self.batch_size = self.most = at_once // 2
        self._memory = None  # what was measured was wrong
        self._sparing.stop()
        self._rooms.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("Out of device memory with %d windows at a time; going on with %d.", at_once, self.batch_size)

    def sample_crops(self, volume: torch.Tensor, count: int = 1) -> torch.Tensor:
        """What the network sees in the middle of a volume (C, *shape), and after it: (B, C, *window), B of `count` at most."""
        padded, middle = self._grid.pad(volume), len(self.views) // 2
        crops = torch.stack([padded[(slice(None), *view.place)] for view in self.views[middle : middle + count]])
        return crops.squeeze(2) if self._grid.dimensions == 2 else crops

    def scale_of(self, upstream: torch.Tensor) -> float:
        """What gradients with respect to the logits are multiplied by on their way through the network."""
        return power_of_two_that_saves(upstream) if self.scales_gradients else 1.0

    def __call__(self, volume: torch.Tensor, *, before_gradient: bool = False) -> torch.Tensor:
        """Blended logits (N, *shape) of a volume (C, *shape); keeps autograd's graph where one is wanted and `is_single`.

        Args:
            volume: what the network sees.
            before_gradient: `pull_back` of the same volume comes next: the graphs of the last batches are kept for it.
        """
        self.let_go()
        self.kept_a_graph = False
        padded = self._grid.pad(volume)
        if self.is_single:
            # views, not copies: a batch of one volume, or the slices of one as a batch
            if self._grid.dimensions == 3:
                return self._grid.unpad(self._ask_without_copy(padded[None])[0])
            slices = padded.movedim(1, 0).unsqueeze(2)
            return self._grid.unpad(self._ask_without_copy(slices).squeeze(2).movedim(0, 1))
        blended = padded.new_zeros((self._outputs, *self._grid.padded))

        def blend(batch: range, logits: torch.Tensor) -> None:
            for n, part in zip(batch, logits):
                place, flips = self.views[n]
                blended[(slice(None), *place)].addcmul_(flipped(part, flips), self._share(place, padded))

        def run(batch: range) -> None:
            blend(batch, self._said(padded, batch))

        for batch in self._batches():
            logits = self._said_with_graph(padded, batch) if before_gradient else None
            if logits is None:
                self._with_less_memory(run, batch)
            else:
                blend(batch, logits)
        self._rooms.clear()
        return self._grid.unpad(blended)

    def pull_back(self, volume: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to `volume` (C, *shape) when `gradient` (N, *shape) is that with respect to the logits."""
        padded, upstream = self._grid.pad(volume), self._grid.pad(gradient)
        scale = self.scale_of(upstream)
        pulled = torch.zeros_like(padded)

        seeded = range(0)

        def seeds_of(batch: range) -> torch.Tensor:
            nonlocal seeded
            if batch == seeded and "seeds" in self._rooms:
                return self._room("seeds", padded, len(batch))
            seeds, seeded = self._room("seeds", padded, len(batch)), batch
            for seed, n in zip(seeds, batch):
                place, flips = self.views[n]
                share = self._share(place, padded).mul_(scale)
                torch.mul(flipped(upstream[(slice(None), *place)], flips), flipped(share[None], flips), out=seed)
            return seeds

        def pull(graph: _Graph) -> None:
            seeds = seeds_of(graph.batch)
            with of_the_network():
                (gradient,) = input_gradient(graph.logits, graph.crops, seeds)
            for n, part in zip(graph.batch, gradient if scale == 1 else gradient.div_(scale)):
                place, flips = self.views[n]
                pulled[(slice(None), *place)].add_(flipped(part, flips))

        def run(batch: range) -> None:
            pull(self._graph(batch, self._cut_out(padded, batch)))

        # from the end, in the batches of the forward pass: the same sums in the same order, whatever was kept
        left = len(self.views)
        while left:
            self._report("back", range(left, len(self.views)))
            graph = self._kept.pop() if self._kept and self._kept[-1].batch.stop == left else None
            batch = graph.batch if graph else range(max(0, left - self.batch_size), left)
            left = batch.start
            spared = self._sparing.needs_no_gradient(batch) or self._sparing.adds_nothing(seeds_of(batch))
            self._sparing.count("back", batch, spared)
            if not spared and (graph is None or not self._succeeds(pull, graph)):
                self._measured(run, batch)
        self.let_go()
        return self._grid.unpad(pulled)

    def let_go(self) -> None:
        """Free the graphs that were kept for `pull_back`, and the memory that windows share."""
        self._kept.clear()
        self._rooms.clear()

    def _said(self, padded: torch.Tensor, batch: range) -> torch.Tensor:
        """The logits of some windows, without a graph."""
        crops = self._cut_out(padded, batch)
        known = self._sparing.known(batch, crops, with_graph=False)
        self._sparing.count("there", batch, known is not None)
        if known is not None:
            return known
        with torch.no_grad():
            logits = self._ask(crops)
        self._sparing.keep(batch, crops, logits, False, padded)
        return logits

    def _said_with_graph(self, padded: torch.Tensor, batch: range) -> torch.Tensor | None:
        """The logits of some windows if their graph is kept, or tells what a graph takes; else None."""
        if not self.keeps_graphs or self._memory is not None:  # the memory is still to be measured
            return None
        state, left = self._sparing.state, len(self.views) - batch.start
        first, last = batch.start == 0, batch.stop == len(self.views)
        needed = math.inf if first else self._graph_bytes.get(state, math.inf)
        # a GPU's batches are as large as its memory: no more than the last one's is kept
        measured, allowed = first and padded.device.type == "cpu", _KEPT * padded.numel() * padded.element_size()
        if not (measured or last or left * needed <= allowed):
            return None
        no_way_back = self._sparing.needs_no_gradient(batch)
        try:
            crops = self._cut_out(padded, batch, padded.new_empty((len(batch), len(padded), *self._grid.window)))
            known = self._sparing.known(batch, crops, with_graph=True) if no_way_back else None
            self._sparing.count("there", batch, known is not None)
            if known is not None:
                return known
            if measured:
                graph, taken = with_its_bytes(lambda: self._graph(batch, crops), lambda x: (x.crops, x.logits))
                needed = self._graph_bytes[state] = taken / len(batch)
            else:
                graph = self._graph(batch, crops)
        except torch.OutOfMemoryError:
            self.let_go()
            self._sparing.stop()
            self.keeps_graphs = False
            return None
        logits = graph.logits.detach()
        if no_way_back:
            self._sparing.keep(batch, crops, logits, True, padded)
        elif last or left * needed <= allowed:
            self._kept.append(graph)
            self.kept_a_graph = True
        return logits

    def _succeeds(self, pull: Callable[[_Graph], None], graph: _Graph) -> bool:
        """Whether a kept graph can be pulled back through: not where a network writes into its own memory at each question."""
        try:
            pull(graph)
        except InputError:
            self.let_go()
            self.keeps_graphs = False
            return False
        return True

    def _graph(self, batch: range, crops: torch.Tensor) -> _Graph:
        leaf = crops.detach().requires_grad_(True)
        with torch.enable_grad():
            return _Graph(batch, leaf, self._ask(leaf))

    def _cut_out(self, padded: torch.Tensor, batch: range, crops: torch.Tensor | None = None) -> torch.Tensor:
        """What is seen of a volume, (B, C, *window); copied into `crops` or memory that they all share."""
        crops = self._room("crops", padded, len(batch)) if crops is None else crops
        for crop, n in zip(crops, batch):
            place, flips = self.views[n]
            crop.copy_(flipped(padded[(slice(None), *place)], flips))
        return crops

    def _room(self, what: Literal["crops", "seeds", "share"], padded: torch.Tensor, count: int) -> torch.Tensor:
        """Memory (count, channels, *window) whose contents nobody needs any more."""
        if what not in self._rooms or len(self._rooms[what]) < count:
            self._rooms.pop(what, None)
            channels = {"crops": len(padded), "seeds": self._outputs, "share": 1}[what]
            self._rooms[what] = padded.new_empty((count, channels, *self._grid.window))
        return self._rooms[what][:count]

    def _share(self, place: Slices, padded: torch.Tensor) -> torch.Tensor:
        return self._grid.share(place, self._room("share", padded, 1)[0, 0])

    def _measured(self, run: Callable[[range], None], batch: range) -> None:
        """`run` on some windows; the first time, batches are then made as large as the memory that it took allows."""
        memory, self._memory = self._memory, None  # measured once
        if memory is None:
            self._with_less_memory(run, batch)
            return
        most = self.most
        self._rooms.clear()  # they count
        memory.start()
        self._with_less_memory(run, batch)
        if self.most == most:  # else there was not enough already
            needed = max(1, memory.used()) / len(batch)
            self.batch_size = max(1, min(most, int(_FILLED * memory.free() / needed)))
            _log.info("A window takes %.0f MiB; going on with %d at a time.", needed / 2**20, self.batch_size)

    def _with_less_memory(self, run: Callable[[range], None], batch: range) -> None:
        """`run` on all windows at once, or on fewer at a time where that is more than the GPU holds."""
        waiting, at_once = batch, len(batch)
        while waiting:
            try:
                run(waiting[:at_once])
            except torch.OutOfMemoryError as error:
                self.batch_size = min(self.batch_size, len(waiting[:at_once]))
                self.use_less_memory(error)
                at_once = self.batch_size
                continue
            waiting = waiting[at_once:]

    def _ask(self, crops: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, *window) of crops (B, C, *window)."""
        seen = crops.squeeze(2) if self._grid.dimensions == 2 else crops
        try:
            with of_the_network():
                logits = self._network(seen if self._dtype is None else seen.to(self._dtype))
        except (torch.OutOfMemoryError, InputError):
            raise
        except Exception as error:  # a stranger's network may raise anything
            if "allocate memory" in str(error):
                raise InputError(
                    f"An input of shape {tuple(seen.shape)} needs more memory than there is; use a smaller window."
                ) from error
            if "leaf Variable" in str(error):  # what PyTorch calls an input whose gradient is wanted
                raise InputError(_CHANGES_INPUT) from error
            flat = self._grid.dimensions == 3 and any(x in str(error) for x in ("4D (batched)", "4D input"))
            several = any(x in str(error) for x in ("is missing value for argument", "required positional argument"))
            way_out = (
                'a network for slices wants preprocessing with two axes (axes="ji").'
                if flat
                else "it wants more than the image, so save it in a module that takes the image alone."
                if several
                else "check its channels, the window, the size multiple and the order of the axes."
            )
            raise InputError(
                f"The network fails on an input of shape {tuple(seen.shape)} ({detail_of(error)}); {way_out}"
            ) from error
        if logits.dtype != crops.dtype:
            logits = logits.to(crops.dtype, memory_format=torch.contiguous_format)
        if crops.requires_grad and torch.is_grad_enabled():
            check_graph(logits)
        return logits.unsqueeze(2) if self._grid.dimensions == 2 else logits

    def _ask_without_copy(self, volume: torch.Tensor) -> torch.Tensor:
        """Logits of what lies in the memory of the image itself.

        Raises:
            InputError: the network has changed it.
        """
        version = None if volume.is_inference() else volume._version
        logits = self._ask(volume)
        if version is not None and volume._version != version:
            raise InputError(_CHANGES_INPUT)
        return logits

    def _batches(self) -> Iterator[range]:
        """The windows in batches; if one is smaller than the others, it is the first, as on the way back it is the last."""
        done = 0
        while done < len(self.views):
            self._report("there", range(done))
            batch = range(done, done + ((len(self.views) - done) % self.batch_size or self.batch_size))
            done = batch.stop
            yield batch

    def _report(self, way: str, done: range) -> None:
        if self._between is not None:
            self._between(self._sparing.done(way, done, len(self.views)))
