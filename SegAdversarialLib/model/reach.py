"""Which voxels of what a network sees depend on what may change of an image, and so which of its windows do.

What is found must never be too little: a window counts as reached wherever that cannot be ruled out. Statistics of the image,
such as the mean of a z-score, carry a change of one voxel to all that they are used for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from SegAdversarialLib.model.normalization import IntensityWindow, Squash, ZScore, steps_of
from SegAdversarialLib.model.preprocessing_steps import CropStep, NormalizeStep, ResampleStep, Step

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.preprocessing_on_grid import PreprocessingOnGrid
    from SegAdversarialLib.model.resampling import Interpolation
    from SegAdversarialLib.model.window_grid import WindowGrid


class Reach:
    """What is reached in the windows of one volume, found anew where what may change, the grid or the steps are others."""

    def __init__(self) -> None:
        self._allowed: torch.Tensor | None = None
        self._grid: WindowGrid | None = None
        self._steps: tuple[Step, ...] = ()
        self._fixed: list[bool] = []

    def fixed(
        self,
        allowed: torch.Tensor | None,
        channels: Sequence[torch.Tensor],
        positions: Sequence[int],
        steps: PreprocessingOnGrid,
        grid: WindowGrid,
    ) -> list[bool]:
        """For each window, whether nothing that may change reaches it; empty: all are reached.

        Args:
            allowed: (C, K, J, I) bool, what may change, or smaller by broadcasting; None: everything.
            channels: the network's, each (K, J, I), in its order.
            positions: of these among the C.
            steps: what is done to them, for this image.
            grid: the windows.
        """
        same = allowed is self._allowed and grid is self._grid and _are_same(steps.known_steps, self._steps)
        if not same:
            self._allowed, self._grid, self._steps = allowed, grid, steps.known_steps
            self._fixed = []
            if allowed is not None and tuple(allowed.shape[1:]) != (1, 1, 1):
                shape = channels[0].shape
                masks = [(allowed[p] if len(allowed) > 1 else allowed[0]).expand(shape) for p in positions]
                self._fixed = fixed_windows(reached(steps, channels, masks), grid)
        return self._fixed


def fixed_windows(reached: torch.Tensor, grid: WindowGrid) -> list[bool]:
    """For each window of a grid, whether none of its voxels is reached (*shape, bool); empty: all are."""
    padded = grid.pad(reached[None].byte())[0]
    found = [not bool(padded[place].any()) for place, _ in grid.views]
    return found if any(found) else []


def reached(steps: PreprocessingOnGrid, channels: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """The voxels (*network shape) bool that some channel's mask (K, J, I) bool reaches, values or derivatives alike."""
    import torch

    unflipped, axes = steps.without_flips()
    union: torch.Tensor | None = None
    with torch.no_grad():
        for n, (channel, mask) in enumerate(zip(channels, masks)):
            volume, found = unflipped.turn.apply(channel.detach()), unflipped.turn.apply(mask)
            for step in unflipped.known_steps:
                volume, found = _through(step, n, volume, found)
            union = found if union is None else union | found
    assert union is not None
    return union.permute(unflipped.order).flip(axes)


def _through(step: Step, channel: int, volume: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A channel (K, J, I) and what is reached of it, after a step."""
    if isinstance(step, CropStep):
        return step.forward(volume[None])[0], step.forward(mask[None].byte())[0] != 0
    if isinstance(step, ResampleStep):
        return step.forward(volume[None])[0], _interpolated(step.into, mask)
    return _normalized(step, channel, volume, mask)


def _normalized(
    step: NormalizeStep, channel: int, volume: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    if not mask.any():
        return volume, mask
    for one in steps_of(step.of(channel)):
        if isinstance(one, ZScore):
            mask = mask | _standardized(one, volume, step.filled)
            volume = one.apply(volume, step.filled)
        else:
            if not isinstance(one, (IntensityWindow, Squash)):
                mask = torch.ones_like(mask)
            volume = one.apply(volume)
    return volume, mask


def _standardized(step: ZScore, volume: torch.Tensor, filled: torch.Tensor | None) -> torch.Tensor:
    """The voxels that depend on a mean and a deviation: all, unless those outside the mask become a fixed number."""
    import torch

    if step.mask == "filled" and filled is not None:
        return filled
    if step.background is not None and step.mask in ("nonzero", "positive"):
        return volume != 0 if step.mask == "nonzero" else volume > 0
    return torch.ones_like(volume, dtype=torch.bool)


def _interpolated(into: Interpolation, mask: torch.Tensor) -> torch.Tensor:
    """What is reached of the other grid: where some weight is not 0, or a neighbour's is, as places are rounded."""
    import torch

    if into.clips:  # to the extremes of the whole volume
        return torch.full(into.shape, bool(mask.any()), dtype=torch.bool, device=mask.device)
    found = mask.to(torch.float32)
    for axis, line in enumerate(into.axes):
        if line is not None:
            weights = torch.from_numpy(line.matrix != 0).to(found)
            near = weights.clone()
            near[:, 1:] += weights[:, :-1]
            near[:, :-1] += weights[:, 1:]
            found = (torch.movedim(found, axis, -1) @ near.T > 0).to(found).movedim(-1, axis)
    return found > 0


def _are_same(some: Sequence[Step], others: Sequence[Step]) -> bool:
    """Whether steps are the same; those that hold masks must be the very same."""
    return len(some) == len(others) and all(
        one is other or (not isinstance(one, NormalizeStep) and one == other) for one, other in zip(some, others)
    )
