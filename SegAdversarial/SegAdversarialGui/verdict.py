"""What an attack did, in words, from the cells of its table of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

_MOST_STRUCTURES = 6
_CERTIFIED = "certified Dice"
_DICE = {"Dice", _CERTIFIED}


def verdict(table: Any, reference: Any, notes: Sequence[str] = (), thresholds: Sequence[Any] = ()) -> str:
    """A few lines on how Dice changed for each structure, and whether that is a success by Chen et al. (2019).

    Args:
        table: the run's table of metrics (a row for each structure and metric, or, after segmenting, a row for each
            structure with a column "Dice" or "certified Dice"), or of checks; None, or a table without Dice, gives no words.
        reference: what Dice was measured against; None: the network's own answer for the original.
        notes: what makes the figures say less than they seem to.
        thresholds: the least budgets that were found (`Threshold`), one for each structure; they come first.
    """
    every = rowsOf(table)
    if any("verdict" in row for row in every):
        return "\n".join(_auditLines(every))
    rows = [row for row in every if row.get("structure") and (row.get("metric") == "Dice" or _DICE & set(row))]
    lines = _thresholdLines(thresholds)
    lines += [_structureLine(row) for row in rows[:_MOST_STRUCTURES]]
    if len(rows) > _MOST_STRUCTURES:
        lines.append(_("and {n} more structures, in the table").format(n=len(rows) - _MOST_STRUCTURES))
    if any("after" in row for row in rows):
        lines += _successLines(rows)
        if reference is None:
            lines.append(_("Measured against the network's own answer for the original."))
    return "\n".join([*lines, *(_("Note: {note}").format(note=note) for note in notes)])


def rowsOf(table: Any) -> list[dict[str, str]]:
    """The rows of a table node as texts by column; cells that say nothing are left out."""
    if table is None:
        return []
    columns = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    rows = [[table.GetCellText(row, n) for n in range(len(columns))] for row in range(table.GetNumberOfRows())]
    return [{name: text for name, text in zip(columns, row) if text not in ("", "-")} for row in rows]


def _thresholdLines(thresholds: Sequence[Any]) -> list[str]:
    """A number for each structure, in the attack's own unit, and what it is."""
    if not thresholds:
        return []
    first = thresholds[0]
    head = _("Least {setting} with which Dice falls by {percent:g} %, an upper bound of what the network tolerates:")
    lines = [head.format(setting=first.setting.replace("_", " "), percent=100 * first.drop)]
    for found in thresholds[: 1 + _MOST_STRUCTURES]:
        name = _(found.whose) if found.structure == "mean" else found.structure
        lines.append(_("{structure}: {bracket}").format(structure=name, bracket=found.within))
    if len(thresholds) > 1 + _MOST_STRUCTURES:
        lines.append(_("and {n} more structures").format(n=len(thresholds) - 1 - _MOST_STRUCTURES))
    if not all(x.searched for x in thresholds):
        lines.append(_('"At most": seen on the way to the mean; "Each structure" searches for each by itself.'))
    return lines


def _structureLine(row: dict[str, str]) -> str:
    name = row["structure"]
    if _CERTIFIED in row:
        return _("{structure}: certified Dice {value} (the network's own {own})").format(
            structure=name, value=_text(row[_CERTIFIED]), own=_text(row.get("network Dice"))
        )
    if "Dice" in row:
        return _("{structure}: Dice {value}").format(structure=name, value=_text(row["Dice"]))
    drop = number(row.get("drop"))
    change = _(" ({percent:+.0f} %)").format(percent=-100 * drop) if math.isfinite(drop) else ""
    return _("{structure}: Dice {before} \N{RIGHTWARDS ARROW} {after}{change}").format(
        structure=name, before=_text(row.get("before")), after=_text(row.get("after")), change=change
    )


def _auditLines(rows: list[dict[str, str]]) -> list[str]:
    """How many checks of an audit pass, and which warn."""
    warned = [row["check"] for row in rows if row.get("verdict") == "warn" and "check" in row]
    passed = sum(row.get("verdict") == "pass" for row in rows)
    if not warned:
        return [_("{n} checks pass, none warns.").format(n=passed)]
    return [_("{n} checks pass; these warn:").format(n=passed), *warned]


def _successLines(rows: list[dict[str, str]]) -> list[str]:
    judged = [row for row in rows if "success" in row]
    won = [row["structure"] for row in judged if row["success"].lower() == "true"]
    if not judged:
        return []
    if len(won) == len(judged):
        return [_("A success by Chen et al.'s rule: Dice dropped by 30 % or more.")]
    if not won:
        return [_("No success by Chen et al.'s rule: Dice dropped by less than 30 %.")]
    sentence = _("A success by Chen et al.'s rule (Dice dropped by 30 % or more) for: {structures}.")
    return [sentence.format(structures=", ".join(won))]


def number(text: str | None) -> float:
    """The number in a cell; nan where there is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _text(cell: str | None) -> str:
    return f"{number(cell):.2f}" if math.isfinite(number(cell)) else _("undefined")
