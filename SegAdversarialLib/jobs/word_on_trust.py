"""Whose word counts on the programs of a job that stands in a file: the user's, never the file's."""

from __future__ import annotations

from typing import Any

from SegAdversarialLib.formats.trust import without_trust
from SegAdversarialLib.jobs.specification import AnyJob, make_job


def in_users_word(job: AnyJob, trust: bool) -> AnyJob:
    """The same job; what its file says of trust is left out, and what the user says takes its place.

    Args:
        job: the job.
        trust: True: the user trusts the programs that it names (of a study, those of which this says so, too); False: only
            those that are remembered open.
    """
    data: dict[str, Any] = job.model_dump(mode="json")
    if data["kind"] == "study":
        data["trust"] = trust
    data |= {key: without_trust(data[key]) for key in ("attacks", "recipe") if key in data}
    for part in _parts(data):
        part["trust"] = trust
    return make_job(data)


def _parts(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What in a job opens networks: these themselves, attacks that are made on one of their own, and a training's recipe."""
    from SegAdversarialLib.attacks import ATTACKS
    from SegAdversarialLib.defenses.recipes import RECIPES

    found = [x for x in (data.get("model"), data.get("surrogate")) if isinstance(x, dict)]
    for known, key, parts in ((ATTACKS, "attack", data.get("attacks", ())), (RECIPES, "recipe", [data.get("recipe") or {}])):
        found += [x for x in parts if x.get(key) in known and "trust" in known[x[key]].model_fields]
    return found
