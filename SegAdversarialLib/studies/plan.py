"""From a study to its cells: what is to be done, and what is left out and why. Nothing of a volume or a network is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from SegAdversarialLib.cohorts.cohort import Cohort
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback
from SegAdversarialLib.evaluation.structures import check_regions
from SegAdversarialLib.formats.trust import Trust
from SegAdversarialLib.studies.cases import Cases, FileStates, same_images
from SegAdversarialLib.studies.configurations import Configuration, configurations
from SegAdversarialLib.studies.network_plan import NetworkPlan, Use, measured_on, trains_on
from SegAdversarialLib.studies.reading import Misplaced
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.sources import EnsembleNetwork
from SegAdversarialLib.studies.study import Study, told


@dataclass(frozen=True)
class Plan:
    """What a study is to do.

    Attributes:
        study: the study.
        cells: the jobs, each once; what others need comes before them.
        cohort: the cases that are attacked.
        skipped: the cases that are left out, and why, by their names.
        notes: what is odd about it, in sentences.
    """

    study: Study
    cells: tuple[Cell, ...]
    cohort: Cohort
    skipped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """How many of the cells are of a kind."""
        return sum(cell.kind == kind for cell in self.cells)


def plan(
    study: Study,
    *,
    trust: Trust = False,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
) -> Plan:
    """The cells of a study. Of the cases the headers are read, of the networks their settings.

    Args:
        study: the study.
        trust: the user's word on the programs that it names; see `running.run_study`.
        progress: gets the finished fraction and what is looked at.
        cancel: asked between cases; True stops with `Cancelled`.

    Raises:
        InputError: something that the study names is not there or does not fit: which line and key, and why.
        Cancelled: `cancel` said so.
    """
    return told(study.document, lambda: _Planner(study, trust, progress, cancel).plan())


class _Planner:
    def __init__(self, study: Study, trust: Trust, progress: ProgressCallback | None, cancel: CancelCheck | None) -> None:
        self._study = study
        self._files = FileStates()
        self._cohorts = Cases(progress, cancel)
        self._networks = NetworkPlan(study, self._cohorts, self._files, trust)

    def plan(self) -> Plan:
        study = self._study
        attacked = [name for name, network in study.networks.items() if network.attacked]
        cases = self._cohorts.usable(study.cohort, ("cohort",))
        uses = {name: self._networks.use(name) for name in study.networks}
        for name in study.generators:
            self._networks.generator(name)
        cells, used = list(self._networks.cells), {name: uses[name] for name in attacked}
        strange = tuple(self._regions_that_do_not_fit(used))
        cells += self._attack_cells(cases.cohort.entries, used)
        cells += self._audit_cells(cases.cohort.entries, used)
        unique = {cell.key: cell for cell in cells}
        if not unique:
            raise Misplaced((), "the study has nothing to do: give it attacks, an audit, or networks to train.")
        notes = (*self._notes(cases.cohort.entries), *strange)
        return Plan(study, tuple(unique.values()), cases.cohort, dict(cases.skipped), notes)

    def _regions_that_do_not_fit(self, uses: dict[str, Use]) -> Iterator[str]:
        """A structure that a network cannot have makes all attacks on it come to nothing.

        Raises:
            Misplaced: no network can have it.
        """
        for region, labels in (self._study.regions or {}).items():
            wrong: dict[str, str] = {}
            for name, use in uses.items():
                try:
                    if use.head is not None:
                        check_regions(use.head, {region: labels})
                except InputError as error:
                    wrong[name] = str(error)
            if wrong and len(wrong) == len(uses):
                raise Misplaced(("regions", region), next(iter(wrong.values())))
            for name, problem in wrong.items():
                yield f"The attacks on {name} will come to nothing: {problem}"

    def _attack_cells(self, entries: tuple[Entry, ...], uses: dict[str, Use]) -> Iterator[Cell]:
        """Case by case, so that each is read once, and each network's attacks one after the other."""
        regions = {name: list(x) for name, x in (self._study.regions or {}).items()} or None
        planned = {name: list(self._configured(name, use)) for name, use in uses.items()}
        for entry in entries:
            data, states = entry.model_dump(mode="json", exclude_defaults=True), self._files.of_entry(entry)
            for name, use in uses.items():
                for settings, configuration, needs, states_of_attack in planned[name]:
                    yield Cell(
                        kind="attack",
                        network=name,
                        case=entry.name,
                        patient=entry.patient,
                        attack=configuration.name,
                        settings=settings,
                        repeat=configuration.repeat,
                        work={
                            "model": use.model,
                            "case": data,
                            "regions": regions,
                            "files": [*states, *use.files, *states_of_attack],
                        },
                        needs=needs,
                    )

    def _configured(
        self, name: str, use: Use
    ) -> Iterator[tuple[dict[str, Any], Configuration, tuple[str, ...], list[list[Any]]]]:
        """The configurations of the attacks on a network, with what they need in the place of names of the study."""
        for configuration in configurations(self._study, name, use.channels, use.is_random):
            settings, needs, files = dict(configuration.settings), list(use.needs), []
            if configuration.generator is not None:
                cell = self._networks.generator(configuration.generator)
                settings["generator"] = {"product": cell.key}
                needs.append(cell.key)
            if configuration.source is not None:
                source = self._networks.source_of_transfer(configuration.source, configuration.place)
                settings["source"] = source.model if "product" in source.model else source.model["path"]
                settings["trust"] = source.model.get("trust", False)
                needs += source.needs
                files += source.files
            elif isinstance(path := settings.get("source"), str):
                word = self._networks.word_on(path, settings.pop("trust", False), configuration.place)
                settings |= {} if word is False else {"trust": word}
            files += self._files.of_paths(configuration.files)
            yield settings, configuration, tuple(dict.fromkeys(needs)), files

    def _audit_cells(self, entries: tuple[Entry, ...], uses: dict[str, Use]) -> Iterator[Cell]:
        audited = self._study.audit
        if audited is None:
            return
        chosen = entries[: audited.cases]
        cases = [x.model_dump(mode="json", exclude_defaults=True) for x in chosen]
        states = [state for x in chosen for state in self._files.of_entry(x)]
        settings = {"seed": self._study.seed % 2**31, **audited.settings}
        for name, use in uses.items():
            other = self._surrogate(name, uses)
            yield Cell(
                kind="audit",
                network=name,
                settings=settings,
                work={
                    "model": use.model,
                    "cases": cases,
                    "surrogate": None if other is None else other.model,
                    "files": [*states, *use.files, *([] if other is None else other.files)],
                },
                needs=tuple(dict.fromkeys([*use.needs, *(() if other is None else other.needs)])),
            )

    def _surrogate(self, name: str, uses: dict[str, Use]) -> Use | None:
        """The network from which attacks on a network are transferred: the first other one that shares a channel with it."""
        seen = {x.lower() for x in uses[name].channels}
        for other, use in uses.items():
            single = not isinstance(self._study.networks[other], EnsembleNetwork)
            if other != name and single and seen & {x.lower() for x in use.channels}:
                return use
        return None

    def _notes(self, entries: tuple[Entry, ...]) -> Iterator[str]:
        """Cases that a network both learns from and is attacked on, or measured on after each epoch, flatter it."""
        asked, used = self._study.cohort.cases, len(entries)
        if isinstance(asked, int) and used < asked:
            yield f"{asked:,} cases of {self._study.cohort.cohort} were asked for; {used:,} can be used."
        attacked = {same_images(x) for x in entries}
        for name, network in self._study.networks.items():
            learned = {same_images(x) for x in trains_on(network, self._cohorts, ("networks", name))}
            if shared := attacked & learned:
                yield (
                    f"{name} learns from {len(shared)} of the {len(attacked)} cases that it is attacked on: what is measured "
                    "on these says little about others."
                )
            measured = {same_images(x) for x in measured_on(network, self._cohorts, ("networks", name))}
            if shared := measured & learned:
                yield (
                    f"{name} learns from {len(shared)} of the {len(measured)} cases by whose Dice its best epoch is chosen: "
                    "that says little about others."
                )
        for name, left_out in self._cohorts.skipped.items():
            if name != self._study.cohort.cohort:
                yield f"Of {name}, {len(left_out)} cases are left out: {'; '.join(f'{x} ({y})' for x, y in left_out.items())}."
