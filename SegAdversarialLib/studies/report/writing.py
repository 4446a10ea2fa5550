"""Writing the report of a study."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SegAdversarialLib import __version__
from SegAdversarialLib.studies.report import accounting, audits, claims, summary
from SegAdversarialLib.studies.report.markup import Markup
from SegAdversarialLib.studies.report.material import Material
from SegAdversarialLib.studies.report.page import Section, page, paragraph
from SegAdversarialLib.studies.report.pictures import gallery
from SegAdversarialLib.studies.report.tables import table
from SegAdversarialLib.volumes.files import whole_file

if TYPE_CHECKING:
    from SegAdversarialLib.studies.papers.judging import Claim
    from SegAdversarialLib.studies.tables import Table


def render(
    material: Material,
    tables: Sequence[Table] = (),
    figures: Sequence[Markup] = (),
    judged: Sequence[Claim] = (),
    compared: Sequence[Table] = (),
    files: Mapping[str, str] | None = None,
    date: datetime.date | None = None,
) -> str:
    """The report as HTML.

    Args:
        material: what the study found, and how.
        tables: its tables.
        figures: its figures, as `pictures.figure` gives them.
        judged: the claims of the paper that it repeats.
        compared: that paper's tables beside the study's.
        files: what lies beside the report, by the address relative to it.
        date: today, unless given.
    """
    sections = [summary.section(material)]
    if material.paper:
        sections.append(claims.section(material.paper, judged, compared))
    if tables:
        said = paragraph("A click on a column's name sorts by it: up, down, and as it was.", quiet=True)
        sections.append(Section("tables", "Tables", [said, *map(table, tables)]))
    if figures:
        sections.append(
            Section("figures", "Figures", [paragraph("A click opens a figure large.", quiet=True), gallery(figures)])
        )
    if material.checks or material.audited:
        sections.append(audits.section(material.checks, material.audited))
    sections.append(accounting.section(material.account, files or {}))
    made = f"Report of {(date or datetime.date.today()).isoformat()}, made with SegAdversarial {__version__}."
    return page(material.name, paragraph(made, quiet=True), sections)


def write_page(text: str, path: str | Path) -> Path:
    """Write a report, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)
