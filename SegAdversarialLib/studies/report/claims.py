"""A paper's figures beside the study's own, and what became of its claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from SegAdversarialLib.studies import robustness_tables
from SegAdversarialLib.studies.report.gathering import StoreLike
from SegAdversarialLib.studies.report.material import Material
from SegAdversarialLib.studies.report.page import Section, paragraph
from SegAdversarialLib.studies.report.tables import table

if TYPE_CHECKING:
    from SegAdversarialLib.studies.papers.judging import Claim
    from SegAdversarialLib.studies.tables import Table

_WORDS = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "not testable": ("cannot be tested", "cannot be tested"),
}


def judged(material: Material, store: StoreLike) -> tuple[Sequence[Claim], Sequence[Table]]:
    """The claims of the paper that the study repeats, and its tables beside the study's; nothing where it repeats none."""
    if not material.paper:
        return (), ()
    from SegAdversarialLib.studies import papers

    rows, beside = material.results.rows, {"channels": material.channels, "traces": list(store.traces())}
    return papers.claims(material.paper, rows, **beside), papers.compared(material.paper, rows, **beside)


def tables(claims: Sequence[Claim], compared: Sequence[Table]) -> list[Table]:
    """The table of claims, and those with paper | here | difference."""
    return [*([robustness_tables.claims(claims)] if claims else []), *compared]


def section(paper: str, claims: Sequence[Claim], compared: Sequence[Table]) -> Section:
    """Claims with their verdicts, and tables with paper | here | difference."""
    count = Counter[str](x.verdict for x in claims)
    said = ", ".join(f"{count[x]} {words[count[x] != 1]}" for x, words in _WORDS.items() if count[x])
    caution = "Cohort, networks and sizes here may differ from the paper's: a difference need not be an error of either."
    content = [
        paragraph(f"Of the paper's {len(claims)} claims, on this cohort {said}." if claims else "No claim was judged."),
        paragraph(caution, quiet=True),
    ]
    return Section("paper", f"Beside the paper ({paper})", [*content, *map(table, tables(claims, compared))])
