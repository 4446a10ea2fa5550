"""Which programs would be opened with some networks: a process that has opened one of them is used for nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.describing import describe_file
from SegAdversarialLib.formats.trust import known_digest

Named = tuple[str, str | None, dict[str, Any]]
"""A network as `describe_file` takes it: path, settings file, changed settings."""


def sums_of_programs(networks: Iterable[Named]) -> frozenset[str]:
    """The SHA-256 of the programs among networks, as they are now; nothing is opened.

    Networks that cannot be described are left out: they will be refused.

    Args:
        networks: each by its path, settings file and changed settings.
    """
    found: set[str] = set()
    for path, settings, changes in networks:
        with suppress(InputError, TypeError, ValueError):
            known = describe_file(path, settings, **changes)
            found |= {known_digest(x) for x in known.programs}
    return frozenset(found)


def named_source(data: Any) -> list[Named]:
    """The network that a `ModelSource` as JSON data names; none where it is something else."""
    if not isinstance(data, Mapping) or not isinstance(data.get("path"), str):
        return []
    return [(data["path"], data.get("settings"), dict(data.get("changes") or {}))]


def named_files(*paths: Any) -> list[Named]:
    """The networks that settings name by their paths alone; what is no path is passed over."""
    return [(path, None, {}) for path in paths if isinstance(path, str)]


def named_in_attack(settings: Any) -> list[Named]:
    """The networks that an attack's settings name, or those of the attacks in it (`method`), whose name or JSON may stand
    there; what is neither is passed over."""
    if isinstance(settings, str):
        try:
            settings = json.loads(settings)
        except (ValueError, RecursionError):
            return []
    if not isinstance(settings, Mapping):
        return []
    return named_files(settings.get("source")) + named_in_attack(settings.get("method"))
