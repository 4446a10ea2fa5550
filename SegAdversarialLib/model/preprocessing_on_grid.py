"""A network's preprocessing on one grid: tensors in, tensors out, differentiable, one channel at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from SegAdversarialLib.model.crop import Box, CenterCrop, Crop, Shape, fill_holes
from SegAdversarialLib.model.normalization import Normalization, graph_is_small, needs_filled
from SegAdversarialLib.model.preprocessing_steps import CropStep, NormalizeStep, ResampleStep, Step
from SegAdversarialLib.model.resampling import Spacing
from SegAdversarialLib.volumes.geometry import Reorientation

if TYPE_CHECKING:
    import torch

Stage = Literal["crop", "resample", "normalize"]
Head = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, eq=False)
class Stages:
    """What is done to volumes (K, J, I) whose axes are permuted already, but not flipped.

    Attributes:
        order: in which order.
        crop: see `Preprocessing`.
        resample: the step for volumes of a shape.
        normalization: for all channels, or for each.
        flips: the axes that count from the other end.
    """

    order: tuple[Stage, Stage, Stage]
    crop: Crop | None
    resample: Callable[[Shape], ResampleStep]
    normalization: Normalization | tuple[Normalization, ...] | None
    flips: tuple[int, ...]

    @property
    def needs_image(self) -> bool:
        """Whether some step depends on the image."""
        return self._fills or not (self.crop is None or isinstance(self.crop, CenterCrop))

    @property
    def _fills(self) -> bool:
        chosen = self.normalization
        return any(map(needs_filled, chosen if isinstance(chosen, tuple) else (chosen,)))

    def steps(self, shape: Shape, channels: Sequence[torch.Tensor] = (), like: tuple[Step, ...] = ()) -> tuple[Step, ...]:
        """The steps for volumes of a shape.

        Args:
            shape: of the volumes.
            channels: the network's; not looked at unless `needs_image`.
            like: for another image: what is the same is taken over.
        """
        steps: list[Step] = []
        for stage in self.order:
            if stage == "crop":
                box = self._box(shape, channels, steps)
                if box != Box.whole(shape):
                    steps.append(CropStep(shape, box, any(isinstance(x, ResampleStep) for x in steps)))
            elif stage == "resample":
                step = self.resample(shape)
                if any(step.into.axes):
                    steps.append(step)
            elif self.normalization is not None:
                steps.append(self._normalized(shape, channels, steps, like))
            shape = steps[-1].shape if steps else shape
        return tuple(steps)

    def _box(self, shape: Shape, channels: Sequence[torch.Tensor], steps: Sequence[Step]) -> Box:
        if self.crop is None:
            return Box.whole(shape)
        if isinstance(self.crop, CenterCrop):
            return self.crop.box(shape).reversed(self.flips, shape)
        found = Box.around(_union(channels, steps, self.crop.counts, self.crop.takes))
        if found is None:  # nothing there: nothing is cut off
            return Box.whole(shape)
        return self.crop.around(found.reversed(self.flips, shape), shape).reversed(self.flips, shape)

    def _normalized(
        self, shape: Shape, channels: Sequence[torch.Tensor], steps: Sequence[Step], like: tuple[Step, ...]
    ) -> NormalizeStep:
        if not self._fills:
            return NormalizeStep(shape, self.normalization)
        union = _union(channels, steps, lambda volume: volume != 0)
        for step in like:  # an attack changes the image at each step, and this hardly ever
            if isinstance(step, NormalizeStep) and step.union is not None and _is_same(step.union, union):
                return step
        return NormalizeStep(shape, self.normalization, union, fill_holes(union))


def _union(
    channels: Sequence[torch.Tensor],
    steps: Sequence[Step],
    counts: Callable[[torch.Tensor], torch.Tensor],
    takes: Callable[[int], bool] = lambda channel: True,
) -> torch.Tensor:
    """The voxels that count in some channel once these steps are done: (K, J, I) bool; one channel in memory at a time."""
    import torch

    union: torch.Tensor | None = None
    with torch.no_grad():
        for n, channel in enumerate(channels):
            if takes(n):
                found = counts(_through(steps, channel.detach(), n))
                union = found if union is None else union.logical_or_(found)
    assert union is not None
    return union


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return one.device == other.device and torch.equal(one, other)


def _through(steps: Sequence[Step], volume: torch.Tensor, channel: int, out: torch.Tensor | None = None) -> torch.Tensor:
    """A channel (K, J, I) after some steps; written into `out`, too, as `NormalizeStep.forward` says."""
    for n, step in enumerate(steps):
        if isinstance(step, NormalizeStep):
            volume = step.forward(volume, channel, out if n == len(steps) - 1 else None)
        else:
            volume = step.forward(volume[None])[0]
    if out is not None and not (steps and isinstance(steps[-1], NormalizeStep)):
        out.copy_(volume.detach())
    return volume


@dataclass(frozen=True, eq=False)
class PreprocessingOnGrid:
    """A preprocessing on one grid, and, where it depends on the image, for one image.

    Attributes:
        stages: what is done in between.
        turn: how volumes are turned first.
        turned_shape: their shape then.
        order: the array axes (K, J, I) in the network's order.
        dimensions: 2 for a network that sees slices, whose number comes first in `network_shape`.
        spacing: of the turned volumes, in mm along K, J, I.
        steps: the stages for volumes of this shape; None: they depend on the image, and `on_image` finds them.
    """

    stages: Stages
    turn: Reorientation
    turned_shape: Shape
    order: tuple[int, int, int]
    dimensions: int
    spacing: Spacing
    steps: tuple[Step, ...] | None

    def on_image(self, channels: Sequence[torch.Tensor], like: PreprocessingOnGrid | None = None) -> PreprocessingOnGrid:
        """The same with the steps for one image.

        Args:
            channels: the network's, each (K, J, I) as it came, in its order.
            like: the result for another image on the same grid: what is the same is taken over.
        """
        if not self.stages.needs_image:
            return self
        permuted = Reorientation(self.turn.permutation, ())
        known = like.steps if like is not None and like.steps is not None else ()
        return replace(self, steps=self.stages.steps(self.turned_shape, [permuted.apply(x) for x in channels], known))

    @property
    def known_steps(self) -> tuple[Step, ...]:
        """The steps, once they are known."""
        if self.steps is None:
            raise RuntimeError("these steps depend on the image: on_image() comes first")
        return self.steps

    @property
    def does_nothing(self) -> bool:
        """Whether the network sees the volumes as they are."""
        return (
            not self.stages.needs_image
            and self.steps == ()
            and self.turn == Reorientation((0, 1, 2), ())
            and self.order == (0, 1, 2)
        )

    @property
    def network_shape(self) -> Shape:
        """The spatial shape that the network sees; the first axis counts slices for a 2D network."""
        shape = self.known_steps[-1].shape if self.known_steps else self.turned_shape
        a, b, c = (shape[axis] for axis in self.order)
        return a, b, c

    @property
    def network_spacing(self) -> Spacing:
        """Voxel size in mm along the axes of `network_shape`."""
        spacing = next((x.spacing for x in self.known_steps if isinstance(x, ResampleStep)), self.spacing)
        a, b, c = (spacing[axis] for axis in self.order)
        return a, b, c

    def forward_channel(self, volume: torch.Tensor, index: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """One channel (K, J, I) as the network sees it; `index` is its place among the network's channels.

        Where `out` (of the network's shape) is given, the channel is written there, too. As the gradient may be computed from
        it, it must stay as it is until then; the gradient may take its place, and can be asked for only once.
        """
        if self.turn.flips:
            unflipped, axes = self.without_flips()
            flipped = unflipped.forward_channel(volume, index).flip(axes)
            if out is not None:
                out.copy_(flipped.detach())
            return flipped
        target = None if out is None else out.permute(self._inverse)
        return _through(self.known_steps, self.turn.apply(volume), index, target).permute(self.order)

    def without_flips(self) -> tuple[PreprocessingOnGrid, tuple[int, ...]]:
        """The same steps without the flips of `turn`, and the network's axes that are flipped after them.

        The steps know which axes count from the other end, so that the flips can come last. They do so everywhere: rounding
        decides on which side of a mask's threshold a resampled voxel falls.
        """
        unflipped = replace(self, turn=Reorientation(self.turn.permutation, ()))
        return unflipped, tuple(self.order.index(axis) for axis in self.turn.flips)

    def graph_is_small(self, index: int) -> bool:
        """Whether autograd's graph of a channel holds little more than the channel before and after."""
        *before, last = self.known_steps or (None,)
        if any(isinstance(x, NormalizeStep) for x in before) or any(
            isinstance(x, ResampleStep) and x.into.clips for x in self.known_steps
        ):
            return False
        return not isinstance(last, NormalizeStep) or graph_is_small(last.of(index))

    def restore(self, logits: torch.Tensor, outside: Sequence[float] = (), mixes: Head | None = None) -> torch.Tensor:
        """Bring logits (N, *network_shape) back onto the case's own grid (N, K, J, I).

        Args:
            logits: what the network says.
            outside: what each of the N says where the network sees nothing; not needed unless something is cropped.
            mixes: the head whose probabilities are interpolated; None: the logits are.
        """
        import torch

        if self.turn.flips:
            unflipped, axes = self.without_flips()
            return unflipped.restore(logits.flip([1 + axis for axis in axes]), outside, mixes)
        answers = logits.permute(0, *(1 + axis for axis in self._inverse))
        around = torch.tensor(outside or [0.0] * len(logits))
        for step in reversed(self.known_steps):
            if isinstance(step, CropStep):
                answers = step.back(answers, around)
            elif isinstance(step, ResampleStep):
                answers = step.back(answers, mixes)
        seen = self._seen
        if seen is not None:
            answers = seen.put_back(seen.cut_out(answers, self.turned_shape), self.turned_shape, around)
        return self.turn.undo(answers)

    def shares(self, masks: torch.Tensor) -> torch.Tensor:
        """Masks (N, K, J, I), floating, as shares of the voxels (N, *network_shape): the inverse of `restore`."""
        if self.turn.flips:
            unflipped, axes = self.without_flips()
            return unflipped.shares(masks).flip([1 + axis for axis in axes])
        shares = self.turn.apply(masks)
        for step in self.known_steps:
            if isinstance(step, CropStep):
                shares = step.forward(shares)
            elif isinstance(step, ResampleStep):
                shares = step.shares(shares)
        return shares.permute(0, *(1 + axis for axis in self.order))

    @property
    def _inverse(self) -> tuple[int, int, int]:
        a, b, c = (self.order.index(axis) for axis in range(3))
        return a, b, c

    @property
    def _seen(self) -> Box | None:
        """The turned voxels that lie in a crop which came after resampling; None: there is no such crop."""
        crop = next((x for x in self.known_steps if isinstance(x, CropStep) and x.spreads), None)
        resampled = next((x for x in self.known_steps if isinstance(x, ResampleStep)), None)
        if crop is None or resampled is None:
            return None
        sides = []
        for axis, line in enumerate(resampled.out_of.axes):
            start, stop = max(0, crop.box.start[axis]), min(crop.box.stop[axis], crop.before[axis])
            if line is not None:
                nearest = line.nearest()
                # beside the outermost centres the nearest voxel is the outermost
                inside = (nearest.clip(0, line.count - 1) >= start) & (nearest.clip(0, line.count - 1) < stop)
                there = inside.nonzero()[0]
                start, stop = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, 0)
            sides.append((start, stop))
        return Box.of(sides)
