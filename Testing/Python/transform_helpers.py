"""Small variants of the attacks that bend brightness or anatomy, and what they are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from conftest import oblique_affine, tiny_network
from scipy.ndimage import gaussian_filter

from SegAdversarialLib import Case, SegmentationModel, attacks
from SegAdversarialLib.attacks.engine.change_search import ChangeSearch
from SegAdversarialLib.attacks.engine.run import AttackRun
from SegAdversarialLib.attacks.transforming import TransformingAttack

SHAPE = (12, 14, 16)
SMALL: dict[str, Any] = {"steps": 3, "first_draws": 2}
AFFINE = {"max_rotation": 8.0, "max_translation": 2.0, "max_scale": 5.0}
CHAIN = {"max_displacement": 2.0, "deformation_spacing_mm": 8, "bias_spacing_mm": 10, **AFFINE}
VARIANTS: dict[str, dict[str, Any]] = {
    "bias-field": {"spacing_mm": 8},
    "bias-by-channel": {"attack": "bias-field", "spacing_mm": 8, "per_channel": True},
    "deformation": {"spacing_mm": 8, "max_displacement": 2.0},
    "affine": AFFINE,
    "chain": CHAIN,
    "chain-backwards": {
        "attack": "chain",
        "order": ["noise", "bias", "deformation", "affine"],
        "bias_per_channel": True,
        **CHAIN,
    },
}
MOVING = [name for name in VARIANTS if not name.startswith("bias")]
LOSSES = ["soft_dice", "cross_entropy", "masked_cross_entropy", "balanced_masked_cross_entropy"]


def made(variant: str, **changes: Any) -> TransformingAttack:
    given = {**SMALL, **VARIANTS[variant], **changes}
    attack = attacks.make_attack(given.pop("attack", variant), given)
    assert isinstance(attack, TransformingAttack)
    return attack


def model_(scale: float = 1.0, dtype: torch.dtype = torch.float32, **settings_: Any) -> SegmentationModel:
    network = tiny_network(2).to(dtype)
    with torch.no_grad():
        network[0].weight *= scale
    return SegmentationModel.from_network(network, channels=("A", "B"), classes=["background", "core", "rim"], **settings_)


def case_(seed: int = 0) -> Case:
    """Smooth structures whose intensities depend on the label, in whole numbers, with empty air around them."""
    generator = np.random.default_rng(seed)
    smooth = gaussian_filter(generator.normal(size=(2, *SHAPE)), (0, 2, 2, 2))
    label = (smooth[0] > 0).astype(np.int16) + ((smooth[0] > 0) & (smooth[1] > 0)).astype(np.int16)
    image = np.rint(100 + 150 * label + generator.normal(0, 20, (2, *SHAPE))).clip(0).astype(np.float32)
    for array in (label[None], image):
        array[:, :2] = array[:, -2:] = array[..., :2] = array[..., -2:] = 0
    return Case(image, ("A", "B"), oblique_affine(), label, name="toy", dtypes=("int16", "int16"))


class Reader(torch.nn.Module):
    """Sees a structure wherever the first channel is above 50, and so follows whatever is moved."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        score = (batch[:, :1] - 50) / 10
        return torch.cat([-score, score], 1)


def ball_case() -> Case:
    """A ball of 100 on 0, on voxels of 1 mm; large, as labels are moved by nearest neighbour, which errs at the surface."""
    places = np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij"))
    label = (np.sqrt((places**2).sum(0)) < 13).astype(np.int16)
    return Case(np.stack([100.0 * label] * 2).astype(np.float32), ("A", "B"), np.eye(4), label, name="ball")


@contextmanager
def searching(attack: TransformingAttack, model: SegmentationModel, case: Case) -> Iterator[tuple[ChangeSearch, AttackRun]]:
    with attack.running(model, case) as run:
        yield ChangeSearch(attack.plan_on(run), run), run


def assert_parts_lead_there(result: Any) -> None:
    """What the perturbation says was done, done to the original, gives the adversarial case."""
    again = result.perturbation.apply(result.original, warp_label=True)
    span = result.original.image.max() - result.original.image.min()
    assert np.abs(again.image - result.adversarial.image).max() <= 1.1e-4 * span
    np.testing.assert_array_equal(again.label, result.adversarial.label)


# what every one of them keeps
