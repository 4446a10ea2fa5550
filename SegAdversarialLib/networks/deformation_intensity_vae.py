"""Chen et al.'s generator of adversarial images: one encoder, two latents, two decoders, and the critic that it has to fool.

The paper (Chen et al. 2019, "Intelligent image synthesis to attack a segmentation CNN using adversarial learning") says: an
encoding CNN, the latents z_D and z_V, two decoders of the same architecture that do not share weights, a Wasserstein critic,
batch normalisation after convolutions, leaky ReLU with slope 0.2. It says nothing of kernel sizes, of numbers of features, of
latents and of upsampling. Chosen here:

- 3^n convolutions with stride 2; the encoder halves the image once for each entry of `features`, transposed convolutions in
  the decoders double it again, but for the last time.
- The latents are maps at the coarsest size, not vectors, so that images of every size go through.
- Group normalisation in the place of batch normalisation: batches are of one volume, and a batch's statistics are then noise.
- The decoders end in bounded fields at half the image's size, smoothed by a Gaussian: the paper's penalty on the fields' norm
  keeps them small, but nothing in it keeps them smooth. A displacement whose largest length is at most the Gaussian's standard
  deviation cannot fold: no derivative of a smoothed field is larger than sqrt(2 / pi) times its bound divided by the standard
  deviation.
- One generator for a range of xi, which it gets as an input; the paper trains one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as functional
from monai.networks.blocks import Convolution
from monai.networks.layers import gaussian_1d

Dimensions = Literal[2, 3]

_SLOPE = 0.2
_GROUPS = 4
_LARGEST_XI = 3.0
_LEAST_LOG_VARIANCE, _GREATEST_LOG_VARIANCE = -10.0, 4.0


class Gaussian(NamedTuple):
    """A normal distribution of a latent, voxel by voxel: `mean` and `log_variance` (B, latents, *coarse size)."""

    mean: torch.Tensor
    log_variance: torch.Tensor

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """The latent that standard normal noise of the same shape stands for."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> torch.Tensor:
        """Kullback-Leibler divergence from the standard normal distribution, in nats, averaged over the latents."""
        return 0.5 * (self.mean**2 + self.log_variance.exp() - 1 - self.log_variance).mean()


class Latents(NamedTuple):
    """What the encoder says of an image: the distributions of z_D and z_V."""

    deformation: Gaussian
    intensity: Gaussian


class DeformationIntensityVAE(torch.nn.Module):
    """From a standardised image to a smooth deformation D and a smooth intensity variation V.

    Args:
        dimensions: 2 for slices, 3 for volumes.
        channels: of the image.
        features: of the encoder's levels, each of which halves the image; multiples of 4.
        latents: channels of each latent.
        largest_displacement: bound of D's length, in any unit: D comes in the same.
        largest_intensity: bound of |V|, in standard deviations of the image.
        smoothing: standard deviation of the Gaussian that ends the decoders, in voxels of the image along each axis.
        conditional: whether xi is an input, so that one generator serves a range; both fields are then 0 for xi = 0.
    """

    def __init__(
        self,
        dimensions: Dimensions,
        channels: int,
        features: Sequence[int],
        latents: int,
        largest_displacement: float,
        largest_intensity: float,
        smoothing: Sequence[float],
        conditional: bool,
    ) -> None:
        super().__init__()
        self.dimensions, self.conditional, self.multiple = dimensions, conditional, 2 ** len(features)
        self.latents = latents
        self.largest_displacement, self.largest_intensity = largest_displacement, largest_intensity
        inputs = channels + conditional
        levels = [_block(dimensions, a, b) for a, b in zip((inputs, *features), features)]
        self.encoder = torch.nn.Sequential(*levels)
        self.distributions = _plain(dimensions, features[-1], 4 * latents)
        self.deformation = _Decoder(dimensions, latents, features, dimensions, smoothing, conditional)
        self.intensity = _Decoder(dimensions, latents, features, channels, smoothing, conditional)

    def encode(self, image: torch.Tensor, xi: torch.Tensor) -> Latents:
        """The latents' distributions for images (B, C, *size), `size` in multiples of `multiple`, and xi (B,)."""
        seen = torch.cat([image, _spread(xi, image)], 1) if self.conditional else image
        mean_d, variance_d, mean_v, variance_v = self.distributions(self.encoder(seen)).chunk(4, 1)
        return Latents(*(Gaussian(m, _limited(v)) for m, v in ((mean_d, variance_d), (mean_v, variance_v))))

    def decode(
        self, deformation: torch.Tensor, intensity: torch.Tensor, xi: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """D (B, dimensions, *size), its components in the order of the axes, and V (B, C, *size), of two latents and xi."""
        raw = self.deformation(deformation, xi)
        displacement = self.largest_displacement * raw / (1 + (raw**2).sum(1, keepdim=True)).sqrt()
        raw = self.intensity(intensity, xi)
        variation = self.largest_intensity * raw / (1 + raw**2).sqrt()
        return self.deformation.finished(displacement), self.intensity.finished(variation)


class Critic(torch.nn.Module):
    """A Wasserstein critic: (B, C, *size) to a number each, (B,); large for what looks like an unchanged image.

    Strided 3^n convolutions with leaky ReLU, normalised from the second on, averaged over the image. The normalisations have
    no weights of their own, since clipping (`clip`) would make them vanish.
    """

    def __init__(self, dimensions: Dimensions, channels: int, features: Sequence[int]) -> None:
        super().__init__()
        levels = [_block(dimensions, channels, features[0], norm=None)]
        levels += [_block(dimensions, a, b, affine=False) for a, b in zip(features, features[1:])]
        self.levels = torch.nn.Sequential(*levels)
        self.score = torch.nn.Linear(features[-1], 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.score(self.levels(image).flatten(2).mean(2))[:, 0]

    @torch.no_grad()
    def clip(self, limit: float) -> None:
        """Keep every weight within [-limit, limit], so that the critic is Lipschitz (Arjovsky et al. 2017, algorithm 1)."""
        for parameter in self.parameters():
            parameter.clamp_(-limit, limit)


class _Decoder(torch.nn.Module):
    """A latent at the coarsest size to a field at half the image's size; `finished` smooths it and brings it to full size."""

    def __init__(
        self,
        dimensions: Dimensions,
        latents: int,
        features: Sequence[int],
        outputs: int,
        smoothing: Sequence[float],
        conditional: bool,
    ) -> None:
        super().__init__()
        mode = "trilinear" if dimensions == 3 else "bilinear"
        self._conditional = conditional
        widths = [latents + conditional, *reversed(features[:-1])]
        levels = [_block(dimensions, a, b, rising=True) for a, b in zip(widths, widths[1:])]
        self.levels = torch.nn.Sequential(*levels, _plain(dimensions, widths[-1], outputs))
        self.gain = torch.nn.Linear(1, outputs) if conditional else None
        self._sigmas = [sigma / 2 for sigma in smoothing]
        self._double = torch.nn.Upsample(scale_factor=2, mode=mode, align_corners=False)

    def forward(self, latent: torch.Tensor, xi: torch.Tensor) -> torch.Tensor:
        field = self.levels(torch.cat([latent, _spread(xi, latent)], 1) if self._conditional else latent)
        if self.gain is not None:
            share = xi[:, None] / _LARGEST_XI
            gain = share * functional.softplus(self.gain(share))
            field = field * gain.reshape(*gain.shape, *(1,) * (field.ndim - 2))
        return field

    def finished(self, field: torch.Tensor) -> torch.Tensor:
        return self._double(_smoothed(field, self._sigmas))


def _block(
    dimensions: int, inputs: int, outputs: int, *, rising: bool = False, norm: str | None = "GROUP", affine: bool = True
) -> torch.nn.Module:
    """3^n convolution that halves the image, or transposed doubles it; normalisation, leaky ReLU."""
    return Convolution(
        dimensions,
        inputs,
        outputs,
        strides=2,
        adn_ordering="NA",
        act=("LEAKYRELU", {"negative_slope": _SLOPE}),
        norm=(norm, {"num_groups": _GROUPS, "affine": affine}) if norm else None,
        is_transposed=rising,
    )


def _plain(dimensions: int, inputs: int, outputs: int) -> torch.nn.Module:
    """1^n convolution."""
    return Convolution(dimensions, inputs, outputs, kernel_size=1, conv_only=True)


def _spread(xi: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """xi (B,) as one more channel of an image (B, C, *size), 1 for the paper's largest."""
    return (xi / _LARGEST_XI).reshape(-1, *(1,) * (image.ndim - 1)).expand(-1, 1, *image.shape[2:])


def _smoothed(field: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """A field (B, N, *size) convolved with a Gaussian along each axis; 0 outside, so that it fades towards the border."""
    for axis, sigma in enumerate(sigmas, 2):
        # a product with a banded matrix is many times quicker than MONAI's separable filter on a CPU
        weights = gaussian_1d(torch.tensor(sigma), truncated=4.0, approx="erf", normalize=True).to(field)
        size, radius = field.shape[axis], len(weights) // 2
        apart = torch.arange(size, device=field.device)
        apart = apart[:, None] - apart + radius
        band = torch.where((apart >= 0) & (apart < len(weights)), weights[apart.clamp(0, len(weights) - 1)], 0)
        field = (field.movedim(axis, -1) @ band).movedim(-1, axis)
    return field


def _limited(log_variance: torch.Tensor) -> torch.Tensor:
    return log_variance.clamp(_LEAST_LOG_VARIANCE, _GREATEST_LOG_VARIANCE)
