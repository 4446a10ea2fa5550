"""What lies beside a report for those who go on with it: its tables and all rows as CSV, its figures as SVG and PNG."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.studies.report.contents import Drawn
from SegAdversarialLib.studies.report.markup import Markup
from SegAdversarialLib.studies.report.material import Row
from SegAdversarialLib.studies.report.pictures import figure
from SegAdversarialLib.studies.tables import Table
from SegAdversarialLib.volumes.files import file_name

TABLES, FIGURES = "tables", "figures"

_LONGEST_NAME = 80

_SETTINGS = "settings"


def write_tables(folder: Path, tables: Iterable[Table]) -> dict[str, str]:
    """Every table as CSV; what they show, by their addresses relative to the folder."""
    found: dict[str, str] = {}
    for one in tables:
        address = _free(f"{TABLES}/{file_name(one.title)[:_LONGEST_NAME]}", ".csv", found)
        one.to_csv(folder / address)
        found[address] = one.title
    return found


def write_figures(folder: Path, figures: Iterable[Drawn]) -> list[Markup]:
    """Every figure as SVG and PNG; and as it stands in the page."""
    from SegAdversarialLib.studies.figures import save

    found = []
    for one in figures:
        drawn, _ = save(one.figure, folder / FIGURES, one.name)
        found.append(figure(one.title, one.caption, drawn.read_bytes(), "image/svg+xml"))
    return found


def write_rows(folder: Path, rows: Mapping[str, Iterable[Row]]) -> dict[str, str]:
    """All rows of the store as CSV, by the name of their file; what they are, by their addresses."""
    found = {}
    for name, own in rows.items():
        told = iter(own)
        first = next(told, None)
        if first is not None:
            address = f"{TABLES}/{name}.csv"
            flat = ({**row, _SETTINGS: json.dumps(row[_SETTINGS], sort_keys=True)} for row in itertools.chain([first], told))
            write_table(flat, folder / address, list(first))
            found[address] = f"every row of the {name}"
    return found


def _free(start: str, ending: str, taken: Mapping[str, str]) -> str:
    """A name that none of these has, also on disks that take capitals for small letters."""
    known = {x.casefold() for x in taken}
    names = itertools.chain([f"{start}{ending}"], (f"{start}-{n}{ending}" for n in itertools.count(2)))
    return next(x for x in names if x.casefold() not in known)
