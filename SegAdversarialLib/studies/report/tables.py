"""Tables of a study as HTML that sorts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from SegAdversarialLib.studies.report.markup import Markup, element
from SegAdversarialLib.studies.report.page import bullets, heading

if TYPE_CHECKING:
    from SegAdversarialLib.studies.tables import Table

_MOST_ROWS = 1000
"""A longer table is of no use to a reader: what is beyond stands in the CSV file."""

_SENTENCE = 50
"""Letters from which on a column holds sentences, which want room."""

_TALL = 25
"""A table with more rows scrolls in a window of its own."""

_MOST_DECIMALS = 4

_MISSING = ("", "-")

_RANGE = re.compile(r"(?<=\d) to (?=-?\d)")

_VERDICTS = {
    "pass": ("good", "\u2713"),
    "holds": ("good", "\u2713"),
    "warn": ("warn", "\u26a0"),
    "does not hold": ("bad", "\u2717"),
    "not applicable": ("unknown", ""),
    "not testable": ("unknown", ""),
}
"""Of audits and of papers' claims: how they look, and the sign beside them, so that nothing rests on colour."""


def table(one: Table) -> Markup:
    """A table with its title and notes; columns in which nothing stands are left out."""
    left_out = len(one.rows) - _MOST_ROWS
    more = [f"{left_out:,} more rows are not shown here; they are in the CSV file of this table."] if left_out > 0 else []
    texts, numbers = _texts(one)[:_MOST_ROWS], one.numbers[:_MOST_ROWS]
    shown = [n for n in range(len(one.columns)) if any(row[n] not in _MISSING for row in texts)]
    columns = [one.columns[n] for n in shown]
    body = sheet(one.title, columns, [[row[n] for n in shown] for row in texts], [[row[n] for n in shown] for row in numbers])
    return Markup(heading(one.title) + body + bullets([*one.notes, *more], class_="notes"))


def _texts(one: Table) -> list[list[str]]:
    """The entries as they are shown; numbers without more to them with as many decimals as the others of their column."""
    texts = one.texts
    for n in range(len(one.columns)):
        plain = {row: x for row, x in enumerate(entries[n] for entries in one.rows) if isinstance(x, float) and _is_short(x)}
        decimals = max((len(texts[row][n].partition(".")[2]) for row in plain), default=0)
        for row, number in plain.items():
            texts[row][n] = f"{number:.{min(decimals, _MOST_DECIMALS)}f}"
    return texts


def _is_short(number: float) -> bool:
    """Whether a number is shown without an exponent."""
    return number == 0 or 1e-3 <= abs(number) < 1e4


def sheet(
    title: str,
    columns: Sequence[str],
    texts: Sequence[Sequence[str | Markup]],
    numbers: Sequence[Sequence[float | None]] = (),
) -> Markup:
    """Rows as a table that scrolls by itself where it is wider than the page, with the mouse and with the keyboard.

    Args:
        title: what it is called for those who do not see it.
        columns: their names; each sorts its column.
        texts: the entries as they are shown; "" and "-" are missing and come last.
        numbers: what entries sort by where that is a number.
    """
    right = [any(row[n] is not None for row in numbers) for n in range(len(columns))]
    prose = _prose([max((len(row[n]) for row in texts), default=0) for n in range(len(columns))])
    head = element("tr", *map(_header, columns, right, prose))
    body = [
        element("tr", *map(_cell, row, numbers[n] if numbers else [None] * len(row), right, prose))
        for n, row in enumerate(texts)
    ]
    content = element("table", element("thead", head), element("tbody", *body))
    return element(
        "div", content, class_="wide tall" if len(body) > _TALL else "wide", role="region", tabindex="0", aria_label=title
    )


def _prose(lengths: Sequence[int]) -> list[str]:
    """The classes of columns that hold sentences: the longest of several gets half of the width."""
    several = sum(x > _SENTENCE for x in lengths) > 1
    return ["" if x <= _SENTENCE else "prose longest" if several and x == max(lengths) else "prose" for x in lengths]


def _header(name: str, right: bool, prose: str) -> Markup:
    button = element("button", _unbroken(name), type="button")
    return element("th", button, scope="col", aria_sort="none", class_=_classes(number=right, **{prose: bool(prose)}))


def _unbroken(text: str) -> str:
    """A text in which "epsilon = 0.05" and "0.143 to 0.400" stay in one line."""
    return _RANGE.sub("\u00a0to\u00a0", text.replace(" = ", "\u00a0=\u00a0"))


def _cell(text: str | Markup, number: float | None, right: bool, prose: str) -> Markup:
    missing = text in _MISSING
    classes = _classes(number=right, missing=missing, **{prose: bool(prose)})
    sorts_by = None if number is None or missing else _for_javascript(number)
    shown = text if isinstance(text, Markup) or len(text) > _SENTENCE else _unbroken(text)
    return element("td", "\u2013" if missing else _verdict(shown), class_=classes, data_value=sorts_by)


def _classes(**so: bool) -> str | None:
    """The names of what is so."""
    return " ".join(name for name, holds in so.items() if holds) or None


def _verdict(text: str | Markup) -> str | Markup:
    """A text; where it is a verdict, as one."""
    if text not in _VERDICTS:
        return text
    kind, sign = _VERDICTS[text]
    return element("span", f"{sign} {text}".strip(), class_=f"verdict {kind}")


def _for_javascript(number: float) -> str:
    """A number as JavaScript reads it."""
    return repr(float(number)) if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"
