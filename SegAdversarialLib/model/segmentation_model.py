"""A segmentation network that takes cases as they came from the scanner, and its exact gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel
from SegAdversarialLib.model.acceleration import AcceleratedNetwork, Acceleration
from SegAdversarialLib.model.bound_model import BoundModel, Loss
from SegAdversarialLib.model.devices import GpuMemory, choose_device
from SegAdversarialLib.model.freezing import check_weights, dtype_of, frozen
from SegAdversarialLib.model.how_to_ask import HowToAsk
from SegAdversarialLib.model.memory import volumes_in_words, weights_in_words
from SegAdversarialLib.model.prediction import Prediction
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.model.windows import Rarely, Windows
from SegAdversarialLib.objectives import Objective
from SegAdversarialLib.showing import notebook
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.treatment import Said, Treatment
    from SegAdversarialLib.model.windows_at_once import Decided

__all__ = ["Acceleration", "BoundModel", "Loss", "Prediction", "SegmentationModel"]

_SAID = (
    "network",
    "channels",
    "classes",
    "preprocessing",
    "window",
    "overlap",
    "head",
    "regions",
    "size_multiple",
    "window_batch",
)
MOST_WINDOWS = 32
"""Where memory decides, no more windows (of slices: 16 times as many) go through at once: more do not make a GPU faster."""


class SegmentationModel:
    """A network with its preprocessing, its windows and the meaning of its outputs, on a device.

    Make one with `from_network`, or open a file with `open_model`.

    Attributes:
        channels: the case channels that the network takes, in its order.
        head: what its outputs stand for.
        preprocessing: what it wants done to a case.
        windows: in what pieces it sees a volume; `window` is their size.
        device: where it runs.
        dtype: of images, preprocessing and objectives.
        network_dtype: of the network's weights.
        window_batch: how many windows go through the network at a time, at first.
        memory: fills the GPU with windows, up to `most_windows`; None: `window_batch` stays.
        treated: how its network is asked, once that is known.
        members: of an ensemble, what each `describe`s.
        name: what results call it.

    What it cannot be told from outside (whether it gives logits, answers the same each time, and so on) it is asked before it
    is used for the first time: see `examine`.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        channels: Sequence[str],
        head: OutputHead,
        preprocessing: Preprocessing,
        windows: Windows,
        *,
        said: Said,
        device: str,
        name: str,
        acceleration: Acceleration,
    ) -> None:
        import torch

        from SegAdversarialLib.model.network_outputs import NetworkOutputs

        self.channels, self.head, self.preprocessing, self.name = tuple(channels), head, preprocessing, name
        self.windows, self.window = windows, windows.size
        self._check()
        check_weights(network, name)
        self.device = choose_device(device)
        with weights_in_words(name, self.device):
            self.network = network.to(self.device)
        self.network_dtype = dtype_of(network)
        # images, preprocessing and objectives never in less than single precision: a rounded image breaks the budget
        self.dtype = torch.float64 if self.network_dtype == torch.float64 else torch.float32
        slices = 16 if preprocessing.dimensions == 2 else 1
        self._settled_batch = windows.batch
        self._measured_batch: int | None = None  # for the last case
        self._at_once: Decided = {}
        self.window_batch = windows.batch or (slices if self.device.type == "cpu" else 4 * slices)
        fills = windows.batch is None and self.device.type == "cuda"
        self.memory = GpuMemory(self.device) if fills else None
        self.most_windows = MOST_WINDOWS * slices if fills else self.window_batch
        self._accelerated = AcceleratedNetwork(self.network, acceleration, self.device, self.network_dtype)
        self._outputs = NetworkOutputs(len(head.labels), head.kind, said.key)
        self._said, self._is_examined, self._notes = said, False, tuple[str, ...]()
        self.treated: Treatment | None = None
        self.members: tuple[dict[str, Any], ...] = ()

    def __repr__(self) -> str:
        window = f"windows of {'x'.join(map(str, self.window))}" if self.window else "the whole volume at once"
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return (
            f"<SegmentationModel {self.name}: {', '.join(self.channels)} -> {', '.join(self.head.names)}; {self.head.kind}, "
            f"{window}, {parameters:,} parameters, on {self.device}>"
        )

    def _repr_html_(self) -> str:
        return notebook.table(self.head.rows(), ("label", "name", "stands_for"), repr(self).strip("<>"))

    @classmethod
    @checked(
        network="a torch module; open_model opens a file",
        classes='{label value: name} in the order of the outputs, such as {0: "background", 1: "tumour"}',
    )
    def from_network(
        cls,
        network: torch.nn.Module,
        *,
        channels: Sequence[str],
        classes: Mapping[int, str] | Sequence[str],
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
        window: Sequence[int] | None = None,
        overlap: float = 0.5,
        head: Literal["softmax", "sigmoid"] = "softmax",
        regions: Mapping[int, Sequence[int]] | None = None,
        size_multiple: int = 1,
        window_batch: int | None = None,
        device: str = "cpu",
        name: str = "network",
        acceleration: Acceleration | Mapping[str, Any] | None = None,
        **rarely: Any,
    ) -> SegmentationModel:
        """Wrap any torch network that maps (B, C, *window) to logits, or probabilities, (B, N, *window).

        The network is moved to the device; its weights, their `requires_grad` and its training mode stay as they are.

        Args:
            network: 3D, or 2D (then `preprocessing.axes` has two letters).
            channels: the case channels that it takes, in its order.
            classes: `{label value: name}` in the order of its outputs.
            preprocessing: what it wants done to a case, or its settings by name; None: nothing.
            window: size that it sees at once, in its own axis order, in voxels; None: the whole volume (or slice).
            overlap: share of a window that its neighbour sees too, in [0, 1).
            head: "softmax" for exclusive classes, "sigmoid" for overlapping regions.
            regions: `{label value: reference label values}` where a class stands for others than its own value.
            size_multiple: sizes that it takes are multiples of this; volumes are zero-padded to it.
            window_batch: windows in one go; None: on a CPU what is measured to be quick (1, or 16 slices, where there are
                few), on a CUDA GPU as many as its free memory holds, 4 on others (64 slices).
            device: "cpu", "cuda", "cuda:1", "mps" or "auto".
            name: what results call it.
            acceleration: switches for running it faster, by the names of `Acceleration`.
            rarely: what few networks need said, by the names of `Rarely`: outputs, in_place, threshold, blending ...

        Raises:
            InputError: the settings do not fit together, or the network has no weights yet.
        """
        from SegAdversarialLib.model.treatment import Said

        more, size = Rarely.of(rarely, _SAID), None if window is None else tuple(int(x) for x in window)
        said = Said(more.outputs, more.output, more.in_place, more.allow_random)
        cut = (size, overlap, size_multiple, window_batch, more.blending, more.window_places, more.mirror)
        windows, steps, switches = Windows(*cut), Preprocessing.of(preprocessing), Acceleration.of(acceleration)
        meaning = OutputHead.of(classes, head, regions, more.threshold, more.painting)
        return cls(network, channels, meaning, steps, windows, said=said, device=device, name=name, acceleration=switches)

    def with_network(self, network: torch.nn.Module) -> SegmentationModel:
        """The same model with another network of the same channels and outputs, moved to the same device."""
        common = (self.channels, self.head, self.preprocessing, replace(self.windows, batch=self._settled_batch))
        switches, device = self._accelerated.settings, str(self.device)
        return SegmentationModel(network, *common, said=self._said, device=device, name=self.name, acceleration=switches)

    @checked
    def logits(self, case: Case) -> np.ndarray:
        """Logits on the case's own grid: (N, K, J, I), in the network's float type."""
        with self.on(case) as bound:
            return bound.logits(bound.image).cpu().numpy()

    @checked
    def segment(self, case: Case) -> np.ndarray:
        """Label map on the case's own grid: (K, J, I) int16."""
        return self.predict(case).labels

    @checked
    def predict(self, case: Case, progress: ProgressCallback | None = None, cancel: CancelCheck | None = None) -> Prediction:
        """Label map, and what each output claims, on the case's own grid.

        Args:
            case: the subject.
            progress: called with the finished fraction and a text, between windows.
            cancel: asked between windows; True ends the work with `Cancelled`.
        """

        def report(fraction: float) -> None:
            check_cancel(cancel)
            if progress is not None:
                progress(fraction, f"segmenting {case.name}".strip())

        report(0.0)
        with self.on(case, between_windows=report) as bound:
            logits = bound.logits(bound.image)
            check_cancel(cancel)
            return Prediction(self.head.label_map(logits).cpu().numpy(), self.head.predicted(logits).cpu().numpy())

    @checked
    def value_and_gradient(self, case: Case, objective: Objective) -> tuple[float, np.ndarray]:
        """The objective of the whole volume and its exact gradient with respect to the case's image.

        Memory is one window's graph and a few volumes, whatever the volume's size: at most two forwards and one backward for
        each window, one and one where a single window holds the volume.

        Returns:
            The value, and the gradient (C, K, J, I) in objective units per intensity unit; zero in channels that the network
            does not take.

        Raises:
            InputError: the case lacks a channel, or the reference does not fit the network's classes.
        """
        with self.on(case) as bound:
            value, gradient, _ = bound.differentiate(bound.image, objective.bind(self.head, self.device, self.dtype))
            return value, gradient.cpu().numpy()

    @checked
    def prepare(self, case: Case) -> torch.Tensor:
        """The network's input: channels, orientation, spacing and intensities as it wants them, before windows are cut out.

        Returns:
            (C, *network axes) on the model's device, in memory of its own; for a 2D network slices come after the channels.

        Raises:
            InputError: the case lacks a channel that the network takes.
        """
        return self._bound(case, self.channel_positions(case)).prepared()

    def examine(self, file_hash: str = "") -> None:
        """Ask the network what it is like, as far as that is not said; a few passes over a small input, once.

        Does it change its input, answer the same each time, and the same for a window alone and beside others; does it give
        probabilities; which of several outputs is its answer? What is set by itself is logged, and stands in `describe`. This
        comes by itself before the first use.

        Args:
            file_hash: of the file that it is from; networks of the same file are asked once in a process.

        Raises:
            InputError: the network cannot be used; it says what would help.
        """
        from SegAdversarialLib.model.examination import question_sizes

        self._accelerated.file_hash = file_hash or self._accelerated.file_hash
        if not self._is_examined:
            self._examine_at(question_sizes(self.window, self.windows.size_multiple, self.preprocessing), file_hash)

    def _examine_at(self, sizes: tuple[tuple[int, ...], ...], file_hash: str = "", last: bool = False) -> None:
        """Ask at these sizes; `last`: a network that takes none of them is not asked again."""
        from SegAdversarialLib.model.examination import Question, examine
        from SegAdversarialLib.model.treatment import say, treatment

        in_batches = self.window_batch > 1 or self.most_windows > 1
        question = Question(len(self.channels), self._outputs, sizes, in_batches, self.device, self.network_dtype)
        with frozen(self.network):
            nature = examine(self.network, question, file_hash)
        treated = treatment(self._said, nature, self.name, self._outputs)
        self._accelerated.outputs, self._accelerated.in_place = treated.outputs, treated.in_place
        if treated.alone:
            self.window_batch = self.most_windows = self._settled_batch = 1
            self.memory = None
        say(treated.notes, file_hash)
        self._notes, self._is_examined = treated.notes, nature is not None or last
        self.treated = treated if self._is_examined else None

    @property
    def acceleration(self) -> Acceleration:
        """The switches for running it faster."""
        return self._accelerated.settings

    @property
    def settled_acceleration(self) -> Acceleration:
        """The same with the precision in which attacks search, once that was measured."""
        return self._accelerated.settled()

    @contextmanager
    def on(self, case: Case, between_windows: Callable[[float], None] | None = None) -> Iterator[BoundModel]:
        """The model on one case's grid, for loops that work on tensors; while it lasts the network's parameters are frozen.

        Args:
            case: the subject.
            between_windows: called before each batch of windows of every pass with the share of the pass that is done; it
                may raise `Cancelled`. A volume that goes through the network in one go has no such moments.

        Raises:
            InputError: the case lacks a channel that the network takes, or memory does not suffice for what is done inside.
        """
        positions = self.channel_positions(case)
        with volumes_in_words(case.shape, len(case.channels), self.device):
            yield from self._on(case, positions, between_windows)

    def _on(self, case: Case, positions: list[int], between_windows: Callable[[float], None] | None) -> Iterator[BoundModel]:
        self.examine()
        if not self._is_examined:
            self._examine_at((self._bound(case, positions).window,), last=True)
        with (
            frozen(self.network),
            self._accelerated.folded(len(self.channels), self.preprocessing.dimensions, self.windows.size_multiple),
        ):
            bound = self._bound(case, positions, between_windows)
            is_open = self._settled_batch is None and self.device.type == "cpu"
            self._measured_batch = bound.settle_window_batch(self._at_once) if is_open else None
            yield bound
            if self._measured_batch is None:  # else it is this case's own
                self.window_batch = min(self.window_batch, bound.window_batch)
                self.most_windows = bound.most_windows

    def _bound(self, case: Case, positions: list[int], between_windows: Callable[[float], None] | None = None) -> BoundModel:
        how = HowToAsk(
            name=self.name,
            head=self.head,
            preprocessing=self.preprocessing,
            windows=self.windows,
            window_batch=self.window_batch,
            most_windows=self.most_windows,
            memory=self.memory,
            device=self.device,
            dtype=self.dtype,
            network_dtype=self.network_dtype,
            spares=self.acceleration.spared and not self._said.allow_random,  # what is random must be asked each time
        )
        return BoundModel(how, self._accelerated, case, positions, between_windows)

    def channel_positions(self, case: Case) -> list[int]:
        """Where the network's channels are among the case's, by name.

        Raises:
            InputError: the case lacks one of them.
        """
        return case.positions_for(self.name, self.channels)

    def describe(self) -> dict[str, Any]:
        """What it is, as plain JSON data, with what was found out by asking it.

        Raises:
            InputError: the network cannot be used; see `examine`.
        """
        self.examine()
        outputs = self._accelerated.outputs or self._outputs
        return {
            "name": self.name,
            "channels": list(self.channels),
            "classes": self.head.rows(),
            "head": self.head.kind,
            "threshold": self.head.threshold,
            "painting": self.head.painting,
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            **self.windows.settings(),
            "window": list(self.window) if self.window else None,
            "window_batch": self._settled_batch or self._measured_batch,
            "outputs": "probabilities" if outputs.are_probabilities else "logits",
            "output": outputs.key,
            "in_place": self._accelerated.in_place,
            "allow_random": self._said.allow_random,
            "found": list(self._notes),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "device": str(self.device),
            "acceleration": self._accelerated.describe(),
            **({"members": list(self.members)} if self.members else {}),
        }

    def _check(self) -> None:
        if not self.channels or len({x.lower() for x in self.channels}) != len(self.channels):
            raise InputError(
                f"The network's channels must be named, each by another name (capitals do not count); they are "
                f"{', '.join(self.channels) or 'none'}."
            )
        self.windows.check(self.preprocessing.axes)
        self.preprocessing.check_channels(len(self.channels))
