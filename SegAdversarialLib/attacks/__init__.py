"""Attacks on segmentation networks. Every file in this folder is imported and every attack in it is found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from SegAdversarialLib.arguments import called, checked, nearest
from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.groups import DESCRIPTIONS, members
from SegAdversarialLib.attacks.result import AttackResult, Snapshot
from SegAdversarialLib.errors import InputError

__all__ = ["ATTACKS", "GROUPS", "Attack", "AttackResult", "Snapshot", "attack_class", "make_attack"]


def _attack_classes(of: type[Attack]) -> Iterator[type[Attack]]:
    for subclass in of.__subclasses__():
        if "name" in vars(subclass):
            yield subclass
        yield from _attack_classes(subclass)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

ATTACKS: dict[str, type[Attack]] = {cls.name: cls for cls in _attack_classes(Attack)}  # type: ignore[type-abstract]
"""All attacks by the name that the command line and files use."""

GROUPS: dict[str, list[type[Attack]]] = {group: members(group, ATTACKS.values()) for group in DESCRIPTIONS}
"""The attacks of each group; every attack is in one at least."""

globals().update({cls.__name__: cls for cls in ATTACKS.values()})
__all__ += [cls.__name__ for cls in ATTACKS.values()]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"There is no attack {name}{nearest(name, (cls.__name__ for cls in ATTACKS.values()))}")


def __dir__() -> list[str]:
    return sorted(__all__)


@checked(name='the name of an attack, such as "fgsm"')
def attack_class(name: str) -> type[Attack]:
    """The attack with this name; capitals, dashes and underscores do not matter.

    Raises:
        InputError: there is none.
    """
    found = called(name, ATTACKS)
    if found is None:
        raise InputError(f'There is no attack "{name}"{nearest(name, ATTACKS)}')
    return found


@checked(name='the name of an attack, such as "fgsm"', settings='its settings by their names, such as {"epsilon": 0.05}')
def make_attack(name: str, settings: Mapping[str, Any] | None = None) -> Attack:
    """An attack from its name and its settings, as files and command lines give them.

    Raises:
        InputError: there is no such attack, or a setting is unknown or out of its bounds.
    """
    return attack_class(name)(**dict(settings or {}))
