"""Attacks that are settings of others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.attacks.attack import Attack


class AsItsMethod:
    """What an attack around another one (`method`) can do, and is allowed, as far as that one says it."""

    if TYPE_CHECKING:
        method: Any

    @property
    def by_channel(self) -> bool:
        """Whether single channels can be attacked."""
        return bool(self.method.by_channel)

    @property
    def does_nothing(self) -> bool:
        """Whether the budget of the attack inside is zero."""
        return bool(self.method.does_nothing)


def inner_attack(data: Mapping[str, Any], usual: str, common: AbstractSet[str], around: str) -> tuple[Attack, dict[str, Any]]:
    """The attack that another one makes, however it was given, and those of the common settings that it was given.

    Args:
        data: the settings of the attack around it; "method" is an attack, its name, or its settings with its name, as a
            mapping or as JSON.
        usual: the attack's name where there is no method.
        common: the settings that both have; the inner attack is made without them.
        around: what the attack around it is called in a sentence.

    Raises:
        InputError: there is no such attack, or a setting does not fit.
        ValueError: the method is none of these, one of its settings does not fit, or a common one is given to both.
    """
    given = data.get("method", usual)
    if isinstance(given, Attack):
        kind: Any = type(given)
        own = {key: getattr(given, key) for key in given.model_fields_set}
    else:
        own = _as_mapping(given)
        kind = own.pop("attack")
    shared = {key: own.pop(key) for key in common & set(own)}
    twice = sorted(set(shared) & set(data))
    if twice:
        raise ValueError(f"{twice[0]} is given twice, to {around} and to its attack; give it once")
    if not isinstance(kind, str):
        return kind(**own), shared
    from SegAdversarialLib.attacks import make_attack  # which imports the files that import this one

    return make_attack(kind, own), shared


def _as_mapping(given: Any) -> dict[str, Any]:
    """An attack's name, or JSON, or a mapping, as a mapping that names an attack."""
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip().startswith("{") else {"attack": given.strip()}
        except (ValueError, RecursionError) as error:
            raise ValueError(f"method is no JSON ({error})") from None
    if not isinstance(given, Mapping) or not isinstance(given.get("attack"), str):
        raise ValueError('method must be an attack, such as pgd or {"attack": "pgd", "steps": 40}')
    return dict(given)
