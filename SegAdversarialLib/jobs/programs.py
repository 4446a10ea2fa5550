"""Which programs a job would open: a process that has opened one of them is used for nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.describing import describe_file
from SegAdversarialLib.formats.trust import known_digest


def programs_of(job: Mapping[str, Any]) -> frozenset[str]:
    """The SHA-256 of the programs among the networks that a job names, as they are now; nothing is opened.

    Networks that cannot be described are left out: the job will be refused. A study has processes of its own; of it, what it
    is told to trust counts.

    Args:
        job: its specification as JSON data.
    """
    if job.get("kind") == "study":
        return frozenset(job.get("trust") or ())
    found: set[str] = set()
    for path, settings, changes in _networks(job):
        with suppress(InputError, TypeError, ValueError):
            known = describe_file(path, settings, **changes)
            found |= {known_digest(x) for x in known.programs}
    return frozenset(found)


def _networks(job: Mapping[str, Any]) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """The networks that a job names: path, settings file, changed settings."""
    for source in (job.get("model"), job.get("surrogate")):
        if isinstance(source, Mapping) and isinstance(source.get("path"), str):
            yield source["path"], source.get("settings"), dict(source.get("changes") or {})
    recipe = job.get("recipe") or {}
    named = [recipe.get("teacher"), recipe.get("network"), *(x.get("source") for x in job.get("attacks") or ())]
    for path in named:
        if isinstance(path, str):
            yield path, None, {}
