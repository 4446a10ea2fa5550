"""Folders of results: the attacked images of each attack as cases, with what was not attacked from the job's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.cohorts.listing import folders_below, visible
from SegAdversarialLib.volumes.files import RESULT_MARKER, file_name

WORDS = "results of this software (job.json and a folder for each attack)"

_JOB, _MOVED_LABEL = "job.json", "label-moved"


def entries(folder: Path) -> list[Entry]:
    """The attacked images below a folder, one case for each attack, of the patient that the attacked case is."""
    found = []
    for place in folders_below(folder):
        job = _object(place / _JOB)
        case = job.get("case") if job.get("kind") == "attack" else None
        if isinstance(case, dict):
            results = [x for x in visible(place) if (x / RESULT_MARKER).is_file()]
            found += [_entry(x, _object(x / RESULT_MARKER), case) for x in results]
    return found


def _entry(place: Path, record: dict[str, Any], case: dict[str, Any]) -> Entry:
    name, ending = str(record.get("case") or place.parent.name), str(record.get("ending"))
    changed = {x: place / f"{file_name(x)}{ending}" for x in map(str, record.get("changed") or ())}
    channels: dict[str, str] = {}
    problems = [f"there is no {path}" for path in changed.values() if not path.is_file()]
    for key, path in (case.get("channels") or {}).items():
        several = [x.strip() for x in key.split(",")]
        if not set(several) & set(changed):
            channels[key] = path
            continue
        channels |= {x: str(changed[x]) for x in several if x in changed}
        problems += [f"of {path} only some channels were attacked, and {x} was not" for x in several if x not in changed]
    if case.get("n4") and (unchanged := [x for x in channels if x not in changed]):
        problems.append(f"{', '.join(unchanged)}: not attacked, and not kept as the attack saw it, after N4")
    if case.get("phantom"):
        channels = {x: str(path) for x, path in changed.items()}
    moved = place / f"{_MOVED_LABEL}{ending}"
    kept = ("label_names", "resample", "replace_nonfinite", "prefer")
    return Entry(
        name=f"{name}-{place.name}",
        patient=name,
        channels=channels,
        label=str(moved) if moved.is_file() else case.get("label"),
        problem="; ".join(problems),
        **{x: case[x] for x in kept if case.get(x)},
    )


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
