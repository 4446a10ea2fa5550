"""Whether each network's robustness is real: the audits of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from SegAdversarialLib.studies import robustness_tables
from SegAdversarialLib.studies.report.page import Section, paragraph
from SegAdversarialLib.studies.report.tables import table
from SegAdversarialLib.studies.tables import Table

Rows = Sequence[Mapping[str, Any]]


def section(checks: Rows, audited: Rows) -> Section:
    """Of each network which checks pass, what they found, and Dice under plain and under adaptive attacks."""
    said = (
        "A defence can make attacks fail without making the network robust. An audit therefore attacks it in other ways, too: "
        "through its logits, with restarts, from another network, without gradients, with more steps and larger budgets. A "
        "check that warns says that what the other tables show of this network may be too good."
    )
    found = [at_a_glance(checks), robustness_tables.checks(checks), robustness_tables.audited(audited)]
    return Section("audits", "Audits", [paragraph(said), *(table(x) for x in found if x.rows)])


def at_a_glance(checks: Rows) -> Table:
    """Networks and their checks: which pass."""
    names = _in_order(row["check"] for row in checks)
    found = {(row["network"], row["check"]): row["verdict"] for row in checks}
    body = [(network, *(found.get((network, x)) for x in names)) for network in _in_order(row["network"] for row in checks)]
    return Table("Which checks pass", ("Network", *names), tuple(body))


def warned(checks: Rows) -> dict[str, list[str]]:
    """Of each audited network the checks that warn."""
    found: dict[str, list[str]] = {}
    for row in checks:
        found.setdefault(row["network"], []).extend([row["check"]] if row["verdict"] == "warn" else [])
    return found


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
