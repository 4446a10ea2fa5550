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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.model.gradient_checks import check_graph, input_gradient
from SegAdversarialLib.model.window_grid import Slices, View, WindowGrid

if TYPE_CHECKING:
    from SegAdversarialLib.model.devices import GpuMemory

_log = logging.getLogger(__name__)

_FILLED = 0.8
"""Share of the free memory that batches of windows may fill; the rest is for what comes in pieces that do not fit."""

_KEPT = 4.0
"""So many times the memory of the volume may be taken by kept graphs; the last batch's is kept even if it takes more."""


_CHANGES_INPUT = (
    "The network changes its input in place, though it did not when it was tried out; say so "
    '("in_place": true in its settings), so that it gets a copy each time.'
)


class WindowsTooLarge(torch.OutOfMemoryError):
    """The device has not enough memory for what the network makes of its windows, whatever lies around them."""


@dataclass(frozen=True, eq=False)
class _Graph:
    """Windows that the network was asked about with autograd's graph: (B, C, *window) in, (B, N, *window) out."""

    views: list[View]
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

    Attributes:
        views: the grid's: its windows, once for each way in which they are flipped.
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
    ) -> None:
        self._network, self._grid, self._outputs, self._dtype = network, grid, outputs, dtype
        self._between, self._memory, self.most = between, memory, most or batch_size
        self.scales_gradients = dtype is not None
        self.batch_size = batch_size
        self.views = grid.views
        self._kept: list[_Graph] = []
        self._rooms: dict[str, torch.Tensor] = {}
        """Memory that all windows of a pass use in turn, by what for."""
        self._graph_bytes = math.inf
        """What the graph of a window takes, as far as is known."""
        self.keeps_graphs, self.kept_a_graph = True, False

    def lay(self, grid: WindowGrid) -> None:
        """Go on with the windows of another grid, for volumes of another shape."""
        self.let_go()
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
        self._rooms.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning("Out of device memory with %d windows at a time; going on with %d.", at_once, self.batch_size)

    def sample_crop(self, volume: torch.Tensor) -> torch.Tensor:
        """What the network sees in the middle of a volume (C, *shape): (1, C, *window)."""
        crop = self._grid.pad(volume)[(slice(None), *self.views[len(self.views) // 2].place)][None]
        return crop.squeeze(2) if self._grid.dimensions == 2 else crop

    def scale_of(self, upstream: torch.Tensor) -> float:
        """What gradients with respect to the logits are multiplied by on their way through the network."""
        return _power_of_two_that_saves(upstream) if self.scales_gradients else 1.0

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

        def blend(views: list[View], logits: torch.Tensor) -> None:
            for (place, flips), part in zip(views, logits):
                blended[(slice(None), *place)].addcmul_(_flipped(part, flips), self._share(place, padded))

        def run(views: list[View]) -> None:
            with torch.no_grad():
                blend(views, self._ask(self._cut_out(padded, views)))

        left = len(self.views)
        for views in self._batches():
            graph = self._graph_for_later(padded, views, left) if before_gradient else None
            if graph is None:
                self._with_less_memory(run, views)
            else:
                blend(views, graph.logits.detach())
            left -= len(views)
        self._rooms.clear()
        return self._grid.unpad(blended)

    def pull_back(self, volume: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with respect to `volume` (C, *shape) when `gradient` (N, *shape) is that with respect to the logits."""
        padded, upstream = self._grid.pad(volume), self._grid.pad(gradient)
        scale = self.scale_of(upstream)
        pulled = torch.zeros_like(padded)

        def pull(graph: _Graph) -> None:
            seeds = self._room("seeds", padded, len(graph.views))
            for seed, (place, flips) in zip(seeds, graph.views):
                share = self._share(place, padded).mul_(scale)
                torch.mul(_flipped(upstream[(slice(None), *place)], flips), _flipped(share[None], flips), out=seed)
            with _of_the_network():
                (gradient,) = input_gradient(graph.logits, graph.crops, seeds)
            for (place, flips), part in zip(graph.views, gradient if scale == 1 else gradient.div_(scale)):
                pulled[(slice(None), *place)].add_(_flipped(part, flips))

        def run(views: list[View]) -> None:
            pull(self._graph(views, self._cut_out(padded, views)))

        # from the end, in the batches of the forward pass: the same sums in the same order, whatever was kept
        left = len(self.views)
        while left:
            self._report(len(self.views) - left)
            start = left - len(self._kept[-1].views) if self._kept else max(0, left - self.batch_size)
            if not self._kept or not self._succeeds(pull, self._kept.pop()):
                self._measured(run, self.views[start:left])
            left = start
        self.let_go()
        return self._grid.unpad(pulled)

    def let_go(self) -> None:
        """Free the graphs that were kept for `pull_back`, and the memory that windows share."""
        self._kept.clear()
        self._rooms.clear()

    def _graph_for_later(self, padded: torch.Tensor, views: list[View], left: int) -> _Graph | None:
        """The graph of these windows if it is kept, or tells what a graph takes; `left` windows, with these, are not done."""
        if not self.keeps_graphs or self._memory is not None:  # the memory is still to be measured
            return None
        first, last = left == len(self.views), left == len(views)
        if first:
            self._graph_bytes = math.inf
        # a GPU's batches are as large as its memory: no more than the last one's is kept
        measured, allowed = first and padded.device.type == "cpu", _KEPT * padded.numel() * padded.element_size()
        if not (measured or last or left * self._graph_bytes <= allowed):
            return None
        try:
            crops = self._cut_out(padded, views, padded.new_empty((len(views), len(padded), *self._grid.window)))
            if measured:
                graph, self._graph_bytes = self._with_its_bytes(views, crops)
            else:
                graph = self._graph(views, crops)
        except torch.OutOfMemoryError:
            self.let_go()
            self.keeps_graphs = False
            return None
        if last or left * self._graph_bytes <= allowed:
            self._kept.append(graph)
            self.kept_a_graph = True
        return graph

    def _succeeds(self, pull: Callable[[_Graph], None], graph: _Graph) -> bool:
        """Whether a kept graph can be pulled back through: not where a network writes into its own memory at each question."""
        try:
            pull(graph)
        except InputError:
            self.let_go()
            self.keeps_graphs = False
            return False
        return True

    def _with_its_bytes(self, views: list[View], crops: torch.Tensor) -> tuple[_Graph, float]:
        """The graph of these windows, and what that of one takes: what it saves for the way back, and both its ends."""
        held: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            try:
                memory = tensor.untyped_storage()
                held[memory.data_ptr()] = memory.nbytes()
            except (NotImplementedError, RuntimeError):  # sparse, for example
                held[id(tensor)] = tensor.numel() * tensor.element_size()
            return tensor

        try:
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                graph = self._graph(views, crops)
        except InputError:  # some networks do not let themselves be watched
            return self._graph(views, crops), math.inf
        note(graph.crops)
        note(graph.logits)
        return graph, sum(held.values()) / len(views)

    def _graph(self, views: list[View], crops: torch.Tensor) -> _Graph:
        leaf = crops.detach().requires_grad_(True)
        with torch.enable_grad():
            return _Graph(views, leaf, self._ask(leaf))

    def _cut_out(self, padded: torch.Tensor, views: list[View], crops: torch.Tensor | None = None) -> torch.Tensor:
        """What is seen of a volume, (B, C, *window); copied into `crops` or memory that they all share."""
        crops = self._room("crops", padded, len(views)) if crops is None else crops
        for crop, (place, flips) in zip(crops, views):
            crop.copy_(_flipped(padded[(slice(None), *place)], flips))
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

    def _measured(self, run: Callable[[list[View]], None], views: list[View]) -> None:
        """`run` on some windows; the first time, batches are then made as large as the memory that it took allows."""
        memory, self._memory = self._memory, None  # measured once
        if memory is None:
            self._with_less_memory(run, views)
            return
        most = self.most
        self._rooms.clear()  # they count
        memory.start()
        self._with_less_memory(run, views)
        if self.most == most:  # else there was not enough already
            needed = max(1, memory.used()) / len(views)
            self.batch_size = max(1, min(most, int(_FILLED * memory.free() / needed)))
            _log.info("A window takes %.0f MiB; going on with %d at a time.", needed / 2**20, self.batch_size)

    def _with_less_memory(self, run: Callable[[list[View]], None], views: list[View]) -> None:
        """`run` on all views at once, or on fewer at a time where that is more than the GPU holds."""
        waiting, at_once = views, len(views)
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
            with _of_the_network():
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
            way_out = (
                'a network for slices wants preprocessing with two axes (axes="ji").'
                if flat
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

    def _batches(self) -> Iterator[list[View]]:
        """The windows in batches; if one is smaller than the others, it is the first, as on the way back it is the last."""
        done = 0
        while done < len(self.views):
            self._report(done)
            batch = self.views[done : done + ((len(self.views) - done) % self.batch_size or self.batch_size)]
            done += len(batch)
            yield batch

    def _report(self, done: int) -> None:
        if self._between is not None:
            self._between(done / len(self.views))


@contextmanager
def _of_the_network() -> Iterator[None]:
    """Too little memory inside is told from too little around the network."""
    try:
        yield
    except WindowsTooLarge:
        raise
    except torch.OutOfMemoryError as error:
        raise WindowsTooLarge(str(error)) from error


def _flipped(volume: torch.Tensor, flips: tuple[int, ...]) -> torch.Tensor:
    return volume.flip(flips) if flips else volume


def _power_of_two_that_saves(upstream: torch.Tensor) -> float:
    """A factor that brings the largest gradient near 1, so that half precision does not flush the small ones to 0."""
    largest = float(upstream.abs().max())
    return 2.0 ** -math.floor(math.log2(largest)) if largest > 0 else 1.0
