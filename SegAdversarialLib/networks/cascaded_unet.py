"""The cascaded U-Net with an encoder for each modality in the ensemble of Cheng & Ji 2020 (IEEE Access 8, Section V).

Cheng & Ji say of it that "a cascade of U-nets is used. Each U-net has multiple encoders that correspond to input modalities",
and name Lachinov et al. 2018, "Glioma Segmentation with Cascaded UNet" (arXiv 1810.04008), whose abstract adds that context
comes from models of the same topology on downscaled data. All else is chosen here: two stages, each at twice the resolution
of the one before; four levels of 16 to 128 channels with one residual block of group norms (of eight channels at most) at
each; the encoders' features go on as their largest; averages of 2^3 for the coarser image, trilinear upsampling, and as
context the coarser network's last features, concatenated with those of full size before the last residual block.
"""

from __future__ import annotations

import math

import torch

from SegAdversarialLib.networks.sizes import cropped, padded


class ChengCascadedUNet(torch.nn.Module):
    """Cheng's cascaded U-Net: (B, in_channels, K, J, I) to logits (B, out_channels, K, J, I), for any size.

    Args:
        in_channels: modalities, each of which gets encoders of its own; four in the paper.
        out_channels: classes.
        features: channels of the finest level; each level has twice as many as the one above.
        levels: of each U-Net.
        stages: U-Nets one after another, each at twice the resolution of the one before.
    """

    def __init__(
        self, in_channels: int = 4, out_channels: int = 4, features: int = 16, levels: int = 4, stages: int = 2
    ) -> None:
        super().__init__()
        self.multiple = 2 ** (levels - 1 + stages - 1)
        self.stages = torch.nn.ModuleList(
            _Stage(in_channels, features, levels, 0 if stage == 0 else features) for stage in range(stages)
        )
        self.last = torch.nn.Conv3d(features, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, out_channels, K, J, I) of (B, in_channels, K, J, I)."""
        images = [padded(x, 1, self.multiple)]
        for _ in range(len(self.stages) - 1):
            images.append(torch.nn.functional.avg_pool3d(images[-1], 2))
        context: torch.Tensor = images[-1][:, :0]
        for number, stage in enumerate(self.stages):
            image = images[len(images) - 1 - number]
            if number > 0:
                context = _doubled(context)
            context = stage(image, context)
        return cropped(self.last(context), x)


class _Stage(torch.nn.Module):
    """One U-Net: an image (B, C, K, J, I), and what a coarser one knew (B, context, K, J, I), to features of the same size."""

    def __init__(self, modalities: int, features: int, levels: int, context: int) -> None:
        super().__init__()
        widths = [features << level for level in range(levels)]
        self.encoders = torch.nn.ModuleList(_Encoder(widths) for _ in range(modalities))
        finer = list(zip(widths, widths[1:]))[::-1]
        self.rises = torch.nn.ModuleList(torch.nn.Conv3d(below, width, 1) for width, below in finer)
        self.mixings = torch.nn.ModuleList(_Residual(2 * width, width) for width, _ in finer)
        self.last = _Residual(features + context, features)

    def forward(self, image: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        largest: list[torch.Tensor] = []
        for modality, encoder in enumerate(self.encoders):
            found: list[torch.Tensor] = encoder(image[:, modality : modality + 1])
            largest = found if modality == 0 else [torch.maximum(x, y) for x, y in zip(largest, found)]
        inner = largest[-1]
        for level, (rise, mixing) in enumerate(zip(self.rises, self.mixings)):
            inner = mixing(torch.cat([largest[len(largest) - 2 - level], _doubled(rise(inner))], 1))
        features: torch.Tensor = self.last(torch.cat([inner, context], 1))
        return features


class _Encoder(torch.nn.Module):
    """One modality (B, 1, K, J, I) to its features at each level, the finest first."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.entry = torch.nn.Conv3d(1, widths[0], 3, padding=1)
        self.blocks = torch.nn.ModuleList(_Residual(width, width) for width in widths)
        self.halvings = torch.nn.ModuleList(torch.nn.Conv3d(width, below, 3, 2, 1) for width, below in zip(widths, widths[1:]))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        inner = self.entry(image)
        found: list[torch.Tensor] = []
        for block in self.blocks:
            found.append(block(inner))
            inner = found[-1]
            for level, halving in enumerate(self.halvings):
                if level == len(found) - 1:
                    inner = halving(found[-1])
        return found


class _Residual(torch.nn.Module):
    """Twice group norm, ReLU and 3^3 convolution, beside the image itself, or a 1^3 convolution of it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.path = torch.nn.Sequential(
            _norm(inputs),
            torch.nn.ReLU(),
            torch.nn.Conv3d(inputs, outputs, 3, padding=1),
            _norm(outputs),
            torch.nn.ReLU(),
            torch.nn.Conv3d(outputs, outputs, 3, padding=1),
        )
        self.beside = torch.nn.Identity() if inputs == outputs else torch.nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.path(x) + self.beside(x)
        return y


def _norm(channels: int) -> torch.nn.Module:
    return torch.nn.GroupNorm(channels // math.gcd(channels, 8), channels)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)
