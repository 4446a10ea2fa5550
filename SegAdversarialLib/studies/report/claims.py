"""A paper's figures beside the study's own, and what became of its claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from SegAdversarialLib.studies import robustness_tables
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


def section(paper: str, claims: Sequence[Claim], compared: Sequence[Table]) -> Section:
    """Claims with their verdicts, and tables with paper | here | difference."""
    count = Counter[str](x.verdict for x in claims)
    said = ", ".join(f"{count[x]} {words[count[x] != 1]}" for x, words in _WORDS.items() if count[x])
    caution = "Cohort, networks and sizes here may differ from the paper's: a difference need not be an error of either."
    content = [
        paragraph(f"Of the paper's {len(claims)} claims, on this cohort {said}." if claims else "No claim was judged."),
        paragraph(caution, quiet=True),
    ]
    shown = [*([robustness_tables.claims(claims)] if claims else []), *compared]
    return Section("paper", f"Beside the paper ({paper})", [*content, *map(table, shown)])
