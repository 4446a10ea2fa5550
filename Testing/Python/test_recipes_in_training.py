"""The recipes in the loop itself, from cases to a trained network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import toy_case
from generator_helpers import toy_generator
from recipe_helpers import PlainLearner, small_network

from SegAdversarialLib import Case, SegmentationModel, recipes
from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.defenses.recipes import Recipe
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.training.loop import train
from SegAdversarialLib.training.recipe import Batch

UNET = {
    "name": "UNet",
    "arguments": {"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "channels": [4, 8], "strides": [2]},
}
CLASSES = ("background", "core", "rim")


def subjects(count: int = 2) -> list[Case]:
    """Of a size that the network takes only padded, with voxels that are not cubes."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    found = [toy_case((8, 15, 16), seed=n, affine=affine) for n in range(count)]
    return [
        replace(case, name=f"subject {n}", image=case.image + 60 * (case.label > 0) * np.ones((2, 1, 1, 1), np.float32))
        for n, case in enumerate(found)
    ]


def network_after(recipe: Recipe, folder: Path | None = None, epochs: int = 2, **settings: Any) -> SegmentationModel:
    how = {"epochs": epochs, "tensorboard": False, **settings}
    return train(UNET, subjects(), how, recipe=recipe, classes=CLASSES, folder=folder, device="cpu")


def weights(model: SegmentationModel) -> torch.Tensor:
    return torch.cat([x.detach().flatten() for x in model.network.state_dict().values()])


def generative() -> Recipe:
    return recipes.GenerativeAugmentation(generator=toy_generator())


MANY = [
    *(lambda cls=cls: cls() for name, cls in recipes.RECIPES.items() if name != "generative-augmentation"),
    generative,
    lambda: recipes.AdversarialTraining(order="free", replays=2),
    lambda: recipes.AdversarialTraining(attack={"attack": "deformation", "steps": 1, "spacing_mm": 8}),
    lambda: recipes.AdversarialTraining(attack={"attack": "bias-field", "steps": 1}, order="alternating"),
    lambda: recipes.AttackAugmentation(attack="fgsm", network="epoch"),
]


@pytest.mark.parametrize("made", MANY, ids=lambda made: str(made().describe()))
def test_a_network_comes_out(made: Any) -> None:
    model = network_after(made(), epochs=1)
    assert weights(model).isfinite().all()
    assert model.segment(subjects()[0]).shape == (8, 15, 16)


def test_beta_1_is_standard_training_bit_for_bit() -> None:
    assert torch.equal(weights(network_after(recipes.AdversarialTraining(beta=1))), weights(network_after(recipes.Standard())))


@pytest.mark.parametrize(
    "recipe",
    [
        recipes.AdversarialTraining(order="free", replays=2),
        recipes.DefensiveDistillation(temperature=20),
        recipes.AttackAugmentation(network="epoch"),
        recipes.NoiseAugmentation(share=0.5),
    ],
    ids=lambda recipe: recipe.name,
)
def test_breaks_change_nothing(recipe: Recipe, tmp_path: Path) -> None:
    whole, asked = weights(network_after(recipe)), 0

    def third_time() -> bool:
        nonlocal asked
        asked += 1
        return asked % 3 == 0

    for _ in range(20):
        try:
            broken = train(
                UNET,
                subjects(),
                {"epochs": 2, "tensorboard": False},
                recipe=recipe,
                classes=CLASSES,
                folder=tmp_path,
                device="cpu",
                cancel=third_time,
            )
            break
        except Cancelled:
            continue
    assert asked > 4 and torch.equal(weights(broken), whole)


def test_mixed_precision_moves_weights_with_both_losses() -> None:
    for order in ("together", "alternating", "free"):
        model = network_after(recipes.AdversarialTraining(order=order), epochs=1, precision="bf16-mixed")
        assert weights(model).isfinite().all()
        exact = weights(network_after(recipes.AdversarialTraining(order=order), epochs=1))
        assert torch.allclose(weights(model), exact, atol=2e-2) and not torch.equal(weights(model), exact)


def test_a_teacher_from_its_file(tmp_path: Path) -> None:
    network_after(recipes.Tempered(temperature=20), tmp_path)
    recipe = recipes.make({"recipe": "defensive-distillation", "temperature": 20, "teacher": str(tmp_path / "model.json")})
    assert recipe.first is None and weights(network_after(recipe, epochs=1)).isfinite().all()


def test_adversarial_training_holds_better() -> None:
    """Dice under FGSM, of networks that have both learnt to see the bright structures."""
    seen = subjects(2)
    dice = {}
    for name, recipe in (("standard", recipes.Standard()), ("trained", recipes.AdversarialTraining(epsilon=0.1))):
        how = {"epochs": 20, "learning_rate": 1e-2, "tensorboard": False}
        model = train(UNET, seen, how, recipe=recipe, classes=CLASSES, device="cpu")
        results = [make_attack("fgsm", {"epsilon": 0.1})(model, case) for case in seen]
        dice[name] = float(np.mean([x.kept_row["dice mean"] for x in results]))
    assert dice["trained"] > dice["standard"]


@pytest.mark.parametrize("corner", ["background", "head"])
def test_a_generator_leaves_the_background_alone_also_in_a_patch(corner: str) -> None:
    """Where a patch begins, at its first voxel, there may be background, or the middle of the head."""
    images = torch.randn((1, 2, 8, 12, 12), generator=torch.Generator().manual_seed(0))
    outside = torch.zeros(images.shape[2:], dtype=torch.bool)
    outside[..., 6:] = True
    if corner == "background":
        outside = outside.flip(-1)
    images[:, :, outside] = -0.5
    batch = Batch(images, torch.zeros((1, 3, 8, 12, 12)), 0, ("patch",))
    generator = toy_generator(largest_displacement=0.0)
    changed, _ = recipes.GenerativeAugmentation(generator=generator).copier(PlainLearner(small_network()))(batch)
    moved = (changed - images).abs()[0]
    assert moved[:, outside].max() < 1e-4 < moved[:, ~outside].mean()
