"""What lies beside a report for those who go on with it: its tables and all rows as CSV, its figures as SVG and PNG."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from SegAdversarialLib.studies.export import export
from SegAdversarialLib.studies.report.contents import Drawn
from SegAdversarialLib.studies.report.markup import Markup
from SegAdversarialLib.studies.report.pictures import figure
from SegAdversarialLib.studies.tables import Table
from SegAdversarialLib.volumes.files import file_name

TABLES, FIGURES = "tables", "figures"

_LONGEST_NAME = 80

_BROAD = 1.7
"""A figure that is so many times as wide as high would be too small in half of the page."""
_WIDE = 9
"""The same of one of so many inches."""

_RAW = {
    "results": "a row for each attack and structure",
    "channels": "a row for each attack and channel",
    "thresholds": "a row for each search for the least budget and structure",
}


def write_tables(folder: Path, tables: Iterable[Table]) -> dict[str, str]:
    """Every table as CSV; what they show, by their addresses relative to the folder."""
    found: dict[str, str] = {}
    for one in tables:
        name = re.sub("_+", "_", file_name(one.title))[:_LONGEST_NAME].strip("_")
        address = _free(f"{TABLES}/{name}", ".csv", found)
        one.to_csv(folder / address)
        found[address] = one.title
    return found


def write_figures(folder: Path, figures: Iterable[Drawn]) -> list[Markup]:
    """Every figure as SVG and PNG; and as it stands in the page."""
    from SegAdversarialLib.studies.figures import save

    found = []
    for one in figures:
        drawn, _ = save(one.figure, folder / FIGURES, one.name)
        width, height = one.figure.get_size_inches()
        found.append(
            figure(one.title, one.caption, drawn.read_bytes(), "image/svg+xml", broad=width > min(_BROAD * height, _WIDE))
        )
    return found


def write_rows(folder: Path, store: Any) -> dict[str, str]:
    """All rows of a study's store as CSV; what they are, by their addresses."""
    written = export(store, folder / TABLES, only=_RAW)
    return {x.relative_to(folder).as_posix(): _RAW[x.stem] for x in written}


def _free(start: str, ending: str, taken: Mapping[str, str]) -> str:
    """A name that none of these has, also on disks that take capitals for small letters."""
    known = {x.casefold() for x in taken}
    names = itertools.chain([f"{start}{ending}"], (f"{start}-{n}{ending}" for n in itertools.count(2)))
    return next(x for x in names if x.casefold() not in known)
