"""The fields of an attack's JSON schema, in the words that a panel shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

_LONGEST_SUFFIX = 8

# an attack's own settings come between these
_FIRST = ("channels", "region", "source", "generator", "perturbation", "method", "epsilon", "epsilon_units", "against", "norm")
_LAST = (
    *("loss", "losses", "classes", "temperature", "restarts", "keep", "stop_at_drop", "snapshot_every"),
    *("clip", "intensity_range", "quantize", "fingerprint", "seed"),
)


@dataclass(frozen=True)
class Bounds:
    """Where a number may lie; infinite where nothing is said. Open ends are not values themselves."""

    low: float = -math.inf
    high: float = math.inf
    lowOpen: bool = False
    highOpen: bool = False

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Bounds:
        """The bounds that a schema without alternatives states."""
        lowOpen, highOpen = "exclusiveMinimum" in schema, "exclusiveMaximum" in schema
        low = schema["exclusiveMinimum"] if lowOpen else schema.get("minimum", -math.inf)
        high = schema["exclusiveMaximum"] if highOpen else schema.get("maximum", math.inf)
        return cls(low, high, lowOpen, highOpen)

    def describe(self) -> str:
        """The bounds in words, or nothing."""
        low = _("above {low}") if self.lowOpen else _("{low} or more")
        high = _("below {high}") if self.highOpen else _("{high} or less")
        if math.isinf(self.low):
            return "" if math.isinf(self.high) else high.format(high=self.high)
        if math.isinf(self.high):
            return low.format(low=self.low)
        if not (self.lowOpen or self.highOpen):
            return _("{low} to {high}").format(low=self.low, high=self.high)
        return _("{low}, {high}").format(low=low.format(low=self.low), high=high.format(high=self.high))


@dataclass(frozen=True)
class Field:
    """One setting of an attack.

    Attributes:
        name: what configurations call it.
        schema: its JSON schema, references resolved.
    """

    name: str
    schema: Mapping[str, Any]

    @property
    def default(self) -> Any:
        """Its value where nothing else is said; None also where the schema states none."""
        return self.schema.get("default")

    @property
    def alternatives(self) -> list[Mapping[str, Any]]:
        """The kinds of values that it may have."""
        return list(self.schema.get("anyOf") or self.schema.get("oneOf") or [self.schema])

    @property
    def nullable(self) -> bool:
        """Whether null is one of its values."""
        return any(x.get("type") == "null" for x in self.alternatives)

    @property
    def choose(self) -> str:
        """Where its values come from, if not from the schema: "channels", "classes", "class", "region", "network",
        "generator", "pattern", "attack", "random-attack", "bounded-attack", "trust" or ""."""
        return str(self.schema.get("choose", ""))

    @property
    def advanced(self) -> bool:
        """Whether most people leave it alone."""
        return bool(self.schema.get("advanced", False))

    @property
    def texts(self) -> Mapping[str, str]:
        """What people call its values."""
        return dict(self.schema.get("texts", {}))

    @property
    def ofNothing(self) -> str:
        """What people call it where no value is set: often it is then worked out."""
        return _(self.texts.get("none") or "automatic")

    @property
    def label(self) -> str:
        """What people call it."""
        return _(self.schema.get("label") or self.name.replace("_", " ").strip().capitalize())

    @property
    def suffix(self) -> str:
        """A unit that is short enough to stand behind a number."""
        unit = str(self.schema.get("unit", ""))
        return f" {_(unit)}" if 0 < len(unit) <= _LONGEST_SUFFIX else ""

    @property
    def toolTip(self) -> str:
        """Everything about it: description, unit, bounds and default, each in a line."""
        lines = [_(str(self.schema.get("description") or self.name))]
        if self.schema.get("unit"):
            lines.append(_("Unit: {unit}").format(unit=_(self.schema["unit"])))
        bounds = [text for text in (Bounds.of(x).describe() for x in self.alternatives) if text]
        if bounds:
            lines.append(_("Range: {range}").format(range="; ".join(bounds)))
        if self.default is not None:
            lines.append(_("Default: {value}").format(value=self.readable(self.default)))
        return "\n".join(lines)

    def readable(self, value: Any) -> str:
        """A value in words."""
        if isinstance(value, bool):
            return _("yes") if value else _("no")
        if isinstance(value, str):
            return _(self.texts.get(value) or value.replace("_", " "))
        return _("none") if value is None else json.dumps(value)

    def explanation(self, value: Any) -> str:
        """What the description says of a value, in the form "value: explanation; value: explanation."."""
        for part in str(self.schema.get("description", "")).split(";"):
            if part.strip().startswith(f"{value}: "):
                return _(part.strip().removeprefix(f"{value}: ").rstrip("."))
        return ""


def fieldsOf(schema: Mapping[str, Any]) -> list[Field]:
    """The fields of a model's JSON schema in the order in which people decide: first what everybody needs, then the advanced
    ones; each where, how much, an attack's own settings, how it is searched, and what is kept."""
    definitions = schema.get("$defs", {})
    found = [Field(name, _resolved(x, definitions)) for name, x in schema.get("properties", {}).items()]
    return sorted(found, key=lambda x: (x.advanced, _place(x.name)))


def _place(name: str) -> int:
    if name in _FIRST:
        return _FIRST.index(name) - len(_FIRST)
    return 1 + _LAST.index(name) if name in _LAST else 0


def _resolved(schema: Any, definitions: Mapping[str, Any], depth: int = 0) -> Any:
    """A schema with what its references stand for in their place. A type that contains itself is left open there."""
    if isinstance(schema, list):
        return [_resolved(x, definitions, depth) for x in schema]
    if not isinstance(schema, Mapping):
        return schema
    own = {key: x for key, x in schema.items() if key not in ("$ref", "allOf")}
    parents = [x for x in schema.get("allOf", [])] if isinstance(schema.get("allOf"), list) else []
    if "$ref" in schema:
        parents.append(definitions.get(str(schema["$ref"]).rsplit("/", 1)[-1], {}) if depth < 8 else {})
    merged: dict[str, Any] = {}
    for parent in parents:
        merged |= _resolved(parent, definitions, depth + 1)
    kept = {key: x if key in ("default", "examples", "texts") else _resolved(x, definitions, depth) for key, x in own.items()}
    return merged | kept
