"""Gaussian noise on the voxels that a network is shown, in the scanner's own units, drawn by number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.intensity import IntensityRange

if TYPE_CHECKING:
    import torch

SigmaUnits = Literal["relative", "absolute"]


@dataclass(frozen=True)
class GaussianNoise:
    """Independent normal noise on every voxel of the channels that a network takes.

    Every voxel gets it, padding and air too, and nothing is clipped or masked: randomised smoothing (Cohen et al. 2019) holds
    for the whole Gaussian distribution, and for no other.

    Attributes:
        sigmas: the standard deviation for each channel, in scanner units.
        positions: where these channels are in an image.
        seed: the same seed and number draw the same noise, on every device.
    """

    sigmas: Mapping[str, float]
    positions: tuple[int, ...]
    seed: int = 0

    @classmethod
    def on(
        cls,
        case: Case,
        channels: Sequence[str],
        sigma: float | Mapping[str, float],
        units: SigmaUnits = "relative",
        seed: int = 0,
    ) -> GaussianNoise:
        """The noise for a case.

        Args:
            case: the subject.
            channels: those that the network takes.
            sigma: one for all channels, or one for each by name.
            units: "relative": a fraction of each channel's largest absolute intensity in this case, padding left out, as an
                attack's epsilon; "absolute": scanner units.
            seed: of all draws, 0 or more.

        Raises:
            InputError: a standard deviation is not above 0, or missing; a channel is 0 everywhere, so that nothing is
                relative to it; the seed is negative.
        """
        if seed < 0:
            raise InputError(f"The seed must be 0 or more; it is {seed}.")
        wanted = _by_channel(sigma, channels)
        positions = [case.channel_index(x) for x in channels]
        units_of = [IntensityRange.of(case.image[n]).largest if units == "relative" else 1.0 for n in positions]
        for channel, unit in zip(channels, units_of):
            if unit == 0:
                raise InputError(
                    f"Channel {channel} is 0 everywhere, so that a sigma relative to its largest intensity is no noise; give "
                    'sigma in scanner units (sigma_units="absolute").'
                )
        return cls({x: wanted[x] * unit for x, unit in zip(channels, units_of)}, tuple(positions), seed)

    def add(self, image: torch.Tensor, number: int) -> torch.Tensor:
        """Add the draw of this number to an image (C, K, J, I), in place; drawn on the CPU, whatever the image's device."""
        import torch

        for (channel, sigma), position in zip(self.sigmas.items(), self.positions):
            # a stream for each channel and draw: torch's generator on a CPU knows 32 bits of a seed, too few for many draws
            key = np.random.SeedSequence([self.seed, number, *channel.lower().encode()])
            drawn = np.random.Generator(np.random.PCG64(key)).standard_normal(image.shape[1:], dtype=np.float32)
            image[position].add_(torch.from_numpy(drawn).to(image), alpha=sigma)
        return image


def _by_channel(sigma: float | Mapping[str, float], channels: Sequence[str]) -> dict[str, float]:
    """The standard deviation of each channel."""
    if isinstance(sigma, Mapping):
        given = {str(name).lower(): value for name, value in sigma.items()}
        for name in sigma:
            if str(name).lower() not in {x.lower() for x in channels}:
                raise InputError(f"Sigma is given for {name}; the network takes {', '.join(channels)}.")
        for channel in channels:
            if channel.lower() not in given:
                raise InputError(
                    f"Sigma is missing for channel {channel}: a channel without noise can be certified against nothing; give "
                    "one for each channel that the network takes."
                )
        found = {channel: float(given[channel.lower()]) for channel in channels}
    else:
        found = dict.fromkeys(channels, float(sigma))
    for value in found.values():
        if not (0 < value < math.inf):
            raise InputError(f"Sigma must be above 0 and finite; it is {value}.")
    return found
