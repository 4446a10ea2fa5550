"""What a report is made of: a study's results, and how they came about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from SegAdversarialLib.studies.grouping import Results, Row


@dataclass(frozen=True)
class Trouble:
    """Jobs, or cases, that came to nothing, and why.

    Attributes:
        what: which: a network, a case and an attack.
        reason: one sentence.
        final: whether it is given up; else the next run tries it again.
    """

    what: str
    reason: str
    final: bool = False


@dataclass(frozen=True)
class Account:
    """How a study came about.

    Attributes:
        text: the study file, as it was run.
        counts: jobs by kind ("attack") and state ("done").
        failed: jobs that came to nothing.
        skipped: cases that were left out, and why.
        seeds: every seed that stands in a setting of a job.
        networks: what each network is: its file, or how it was trained.
        attacks: of each attack, by what the study calls it, the values of each of its settings, in words.
        cases: the names of the cases of each patient.
        versions: of each software, the versions with which jobs were done.
        notes: what was odd, in sentences, and how many jobs said so.
        seconds: of work, all jobs together.
        synthetic: whether the cases are synthetic.
    """

    text: str = ""
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    failed: Sequence[Trouble] = ()
    skipped: Sequence[Trouble] = ()
    seeds: Sequence[int] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    attacks: Mapping[str, Mapping[str, Iterable[str]]] = field(default_factory=dict)
    cases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    synthetic: bool = False

    def count(self, *states: str) -> int:
        """How many jobs are in one of these states; of no state: all."""
        return sum(n for (_, state), n in self.counts.items() if not states or state in states)


@dataclass(frozen=True)
class Material:
    """All that a report tells.

    Attributes:
        name: the study's.
        description: what the study says that it is about.
        account: how it came about.
        results: what was measured of structures.
        channels: a row for each cell and channel.
        thresholds: a row for each cell and structure whose least budget was looked for.
        audited: of each audit a row for each epsilon and structure, with `network`.
        checks: of each audit a row for each check, with `network`.
        paper: whose study it repeats; empty: none.
    """

    name: str
    account: Account
    results: Results = field(default_factory=lambda: Results([]))
    channels: Sequence[Row] = ()
    thresholds: Sequence[Row] = ()
    audited: Sequence[Row] = ()
    checks: Sequence[Row] = ()
    paper: str = ""
    description: str = ""
