"""The 3D and the 2D U-Net of Liu et al. 2021, "Robustifying Deep Networks for Medical Image Segmentation", J Digit
Imaging 34.

Figure 1 there; the text is the supplement's "Description of 3D-Unet": 28 blocks of convolution, instance
norm and leaky ReLU.

- Encoder: 15 blocks of 3^3 in five levels of three: one that halves the size (but in the first level), and two with dropout
  of 0.3 between them, to whose answer that of the first is added.
- Decoder: at each of four levels the upsampled image through a 3^3 block, and after the concatenation a 3^3 and a 1^3 block.
- "Residual links": at the three finest levels a 1^3 convolution, with as many kernels as there are classes; the sum of their
  upsampled answers is the network's. A softmax follows, which is left to the loss here.

Fifteen blocks and twelve are 27, and the text names no other: the 28th is here a 3^3 block at full size, before the last
1^3 convolution. Nothing is said of the width (here 16 kernels, twice as many at each level; in the decoder those of its
level), the slope (0.01), the upsampling (nearest neighbour) or weights in the instance norm (yes). The supplement halves
sizes with one voxel of zeros on the left and two on the right: the second one on the right is only read by an output more
than half the size has, so that it is left out.
"""

from __future__ import annotations

import torch

from SegAdversarialLib.networks.sizes import cropped, enlarged, padded

_LEVELS, _LINKS = 5, 3


class _LiuUNet(torch.nn.Module):
    """(B, in_channels, *size) to logits (B, out_channels, *size), for any size."""

    def __init__(
        self, dimensions: int, in_channels: int, out_channels: int, features: int, dropout: float, slope: float
    ) -> None:
        super().__init__()
        self.least = 2 ** (_LEVELS - 1) + 1

        def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> torch.nn.Module:
            return _block(dimensions, inputs, outputs, kernel, stride, slope)

        widths = [features << level for level in range(_LEVELS)]
        self.entries = torch.nn.ModuleList(
            block(inputs, width, stride=1 if level == 0 else 2)
            for level, (inputs, width) in enumerate(zip([in_channels, *widths], widths))
        )
        drop = torch.nn.Dropout3d if dimensions == 3 else torch.nn.Dropout2d
        self.contexts = torch.nn.ModuleList(
            torch.nn.Sequential(block(width, width), drop(dropout), block(width, width)) for width in widths
        )
        finer = list(zip(widths, widths[1:]))[::-1]
        self.rises = torch.nn.ModuleList(block(below, width) for width, below in finer)
        self.mixings = torch.nn.ModuleList(
            torch.nn.Sequential(block(2 * width, width), block(width, width, 1)) for width, _ in finer
        )
        self.last = block(features, features)
        one = torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d
        self.links = torch.nn.ModuleList(one(width, out_channels, 1) for width in widths[:_LINKS][::-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, out_channels, *size) of (B, in_channels, *size)."""
        # an instance norm needs more than one voxel at the lowest level
        inside = padded(x, self.least)
        passed: list[torch.Tensor] = []
        inner = inside
        for entry, context in zip(self.entries, self.contexts):
            entered = entry(inner)
            inner = entered + context(entered)
            passed.append(inner)
        levels: list[torch.Tensor] = []
        for level, (rise, mixing) in enumerate(zip(self.rises, self.mixings)):
            beside = passed[len(passed) - 2 - level]
            inner = mixing(torch.cat([rise(enlarged(inner, beside)), beside], 1))
            levels.append(inner)
        levels[-1] = self.last(levels[-1])
        logits = torch.zeros([1], dtype=x.dtype, device=x.device)
        for place, link in enumerate(self.links):
            here = link(levels[len(levels) - len(self.links) + place])
            logits = here if place == 0 else here + enlarged(logits, here)
        return cropped(logits, x)


class LiuUNet3D(_LiuUNet):
    """Liu's 3D U-Net: 28 blocks, 15 of them in the encoder (J Digit Imaging 34, Figure 1; supplement).

    Args:
        in_channels: images that go in; four in the paper.
        out_channels: classes.
        features: kernels of the first level; each level has twice as many as the one above.
        dropout: share of the channels that are left out in training, once at each level.
        slope: of the leaky ReLU below 0.
    """

    def __init__(
        self, in_channels: int = 4, out_channels: int = 4, features: int = 16, dropout: float = 0.3, slope: float = 0.01
    ) -> None:
        super().__init__(3, in_channels, out_channels, features, dropout, slope)


class LiuUNet2D(_LiuUNet):
    """The same network with 2D convolutions, for axial slices.

    Liu et al. call their 2D network the classic U-Net of Ronneberger et al. 2015 and give no figure of it; so that both can be
    compared it is here the 3D one without the third axis. `PervinUNet` is a classic one.

    Args: as `LiuUNet3D`.
    """

    def __init__(
        self, in_channels: int = 4, out_channels: int = 4, features: int = 16, dropout: float = 0.3, slope: float = 0.01
    ) -> None:
        super().__init__(2, in_channels, out_channels, features, dropout, slope)


def _block(dimensions: int, inputs: int, outputs: int, kernel: int, stride: int, slope: float) -> torch.nn.Module:
    """Convolution, instance norm, leaky ReLU; with a stride of 2 sizes are halved, and rounded up."""
    convolution = torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d
    norm = torch.nn.InstanceNorm3d if dimensions == 3 else torch.nn.InstanceNorm2d
    return torch.nn.Sequential(
        convolution(inputs, outputs, kernel, stride, kernel // 2), norm(outputs, affine=True), torch.nn.LeakyReLU(slope)
    )
