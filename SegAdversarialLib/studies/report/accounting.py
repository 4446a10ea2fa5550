"""What was run: settings, seeds, cases, versions, and what came to nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from SegAdversarialLib.attacks.cost import duration
from SegAdversarialLib.studies.report.markup import Markup, element
from SegAdversarialLib.studies.report.material import Account, Trouble
from SegAdversarialLib.studies.report.notes import Note, gathered
from SegAdversarialLib.studies.report.page import Section, bullets, folded, heading, paragraph
from SegAdversarialLib.studies.report.tables import sheet

_MOST_TROUBLES = 500
_MOST_VALUES = 20

_STATES = {"done": "done", "waiting": "waiting", "failed": "failed, to be tried again", "poisoned": "given up"}


def section(account: Account, files: Mapping[str, str]) -> Section:
    """Everything that is needed to run the study again, and to know what is missing in it.

    Args:
        account: how the study came about.
        files: what lies beside the report, by the address relative to it.
    """
    content = [
        *_jobs(account),
        *_troubles("Jobs that came to nothing", account.failed),
        *_troubles("Cases that were left out", account.skipped),
        *_networks(account.networks),
        *_attacks(account.attacks),
        *_cases(account),
        *_notes(gathered(account)),
        *_versions(account),
    ]
    if account.text:
        content.append(folded("The study file", element("pre", element("code", account.text))))
    if files:
        links = [element("span", element("a", address, href=address), f": {what}") for address, what in files.items()]
        content += [heading("Files beside this page"), bullets(links)]
    return Section("run", "What was run", content)


def _jobs(account: Account) -> list[Markup]:
    kinds = list(dict.fromkeys(kind for kind, _ in account.counts))
    states = [x for x in _STATES if any(state == x for _, state in account.counts)]
    numbers = [[None, *(float(account.counts.get((kind, x), 0)) for x in states)] for kind in kinds]
    texts = [[kind, *(f"{account.counts.get((kind, x), 0):,}" for x in states)] for kind in kinds]
    table = [sheet("Jobs", ("Jobs", *(_STATES[x] for x in states)), texts, numbers)] if kinds else []
    return [*table, paragraph(f"Together they took {duration(account.seconds)} of work.", quiet=True)]


def _troubles(title: str, found: Sequence[Trouble]) -> list[Markup]:
    if not found:
        return []
    texts = [[x.what, "yes" if x.final else "no", x.reason] for x in found[:_MOST_TROUBLES]]
    more = len(found) - len(texts)
    beyond = [paragraph(f"{more:,} more are not shown.", quiet=True)] if more else []
    if any(x.final for x in found):
        return [heading(title), sheet(title, ("What", "Given up", "Reason"), texts), *beyond]
    return [heading(title), sheet(title, ("What", "Reason"), [[x[0], x[2]] for x in texts]), *beyond]


def _networks(networks: Mapping[str, str]) -> list[Markup]:
    texts = [[name, what] for name, what in networks.items()]
    return [heading("Networks"), sheet("Networks", ("Network", "What it is"), texts)] if texts else []


def _attacks(attacks: Mapping[str, Mapping[str, Iterable[str]]]) -> list[Markup]:
    """The settings that the study varies, or that are the attack's own, first; those of one value after them."""
    texts: list[list[str | Markup]] = []
    for name, settings in attacks.items():
        said = {setting: list(values) for setting, values in settings.items() if setting != "attack"}
        varied = [f"{setting} {' / '.join(_some(values))}" for setting, values in said.items() if len(values) > 1]
        fixed = [f"{setting} {values[0]}" for setting, values in said.items() if len(values) == 1]
        texts.append([name, ", ".join(settings.get("attack", ())), "; ".join(varied) or "-", ", ".join(fixed)])
    columns = ("Attack", "Kind", "Varied", "Else")
    return [heading("Attacks"), sheet("Attacks", columns, texts)] if texts else []


def _cases(account: Account) -> list[Markup]:
    if not account.cases:
        return []
    count = sum(map(len, account.cases.values()))
    said = (
        f"{count:,} case{'' if count == 1 else 's'} of {len(account.cases):,} patient{'' if len(account.cases) == 1 else 's'}"
    )
    names = [
        f"{patient}: {', '.join(cases)}" if list(cases) != [patient] else patient for patient, cases in account.cases.items()
    ]
    return [heading("Cases"), paragraph(f"{said}."), folded("All cases by patient", paragraph("; ".join(names), quiet=True))]


def _notes(notes: Sequence[Note]) -> list[Markup]:
    if not notes:
        return []
    title, several = "What was odd", any(x.alike > 1 for x in notes)
    counts = [[*([x.alike] if several else []), x.times] for x in notes]
    columns = ("Note", *(["Notes like it"] if several else []), "Jobs that said so")
    texts = [[x.example, *(f"{count:,}" for count in own)] for x, own in zip(notes, counts)]
    numbers: list[list[float | None]] = [[None, *map(float, own)] for own in counts]
    said = "Notes that differ in their numbers or cases alone are one line here, with one of them as an example."
    beneath = [paragraph(said, quiet=True)] if several else []
    return [heading(title), sheet(title, columns, texts, numbers), *beneath]


def _versions(account: Account) -> list[Markup]:
    texts = [[name, ", ".join(found)] for name, found in account.versions.items()]
    if not texts:
        return []
    mixed = any(len(found) > 1 for found in account.versions.values())
    said = [paragraph("Jobs were done with different versions: numbers may differ for that reason.")] if mixed else []
    seeds = [paragraph(f"Seeds: {', '.join(_some([str(x) for x in account.seeds]))}.", quiet=True)] if account.seeds else []
    return [heading("Versions and seeds"), sheet("Versions", ("Software", "Version"), texts), *said, *seeds]


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Settings in one line: "attack fgsm, epsilon 0.05, channels T1 T2"."""
    return ", ".join(f"{name} {value_in_words(value)}" for name, value in settings.items())


def value_in_words(value: Any) -> str:
    """The value of a setting in words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)) and all(isinstance(x, (str, int, float)) for x in value):
        return (", " if any(" " in str(x) for x in value) else " ").join(map(str, value))
    if isinstance(value, (list, tuple)) and all(isinstance(x, Mapping) for x in value):
        return " ".join(map(value_in_words, value))
    if isinstance(value, Mapping):
        return f"({settings_in_words(value)})"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _some(values: Sequence[str]) -> list[str]:
    """Not more values than can be read."""
    more = len(values) - _MOST_VALUES
    return [*values[:_MOST_VALUES], f"and {more} more"] if more > 0 else list(values)
