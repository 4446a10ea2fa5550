"""Bringing together what a report tells, from the study and its store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from SegAdversarialLib.studies.grouping import Results
from SegAdversarialLib.studies.report.accounting import settings_in_words, value_in_words
from SegAdversarialLib.studies.report.material import Account, Material, Row, Trouble

if TYPE_CHECKING:
    from SegAdversarialLib.studies.records import Cell
    from SegAdversarialLib.studies.study import Study

_SEED = "seed"
_SYNTHETIC = "phantom"


class StoreLike(Protocol):
    """What is read of a study's store."""

    def results(self) -> Iterator[dict[str, Any]]:
        """A row for each structure of each attack."""

    def channels(self) -> Iterator[dict[str, Any]]:
        """A row for each channel of each attack."""

    def thresholds(self) -> Iterator[dict[str, Any]]:
        """A row for each structure of each search for the least budget."""

    def traces(self) -> Iterator[dict[str, Any]]:
        """A row for each iteration or epoch."""

    def audited(self) -> Iterator[dict[str, Any]]:
        """A row for each epsilon and structure of each audit."""

    def checks(self) -> Iterator[dict[str, Any]]:
        """A row for each check of each audit."""

    def cells(self) -> Iterator[dict[str, Any]]:
        """A row for each cell of the plan."""

    def planned(self) -> Iterator[Cell]:
        """The cells of the plan."""

    def cell(self, key: str) -> Cell:
        """One cell."""

    def skipped(self) -> Mapping[str, str]:
        """The cases that were left out, and why."""

    def notes(self) -> Iterable[str]:
        """What is odd about the plan."""


def gather(study: Study, store: StoreLike, text: str = "") -> Material:
    """All that the report of a study tells.

    Args:
        study: what was asked.
        store: what came out.
        text: the study file as it was run.
    """
    return Material(
        name=study.study,
        description=study.description,
        paper=study.paper or "",
        account=replace(
            account(store, text, {name: _what(network) for name, network in study.networks.items()}),
            synthetic=study.cohort.cohort.startswith(_SYNTHETIC),
        ),
        results=Results(store.results()),
        channels=list(store.channels()),
        thresholds=list(store.thresholds()),
        audited=list(store.audited()),
        checks=list(store.checks()),
    )


def account(store: StoreLike, text: str, networks: Mapping[str, str]) -> Account:
    """How a study came about, from one walk through its cells."""
    counts: Counter[tuple[str, str]] = Counter()
    notes: Counter[str] = Counter(store.notes())
    seeds: dict[int, None] = {}
    attacks: dict[str, Grid] = {}
    cases: dict[str, dict[str, None]] = {}
    versions: dict[str, dict[str, None]] = {}
    failed: list[Trouble] = []
    seconds = 0.0
    for row in store.cells():
        counts[row["kind"], row["state"]] += 1
        notes.update(row["notes"])
        seconds += row["seconds"] or 0.0
        for name, version in row["versions"].items():
            versions.setdefault(name, {})[version] = None
        if row["error"]:
            failed.append(Trouble(in_words(row), row["error"], row["state"] == "poisoned"))
        seed = row["settings"].get(_SEED)
        seeds |= {} if seed is None else {seed: None}
        if row["kind"] == "attack":
            cases.setdefault(row["patient"] or row["case"], {})[row["case"]] = None
            attacks.setdefault(row["attack"], Grid()).add(row["settings"])
    return Account(
        text=text,
        counts=counts,
        failed=failed,
        skipped=[Trouble(name, reason) for name, reason in store.skipped().items()],
        seeds=sorted(seeds),
        networks=networks,
        attacks={name: own.values for name, own in attacks.items()},
        cases={patient: list(own) for patient, own in cases.items()},
        versions={name: sorted(found) for name, found in sorted(versions.items())},
        notes=notes,
        seconds=seconds,
    )


class Grid:
    """The values that each setting of an attack has in a study.

    Attributes:
        values: by setting, in words, each once, in the order in which they first occur.
    """

    def __init__(self) -> None:
        self.values: dict[str, dict[str, None]] = {}
        self._seen: set[int] = set()

    def add(self, settings: Mapping[str, Any]) -> None:
        """Take in the settings of a cell; cells share them."""
        if id(settings) not in self._seen:
            self._seen.add(id(settings))
            for name, value in settings.items():
                said = "all" if name == "channels" and value is None else value_in_words(value)
                self.values.setdefault(name, {})[said] = None


def in_words(row: Row) -> str:
    """Which job a row of a cell is: "attack, U-Net, FGSM, case-01"."""
    told = [row["kind"], row["network"], row["attack"], row["case"], f"repeat {row['repeat']}" if row["repeat"] else ""]
    return ", ".join(x for x in told if x)


def _what(network: Any) -> str:
    """What a network of the study file is, in a line."""
    if isinstance(network, str):
        return network
    said = network.model_dump(mode="json", exclude_defaults=True) if hasattr(network, "model_dump") else dict(network)
    said.pop("trust", None)
    return str(said["path"]) if set(said) == {"path"} else settings_in_words(said)
