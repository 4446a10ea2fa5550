"""The networks of a study as its cells name them, and the cells that train some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.describing import NetworkDescription, describe_file
from SegAdversarialLib.formats.monai_network import architecture_class
from SegAdversarialLib.formats.settings import NetworkSettings
from SegAdversarialLib.formats.trust import Trust, digest
from SegAdversarialLib.formats.verdicts import verdict
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.studies.cases import Cases, FileStates
from SegAdversarialLib.studies.reading import Misplaced, Place
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.sources import EnsembleNetwork, FileNetwork, GeneratorSource, Network, TrainedNetwork
from SegAdversarialLib.studies.study import Study
from SegAdversarialLib.studies.validation import validated
from SegAdversarialLib.training.generator_settings import GeneratorTraining
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import DESCRIBED, Task
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import file_name


@dataclass(frozen=True)
class Use:
    """How cells use a network.

    Attributes:
        model: a `ModelSource` as JSON data, {"product": KEY} of the cell that trains it, or {"members": [...]} of these.
        channels: those that it takes.
        needs: keys of the cells that train it.
        files: the states of its files.
        is_random: whether it answers at random.
        head: what its outputs stand for, as far as that is known before it is there.
    """

    model: dict[str, Any]
    channels: tuple[str, ...]
    needs: tuple[str, ...] = ()
    files: list[list[Any]] = field(default_factory=list)
    is_random: bool = False
    head: OutputHead | None = None


class NetworkPlan:
    """The networks of a study; those that a network is made of come before it.

    Args:
        trust: the user's word on the programs that it names; see `running.run_study`.

    Attributes:
        cells: those that train networks and generators; what others need comes before them.
    """

    def __init__(self, study: Study, cases: Cases, files: FileStates, trust: Trust = False) -> None:
        self._study, self._cases, self._files, self._trust = study, cases, files, trust
        self._uses: dict[str, Use] = {}
        self._generators: dict[str, Cell] = {}
        self._open: list[str] = []
        self.cells: list[Cell] = []

    def use(self, name: str) -> Use:
        """How cells use a network.

        Raises:
            Misplaced: its file is missing or wrong, or it is made of itself.
        """
        place: Place = ("networks", name)
        if name not in self._uses:
            network = self._study.networks[name]
            with self._opened(name, place):
                if isinstance(network, FileNetwork):
                    self._uses[name] = self._of_file(network, place)
                elif isinstance(network, EnsembleNetwork):
                    self._uses[name] = self._of_members(network)
                else:
                    self._uses[name] = self._trained(name, network, place)
        return self._uses[name]

    def generator(self, name: str) -> Cell:
        """The cell that trains a generator.

        Raises:
            Misplaced: its settings are wrong, or it is made of itself.
        """
        place: Place = ("generators", name)
        if name not in self._generators:
            with self._opened(name, place):
                self._generators[name] = self._trained_generator(name, self._study.generators[name], place)
            self.cells.append(self._generators[name])
        return self._generators[name]

    @contextmanager
    def _opened(self, name: str, place: Place) -> Iterator[None]:
        """What is being looked at, so that nothing is made of itself."""
        if name in self._open:
            names = ", ".join(self._open[self._open.index(name) :])
            raise Misplaced(place, f"{names} cannot each be made before the other; name something that is there already.")
        self._open.append(name)
        try:
            yield
        finally:
            self._open.pop()

    def source_of_transfer(self, name: str, place: Place) -> Use:
        """The network that a transfer is made on, which its settings can only name by a file.

        Raises:
            Misplaced: it is an ensemble, or the study changes what its file says.
        """
        network, use = self._study.networks[name], self.use(name)
        if isinstance(network, EnsembleNetwork):
            raise Misplaced(place, f"{name} is an ensemble; make the transfer on one of its members.")
        if isinstance(network, FileNetwork) and (network.changes or network.settings):
            raise Misplaced(
                place, f"{name} is not what its file says alone; write its settings beside the file for a transfer."
            )
        return use

    def word_on(self, path: str, said: Trust, place: Place) -> Trust:
        """What a cell says of trust in a network file that one of its settings names.

        Args:
            path: the file, or a network's name.
            said: what the study says of it.
            place: where it does.

        Raises:
            Misplaced: it cannot be described, or is a program that does not open.
        """
        try:
            found = describe_file(path)
        except InputError as error:
            raise Misplaced(place, str(error)) from None
        return self._word_on(found, said, path, place)

    def _word_on(self, found: NetworkDescription, said: Trust, path: str, place: Place) -> Trust:
        if not found.needs_trust:
            return [] if said else False
        # a program always has a word, be it an empty one: what is done is not done again when it is remembered meanwhile
        word = said if self._trust is True else tuple(self._trust or ())
        if found.opens(word):
            return word if word is True else list(word or ())
        way_out = "" if said else "say trust: true in the study"
        if self._trust is False:
            way_out += f"{' and ' if way_out else ''}run the study with --trust (in Python trust=True)"
        elif self._trust is not True:
            way_out = f"trust its SHA-256 {' and '.join(map(digest, found.programs))}"
        raise Misplaced(place, f"{path} is a program ({verdict(*found.programs)}); if you trust its source, {way_out}.")

    def _of_file(self, network: FileNetwork, place: Place) -> Use:
        try:
            found = describe_file(network.path, network.settings, **network.changes)
            files, head = self._files.of_paths(found.files), found.output_head()
        except InputError as error:
            raise Misplaced(place, str(error)) from None
        word = self._word_on(found, network.trust, network.path, place)
        model = network.source.model_dump(mode="json", exclude_defaults=True) | ({} if word is False else {"trust": word})
        is_random = bool(network.changes.get("allow_random"))
        return Use({"path": network.path, **model}, found.channels, (), files, is_random, head)

    def _of_members(self, network: EnsembleNetwork) -> Use:
        members = [self.use(x) for x in network.members]
        channels = dict.fromkeys(y for x in members for y in x.channels)
        return Use(
            {"members": [x.model for x in members]},
            tuple(channels),
            tuple(dict.fromkeys(y for x in members for y in x.needs)),
            [y for x in members for y in x.files],
            any(x.is_random for x in members),
            members[0].head,
        )

    def _trained(self, name: str, network: TrainedNetwork, place: Place) -> Use:
        how, inside = network.train, (*place, "train")
        chosen = validated(NetworkSettings, how.network, (*inside, "network"))
        try:
            architecture_class(chosen.name)
        except InputError as error:
            raise Misplaced((*inside, "network", "name"), str(error)) from None
        settings = {"seed": self._study.seed, **how.settings}
        validated(TrainingSettings, settings, (*inside, "settings"))
        if unknown := [x for x in how.described if x not in DESCRIBED]:
            raise Misplaced(
                (*inside, "described", unknown[0]), f"there is no setting {unknown[0]}; there are {', '.join(DESCRIBED)}."
            )
        training = self._cases.usable(how.cohort, (*inside, "cohort")).cohort
        held = None if how.validation is None else self._cases.usable(how.validation, (*inside, "validation")).cohort
        recipe, needs, files = self._recipe(how.recipe, (*inside, "recipe"))
        entries = [*training.entries, *(held.entries if held is not None else ())]
        cell = Cell(
            kind="train",
            network=name,
            settings={"network": how.network, "described": how.described, "recipe": recipe, "settings": settings},
            work={
                "cohort": _as_data(training.entries),
                "validation": _as_data(held.entries) if held is not None else [],
                "folder": f"networks/{file_name(name)}",
                "files": [*(y for x in entries for y in self._files.of_entry(x)), *files],
            },
            needs=needs,
        )
        self.cells.append(cell)
        channels = how.described.get("channels") or training.entries[0].channel_names
        return Use({"product": cell.key}, tuple(channels), (cell.key,), head=_head_to_be(how.described, training.entries[0]))

    def _recipe(self, recipe: Mapping[str, Any], place: Place) -> tuple[dict[str, Any], tuple[str, ...], list[list[Any]]]:
        """A recipe with networks of the study in the place of their names, the cells that train these, and their files."""
        from SegAdversarialLib.defenses import recipes

        try:
            made = recipes.make(recipe)
        except InputError as error:
            raise Misplaced(place, str(error)) from None
        found = dict(recipe)
        needs: list[str] = []
        files: list[list[Any]] = []
        for setting, about in type(made).model_fields.items():
            choose = about.json_schema_extra.get("choose") if isinstance(about.json_schema_extra, dict) else None
            name = recipe.get(setting)
            if not isinstance(name, str):
                continue
            if choose == "generator" and name in self._study.generators:
                key = self.generator(name).key
                found[setting] = {"product": key}
                needs.append(key)
            elif choose == "network" and name in self._study.networks:
                use = self.use(name)
                if "members" in use.model:
                    raise Misplaced((*place, setting), f"{name} is an ensemble; name one of its members.")
                found[setting] = use.model if "product" in use.model else use.model["path"]
                if use.model.get("trust"):
                    found["trust"] = use.model["trust"]
                needs += use.needs
                files += use.files
            elif choose == "network":
                word = self.word_on(name, recipe.get("trust", False), (*place, setting))
                found |= {} if word is False else {"trust": word}
        return found, tuple(needs), files

    def _trained_generator(self, name: str, source: GeneratorSource, place: Place) -> Cell:
        use = self.use(source.network)
        settings = {"seed": self._study.seed, **source.settings}
        validated(GeneratorTraining, settings, (*place, "settings"))
        if "members" in use.model:
            raise Misplaced((*place, "network"), f"{source.network} is an ensemble; train the generator against a member.")
        entries = self._cases.usable(source.cohort, (*place, "cohort")).cohort.entries
        return Cell(
            kind="generator",
            network=source.network,
            attack=name,
            settings={"settings": settings, "generator": source.generator},
            work={
                "model": use.model,
                "cohort": _as_data(entries),
                "folder": f"generators/{file_name(name)}",
                "files": [*(y for x in entries for y in self._files.of_entry(x)), *use.files],
            },
            needs=use.needs,
        )


def _head_to_be(described: Mapping[str, Any], first: Entry) -> OutputHead | None:
    """What the outputs of a network stand for that is trained on cases like the first; None: its training will say."""
    channels = first.channel_names
    nothing = np.zeros((len(channels), 1, 1, 1), np.float32)
    try:
        names = {int(value): name for value, name in first.names.items()}
        case = Case(nothing, channels, np.eye(4), np.zeros((1, 1, 1), np.int16), names, first.name)
        return Task.of(case, described).head
    except ValueError:  # an InputError among them
        return None


def trains_on(network: Network, cases: Cases, place: Place) -> tuple[Entry, ...]:
    """The cases that a network of the study learns from."""
    if not isinstance(network, TrainedNetwork):
        return ()
    return cases.usable(network.train.cohort, (*place, "train", "cohort")).cohort.entries


def measured_on(network: Network, cases: Cases, place: Place) -> tuple[Entry, ...]:
    """The cases that a network of the study is measured on after each epoch."""
    if not isinstance(network, TrainedNetwork) or network.train.validation is None:
        return ()
    return cases.usable(network.train.validation, (*place, "train", "validation")).cohort.entries


def _as_data(entries: tuple[Entry, ...]) -> list[dict[str, Any]]:
    return [x.model_dump(mode="json", exclude_defaults=True) for x in entries]
