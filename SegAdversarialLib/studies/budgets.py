"""What bounds an attack in a study, in numbers, and what else tells configurations of one attack apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from SegAdversarialLib.attacks import ATTACKS

_NEVER = {"attack", "channels", "seed", "fingerprint", "trust"}
"""Settings that tables show elsewhere, or that follow from others."""


class Budgets:
    """Tells of each configuration of a study its budget, its channels and its variant.

    An attack knows which of its settings bound it (`Attack.bounds`). Of several, the budget is the first that the study
    varies, or else the first; all other settings that the study varies under one name make the variant.

    Args:
        configurations: names and settings of all attacks in the study.
    """

    def __init__(self, configurations: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        counts: dict[str, int] = defaultdict(int)
        seen: set[tuple[str, int]] = set()
        self._bounds: dict[str, tuple[str, ...]] = {}
        for name, settings in configurations:
            if (name, id(settings)) in seen:  # rows share them
                continue
            seen.add((name, id(settings)))
            counts[name] += 1
            for key, value in _flat(settings).items():
                values[name][key].add(repr(value))
            self._bounds.setdefault(name, _bounds(settings))
        self._varied = {
            name: [key for key, x in found.items() if len(x) > 1 and key.rpartition(".")[2] not in _NEVER]
            for name, found in values.items()
        }
        self._known: dict[tuple[str, int], dict[str, Any]] = {}
        self._held: list[Any] = []

    def of(self, name: str, settings: Mapping[str, Any], is_attack: bool = True) -> dict[str, Any]:
        """budget, budget_name, channels and variant of a configuration; of a cell that is no attack: nothing."""
        if not is_attack:
            return {"budget": None, "budget_name": "", "channels": "", "variant": ""}
        if (name, id(settings)) not in self._known:
            self._held.append(settings)  # so that its id stays its own
            self._known[name, id(settings)] = self._found(name, settings)
        return self._known[name, id(settings)]

    def _found(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        flat = _flat(settings)
        bounds, varied = self._bounds.get(name, ()), self._varied.get(name, [])
        main = next((x for x in bounds if x in varied), bounds[0] if bounds else "")
        value = flat.get(main)
        channels = settings.get("channels")
        return {
            "budget": float(value) if isinstance(value, (int, float)) else None,
            "budget_name": main.rpartition(".")[2],
            "channels": "+".join(channels) if channels else "all",
            "variant": ", ".join(
                f"{key.removeprefix('method.')} {_said(flat[key])}" for key in varied if key != main and key in flat
            ),
        }


def _bounds(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that bound an attack; of one that is made of another, those of that."""
    cls = ATTACKS.get(str(settings.get("attack")))
    if cls is None:
        return ()
    method = settings.get("method")
    if not cls.bounds and isinstance(method, Mapping):
        return tuple(f"method.{x}" for x in _bounds(method))
    return cls.bounds


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, those of an attack in it with the setting's name before theirs."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": x for inner, x in _flat(value).items()}
            if "attack" in value:
                found[key] = value["attack"]
        else:
            found[key] = value
    return found


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "+".join(map(_said, value))
    return {None: "none", True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
