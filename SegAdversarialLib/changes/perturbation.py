"""What an attack did to an image, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.geometry import sizes

_REMAINDER = 1e-4


@checked
@dataclass(frozen=True, eq=False)
class Perturbation:
    """The difference between an image and its adversarial version, in up to three parts; each may be absent.

    They are carried out in this order: the image is warped by the displacement, multiplied by exp(log_bias), and the
    additive part is added (Chen et al. 2019 warp and then add, too). A part of zeros changes nothing, bit for bit.

    Attributes:
        additive: (C, K, J, I) float32 in the channels' own intensity units, or None.
        log_bias: (C, K, J, I), or (1, K, J, I) for all channels, float32: the logarithm of a factor; or None.
        displacement: (3, K, J, I) float32 in mm, RAS components, or None. The warped image at the world point p is the
            image at p + displacement(p) (`fields.warp`).

    Raises:
        InputError: a part has a wrong shape, the parts lie on different grids, or a part holds NaN or infinities.
    """

    additive: np.ndarray | None = None
    log_bias: np.ndarray | None = None
    displacement: np.ndarray | None = None

    def __post_init__(self) -> None:
        grids = {}
        for name, values in self.parts().items():
            array = np.ascontiguousarray(values, dtype=np.float32)
            if array.ndim != 4 or (name == "displacement" and array.shape[0] != 3):
                first = "3" if name == "displacement" else "channels"
                raise InputError(f"The part {name} must have the shape ({first}, slices, rows, columns), not {array.shape}.")
            if not np.isfinite(array).all():
                raise InputError(f"The part {name} holds NaN or infinities; an attack must give finite numbers.")
            object.__setattr__(self, name, array)
            grids[name] = array.shape[1:]
        if len(set(grids.values())) > 1:
            raise InputError(f"All parts of a perturbation must lie on one grid; their shapes are {grids}.")

    def __repr__(self) -> str:
        units = {"displacement": "mm", "log_bias": "(logarithm)", "additive": "(intensity)"}
        parts = [
            f"{name} {len(values)} x {sizes(values.shape[1:])} up to {np.abs(values).max(initial=0):.3g} {units[name]}"
            for name, values in self.parts().items()
        ]
        return f"<Perturbation: {', '.join(parts) or 'none'}>"

    @classmethod
    def between(
        cls, original: Case, adversarial: Case, *, log_bias: np.ndarray | None = None, displacement: np.ndarray | None = None
    ) -> Perturbation:
        """What leads from one image to the other: the parts that are given, and what must be added beyond them.

        That remainder, such as what clipping and rounding to integers did, is left out where it is below a ten-thousandth of
        each channel's largest absolute intensity: another device's rounding.
        """
        if log_bias is None and displacement is None:
            return cls(additive=adversarial.image - original.image)
        parts = cls(log_bias=log_bias, displacement=displacement)
        remainder = adversarial.image - parts.apply(original).image
        largest = np.abs(original.image).max(axis=(1, 2, 3), keepdims=True)
        return replace(parts, additive=remainder) if (np.abs(remainder) > _REMAINDER * largest).any() else parts

    def parts(self) -> dict[str, np.ndarray]:
        """The parts that are there, by their names, in the order in which they are carried out."""
        named = {"displacement": self.displacement, "log_bias": self.log_bias, "additive": self.additive}
        return {name: values for name, values in named.items() if values is not None}

    @checked
    def apply(
        self,
        case: Case,
        *,
        warp_label: bool = False,
        allowed_range: tuple[Any, Any] | None = None,
    ) -> Case:
        """The case with the perturbation carried out.

        Args:
            case: on the perturbation's grid, with as many channels.
            warp_label: move the reference labels with the image (by nearest neighbour); else they stay.
            allowed_range: the least and the largest intensity, numbers or one for each channel, to which the result is
                clipped.

        Raises:
            InputError: the case has another grid or other channels.
        """
        self._check(case)
        image, label = case.image, case.label
        if self.displacement is not None:
            image = warped(image, self.displacement, case.affine, "linear")
            if warp_label and label is not None:
                label = warped(label[None], self.displacement, case.affine, "nearest")[0]
        if self.log_bias is not None:
            image = image * np.exp(self.log_bias)
        if self.additive is not None:
            image = image + self.additive
        if allowed_range is not None:
            low, high = (np.asarray(x, dtype=np.float32).reshape(-1, 1, 1, 1) for x in allowed_range)
            image = np.clip(image, low, high)
        return case if image is case.image else replace(case, image=image, label=label)

    def compose(self, other: Perturbation, affine: np.ndarray) -> Perturbation:
        """One perturbation that does what this one and then another one do.

        Exact up to rounding where the other one does not warp, or this one only adds. Else it is an approximation, the better
        the smoother image and fields are: the image is interpolated once, not twice, and the product of two interpolated
        fields stands for the interpolated product. What is clipped in between is not known to either.

        Args:
            affine: 4x4, IJK to RAS, in mm, of both.

        Raises:
            InputError: the two do not fit the same image.
        """
        self._check_fits(other)
        displacement, log_bias, additive = self.displacement, self.log_bias, self.additive
        if other.displacement is not None:
            moved = [
                None if part is None else warped(part, other.displacement, affine, "linear")
                for part in (displacement, log_bias, additive)
            ]
            displacement, log_bias, additive = _sum(moved[0], other.displacement), moved[1], moved[2]
        if other.log_bias is not None:
            log_bias = _sum(log_bias, other.log_bias)
            additive = None if additive is None else additive * np.exp(other.log_bias)
        return Perturbation(_sum(additive, other.additive), log_bias, displacement)

    def linf(self) -> np.ndarray:
        """The largest absolute value of the additive part in each channel: (C,), in intensity units."""
        return np.zeros(0) if self.additive is None else np.abs(self.additive).max(axis=(1, 2, 3))

    def l2(self) -> np.ndarray:
        """The Euclidean norm of the additive part in each channel: (C,), in intensity units."""
        if self.additive is None:
            return np.zeros(0)
        return np.sqrt((self.additive.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))

    def perceptibility(self, original: Case) -> np.ndarray:
        """Mean absolute change in standard deviations of each channel: (C,) (Chen et al. 2019, eq. 7)."""
        from SegAdversarialLib.metrics import perceptibility

        return np.array([perceptibility(*x) for x in zip(original.image, self.apply(original).image)])

    def max_bias(self) -> np.ndarray:
        """The largest |exp(log_bias) - 1| of each field: (C,) or (1,); 0.1 is a change of 10 %. Empty without a bias field."""
        if self.log_bias is None:
            return np.zeros(0)
        return np.abs(np.expm1(self.log_bias.astype(np.float64))).max(axis=(1, 2, 3))

    def displacement_lengths(self) -> np.ndarray:
        """How far each voxel's value is fetched from: (K, J, I) float64, in mm.

        Raises:
            InputError: there is no displacement.
        """
        if self.displacement is None:
            raise InputError("This perturbation has no displacement.")
        return np.sqrt((self.displacement.astype(np.float64) ** 2).sum(axis=0))

    def max_displacement(self) -> float:
        """The longest displacement in mm; 0 without one."""
        return 0.0 if self.displacement is None else float(self.displacement_lengths().max())

    def min_jacobian(self, affine: np.ndarray) -> float:
        """The least Jacobian determinant of p -> p + displacement(p); 1 without a displacement, 0 or less where it folds.

        Args:
            affine: 4x4, IJK to RAS, in mm.
        """
        if self.displacement is None:
            return 1.0
        import torch

        from SegAdversarialLib.changes.fields import jacobian_determinant

        displacement = torch.from_numpy(np.require(self.displacement, requirements=["C", "W"]))
        return float(jacobian_determinant(displacement, affine).min())

    def describe(self, case: Case) -> dict[str, Any]:
        """The sizes of the parts that are there, as plain JSON data.

        Args:
            case: the original, for names and geometry.
        """
        found: dict[str, Any] = {}
        if self.additive is not None:
            found["largest_addition"] = dict(zip(case.channels, self.linf().tolist()))
        if self.log_bias is not None:
            found["max_bias_percent"] = by_channel(case.channels, (100 * self.max_bias()).tolist())
        if self.displacement is not None:
            found["max_displacement_mm"] = self.max_displacement()
            found["mean_displacement_mm"] = float(self.displacement_lengths().mean())
            found["min_jacobian_determinant"] = self.min_jacobian(case.affine)
        return found

    def measured(self, case: Case) -> list[tuple[str, str, str, float]]:
        """How strong bias field and displacement are: rows of channel, metric, unit and value, for tables.

        Args:
            case: the original, for names and geometry.
        """
        rows: list[tuple[str, str, str, float]] = []
        if self.log_bias is not None:
            bias = by_channel(case.channels, (100 * self.max_bias()).tolist())
            rows += [(channel, "Max bias", "%", value) for channel, value in bias.items()]
        if self.displacement is not None:
            lengths = self.displacement_lengths()
            rows += [
                (ALL_CHANNELS, "Max displacement", "mm", float(lengths.max())),
                (ALL_CHANNELS, "Mean displacement", "mm", float(lengths.mean())),
                (ALL_CHANNELS, "Min Jacobian", "", self.min_jacobian(case.affine)),
            ]
        return rows

    def _check(self, case: Case) -> None:
        for name, values in self.parts().items():
            count = {"displacement": (3,), "log_bias": (1, len(case.channels))}.get(name, (len(case.channels),))
            if values.shape[0] not in count or values.shape[1:] != case.shape:
                raise InputError(
                    f"The perturbation's part {name} has the shape {values.shape}; it does not fit {case.name or 'the case'} "
                    f"with {len(case.channels)} channel(s) of the shape {case.shape}."
                )

    def _check_fits(self, other: Perturbation) -> None:
        every = [*self.parts().items(), *other.parts().items()]
        counts = {values.shape[0] for name, values in every if name != "displacement"} - {1}
        if len({values.shape[1:] for _, values in every}) > 1 or len(counts) > 1:
            raise InputError(
                "Two perturbations can be joined only if they have the same channels and grid; their shapes are "
                f"{', '.join(f'{name} {values.shape}' for name, values in every)}."
            )


ALL_CHANNELS = "all channels"
"""What stands for the channel where a part of a perturbation is the same for all of them."""


def by_channel(channels: tuple[str, ...], values: list[float]) -> Mapping[str, float]:
    """Values for each channel by their names; a single one for several channels under `ALL_CHANNELS`."""
    return dict(zip(channels, values)) if len(values) == len(channels) else {ALL_CHANNELS: values[0]}


def warped(volume: np.ndarray, displacement: np.ndarray, affine: np.ndarray, mode: Any) -> np.ndarray:
    """`fields.warp` of arrays."""
    import torch

    from SegAdversarialLib.changes.fields import warp

    # torch does not take arrays that must not be written to
    source, field = (torch.from_numpy(np.require(x, requirements=["C", "W"])) for x in (volume, displacement))
    return warp(source, field, affine, mode).numpy()


def _sum(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
