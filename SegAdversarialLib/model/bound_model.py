"""A model on one case's grid, and the exact gradient of the whole volume."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from SegAdversarialLib.model.gradient_checks import check_answers, check_gradient, input_gradient
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.acceleration import AcceleratedNetwork
    from SegAdversarialLib.model.how_to_ask import HowToAsk
    from SegAdversarialLib.model.preprocessing_on_grid import PreprocessingOnGrid
    from SegAdversarialLib.model.window_grid import WindowGrid
    from SegAdversarialLib.model.windows_at_once import Decided

    _Graph = tuple[torch.Tensor, torch.Tensor]
    """A channel of the image, and what was made of it with autograd."""

Loss = Callable[["torch.Tensor"], "torch.Tensor"]


class BoundModel:
    """A model on one case's grid: tensors on its device in, tensors out.

    Args:
        how: what counts about the network.
        network: it, behind its switches.
        case: the subject.
        positions: where the network's channels are among the case's.
        between_windows: see `SegmentationModel.on`.

    Attributes:
        image: the case's image, (C, K, J, I) in the network's float type; where the network sees it as it is, in memory of its
            own, so that nothing that a network does can reach the user's.
        head: what the network's outputs stand for.
    """

    def __init__(
        self,
        how: HowToAsk,
        network: AcceleratedNetwork,
        case: Case,
        positions: list[int],
        between_windows: Callable[[float], None] | None = None,
    ) -> None:
        import torch

        from SegAdversarialLib.model.reach import Reach
        from SegAdversarialLib.model.sliding_window import SlidingWindow
        from SegAdversarialLib.model.sparing import Sparing

        self._how, self.head, self._network, self._positions = how, how.head, network, positions
        self._outside = how.head.absent
        self._mixes = how.head.kind if how.preprocessing.restores == "probabilities" else None
        image = torch.from_numpy(case.image)
        self.image = image.to(device=how.device, dtype=how.dtype)
        self._steps = how.preprocessing.on_grid(case.shape, case.affine).on_image(self._channels(self.image))
        self._unflipped, self._flips = self._steps.without_flips()
        self._grid = self._new_grid()
        self._keeps_all = True
        """A volume that goes through in one go keeps its graph while the objective's is made."""
        is_lent = self._grid.sees_all and self._is_taken_as_it_is(image)
        if is_lent and self.image.data_ptr() == image.data_ptr():
            self.image = self.image.clone()
        self._allowed: torch.Tensor | None = None
        self._reach, self._sparing = Reach(), Sparing(how.spares, lambda: network.state)
        self._windows = SlidingWindow(
            network,
            self._grid,
            len(how.head.labels),
            how.window_batch,
            dtype=None if how.network_dtype == how.dtype else how.network_dtype,
            between=between_windows,
            memory=how.memory,
            most=how.most_windows,
            sparing=self._sparing,
        )

    @property
    def window(self) -> tuple[int, ...]:
        """The size that the network sees at once, in its own axes."""
        return self._grid.window[3 - self._grid.dimensions :]

    def prepared(self) -> torch.Tensor:
        """The case as the network sees it, before it is cut into windows: (C, *network axes), in memory of its own."""
        import torch

        self._look_at(self.image)
        with torch.no_grad():
            return self._prepare(self.image.clone() if self._is_taken_as_it_is(self.image) else self.image)

    @property
    def window_batch(self) -> int:
        """How many windows go through the network at a time; fewer once a GPU has run out of memory."""
        return self._windows.batch_size

    @property
    def most_windows(self) -> int:
        """How many windows may go through the network at a time, as far as is known."""
        return self._windows.most

    def settle_window_batch(self, decided: Decided) -> int | None:
        """Measure how many windows should go through the network at a time on a CPU, unless that was `decided`, and go on with
        so many; None: it is not worth the time."""
        import torch

        from SegAdversarialLib.model.windows_at_once import MANY, NUMBERS, WORTH_MEASURING, number_for

        of, network = self._grid.dimensions, self._network
        if self._voxels < WORTH_MEASURING or len(self._windows.views) < MANY[of] or network.settings.compiled:
            return None
        self._look_at(self.image)
        with torch.no_grad():
            crops = self._windows.sample_crops(self._prepare(self.image), NUMBERS[of][-1]).to(self._how.network_dtype)
        found = number_for(network, crops, network.file_hash, decided)
        self._windows.batch_size = self._windows.most = found
        return found

    @property
    def in_windows(self) -> bool:
        """Whether the volume goes through the network in several goes."""
        return not self._windows.is_single

    @property
    def windows_asked(self) -> tuple[int, int]:
        """How many windows went through the network so far, forwards or backwards, and how many need not: their answers were
        known, or they add nothing to a gradient. Nothing is counted where the volume goes through in one go."""
        return self._sparing.asked, self._sparing.spared

    def expect(self, allowed: torch.Tensor | None, looks_everywhere: bool = True) -> None:
        """Know what may change of the image, so that windows which that does not reach are spared from now on.

        Args:
            allowed: (C, K, J, I) bool, or smaller by broadcasting; None: everything. All images that are asked about are the
                same elsewhere.
            looks_everywhere: the gradient counts elsewhere, too; False: there it may come out as 0.
        """
        self._allowed, self._sparing.looks_everywhere = allowed, looks_everywhere

    def share_fixed(self, allowed: torch.Tensor | None) -> float:
        """The share of the windows that nothing of what may change reaches; see `expect`."""
        self.expect(allowed)
        self._look_at(self.image)
        return sum(self._sparing.fixed) / len(self._windows.views)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, J, I) of an image (C, K, J, I), without a graph."""
        self._look_at(image)
        return self._network.trying(lambda: self._logits(image))

    def differentiate(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        """The loss of an image's logits, its gradient (C, K, J, I), and the logits (N, K, J, I) themselves.

        Raises:
            InputError: the network gives no finite numbers, or passes no gradient on.
        """
        import torch

        self._look_at(image)
        if self._network.undecided:
            with torch.no_grad():
                self._network.settle(self._windows.sample_crops(self._prepare(image.detach())))
        return self._network.trying(lambda: self._differentiate(image, loss))

    @property
    def _voxels(self) -> int:
        """How many voxels go through the network for one answer."""
        return len(self._windows.views) * math.prod(self._grid.window)

    @property
    def searches_exactly(self) -> bool:
        """Whether `search` gives what `differentiate` gives."""
        return self._network.searches_in in (None, "full")

    def search(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        """The same as `differentiate`, in the precision of searches: loss and logits are then not those of the network itself.

        Raises:
            InputError: as `differentiate`.
        """
        self.settle_search(image)
        with self._network.searching():
            value, gradient, logits = self.differentiate(image, loss)
        # steps are taken in the gradient's memory: in channels-last order all that follows would be slow
        return value, gradient.contiguous(), logits

    def settle_search(self, image: torch.Tensor, *, measures: bool = False) -> float:
        """Decide in which precision `search` computes, where that is open and worth it.

        Args:
            image: (C, K, J, I).
            measures: also measure a precision that was asked for, if it was not measured before.

        Returns:
            What a gradient of a search takes, beside one of the network as it stands (0 to 1); 1 where that is not known.
        """
        import torch

        from SegAdversarialLib.model.search_precision import WORTH_MEASURING

        network = self._network
        is_open = network.searches_in is None or (measures and network.search_share is None and not self.searches_exactly)
        if is_open and self._voxels >= WORTH_MEASURING:
            self._look_at(image)
            with torch.no_grad():
                network.settle_search(self._windows.sample_crops(self._prepare(image.detach())))
        return network.search_share or 1.0

    def _look_at(self, image: torch.Tensor) -> None:
        """What of the preprocessing depends on the image, such as a crop, is found anew, and so are the windows."""
        if self._steps.stages.needs_image:
            self._find_steps(image)
        if self._how.spares and not self._windows.is_single:
            self._sparing.fixed = self._reach.fixed(
                self._allowed, self._channels(image), self._positions, self._steps, self._grid
            )

    def _find_steps(self, image: torch.Tensor) -> None:
        self._steps = self._steps.on_image(self._channels(image), self._steps)
        self._unflipped, self._flips = self._steps.without_flips()
        if self._steps.network_shape != self._grid.shape:
            self._grid = self._new_grid()
            self._windows.lay(self._grid)

    def _new_grid(self) -> WindowGrid:
        from SegAdversarialLib.model.window_grid import WindowGrid

        how = self._how
        dimensions: Literal[2, 3] = 2 if how.preprocessing.dimensions == 2 else 3
        shape, cut = self._steps.network_shape, how.windows
        mirror = [3 - dimensions + how.preprocessing.axes.index(letter) for letter in cut.mirror]
        return WindowGrid(
            shape, cut.size, cut.overlap, cut.size_multiple, dimensions, cut.blending, spread=cut.places, mirror=mirror
        )

    def _channels(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The network's channels of an image, in its order."""
        channels = image.unbind(0)  # one backward for all; indexing would make a whole volume of zeros for each
        return [channels[c] for c in self._positions]

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            prepared = self._prepare(image)
            while True:
                try:
                    return check_answers(
                        self._steps.restore(self._windows(prepared), self._outside, self._mixes), self._how.name
                    )
                except torch.OutOfMemoryError as error:
                    self._windows.use_less_memory(error)

    def _differentiate(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        import torch

        from SegAdversarialLib.model.graph_memory import WindowsTooLarge

        self._windows.scales_gradients = self._network.scales_gradients or self._how.network_dtype != self._how.dtype
        if self._windows.is_single and self._keeps_all:
            try:
                return self._differentiate_at_once(image, loss)
            except WindowsTooLarge as error:
                self._windows.use_less_memory(error)
            except torch.OutOfMemoryError:
                # the network's graph and the objective's do not fit beside each other; one after the other they may
                self._keeps_all = False
        while True:
            try:
                return self._differentiate_by_windows(image, loss)
            except WindowsTooLarge as error:
                self._windows.use_less_memory(error)

    def _differentiate_at_once(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        import torch

        from SegAdversarialLib.volumes.slabs import flip_in_place

        prepared, graphs = self._prepare_by_channels(image.detach(), keeps_all=True)
        flip_in_place(prepared, self._flips)
        with torch.enable_grad():
            leaf = prepared.detach().requires_grad_(True)
            blended = self._windows(leaf)
        number, logits, upstream = self._upstream(blended.detach(), loss, self._steps)
        scale = self._windows.scale_of(upstream)
        (gradient,) = input_gradient(blended, leaf, upstream if scale == 1 else upstream * scale)
        if not graphs:
            return number, check_gradient(gradient if scale == 1 else gradient.div_(scale), self._how.name), logits
        del blended
        # what follows is written into its memory, which must be nobody else's
        pulled = gradient.clone() if gradient.data_ptr() == upstream.data_ptr() else gradient.contiguous()
        del gradient, upstream
        flip_in_place(pulled if scale == 1 else pulled.div_(scale), self._flips)
        flip_in_place(prepared, self._flips)
        return number, check_gradient(self._pull_back_preparation(image, pulled, graphs), self._how.name), logits

    def _differentiate_by_windows(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        import torch

        try:
            return self._through_windows(image.detach(), loss)
        except torch.OutOfMemoryError:
            if not self._windows.kept_a_graph:
                raise
        finally:
            self._windows.let_go()
        # once more without them; here and not above, where the error holds on to all that was computed
        self._windows.keeps_graphs = False
        return self._through_windows(image.detach(), loss)

    def _through_windows(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        import torch

        from SegAdversarialLib.volumes.slabs import flip_in_place

        prepared, graphs = self._prepare_by_channels(image)
        flip_in_place(prepared, self._flips)
        with torch.no_grad():
            blended = self._windows(prepared, before_gradient=True)
        flip_in_place(blended, self._flips)
        number, logits, upstream = self._upstream(blended, loss, self._unflipped)
        del blended
        if self._flips:  # not in place: an objective may hand out what it goes on using
            upstream = upstream.flip([1 + axis for axis in self._flips])
        pulled = self._windows.pull_back(prepared, upstream)
        del upstream
        flip_in_place(pulled, self._flips)
        flip_in_place(prepared, self._flips)
        return number, check_gradient(self._pull_back_preparation(image, pulled, graphs), self._how.name), logits

    def _upstream(
        self, blended: torch.Tensor, loss: Loss, steps: PreprocessingOnGrid
    ) -> tuple[float, torch.Tensor, torch.Tensor]:
        """The loss, the logits as `steps` restore them, and the loss's gradient with respect to the `blended` ones.

        From here on only numbers are needed: the objective's graph must not stay beside the windows' graphs.
        """
        import torch

        with torch.enable_grad():
            leaf = blended.requires_grad_(True)
            logits = steps.restore(leaf, self._outside, self._mixes)
            check_answers(logits.detach(), self._how.name)
            value = loss(logits)
            (upstream,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), logits.detach(), upstream.detach()

    def _prepare(self, image: torch.Tensor) -> torch.Tensor:
        """The image (C, K, J, I) as the network sees it, (channels, *network shape)."""
        import torch

        if self._is_taken_as_it_is(image):
            return image
        return torch.stack([self._steps.forward_channel(x, n) for n, x in enumerate(self._channels(image))])

    def _prepare_by_channels(self, image: torch.Tensor, keeps_all: bool = False) -> tuple[torch.Tensor, list[_Graph | None]]:
        """The image as the network sees it before any flips, outside of any graph, and the graph that made each channel.

        A graph that would hold several volumes is not kept, unless `keeps_all`: None stands for it.
        """
        if self._is_taken_as_it_is(image):
            return image, []
        prepared, graphs = image.new_empty((len(self._positions), *self._steps.network_shape)), []
        for n, c in enumerate(self._positions):
            graph = self._channel_graph(image[c], n, prepared[n])
            graphs.append(graph if keeps_all or self._steps.graph_is_small(n) else None)
        return prepared, graphs

    def _channel_graph(self, channel: torch.Tensor, n: int, out: torch.Tensor | None = None) -> _Graph:
        import torch

        with torch.enable_grad():
            leaf = channel.detach().requires_grad_(True)
            return leaf, self._unflipped.forward_channel(leaf, n, out)

    def _pull_back_preparation(self, image: torch.Tensor, pulled: torch.Tensor, graphs: list[_Graph | None]) -> torch.Tensor:
        """The gradient on the case's grid from the one on the network's, before any flips; uses the graphs up."""
        import torch

        if not graphs:
            return pulled
        # where it fits, in the memory of `pulled`: each channel is read before it is written
        fits = pulled.shape == image.shape and pulled.is_contiguous() and self._positions == list(range(len(image)))
        gradient = pulled if fits else torch.zeros_like(image)
        for n, c in reversed(list(enumerate(self._positions))):
            leaf, prepared = graphs.pop() or self._channel_graph(image[c], n)
            (gradient[c],) = torch.autograd.grad(prepared, leaf, pulled[n])
            del leaf, prepared
        return gradient

    def _is_taken_as_it_is(self, image: torch.Tensor) -> bool:
        """Whether the network sees an image (C, K, J, I) without any change."""
        return self._steps.does_nothing and self._positions == list(range(len(image)))
