"""Writing the report of a study: the page, and the tables and figures beside it as files."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SegAdversarialLib import __version__
from SegAdversarialLib.errors import InputError, ProgressCallback
from SegAdversarialLib.studies.report import accounting, audits, claims, contents, summary
from SegAdversarialLib.studies.report.contents import Chosen
from SegAdversarialLib.studies.report.files import FIGURES, TABLES, write_figures, write_rows, write_tables
from SegAdversarialLib.studies.report.gathering import StoreLike, gather
from SegAdversarialLib.studies.report.markup import Markup
from SegAdversarialLib.studies.report.material import Material
from SegAdversarialLib.studies.report.page import Section, folded, page, paragraph
from SegAdversarialLib.studies.report.pictures import gallery
from SegAdversarialLib.studies.report.tables import table
from SegAdversarialLib.volumes.files import whole_change, whole_file

if TYPE_CHECKING:
    from SegAdversarialLib.studies.papers.judging import Claim
    from SegAdversarialLib.studies.study import Study
    from SegAdversarialLib.studies.tables import Table

STUDY_FILE = "study.yaml"


def write(study: Study, store: StoreLike, path: str | Path, *, progress: ProgressCallback | None = None) -> Path:
    """Write the report of a study: one HTML file that needs nothing else.

    Beside it, for those who go on with them, every table as CSV (`tables/`, the raw rows among them) and every figure as SVG
    and PNG (`figures/`). The same store makes the same bytes, the date aside.

    Args:
        study: what was asked.
        store: what came out, as far as it is there.
        path: the page; `study.yaml` beside it is shown as what was run.
        progress: told the finished fraction and what is done.

    Raises:
        InputError: a file cannot be written; then the earlier report and what lies beside it are as they were.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"Cannot write the report {path}: it is a folder; give a file's name.")
    tell = progress or (lambda fraction, message: None)
    tell(0.0, "reading results")
    material = gather(study, store, _text_beside(path))
    tell(0.2, "tables")
    chosen = contents.tables(material)
    judged, compared = claims.judged(material, store)
    with whole_change(path.parent, [path.parent / TABLES, path.parent / FIGURES]) as folder:
        files = write_tables(folder, [*(x.table for x in chosen), *claims.tables(judged, compared)])
        files |= write_rows(folder, store)
        tell(0.5, "figures")
        drawn = itertools.chain(contents.figures(material, store.traces()), contents.images(store, path.parent))
        figures = write_figures(folder, drawn)
        tell(0.9, "writing the page")
        write_page(render(material, chosen, figures, judged, compared, files), folder / path.name)
    tell(1.0, "done")
    return path


def render(
    material: Material,
    tables: Sequence[Chosen] = (),
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
        first = [table(x.table) for x in tables if x.first]
        others = [table(x.table) for x in tables if not x.first]
        rest = [folded(f"{len(others)} more table{'' if len(others) == 1 else 's'}", *others)] if others else []
        sections.append(Section("tables", "Tables", [said, *first, *rest]))
    if figures:
        said = paragraph("A click opens a figure large.", quiet=True)
        sections.append(Section("figures", "Figures", [said, gallery(figures)]))
    if material.checks or material.audited:
        sections.append(audits.section(material.checks, material.audited))
    sections.append(accounting.section(material.account, files or {}))
    made = f"Report of {(date or datetime.date.today()).isoformat()}, made with SegAdversarial {__version__}."
    about = [paragraph(material.description)] if material.description else []
    return page(material.name, Markup("".join([*about, paragraph(made, quiet=True)])), sections)


def write_page(text: str, path: str | Path) -> Path:
    """Write a page, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def _text_beside(path: Path) -> str:
    """The study file as it was run, where it lies beside the report."""
    try:
        return path.with_name(STUDY_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
