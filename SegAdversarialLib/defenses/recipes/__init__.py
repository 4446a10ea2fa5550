"""Ways to train a network, each one class in a file of its own, found by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from SegAdversarialLib.arguments import called, checked, nearest
from SegAdversarialLib.defenses.recipes.adversarial_training import AdversarialTraining
from SegAdversarialLib.defenses.recipes.attack_augmentation import AttackAugmentation
from SegAdversarialLib.defenses.recipes.classic_augmentation import ClassicAugmentation
from SegAdversarialLib.defenses.recipes.defensive_distillation import DefensiveDistillation, Tempered
from SegAdversarialLib.defenses.recipes.generative_augmentation import GenerativeAugmentation
from SegAdversarialLib.defenses.recipes.noise_augmentation import NoiseAugmentation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.training.recipe import Recipe
from SegAdversarialLib.training.standard import Standard

__all__ = [
    "RECIPES",
    "AdversarialTraining",
    "AttackAugmentation",
    "ClassicAugmentation",
    "DefensiveDistillation",
    "GenerativeAugmentation",
    "NoiseAugmentation",
    "Recipe",
    "Standard",
    "Tempered",
    "find",
    "make",
]

RECIPES: dict[str, type[Recipe]] = {
    cls.name: cls
    for cls in (
        Standard,
        AdversarialTraining,
        DefensiveDistillation,
        NoiseAugmentation,
        AttackAugmentation,
        ClassicAugmentation,
        GenerativeAugmentation,
        Tempered,
    )
}
"""All recipes by the name that the command line and files use."""


def __dir__() -> list[str]:
    return sorted(__all__)


@checked(name='the name of a recipe, such as "adversarial-training"')
def find(name: str) -> type[Recipe]:
    """The recipe with this name; capitals, dashes and underscores do not matter.

    Raises:
        InputError: there is none.
    """
    found = called(name, RECIPES)
    if found is None:
        raise InputError(f'There is no recipe "{name}"{nearest(name, RECIPES)}')
    return found


@checked(
    settings='a recipe\'s name, or its settings with its name, such as {"recipe": "adversarial-training", "epsilon": 0.05}'
)
def make(settings: str | Mapping[str, Any]) -> Recipe:
    """A recipe from its name and its settings, as files and command lines give them.

    Raises:
        InputError: there is no such recipe, or a setting is unknown or out of its bounds.
    """
    given = {"recipe": settings} if isinstance(settings, str) else dict(settings)
    name = given.pop("recipe", None)
    if not isinstance(name, str):
        raise InputError(f'A recipe needs its name ("recipe"); there are {", ".join(RECIPES)}.')
    return find(name)(**given)
