"""What attacks did to a network's answer, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from SegAdversarialLib.evaluation.tables import format_table

_BEFORE, _AFTER = " Dice before", " Dice after"


def result_table(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    """A job's rows as text; where these would be wider than a line, what they say of each structure in a row of its own.

    Args:
        rows: as the job gives them, of attacks as `evaluation.compare` makes them: Dice before and after for each structure.
        width: letters that a line may have.
    """
    text = format_table(rows)
    names = [key.removesuffix(_BEFORE) for key in rows[0] if key.endswith(_BEFORE)] if rows else []
    if not names or _widest(text) <= width:
        return text
    blocks = [format_table(_turned(some, names)) for some in _parts(rows, names, width)]
    return "\n\n".join([f"Dice against the {rows[0]['reference']}, before and after:", *blocks])


def _turned(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The structures below one another, the attacks side by side; what else is known of the attacks stands last."""
    found: list[dict[str, Any]] = []
    for name in names:
        after = {row["attack"]: row.get(f"{name}{_AFTER}") for row in rows}
        found.append({"structure": name, "before": rows[0].get(f"{name}{_BEFORE}"), **after})
    others = dict.fromkeys(y for x in rows for y in x if not y.endswith((_BEFORE, _AFTER)))
    for key in others:
        if key not in ("attack", "reference"):
            found.append({"structure": key, "before": None, **{row["attack"]: row.get(key) for row in rows}})
    return found


def _parts(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    """As many attacks together as have room beside one another, one at least."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or _widest(format_table(_turned(rows[start : end + 1], names))) > width:
            yield rows[start:end]
            start = end


def _widest(text: str) -> int:
    """Letters of the longest line."""
    return max(map(len, text.splitlines()))
