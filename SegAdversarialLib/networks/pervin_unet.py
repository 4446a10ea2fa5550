"""The U-Net of Pervin et al. 2023, "Adversarial attack driven data augmentation for medical images", IJECE.

Section 3.1: from 128 x 128 x 3 down to 8 x 8 x 256 with convolutions and max-pooling, up again to 128 x 128 x 1 with
transposed convolutions, features of the encoder beside them at each level. Four halvings to 256 channels make 16, 32, 64,
128, 256. What it does not say is taken from Ronneberger et al. 2015, whose network it names: two 3 x 3 convolutions with
ReLU at each level, pooling and transposed convolutions of 2 x 2, a last 1 x 1, first weights from a normal distribution of
standard deviation sqrt(2 / N) (its Section 3), N the values that one result is made of; convolutions are padded with zeros,
because sizes stay; no dropout, no norm. Without a norm the first weights decide: with PyTorch's own an image's contrast has
faded to a thousandth at the end of the network.
"""

from __future__ import annotations

import torch

from SegAdversarialLib.networks.sizes import cropped, padded

_LEVELS = 5


class PervinUNet(torch.nn.Module):
    """Pervin's U-Net (Section 3.1): (B, in_channels, J, I) to logits (B, out_channels, J, I), for any size.

    Args:
        in_channels: images that go in; three in the paper.
        out_channels: classes; one in the paper, for a sigmoid.
        features: channels of the first level; 16 make the paper's 256 at the lowest.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 1, features: int = 16) -> None:
        super().__init__()
        self.multiple = 2 ** (_LEVELS - 1)
        widths = [features << level for level in range(_LEVELS)]
        self.down = torch.nn.ModuleList(_pair(inputs, width) for inputs, width in zip([in_channels, *widths], widths))
        self.pool = torch.nn.MaxPool2d(2)
        finer = list(zip(widths, widths[1:]))[::-1]
        self.rises = torch.nn.ModuleList(torch.nn.ConvTranspose2d(below, width, 2, 2) for width, below in finer)
        self.up = torch.nn.ModuleList(_pair(2 * width, width) for width, _ in finer)
        self.last = torch.nn.Conv2d(features, out_channels, 1)
        self.apply(_begin)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, out_channels, J, I) of (B, in_channels, J, I)."""
        inner = padded(x, 1, self.multiple)
        passed: list[torch.Tensor] = []
        for level, pair in enumerate(self.down):
            inner = pair(inner if level == 0 else self.pool(inner))
            passed.append(inner)
        for level, (rise, pair) in enumerate(zip(self.rises, self.up)):
            inner = pair(torch.cat([passed[len(passed) - 2 - level], rise(inner)], 1))
        return cropped(self.last(inner), x)


def _pair(inputs: int, outputs: int) -> torch.nn.Module:
    """Two 3 x 3 convolutions, each with a ReLU."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(inputs, outputs, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(outputs, outputs, 3, padding=1),
        torch.nn.ReLU(),
    )


def _begin(module: torch.nn.Module) -> None:
    """First weights that keep the size of what goes through; the biases are 0."""
    if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
        # a transposed convolution whose stride is its size reads one voxel of each channel
        taps = 1 if isinstance(module, torch.nn.ConvTranspose2d) else module.kernel_size[0] * module.kernel_size[1]
        torch.nn.init.normal_(module.weight, std=(2 / (taps * module.in_channels)) ** 0.5)
        assert module.bias is not None
        torch.nn.init.zeros_(module.bias)
