"""What is done to a channel's intensities before a network sees them; each step with its gradient.

Masks are taken as they stand: they are step functions of the image, flat wherever they have a derivative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.model.strict_settings import StrictSettings

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.standardization import Inside

MaskKind = Literal["all", "positive", "nonzero", "above_mean", "filled"]


class ZScore(StrictSettings):
    """Subtract the mean and divide by the standard deviation of the voxels inside a mask, channel by channel."""

    kind: Literal["zscore"] = "zscore"
    mask: MaskKind = Field(
        "all",
        description="Voxels that count: all, above 0, other than 0, above the channel's mean; filled: other than 0 in any of "
        "the network's channels, with the holes between them (nnU-Net).",
    )
    background: float | None = Field(
        None, description="Value of the voxels outside the mask; none: standardised as well (filled: 0)."
    )

    def apply(self, volume: torch.Tensor, filled: torch.Tensor | None = None, out: torch.Tensor | None = None) -> torch.Tensor:
        """Standardise one channel (K, J, I); into new memory, or into `out` as `standardize` says."""
        from SegAdversarialLib.model.standardization import standardize

        background = 0.0 if self.background is None and self.mask == "filled" else self.background
        return standardize(volume, _inside(volume, self.mask, filled), background, out)


class Rescale(StrictSettings):
    """Put the range between two percentiles of the channel onto [0, 1] (Liu et al. 2021 with the defaults)."""

    kind: Literal["rescale"] = "rescale"
    low: float = Field(0.0, ge=0, lt=100, description="Percentile that becomes 0.")
    high: float = Field(100.0, gt=0, le=100, description="Percentile that becomes 1.")
    clip: bool = Field(False, description="Cut off what lies beyond the two percentiles.")

    @model_validator(mode="after")
    def _ordered(self) -> Rescale:
        if self.low >= self.high:
            raise ValueError(f"the low percentile ({self.low}) must be below the high one ({self.high})")
        return self

    def apply(self, volume: torch.Tensor) -> torch.Tensor:
        """Rescale one channel (K, J, I)."""
        low, high = _percentile(volume, self.low), _percentile(volume, self.high)
        span = high - low
        scaled = (volume - low) / span if span.item() > 0 else volume - low
        return scaled.clamp(0, 1) if self.clip else scaled


class IntensityWindow(StrictSettings):
    """Cut to a fixed intensity range, then subtract and divide by fixed numbers, as for CT in Hounsfield units."""

    kind: Literal["window"] = "window"
    lower: float | None = Field(None, description="Lowest intensity kept, in scanner units.")
    upper: float | None = Field(None, description="Highest intensity kept, in scanner units.")
    mean: float = Field(0.0, description="Subtracted, in scanner units.")
    std: float = Field(1.0, gt=0, description="Divided by, in scanner units.")

    def apply(self, volume: torch.Tensor) -> torch.Tensor:
        """Window one channel (K, J, I)."""
        if self.lower is not None or self.upper is not None:
            volume = volume.clamp(self.lower, self.upper)
        return (volume - self.mean) / self.std


class Squash(StrictSettings):
    """Let large values grow ever less: scale * f(x / scale), as MONAI's Auto3DSeg does."""

    kind: Literal["squash"] = "squash"
    function: Literal["sigmoid", "tanh"] = Field(description="f: onto (0, 1), or onto (-1, 1).")
    scale: float = Field(1.0, gt=0, description="The larger, the later it bends.")

    def apply(self, volume: torch.Tensor) -> torch.Tensor:
        """Squash one channel (K, J, I)."""
        scaled = volume / self.scale
        return self.scale * (scaled.sigmoid() if self.function == "sigmoid" else scaled.tanh())


class Fixed(StrictSettings):
    """A transform of MONAI's that has no gradient here: it is done to each image, and gradients go past it unchanged."""

    kind: Literal["fixed"] = "fixed"
    transform: Literal["MedianSmooth", "GaussianSmooth", "GaussianSharpen", "HistogramNormalize", "AdjustContrast"] = Field(
        description="Its name in monai.transforms."
    )
    arguments: dict[str, float | int | bool] = Field({}, description="What it is made with.")

    def apply(self, volume: torch.Tensor) -> torch.Tensor:
        """Transform one channel (K, J, I)."""
        import monai.transforms
        import torch

        try:
            made = getattr(monai.transforms, self.transform)(**self.arguments)(volume.detach().clone()[None])
        except Exception as error:  # anything, depending on the transform
            raise InputError(f"The preparation {self.transform} fails ({detail_of(error)}); check its arguments.") from error
        return volume + (torch.as_tensor(made).as_subclass(torch.Tensor)[0].to(volume) - volume).detach()


SingleStep = ZScore | Rescale | IntensityWindow | Squash | Fixed
Step = Annotated[SingleStep, Field(discriminator="kind")]


class Chain(StrictSettings):
    """Several normalisations one after the other."""

    kind: Literal["chain"] = "chain"
    steps: tuple[Step, ...] = Field(min_length=1, description="What is done, in this order; each with a kind as above.")


Normalization = Annotated[SingleStep | Chain, Field(discriminator="kind")]


def steps_of(normalization: Normalization | None) -> tuple[SingleStep, ...]:
    """The single steps of what is done to a channel, in their order."""
    if normalization is None:
        return ()
    return normalization.steps if isinstance(normalization, Chain) else (normalization,)


def normalize(
    volume: torch.Tensor,
    normalization: Normalization | None,
    filled: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Normalise one channel (K, J, I).

    Args:
        volume: the channel.
        normalization: what is done; None: nothing.
        filled: the voxels (K, J, I) bool other than 0 in some channel of the network, and the holes between them; needed
            where a step `needs_filled`.
        out: where the result is written, too, and perhaps its gradient later: until then it must stay as it is.
    """
    steps = steps_of(normalization)
    for n, step in enumerate(steps):
        if isinstance(step, ZScore):
            last = n == len(steps) - 1
            volume = step.apply(volume, filled, out if last else None)
            if last:
                return volume
        else:
            volume = step.apply(volume)
    if out is not None:
        out.copy_(volume.detach())
    return volume


def needs_filled(normalization: Normalization | None) -> bool:
    """Whether some step's mask is the union of all channels with its holes filled."""
    return any(isinstance(x, ZScore) and x.mask == "filled" for x in steps_of(normalization))


def graph_is_small(normalization: Normalization | None) -> bool:
    """Whether autograd's graph holds little more than the channel before and after."""
    steps = steps_of(normalization)
    return len(steps) <= 1 and not any(isinstance(x, (Rescale, Squash, Fixed)) for x in steps)


def _inside(volume: torch.Tensor, kind: MaskKind, filled: torch.Tensor | None) -> Inside | None:
    """What tells the voxels that count: 1 or 0 in the volume's own type, as torch compares into booleans several times more
    slowly."""
    import torch

    if kind == "all":
        return None
    if kind == "filled":
        assert filled is not None
        return lambda some, piece: filled[piece].to(some.dtype)
    if kind == "nonzero":
        return lambda some, piece: torch.ne(some, 0, out=torch.empty_like(some))
    threshold = volume.detach().mean() if kind == "above_mean" else 0
    return lambda some, piece: torch.gt(some, threshold, out=torch.empty_like(some))


def _percentile(volume: torch.Tensor, percent: float) -> torch.Tensor:
    """Linear interpolation between the two nearest ranks, as numpy; differentiable in those voxels."""
    flat = volume.flatten()
    if percent == 0:
        return flat.amin()
    if percent == 100:
        return flat.amax()
    rank = percent / 100 * (flat.numel() - 1)
    below = int(rank)
    low = flat.kthvalue(below + 1).values
    high = flat.kthvalue(min(below + 2, flat.numel())).values
    return low + (high - low) * (rank - below)
