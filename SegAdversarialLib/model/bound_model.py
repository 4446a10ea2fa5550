"""A model on one case's grid, and the exact gradient of the whole volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.acceleration import AcceleratedNetwork
    from SegAdversarialLib.model.preprocessing import PreprocessingOnGrid
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

    _Graph = tuple[torch.Tensor, torch.Tensor]
    """A channel of the image, and what was made of it with autograd."""

Loss = Callable[["torch.Tensor"], "torch.Tensor"]


class BoundModel:
    """A model on one case's grid: tensors on its device in, tensors out.

    Attributes:
        image: the case's image, (C, K, J, I) in the network's float type.
    """

    def __init__(
        self,
        model: SegmentationModel,
        network: AcceleratedNetwork,
        case: Case,
        positions: list[int],
        between_windows: Callable[[float], None] | None = None,
    ) -> None:
        import torch

        from SegAdversarialLib.model.sliding_window import SlidingWindow
        from SegAdversarialLib.model.window_grid import WindowGrid

        self.model, self._network, self._positions = model, network, positions
        self.image = torch.from_numpy(case.image).to(device=model.device, dtype=model.dtype)
        self._steps = model.preprocessing.on_grid(case.shape, case.affine)
        self._unflipped, self._flips = self._steps.without_flips()
        self._windows = SlidingWindow(
            network,
            WindowGrid(
                self._steps.network_shape,
                model.window,
                model.overlap,
                model.size_multiple,
                2 if model.preprocessing.dimensions == 2 else 3,
            ),
            len(model.head.labels),
            model.window_batch,
            dtype=None if model.network_dtype == model.dtype else model.network_dtype,
            between=between_windows,
            memory=model.memory,
            most=model.most_windows,
        )

    @property
    def window_batch(self) -> int:
        """How many windows go through the network at a time; fewer once a GPU has run out of memory."""
        return self._windows.batch_size

    @property
    def most_windows(self) -> int:
        """How many windows may go through the network at a time, as far as is known."""
        return self._windows.most

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (N, K, J, I) of an image (C, K, J, I), without a graph."""
        return self._network.trying(lambda: self._logits(image))

    def differentiate(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        """The loss of an image's logits, its gradient (C, K, J, I), and the logits (N, K, J, I) themselves.

        Raises:
            InputError: the network gives no finite numbers, or passes no gradient on.
        """
        import torch

        if self._network.undecided:
            with torch.no_grad():
                self._network.settle(self._windows.first_crop(self._prepare(image.detach())))
        return self._network.trying(lambda: self._differentiate(image, loss))

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            prepared = self._prepare(image)
            while True:
                try:
                    return self._checked(self._steps.restore(self._windows(prepared)))
                except torch.OutOfMemoryError as error:
                    self._windows.use_less_memory(error)

    def _differentiate(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        import torch

        self._windows.scales_gradients = self._network.scales_gradients or self.model.network_dtype != self.model.dtype
        if self._windows.is_single:
            try:
                return self._differentiate_at_once(image, loss)
            except torch.OutOfMemoryError as error:
                self._windows.use_less_memory(error)
        return self._differentiate_by_windows(image, loss)

    def _checked(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor`, unless it holds something that is no number."""
        # the sum shows it at a fraction of the cost of looking at every element
        if not tensor.sum().isfinite():
            raise InputError(
                f"The network {self.model.name} gives NaN or infinite numbers for this case; check its preprocessing, the "
                "order of the channels and its weights."
            )
        return tensor

    def _differentiate_at_once(self, image: torch.Tensor, loss: Loss) -> tuple[float, torch.Tensor, torch.Tensor]:
        import torch

        from SegAdversarialLib.model.sliding_window import input_gradient

        with torch.enable_grad():
            leaf = image.detach().requires_grad_(True)
            blended = self._windows(self._prepare(leaf))
            if not self._windows.scales_gradients:
                logits = self._steps.restore(blended)
                value = loss(logits)
                (gradient,) = input_gradient(value, leaf)
                return float(value.detach()), self._checked(gradient), self._checked(logits.detach())
        number, logits, upstream = self._upstream(blended.detach(), loss, self._steps)
        scale = self._windows.scale_of(upstream)
        (gradient,) = input_gradient(blended, leaf, upstream * scale)
        return number, self._checked(gradient.div_(scale)), logits

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
        return number, self._checked(self._pull_back_preparation(image, pulled, graphs)), logits

    def _upstream(
        self, blended: torch.Tensor, loss: Loss, steps: PreprocessingOnGrid
    ) -> tuple[float, torch.Tensor, torch.Tensor]:
        """The loss, the logits as `steps` restore them, and the loss's gradient with respect to the `blended` ones.

        From here on only numbers are needed: the objective's graph must not stay beside the windows' graphs.
        """
        import torch

        with torch.enable_grad():
            leaf = blended.requires_grad_(True)
            logits = steps.restore(leaf)
            value = loss(logits)
            (upstream,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), self._checked(logits.detach()), upstream.detach()

    def _prepare(self, image: torch.Tensor) -> torch.Tensor:
        """The image (C, K, J, I) as the network sees it, (channels, *network shape)."""
        import torch

        if self._is_taken_as_it_is(image):
            return image
        channels = image.unbind(0)  # one backward for all; indexing would make a whole volume of zeros for each
        return torch.stack([self._steps.forward_channel(channels[c], n) for n, c in enumerate(self._positions)])

    def _prepare_by_channels(self, image: torch.Tensor) -> tuple[torch.Tensor, list[_Graph | None]]:
        """The image as the network sees it before any flips, outside of any graph, and the graph that made each channel.

        A graph that would hold several volumes is not kept: None stands for it.
        """
        if self._is_taken_as_it_is(image):
            return image, []
        prepared, graphs = image.new_empty((len(self._positions), *self._steps.network_shape)), []
        for n, c in enumerate(self._positions):
            graph = self._channel_graph(image[c], n, prepared[n])
            graphs.append(graph if self._steps.graph_is_small(n) else None)
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
