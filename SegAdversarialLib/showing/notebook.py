"""How results show themselves: in one line where Python asks for it, as tables in a notebook, as data frames."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import pandas

_MOST_STRUCTURES = 4


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], caption: str = "") -> str:
    """Rows as an HTML table; what a row lacks is empty, and nothing in it is read as HTML."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(row.get(column)))}</td>" for column in columns) + "</tr>" for row in rows
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def cell(value: Any) -> str:
    """A value in a table: four significant digits; nan reads "undefined", and what is missing is blank."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return "undefined"
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    return str(value)


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pandas.DataFrame:
    """Rows as a pandas data frame; what a row lacks is missing.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise InputError(
            "A data frame needs the package pandas, which is not installed; install it (pip install pandas), or use the rows "
            "as they are (.rows, .table(), .write_csv(path))."
        ) from None
    return pandas.DataFrame(rows, columns=list(columns))


def before_after(before: float | None, after: float | None) -> str:
    """Dice before and after: "0.94 -> 0.21"; only what is known."""
    words = ["?" if x is None else "undefined" if math.isnan(x) else f"{x:.3f}" for x in (before, after)]
    return words[1] if before is None else " -> ".join(words)


def evaluation_line(rows: Sequence[Mapping[str, Any]], reference: str, ratio: float) -> str:
    """An evaluation in one line, from its rows, what they are measured against, and the mean PSNR."""
    dice = [row for row in rows if row["metric"] == "Dice"]
    shown = [f"{row['structure']} {before_after(row['before'], row['after'])}" for row in dice[:_MOST_STRUCTURES]]
    if len(dice) > _MOST_STRUCTURES:
        shown.append(f"and {len(dice) - _MOST_STRUCTURES} more structures")
    quality = f"; PSNR {ratio:.1f} dB" if math.isfinite(ratio) else ""
    return f"<Evaluation against the {reference}: Dice {', '.join(shown)}{quality}>"
