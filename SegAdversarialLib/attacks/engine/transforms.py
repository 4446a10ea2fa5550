"""What a scanner or a body can do to an image: kinds of changes, each within its own budget, and how several become one.

Each kind is steered by a control: a few numbers (for noise, many) that count in units of its budget. Bias field and velocity
are cubic B-splines, bent so that no value of the control leads out of the budget: x goes to x tanh(|x|) / |x|.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from SegAdversarialLib.changes.fields import (
    Box,
    affine_displacement,
    bspline_field,
    bspline_grid,
    compose,
    diffeomorphism_grid,
    integrate_velocity,
    largest_displacement,
    taper,
    warp,
)

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.engine.run import AttackRun

_REACH = 2.0
"""Controls of splines go this far: a spline is a mean of 64 of them, and at 2 the bent value is 0.96 of the budget."""

_BELOW = 1 - 1e-6
"""Keeps a displacement that was scaled to the budget below it when it is rounded."""


@dataclass(frozen=True)
class Change:
    """What has been done so far, in the order in which a `Perturbation` does it: warp, multiply, add; each part may be absent.

    Attributes:
        displacement: (3, K, J, I) in mm.
        log_bias: (C or 1, K, J, I).
        added: (C, K, J, I) in intensity units.
    """

    displacement: torch.Tensor | None = None
    log_bias: torch.Tensor | None = None
    added: torch.Tensor | None = None

    def moved(self, displacement: torch.Tensor, affine: np.ndarray) -> Change:
        """What came before moves along, so that the image itself is interpolated but once."""
        bias, added = (None if x is None else warp(x, displacement, affine) for x in (self.log_bias, self.added))
        before = self.displacement
        return Change(displacement if before is None else compose(before, displacement, affine), bias, added)

    def multiplied(self, log_bias: torch.Tensor) -> Change:
        """What was added before is multiplied, too."""
        total = log_bias if self.log_bias is None else self.log_bias + log_bias
        return Change(self.displacement, total, None if self.added is None else self.added * log_bias.exp())

    def plus(self, added: torch.Tensor) -> Change:
        """Something is added."""
        return replace(self, added=added if self.added is None else self.added + added)

    def of(self, image: torch.Tensor, affine: np.ndarray, box: Box | None = None) -> torch.Tensor:
        """An image (C, K, J, I) with the change carried out, differentiable; with a box, only this part is moved."""
        if self.displacement is not None and box is None:
            image = warp(image, self.displacement, affine)
        elif self.displacement is not None and box is not None:
            inside = warp(image, self.displacement, affine, box=box)
            image = image.clone()
            image[:, *box] = inside
        if self.log_bias is not None:
            image = image * self.log_bias.exp()
        return image if self.added is None else image + self.added


@dataclass(frozen=True, eq=False)
class Place:
    """Where changes take place.

    Attributes:
        shape, affine: of the volume.
        like: a tensor of the wanted type on the wanted device.
        mask: (K, J, I) bool, the region; None for everywhere.
        channels: how many the image has.
        positions: of those whose intensities may change.
        unit: (C, 1, 1, 1) each channel's largest absolute intensity.
        run: the attack at work.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    like: torch.Tensor
    mask: np.ndarray | None
    channels: int
    positions: tuple[int, ...]
    unit: torch.Tensor
    run: AttackRun

    @classmethod
    def of(cls, run: AttackRun, positions: Sequence[int]) -> Place:
        """An attack's case and region."""
        case, unit = run.case, torch.maximum(run.lowest.abs(), run.highest.abs())
        return cls(case.shape, case.affine, run.original, run.budget.region, len(case.channels), tuple(positions), unit, run)

    def window(self, width: float) -> torch.Tensor | None:
        """A weight (K, J, I): 0 outside the region, 1 from `width` mm inside on, or where it is deepest; None: 1 all over."""
        if self.mask is None:
            return None
        window = taper(self.mask, self.affine, width)
        return torch.from_numpy(window / window.max()).to(self.like)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """One volume for all channels that may change, or one for each, as (C, K, J, I): 0 in the other channels.

        Where there are no others it stays as it is.
        """
        if len(self.positions) == self.channels:
            return values
        places = torch.tensor(self.positions, device=values.device)
        every = values.new_zeros((self.channels, *values.shape[1:]))
        return every.index_copy(0, places, values.expand(len(places), *values.shape[1:]))


class Transform(ABC):
    """One kind of change within its budget."""

    name: ClassVar[str]
    moves: ClassVar[bool] = False
    """Whether it moves the anatomy."""
    pace: ClassVar[float]
    """Length of the first step that suits it, as a share of the budget."""
    decay: ClassVar[float] = 0.75
    """Weight of the earlier gradients: steps that turn round with every gradient waste most of them."""
    begins: ClassVar[float] = 0.1
    """Share of the budget of the random change that a search without draws begins with: where nothing moves, the slope of
    interpolated values is that towards one neighbour."""
    vectors: ClassVar[bool] = False
    """Whether the control's first axis counts the components of vectors."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    @abstractmethod
    def size(self) -> tuple[int, ...]:
        """The shape of the control."""

    @abstractmethod
    def add_to(self, change: Change, control: torch.Tensor) -> Change:
        """What was done so far, and then this; differentiable by the control."""

    def project(self, control: torch.Tensor) -> torch.Tensor:
        """The nearest control of the budget; works in place."""
        return control.clamp_(-1, 1)

    def rescaled(self, control: torch.Tensor, ratio: float) -> torch.Tensor:
        """The control that does about this share (0 to 1) of what `control` does."""
        return control * ratio

    def own_gradient(self, image: torch.Tensor) -> torch.Tensor | None:
        """The gradient by the image (C, K, J, I), in new memory, of what is climbed beside the loss; None: nothing."""
        return None

    def random(self, generator: torch.Generator, share: float) -> torch.Tensor:
        """A random control that uses a share of the budget."""
        drawn = torch.rand(self.size, generator=generator, dtype=torch.float32).mul_(2).sub_(1)
        return drawn.mul_(share / float(drawn.abs().max().clamp_min(1e-6))).to(self.place.like)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """Along the gradient; as long as the budget where it is larger than its root mean square, shorter elsewhere.

        So that what matters moves by all of it, and what does not matter stays where it is.
        """
        lengths = torch.linalg.vector_norm(gradient, dim=0, keepdim=True) if self.vectors else gradient.abs()
        mean = lengths.square().mean().sqrt().clamp_min(torch.finfo(gradient.dtype).tiny)
        return gradient.div_(lengths.clamp(min=mean))


class Noise(Transform):
    """Additive noise, at most `epsilon` of each channel's largest absolute intensity."""

    name, pace = "noise", 0.2

    def __init__(self, place: Place, epsilon: float) -> None:
        super().__init__(place)
        self._limit = epsilon * place.unit[list(place.positions)]
        if place.mask is not None:
            self._limit = self._limit * torch.from_numpy(place.mask).to(self._limit)

    @property
    def size(self) -> tuple[int, ...]:
        """One number for each voxel of each channel."""
        return (len(self.place.positions), *self.place.shape)

    def random(self, generator: torch.Generator, share: float) -> torch.Tensor:
        """Random signs: the whole budget at every voxel."""
        drawn = torch.randint(0, 2, self.size, generator=generator, dtype=torch.int8)
        return drawn.to(self.place.like).mul_(2).sub_(1).mul_(share)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient's sign."""
        return gradient.sign_()

    def add_to(self, change: Change, control: torch.Tensor) -> Change:
        """Add the noise."""
        return change.plus(self.place.spread(control * self._limit))


class Spline(Transform):
    """A change whose control lies on the points of a cubic B-spline."""

    def __init__(self, place: Place, fields: int, counts: tuple[int, int, int]) -> None:
        super().__init__(place)
        self._size = (fields, *counts)

    @property
    def size(self) -> tuple[int, ...]:
        """(fields, points along k, j, i)."""
        return self._size

    def project(self, control: torch.Tensor) -> torch.Tensor:
        """Bounded, although the budget holds anyhow: far out the gradient fades."""
        return control.clamp_(-_REACH, _REACH)

    def rescaled(self, control: torch.Tensor, ratio: float) -> torch.Tensor:
        """The bent control is that share of what it was."""
        if ratio == 1:
            return control
        length = torch.linalg.vector_norm(control, dim=0, keepdim=True) if self.vectors else control.abs()
        length = length.clamp_min(1e-6)
        return control * (torch.atanh(ratio * length.tanh()) / length)

    def random(self, generator: torch.Generator, share: float) -> torch.Tensor:
        """Normal draws, scaled so that the field comes close to that share of the budget somewhere."""
        drawn = torch.randn(self.size, generator=generator, dtype=torch.float32).to(self.place.like)
        field = self._spline(drawn)
        lengths = torch.linalg.vector_norm(field, dim=0) if self.vectors else field.abs()
        return drawn.mul_(share * _REACH / float(lengths.max().clamp_min(1e-6)))

    @abstractmethod
    def _spline(self, control: torch.Tensor) -> torch.Tensor:
        """The field before it is bent, in units of the budget."""


class Bias(Spline):
    """A smooth factor, at most `max_bias` away from 1: one for all channels, or one for each."""

    name, pace = "bias", 1.0

    def __init__(self, place: Place, max_bias: float, spacing_mm: float, per_channel: bool) -> None:
        counts, _ = bspline_grid(place.shape, place.affine, spacing_mm)
        super().__init__(place, len(place.positions) if per_channel else 1, counts)
        self._spacing = spacing_mm
        self._lowest, self._highest = bias_limits(max_bias)
        self._window = place.window(spacing_mm / 2)

    def add_to(self, change: Change, control: torch.Tensor) -> Change:
        """Multiply by the field."""
        bent = self._spline(control).tanh()
        field = torch.where(bent > 0, self._highest, -self._lowest) * bent
        if self._window is not None:
            field = field * self._window
        return change.multiplied(self.place.spread(field.clamp(self._lowest, self._highest)))

    def limited(self, log_bias: torch.Tensor) -> torch.Tensor:
        """A field that was moved, within the limits to the last bit."""
        return log_bias.clamp(self._lowest, self._highest)

    def _spline(self, control: torch.Tensor) -> torch.Tensor:
        return bspline_field(control, self.place.shape, self.place.affine, self._spacing)


def bias_limits(max_bias: float) -> tuple[float, float]:
    """The least and the greatest logarithm b of single precision with |exp(b) - 1| <= max_bias."""
    limits = []
    for sign in (-1, 1):
        limit = np.float32(np.log1p(sign * max_bias))
        while abs(np.expm1(np.float64(limit))) > max_bias:
            limit = np.nextafter(limit, np.float32(0))
        limits.append(float(limit))
    return limits[0], limits[1]


class Deformation(Spline):
    """A diffeomorphism from a stationary velocity; nothing moves further than `max_displacement` mm."""

    name, moves, vectors = "deformation", True, True
    pace = 0.15  # an interpolated image changes its texture with every fraction of a voxel: short steps

    def __init__(self, place: Place, max_displacement: float, spacing_mm: float) -> None:
        super().__init__(place, 3, diffeomorphism_grid(place.shape, place.affine, spacing_mm))
        self._largest, self._spacing = max_displacement, spacing_mm
        self._window = place.window(3 * max_displacement)

    def add_to(self, change: Change, control: torch.Tensor) -> Change:
        """Warp by the field. The velocity is nowhere faster than the budget, and so is no way longer."""
        place = self.place
        velocity = self._spline(control)
        speed = velocity.square().sum(0).clamp_min(1e-12).sqrt()
        velocity = velocity * (self._largest * speed.tanh() / speed)
        coarse = integrate_velocity(velocity, self._points[1])
        field = bspline_field(coarse, place.shape, place.affine, self._spacing / 2)
        if self._window is not None:
            field = field * self._window
        length = largest_displacement(field.detach().float())
        if length > self._largest:  # by rounding
            field = field * (self._largest / length * _BELOW)
        return change.moved(field, place.affine)

    def _spline(self, control: torch.Tensor) -> torch.Tensor:
        return bspline_field(control, *self._points, self._spacing)

    @cached_property
    def _points(self) -> tuple[tuple[int, int, int], np.ndarray]:
        return bspline_grid(self.place.shape, self.place.affine, self._spacing / 2)


class Affine(Transform):
    """A rotation (degrees), a translation (mm) and a scale (percent), each bounded along or about each of the body's axes."""

    name, moves, pace = "affine", True, 0.15

    def __init__(self, place: Place, rotation: float, translation: float, scale: float) -> None:
        super().__init__(place)
        self._budget = torch.tensor([rotation, translation, scale / 100], dtype=torch.float64)[:, None].to(place.like)
        middle, radius = place.affine @ [*((np.array(place.shape[::-1]) - 1) / 2), 1], 0.0
        if place.mask is not None:
            inside = np.argwhere(place.mask)[:, ::-1] @ place.affine[:3, :3].T + place.affine[:3, 3]
            middle = inside.mean(0)
            radius = float(np.linalg.norm(inside - middle, axis=1).max())
        self._centre = (float(middle[0]), float(middle[1]), float(middle[2]))
        reach = translation + radius * (np.deg2rad(rotation) + scale / 100)
        self._window = place.window(3 * reach)

    @property
    def size(self) -> tuple[int, ...]:
        """Rotation, translation and scale, each for the axes to the right, to the front and upwards."""
        return (3, 3)

    def add_to(self, change: Change, control: torch.Tensor) -> Change:
        """Warp by the affine map."""
        rotation, translation, scale = control * self._budget
        place = self.place
        field = affine_displacement(rotation, translation, 1 + scale, place.shape, place.affine, self._centre)
        if self._window is not None:
            field = field * self._window
        return change.moved(field, place.affine)
