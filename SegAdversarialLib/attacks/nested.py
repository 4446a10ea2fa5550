"""Attacks that are settings of others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from SegAdversarialLib.attacks.attack import Attack


def taken_apart(given: Any, common: AbstractSet[str]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """An attack, however it was given, as its name or class, its own settings, and those of the common ones that it has.

    Args:
        given: an attack, its name, or its settings with its name, as a mapping or as JSON.
        common: the settings that the attack around it has, too.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(given, Attack):
        kind: Any = type(given)
        settings = {key: getattr(given, key) for key in given.model_fields_set}
    else:
        settings = _as_mapping(given)
        kind = settings.pop("attack")
    return kind, settings, {key: settings.pop(key) for key in common & set(settings)}


def made(kind: Any, settings: Mapping[str, Any]) -> Attack:
    """An attack from its name or class and its settings.

    Raises:
        InputError: there is no such attack, or a setting does not fit.
        ValueError: the same of a class.
    """
    from SegAdversarialLib.attacks import make_attack  # which imports the files that import this one

    attack: Attack = make_attack(kind, settings) if isinstance(kind, str) else kind(**settings)
    return attack


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
