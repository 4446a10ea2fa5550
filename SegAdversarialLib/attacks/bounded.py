"""The settings that say how much an attack may do, and the same attack with less of them."""

from __future__ import annotations

from typing import Any

from SegAdversarialLib.attacks.additive import EPSILON_UNIT
from SegAdversarialLib.attacks.attack import Attack


def bounds_of(attack: Attack) -> dict[str, float]:
    """The values other than 0 of the settings that bound an attack, its main one first; of an attack that only makes another
    one, those of that. Empty: nothing bounds it, or nothing is allowed."""
    held = _holder(attack)
    values = {name: held.bound(name) for name in type(held).bounds}
    return {name: value for name, value in values.items() if value}


def least_share(attack: Attack) -> float:
    """The least share of its budget with which an attack can be made; 0: any."""
    held = _holder(attack)
    return max((held.least_bound(name) / value for name, value in bounds_of(attack).items()), default=0.0)


def with_share(attack: Attack, share: float, digits: int | None = None) -> Attack:
    """The same attack with a share of its budget, from 0 to 1; where several settings bound it, of all of them; rounded to so
    many significant digits, if any."""
    held = _holder(attack)
    values = {name: share * value for name, value in bounds_of(attack).items()}
    if digits is not None:
        values = {name: float(f"{value:.{digits}g}") for name, value in values.items()}
    smaller = held.model_copy(update=values)
    return smaller if held is attack else attack.model_copy(update={"method": smaller})


def unit_of(attack: Attack, setting: str = "") -> str:
    """What one of its settings is measured in; of none, the main one of its bounds. Empty where there is no such setting."""
    held, name = _holder(attack), setting or next(iter(bounds_of(attack)), "")
    field = type(held).model_fields.get(name)
    extra: Any = None if field is None else field.json_schema_extra
    unit = str((extra or {}).get("unit", ""))
    if unit == EPSILON_UNIT:
        return "of the largest intensity" if held.is_relative else "scanner units"
    return unit


def _holder(attack: Attack) -> Attack:
    """The attack whose settings bound it: itself, or the one that it makes."""
    method = getattr(attack, "method", None)
    return _holder(method) if not type(attack).bounds and isinstance(method, Attack) else attack
