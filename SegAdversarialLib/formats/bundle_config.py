"""A MONAI bundle's configuration as data: entries are looked up by name when they are asked for, and nothing is made of them.

What nobody asks for (imports, data lists, handlers, the evaluator) is never looked at, so that programs in it do not matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.bundle_expressions import value_of

LARGEST = 1 << 20
"""Bytes of a configuration: larger ones are no such thing."""

_MOST = 50_000
"""Entries that are looked up: more are an attempt to fill the memory."""

_DEEPEST = 100
"""Brackets in brackets: no configuration nests so deep."""

_RELATIVE = re.compile(r"[@%](?:::)+")


@dataclass(frozen=True, eq=False)
class Component:
    """A part that MONAI would make, as a name and arguments that are worked out when they are asked for.

    Attributes:
        target: the class, as the configuration writes it.
        entry: where in the configuration it stands.
    """

    target: str
    entry: str
    _config: Config = field(repr=False)
    _raw: Mapping[str, Any] = field(repr=False)

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def get(self, name: str, default: Any = None) -> Any:
        """An argument.

        Raises:
            InputError: it is an expression that is not worked out.
        """
        return self._config.value(self._raw[name], f"{self.entry}::{name}") if name in self._raw else default

    def raw(self, name: str) -> Any:
        """An argument as it is written."""
        return self._raw.get(name)

    def arguments(self) -> dict[str, Any]:
        """All arguments; raises as `get` does."""
        return {name: self.get(name) for name in self._raw if not (name.startswith("_") and name.endswith("_"))}


class Config:
    """The entries of a configuration.

    Args:
        data: what the file holds.
        source: what the file is called in messages.
    """

    def __init__(self, data: Mapping[str, Any], source: str) -> None:
        self._data, self.source = {**data, "bundle_root": "."}, source
        self._known: dict[str, Any] = {}
        self._asked: list[str] = []
        self._left = _MOST

    def __contains__(self, entry: str) -> bool:
        return entry in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def get(self, entry: str, default: Any = None) -> Any:
        """The value of an entry, by a name such as "inferer" or "handlers::0"; a component stays what it is.

        Raises:
            InputError: it needs an expression that is not worked out, refers to itself, or to what is not there.
        """
        return self._entry(entry) if entry.partition("::")[0] in self._data else default

    def raw(self, entry: str) -> Any:
        """A top entry as the file writes it."""
        return self._data.get(entry)

    def programs(self) -> str:
        """What MONAI would run of it and this software does not, in words; "": nothing."""
        expressions, strange = 0, dict[str, None]()
        waiting: list[Any] = [self._data]
        seen: set[int] = set()  # what YAML's anchors repeat counts once; it may hold itself
        while waiting:
            found = waiting.pop()
            if isinstance(found, (dict, list)):
                if id(found) in seen:
                    continue
                seen.add(id(found))
            if isinstance(found, dict):
                target = found.get("_target_")
                if isinstance(target, str) and "." in target and target.partition(".")[0] not in ("monai", "torch", "ignite"):
                    strange[target] = None
                waiting += found.values()
            elif isinstance(found, list):
                waiting += found
            elif isinstance(found, str) and found.startswith("$"):
                expressions += 1
        parts = [f"{expressions} expression{'s' if expressions > 1 else ''} ($...)"] if expressions else []
        few = list(strange)[:3]
        parts += [f"{', '.join(few)}{' and others' if len(strange) > 3 else ''}"] if strange else []
        return f"{' and '.join(parts)}, which MONAI would run" if parts else ""

    def _entry(self, entry: str) -> Any:
        if entry in self._known:
            return self._known[entry]
        if entry in self._asked:
            chain = " -> ".join([*self._asked[self._asked.index(entry) :], entry])
            raise InputError(f"In {self.source} {entry} refers to itself ({chain}); write its value there.")
        self._asked.append(entry)
        try:
            self._known[entry] = self.value(self._found(entry), entry)
        finally:
            self._asked.pop()
        return self._known[entry]

    def _found(self, entry: str) -> Any:
        """What is written at a place such as "a::b::0"."""
        place: Any = self._data
        for part in entry.split("::"):
            try:
                place = place[int(part)] if isinstance(place, list) else place[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise InputError(f"{self.source} refers to an entry {entry}, which it does not have; add it.") from None
        return place

    def value(self, raw: Any, entry: str) -> Any:
        """What is written somewhere, with the entries that it names in the place of their names; raises as `get` does."""
        try:
            return self._resolved(raw, entry)
        except RecursionError:
            raise InputError(f"In {self.source} the entry {entry} is nested too deeply; write its value there.") from None

    def _resolved(self, raw: Any, entry: str) -> Any:
        self._left -= 1
        if self._left < 0:
            raise InputError(f"{self.source} has too many entries inside one another to be a bundle's; check the file.")
        if isinstance(raw, str):
            return self._text(raw, entry)
        if isinstance(raw, list):
            return [self._resolved(x, f"{entry}::{n}") for n, x in enumerate(raw) if not self._disabled(x, f"{entry}::{n}")]
        if isinstance(raw, dict) and "_target_" in raw:
            target = self._resolved(raw["_target_"], f"{entry}::_target_")
            if not isinstance(target, str):
                raise InputError(f"In {self.source} {entry} has a _target_ that is no name of a class; it must be one.")
            return Component(target, entry, self, raw)
        if isinstance(raw, dict):
            return {k: self._resolved(x, f"{entry}::{k}") for k, x in raw.items() if not self._disabled(x, f"{entry}::{k}")}
        return raw

    def _disabled(self, raw: Any, entry: str) -> bool:
        """Whether a component is left out of what holds it."""
        if not (isinstance(raw, dict) and "_target_" in raw and "_disabled_" in raw):
            return False
        said = self._resolved(raw["_disabled_"], f"{entry}::_disabled_")
        return said.strip().lower() == "true" if isinstance(said, str) else bool(said)

    def _text(self, raw: str, entry: str) -> Any:
        if not raw.startswith(("@", "%", "$")):
            return raw
        raw = self._absolute(raw.replace("#", "::"), entry)
        if raw.startswith("$"):
            return value_of(raw[1:], entry, self._entry)
        if re.fullmatch(r"@\w*(?:::\w*)*", raw):
            return self._entry(raw[1:])
        if re.fullmatch(r"%\w+(?:::\w*)*", raw):
            return self._resolved(self._found(raw[1:]), entry)
        if raw.startswith("%"):
            raise InputError(f'In {self.source} {entry} is "{raw}", a part of another file; write that part in its place.')
        return raw

    def _absolute(self, text: str, entry: str) -> str:
        """Names that count from where they stand ("@::x", beside; "@::::x", one level up) as names from the top."""
        here = entry.split("::")
        for found in sorted(set(_RELATIVE.findall(text)), key=len, reverse=True):
            up = (len(found) - 1) // 2
            above = here[: max(0, len(here) - up)]
            text = text.replace(found, "".join((found[0], "::".join([*above, ""]) if above else "")))
        return text


def parsed(text: str, source: str) -> Config | None:
    """A configuration from the text of its file, JSON or YAML; None: it holds something else.

    Raises:
        InputError: it is damaged, or PyYAML is missing.
    """
    data = _json(text, source) if text.lstrip()[:1] in ("{", "[") else _yaml(text, source)
    return Config(data, source) if isinstance(data, dict) and all(isinstance(x, str) for x in data) else None


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        try:  # YAML is more than JSON, and begins the same
            return _yaml(text, source)
        except InputError:
            raise InputError(f"{source} is no readable JSON ({detail_of(error)}); check the file.") from None


def _yaml(text: str, source: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise InputError(
            f"{source} is YAML, for which PyYAML is missing; install it (pip install PyYAML), or write the file as JSON."
        ) from None

    class Loader(yaml.SafeLoader):
        def fetch_flow_collection_start(self, *token: Any) -> None:
            if self.flow_level >= _DEEPEST:  # the time that PyYAML takes grows with the square of the depth
                raise ValueError("brackets nest too deep")
            super().fetch_flow_collection_start(*token)

        def flatten_mapping(self, node: Any) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                # merged again and again, a few lines become more entries than memory holds
                raise ValueError("entries are merged by <<, which is not done here; write them out")
            super().flatten_mapping(node)

    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{source} is no readable YAML ({detail_of(error)}); check the file.") from None
