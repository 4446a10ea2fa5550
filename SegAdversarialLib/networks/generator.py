"""A generator of adversarial versions of cases: the network of Chen et al. 2019, what it was trained for, and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.model.random_numbers import drawing
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import whole_file
from SegAdversarialLib.volumes.learned_files import LearnedKind

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.networks.deformation_intensity_vae import DeformationIntensityVAE, Latents

_KIND = LearnedKind("segadversarial-generator", "generator", "generator file", "trained", "train-generator")


class GeneratorSettings(BaseModel):
    """What a generator is made of, and on which grid it works; all but the channels and the spacing has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    channels: tuple[str, ...] = Field(min_length=1, description="Channels that it sees and changes, in its order.")
    spacing: tuple[float, float, float] = Field(
        description="Voxel size in mm along i, j, k, after orientation, at which it sees a case."
    )
    axes: str = Field("kji", description="Order of the spatial axes; two letters for a generator of slices.")
    orientation: str = Field("LPS", description="Where the i, j, k axes point when it sees a case.")
    features: tuple[int, ...] = Field(
        (16, 32, 64), min_length=1, max_length=6, description="Features of its levels, each of which halves the image."
    )
    latents: int = Field(8, ge=1, le=512, description="Channels of each of the two latents.")
    largest_displacement: float = Field(6.0, ge=0, description="Largest length of the displacement, in mm.")
    largest_intensity: float = Field(1.0, ge=0, description="Largest intensity change, in standard deviations of a channel.")
    smoothing: float = Field(8.0, gt=0, description="Standard deviation of the Gaussian that smooths both fields, in mm.")
    foreground: bool = Field(
        True, description="Change intensities only where a channel is above 0 (the head in skull-stripped MR, not CT)."
    )
    xi: tuple[float, float] = Field(
        (0.5, 3.0), description="Least and greatest xi that it was trained for; where they differ, xi is an input."
    )

    @field_validator("features")
    @classmethod
    def _features_fit_groups(cls, features: tuple[int, ...]) -> tuple[int, ...]:
        if any(x < 4 or x % 4 for x in features):
            raise ValueError(f"features must be multiples of 4; they are {list(features)}")
        return features

    @model_validator(mode="after")
    def _makes_sense(self) -> GeneratorSettings:
        self.preprocessing()  # which checks axes, orientation and spacing
        if not 0 <= self.xi[0] <= self.xi[1] <= 10:
            raise ValueError(f"xi must be two numbers from 0 to 10, the smaller first; they are {list(self.xi)}")
        if self.largest_displacement > self.smoothing:
            raise ValueError(
                f"the smoothing ({self.smoothing} mm) must be at least the largest displacement ({self.largest_displacement} "
                "mm), so that the deformation does not fold"
            )
        return self

    @property
    def dimensions(self) -> Literal[2, 3]:
        """3, or 2 for a generator of slices."""
        return 2 if len(self.axes) == 2 else 3

    @property
    def conditional(self) -> bool:
        """Whether xi is an input."""
        return self.xi[0] < self.xi[1]

    def preprocessing(self) -> Preprocessing:
        """How it sees a case's grid."""
        return Preprocessing(orientation=self.orientation, spacing=self.spacing, axes=self.axes)


@dataclass(frozen=True, eq=False)
class Generator:
    """A network that makes smooth deformations and intensity variations for a case.

    Attributes:
        settings: what it is made of.
        network: the network; on the CPU, in evaluation mode, unless it is being trained.
        learned: how it came about, as plain JSON data: network, cases, training settings, a row for each epoch.
    """

    settings: GeneratorSettings
    network: DeformationIntensityVAE
    learned: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def new(cls, settings: GeneratorSettings, seed: int = 0) -> Generator:
        """An untrained one, with random weights from a seed."""
        from SegAdversarialLib.networks.deformation_intensity_vae import DeformationIntensityVAE

        order = {"k": 2, "j": 1, "i": 0}
        with drawing(seed):
            network = DeformationIntensityVAE(
                settings.dimensions,
                len(settings.channels),
                settings.features,
                settings.latents,
                settings.largest_displacement,
                settings.largest_intensity,
                [settings.smoothing / settings.spacing[order[axis]] for axis in settings.axes],
                settings.conditional,
            )
        return cls(settings, network.eval())

    @property
    def fingerprint(self) -> str:
        """What identifies it: the start of the SHA-256 of its settings and weights."""
        digest = hashlib.sha256(self.settings.model_dump_json().encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def write(self, path: str | Path) -> None:
        """Write it to a safetensors file.

        Raises:
            InputError: the file cannot be written.
        """
        import safetensors.torch

        told = {"format": _KIND.description, "settings": self.settings.model_dump_json(), "learned": json.dumps(self.learned)}
        weights = {name: x.detach().cpu().contiguous() for name, x in self.network.state_dict().items()}
        with whole_file(path) as temporary:
            safetensors.torch.save_file(weights, temporary, told)

    @classmethod
    def read(cls, path: str | Path) -> Generator:
        """Read it from the file that `write` wrote; nothing in it can run.

        Raises:
            InputError: there is no such file, or it holds something else.
        """
        return _read(*_KIND.state(path))

    def check(self, case: Case) -> None:
        """Find out whether it fits a case.

        Raises:
            InputError: the case lacks a channel, or one of its channels has one single intensity.
        """
        self.positions(case)

    def positions(self, case: Case) -> list[int]:
        """Where its channels are among the case's, by name.

        Raises:
            InputError: the case lacks one of them.
        """
        known = {name.lower() for name in case.channels}
        lacking = [name for name in self.settings.channels if name.lower() not in known]
        if lacking:
            raise InputError(
                f"The generator takes {', '.join(self.settings.channels)}, of which {case.called} lacks "
                f"{', '.join(lacking)}; it has {', '.join(case.channels)}."
            )
        return [case.channel_index(name) for name in self.settings.channels]

    def to(self, like: torch.Tensor) -> Generator:
        """The same on a tensor's device and in its type; itself where it is there already."""
        own = next(self.network.parameters())
        if (own.device, own.dtype) == (like.device, like.dtype):
            return self
        return replace(self, network=deepcopy(self.network).to(like.device, like.dtype))

    def on(self, case: Case, image: torch.Tensor) -> BoundGenerator:
        """The generator on a case's grid.

        Args:
            case: the subject.
            image: its image (C, K, J, I) as a tensor, on the network's device.
        """
        return BoundGenerator(self, case, image)


@dataclass(frozen=True, eq=False)
class Variation:
    """What a generator says that should be done to a case.

    Attributes:
        displacement: (3, K, J, I) in mm, RAS components.
        intensity: (C, K, J, I) for the generator's channels, in standard deviations of each.
    """

    displacement: torch.Tensor
    intensity: torch.Tensor


class BoundGenerator:
    """A generator on one case's grid: noise and xi in, fields and images out, differentiable in the generator's weights.

    Attributes:
        image: (C, K, J, I) the case's image, all its channels.
        positions: where the generator's channels are among the case's.
        mean, deviation: (C, 1, 1, 1) of the generator's channels over the whole volume; of a constant channel 1.
    """

    def __init__(self, generator: Generator, case: Case, image: torch.Tensor) -> None:
        import torch

        self.settings, self.network, self.image = generator.settings, generator.network, image
        self.positions = generator.positions(case)
        self.affine, self._case = case.affine, case
        seen = image[self.positions]
        flat = seen.flatten(1).double()
        shape = (-1, 1, 1, 1)
        self.mean = flat.mean(1).to(image.dtype).reshape(shape)
        deviation = flat.std(1, correction=0).to(image.dtype).reshape(shape)
        self.deviation = torch.where(deviation > 0, deviation, 1)
        self.lowest, self.highest = (x.to(image.dtype).reshape(shape) for x in (flat.amin(1), flat.amax(1)))
        self._grid = self.settings.preprocessing().on_grid(case.shape, case.affine)
        self._seen = self._padded(self._to_grid(self.standardized(image)))

    def standardized(self, image: torch.Tensor) -> torch.Tensor:
        """The generator's channels of an image, with the original's mean 0 and standard deviation 1: (C, K, J, I)."""
        return (image[self.positions] - self.mean) / self.deviation

    def as_batch(self, image: torch.Tensor) -> torch.Tensor:
        """An image (C, K, J, I) as a critic sees it, at its own voxel size: (B, C, *size), slices as a batch.

        Each of the generator's channels has the mean 0 and the standard deviation 1 by its own voxels: whoever is shown an
        image does not know the original's.
        """
        import torch

        from SegAdversarialLib.model.standardization import standardize

        scores = torch.stack([standardize(image[n]) for n in self.positions])
        turned = self._grid.turn.apply(scores).permute(0, *(1 + n for n in self._grid.order))
        return turned.movedim(1, 0) if self.settings.dimensions == 2 else turned[None]

    def encode(self, xi: float) -> Latents:
        """The distributions of the latents."""
        return self.network.encode(self._seen, self._xi(xi))

    def noise(self, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Standard normal noise for the two latents, drawn on the CPU."""
        import torch

        size = [n // self.network.multiple for n in self._seen.shape[2:]]
        shape = (len(self._seen), self.network.latents, *size)
        first, second = (torch.randn(shape, generator=source).to(self._seen) for _ in range(2))
        return first, second

    def decode(self, latents: Latents, noise: Sequence[torch.Tensor], xi: float) -> Variation:
        """The fields that samples of the latents stand for."""
        samples = [latent.sample(x) for latent, x in zip(latents, noise)]
        fields = self.network.decode(samples[0], samples[1], self._xi(xi))
        displacement, intensity = (self._from_grid(x) for x in fields)
        return Variation(self._in_millimetres(displacement), intensity)

    def warped(self, variation: Variation) -> torch.Tensor:
        """The whole image after the deformation: (C, K, J, I)."""
        from SegAdversarialLib.changes.fields import warp

        return warp(self.image, variation.displacement, self.affine)

    def apply(self, variation: Variation, clip: bool = True) -> torch.Tensor:
        """The adversarial image I_DV (C, K, J, I) (Chen et al. 2019, eq. 1).

        With `foreground` nothing is added where the warped image is background.

        Args:
            variation: the fields.
            clip: keep each channel inside its own intensity range.
        """
        import torch

        warped = self.warped(variation)
        change = variation.intensity * self.deviation
        if self.settings.foreground:
            change = change * (warped.detach() > 0).any(0)
        changed = warped[self.positions] + change
        if clip:
            changed = torch.minimum(torch.maximum(changed, self.lowest), self.highest)
        return warped.index_copy(0, torch.as_tensor(self.positions, device=warped.device), changed)

    def _xi(self, xi: float) -> torch.Tensor:
        return self._seen.new_full((len(self._seen),), xi)

    def _to_grid(self, image: torch.Tensor) -> torch.Tensor:
        """(C, K, J, I) as the network sees it, (B, C, *size)."""
        import torch

        seen = torch.stack([self._grid.forward_channel(x, n) for n, x in enumerate(image)])
        return seen.movedim(1, 0) if self.settings.dimensions == 2 else seen[None]

    def _from_grid(self, fields: torch.Tensor) -> torch.Tensor:
        """Fields (B, N, *padded size) on the case's grid, (N, K, J, I)."""
        fields = fields.movedim(0, 1) if self.settings.dimensions == 2 else fields[0]
        return self._grid.restore(fields[(slice(None), *(slice(0, n) for n in self._grid.network_shape))])

    def _padded(self, seen: torch.Tensor) -> torch.Tensor:
        """The image with its border repeated until the network takes its size."""
        import torch.nn.functional as functional

        sides: list[int] = []
        for size in reversed(seen.shape[2:]):
            sides += [0, -size % self.network.multiple]
        return functional.pad(seen, sides, mode="replicate") if any(sides) else seen

    def _in_millimetres(self, components: torch.Tensor) -> torch.Tensor:
        """Components (N, K, J, I) along the network's axes, in mm, as RAS components (3, K, J, I)."""
        import torch

        directions = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        total = torch.zeros((3, *components.shape[1:]), dtype=components.dtype, device=components.device)
        for component, axis in zip(components, self._grid.order[3 - self.settings.dimensions :]):
            sign = -1 if axis in self._grid.turn.flips else 1
            unit = sign * directions[:, 2 - self._grid.turn.permutation[axis]]
            total = total + torch.as_tensor(unit, dtype=total.dtype, device=total.device).reshape(3, 1, 1, 1) * component
        return total


@lru_cache(maxsize=2)
def _read(path: str, changed_ns: int, size: int) -> Generator:
    """The generator in a file; the last ones are kept, since a cohort is attacked with one and the same."""
    with _KIND.opened(path, "pt") as (content, told):
        generator = Generator.new(GeneratorSettings.model_validate_json(told["settings"]))
        generator.network.load_state_dict({name: content.get_tensor(name) for name in content.keys()})  # noqa: SIM118
        return Generator(generator.settings, generator.network, json.loads(told["learned"]))
