"""An attack as a setting of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from SegAdversarialLib.attacks import FGSM, InverseFGSM
from SegAdversarialLib.attacks.nested import inner_attack
from SegAdversarialLib.defenses.recipes.epsilon import Units

if TYPE_CHECKING:
    from SegAdversarialLib.attacks.attack import Attack

ATTACK_DESCRIPTION = (
    'Attack: its name, or its settings as JSON, such as {"attack": "pgd", "steps": 5}; any of the library. fgsm and '
    "inverse-fgsm without settings are one step along the sign of the training's own loss."
)


def attack_of(given: Any) -> Attack:
    """The attack that a setting means.

    Raises:
        ValueError: there is none, or one of its settings does not fit.
    """
    return inner_attack({"method": given}, "fgsm", frozenset(), "the recipe")[0]


def as_data(attack: Attack) -> str | dict[str, Any]:
    """The setting that means an attack, as plain JSON data: what was said of it, not its defaults."""
    said = attack.model_dump(mode="json", exclude_unset=True)
    return {"attack": attack.name, **said} if said else attack.name


def is_plain(attack: Attack) -> bool:
    """Whether it is one step along the sign of the training's own loss, for which no attack must be run."""
    return type(attack) in (FGSM, InverseFGSM) and not attack.model_fields_set


def sign_of(attack: Attack) -> float:
    """Whether a plain attack climbs the loss or descends it."""
    return -1.0 if attack.helps else 1.0


def with_epsilon(attack: Attack, epsilon: float, units: Units) -> Attack:
    """The attack with a recipe's epsilon, where it takes one and does not say its own.

    Raises:
        ValueError: the attack knows no such units, or the epsilon does not fit it.
    """
    fields = type(attack).model_fields
    takes = "epsilon" in fields and "epsilon_units" in fields and fields["epsilon_units"].default == "relative"
    if is_plain(attack) or not takes or "epsilon" in attack.model_fields_set:
        return attack
    if units == "range":
        raise ValueError(
            f"epsilon as a share of the range is for fgsm without settings, not for {attack.name}; choose relative or absolute"
        )
    said = {name: getattr(attack, name) for name in attack.model_fields_set}
    return type(attack)(**{"epsilon_units": units, **said, "epsilon": epsilon})
