"""What goes wrong in scanners, at random: images that are merely bad, to compare adversarial ones with."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

Kind = Literal["motion", "ghosting", "spike", "gibbs", "rician", "gamma", "blur", "low_resolution"]

KIND_TEXTS = {
    "motion": "motion",
    "ghosting": "ghosting",
    "spike": "spikes in k-space (herringbone)",
    "gibbs": "Gibbs ringing",
    "rician": "Rician noise",
    "gamma": "contrast (gamma)",
    "blur": "blur",
    "low_resolution": "low resolution",
}

MOST = 5.0
"""The greatest severity."""

_FROM_TORCHIO = ("motion", "ghosting")

_STACK = 10
"""Fewer slices than this are a stack: each is scanned by itself, and k-space filled within its plane."""

_MOST_GHOSTS = 10
"""Ghosts, which lie at least two voxels apart: along shorter axes nobody could tell them from blur."""

_CENTRE = 0.02
"""The share of k-space in its middle that ghosting leaves alone."""

Uniform = Callable[[float, float], float]
"""Draws a number between two others."""


class PhysicsArtefact(Attack):
    """Physics artefact: motion, ghosting, spikes, ringing, noise, contrast, blur or low resolution, drawn at random.

    It asks no network: what an artefact of this severity does by chance is what an attack must exceed. Each channel is hit by
    itself, with half to all of the severity, as each is a scan of its own. At severity 5: two movements of 7.5 degrees about
    the volume's middle and 7.5 mm at most (of fewer than ten slices within their planes), the centre of k-space being right;
    every 4th to 10th plane of k-space weakened by 75 %, but not its centre; a wave of a quarter of the largest intensity;
    75 % of k-space's radius lost (its corners at any severity); noise of 10 % of the largest intensity; a gamma of 0.47 or
    2.1; a Gaussian of 2.5 mm; a third of the resolution. Carried out by MONAI, by SciPy (blur) and by TorchIO (motion and
    ghosting).
    """

    name: ClassVar[str] = "physics-artefact"
    title: ClassVar[str] = "Physics artefact"
    citation: ClassVar[str] = "MONAI (Cardoso et al. 2022) and TorchIO (Perez-Garcia et al. 2021)"
    groups: ClassVar[tuple[Group, ...]] = ("random", "realistic")
    asks_network: ClassVar[bool] = False
    bounds: ClassVar[tuple[str, ...]] = ("severity",)

    kind: Kind = parameter("rician", "What goes wrong.", label="Artefact", texts=KIND_TEXTS)
    severity: float = parameter(3.0, "How bad it is at most: from 0, nothing, to 5.", "of 5", ge=0, le=MOST)

    @property
    def does_nothing(self) -> bool:
        """Whether the severity is zero."""
        return self.severity == 0

    @property
    def is_random(self) -> bool:
        """Whether anything goes wrong."""
        return not self.does_nothing

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the package that makes the artefact is there."""
        super().check(model, case)
        if self.kind in _FROM_TORCHIO and importlib.util.find_spec("torchio") is None:
            raise InputError(
                f"The artefact {self.kind} needs the package torchio, which is not installed; install it (pip install "
                "torchio), or choose another artefact."
            )

    def _search(self, run: AttackRun) -> torch.Tensor:
        import torch

        image = run.original.clone()
        for done, position in enumerate(run.positions):
            name = run.case.channels[position]
            run.report(done / len(run.positions), f"{self.title}: {name}")
            if self.does_nothing or not run.unit[position].item():
                continue
            generator = run.generator(name.lower())

            def uniform(low: float, high: float, source: torch.Generator = generator) -> float:
                return low + (high - low) * float(torch.rand((), generator=source))

            strength = self.severity * uniform(0.5, 1.0)
            volume = run.without_padding(position).to("cpu", torch.float32)
            # scanners' magnitudes begin at 0; where values do not, as in CT or after a z-score, the least takes its place
            zero = min(float(volume.min()), 0.0)
            image[position] = (_MAKERS[self.kind](volume - zero, strength, uniform, run.case) + zero).to(image)
        return run.project(image)

    def _budget_in_words(self) -> str:
        return f"{KIND_TEXTS[self.kind]}, severity {self.severity:g} of 5"


def _motion(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    import torchio

    degrees, translation = (
        np.array([[uniform(-1.5 * strength, 1.5 * strength) for _ in range(3)] for _ in range(2)]) for _ in range(2)
    )
    times = np.array([uniform(0.2, 0.4), uniform(0.6, 0.8)])
    longest = max(range(3), key=lambda axis: volume.shape[axis])
    thin = [axis for axis in range(3) if volume.shape[axis] < _STACK and axis != longest]
    order, affine = [2, 1, 0], case.affine
    if thin:
        # slices move within their planes, beside which there is nothing, as if each were scanned by itself
        order = [*thin, *(axis for axis in range(3) if axis not in thin)]
        translation[:, : len(thin)] = 0
        degrees[:, 1 if len(thin) == 1 else 0 :] = 0
        affine = np.diag([*(case.spacing[2 - axis] for axis in order), 1.0])
    # TorchIO fills k-space along its last axis; in a toy's, too, the second movement comes after the centre
    samples = volume.shape[order[-1]]
    times[1] = max(times[1], (samples // 2 + 1) / samples)
    return _by_torchio(torchio.Motion(degrees, translation, times, "linear"), volume, affine, order)


def _ghosting(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    import torchio

    sizes = case.shape[::-1]
    axes = [axis for axis in range(3) if sizes[axis] >= 2 * _MOST_GHOSTS] or [sizes.index(max(sizes))]
    ghosts, axis = min(int(uniform(4, 11)), _MOST_GHOSTS), axes[int(uniform(0, len(axes)))]
    ghosts = min(ghosts, max(2, sizes[axis] // 2))
    # TorchIO leaves an even number of samples in the middle alone, which may be none; without a share, the central one
    share = _CENTRE if round(_CENTRE * sizes[axis]) > 1 else None
    return _by_torchio(torchio.Ghosting(ghosts, axis, 0.15 * strength, share), volume, case.affine)


def _by_torchio(transform: Any, volume: torch.Tensor, affine: np.ndarray, order: Sequence[int] = (2, 1, 0)) -> torch.Tensor:
    """TorchIO counts i, j, k, or the axes in another order, and turns about the origin: there the middle is put."""
    import torchio

    arranged, centred = volume.permute(*order)[None].contiguous(), affine.copy()
    centred[:3, 3] = -affine[:3, :3] @ ((np.array(arranged.shape[1:]) - 1) / 2)
    changed: torch.Tensor = transform(torchio.ScalarImage(tensor=arranged, affine=centred)).data[0]
    return changed.permute(*(order.index(axis) for axis in range(3)))


def _spike(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    """A wave of 2 to 8 periods, in a slice within its plane; its height is what one value of k-space adds to each voxel."""
    from monai.transforms import KSpaceSpikeNoise

    angles = uniform(0, np.pi), uniform(0, 2 * np.pi)
    cosines = np.cos(angles[0]), np.sin(angles[0]) * np.cos(angles[1]), np.sin(angles[0]) * np.sin(angles[1])
    within = [x if size > 1 else 0.0 for x, size in zip(cosines, volume.shape)]
    direction = [x / (math.hypot(*within) or 1.0) for x in within]
    periods = uniform(2, 8)
    place = [min(size - 1, max(0, size // 2 + round(periods * x))) for size, x in zip(volume.shape, direction)]
    height = 0.05 * strength * float(volume.abs().max())
    return _by_monai(KSpaceSpikeNoise(tuple(place), float(np.log(height * volume.numel()))), volume)


def _gibbs(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    from monai.transforms import GibbsNoise

    return _by_monai(GibbsNoise(alpha=0.15 * strength), volume)


def _rician(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    from monai.transforms import RandRicianNoise

    noise = RandRicianNoise(prob=1.0, std=0.02 * strength * float(volume.abs().max()), sample_std=False)
    return _by_monai(noise.set_random_state(seed=int(uniform(0, 2**24))), volume)


def _gamma(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    from monai.transforms import AdjustContrast

    sign = 1 if uniform(-1, 1) > 0 else -1
    return _by_monai(AdjustContrast(gamma=float(np.exp(sign * 0.15 * strength))), volume)


def _blur(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    import torch
    from scipy.ndimage import gaussian_filter

    sigma = [0.5 * strength / size for size in case.spacing[::-1]]
    # MONAI's would mix zeros into the volume's border, and its weights do not add up to 1
    return torch.from_numpy(gaussian_filter(volume.numpy(), sigma, mode="nearest"))


def _low_resolution(volume: torch.Tensor, strength: float, uniform: Uniform, case: Case) -> torch.Tensor:
    from monai.transforms import RandSimulateLowResolution

    share = 1 / (1 + 0.4 * strength)
    return _by_monai(RandSimulateLowResolution(prob=1.0, zoom_range=(share, share)), volume)


def _by_monai(transform: Any, volume: torch.Tensor) -> torch.Tensor:
    """MONAI wants a channel in front."""
    import torch

    return torch.as_tensor(np.asarray(transform(volume[None]))[0])


_MAKERS: dict[str, Callable[[torch.Tensor, float, Uniform, Case], torch.Tensor]] = {
    "motion": _motion,
    "ghosting": _ghosting,
    "spike": _spike,
    "gibbs": _gibbs,
    "rician": _rician,
    "gamma": _gamma,
    "blur": _blur,
    "low_resolution": _low_resolution,
}
