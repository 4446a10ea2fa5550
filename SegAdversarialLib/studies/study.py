"""A study as validated data: cohort x networks x attacks x budgets, as its YAML file says it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, PrivateAttr, ValidationError, field_validator

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.attacks import GROUPS
from SegAdversarialLib.defenses.audit.settings import AuditSettings
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.settings import Strict
from SegAdversarialLib.studies.grid import names_of
from SegAdversarialLib.studies.reading import Document, Misplaced, Place, read_yaml
from SegAdversarialLib.studies.sources import (
    CohortSource,
    EnsembleNetwork,
    FileNetwork,
    GeneratorSource,
    Network,
    Text,
    TrainedNetwork,
    kind_of_network,
)
from SegAdversarialLib.studies.validation import misplaced, validated

Keep = Literal["tables", "worst", "all"]

_OWN = ("attack", "name", "networks", "repeats")
"""What the study, not the attack, knows of an entry of its attacks."""

Result = TypeVar("Result")


class Audited(Strict):
    """How the networks are audited."""

    cases: int = Field(4, ge=1, description="On how many of the study's cases, from the first.")
    settings: dict[str, Any] = Field(default_factory=lambda: {"effort": "quick"}, description="Those of an audit.")


class AttackEntry(Strict):
    """One entry of the attacks; where a list stands for one value, it spans a grid.

    Attributes:
        attacks: registered names.
        name: what the study calls it; none: the registered name.
        networks: names of the networks that it attacks; none: all that are attacked.
        repeats: how often, if it draws at random; none: as the study says.
        settings: as they were written.
        place: where it stands in the file.
    """

    attacks: tuple[str, ...]
    name: str | None = None
    networks: tuple[str, ...] | None = None
    repeats: int | None = Field(None, ge=1, le=10_000)
    settings: dict[str, Any] = Field(default_factory=dict)
    place: tuple[str | int, ...] = ()


class Study(Strict):
    """What is asked: which networks, under which attacks, on which cases."""

    study: Text = Field(description="The study's name.", min_length=1)
    description: str = Field("", description="What it is about, for the report.")
    paper: str | None = Field(None, description="The paper that it repeats, so that the report compares: liu2021.")
    cohort: CohortSource = Field(description="The cases that are attacked.")
    seed: int = Field(0, ge=0, le=2**62, description="Of attacks that draw at random and that say no seed of their own.")
    networks: dict[str, Any] = Field(min_length=1, description="The networks, by the names that tables give them.")
    generators: dict[str, Any] = Field(default_factory=dict, description="Generators that the study trains, by name.")
    attacks: tuple[Any, ...] = Field((), description="Configurations; where a list stands for one value, it spans a grid.")
    repeats: int = Field(1, ge=1, le=10_000, description="How often attacks are repeated that draw at random.")
    regions: dict[str, tuple[int, ...]] | None = Field(
        None, description="Structures to measure beside the networks' own, as label values: {tumour: [1, 4]}."
    )
    audit: Any = Field(True, description="How networks are audited: {cases: 4, effort: quick}; false: not at all.")
    keep: Keep = Field("tables", description="Volumes to keep: none (tables), those of the worst case, or all.")

    _document: Document | None = PrivateAttr(None)

    @field_validator("study")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("the study needs a name")
        return name.strip()

    @classmethod
    def read(cls, path: str | Path) -> Study:
        """The study that a YAML file describes; relative paths in it are meant from the file's folder.

        Raises:
            InputError: it cannot be read, or something in it is wrong: which file, line and key.
        """
        document = read_yaml(path)
        study = told(document, lambda: cls.of(document.data, document.path.absolute().parent))
        study._document = document
        return study

    @classmethod
    def of(cls, data: Mapping[str, Any], folder: str | Path = ".") -> Study:
        """A study from what a YAML file would hold.

        Args:
            data: the file's content as plain data.
            folder: from where relative paths are meant.

        Raises:
            Misplaced: something is wrong: what, and where.
        """
        folder = Path(folder).absolute()
        _check_names(data)
        study = validated(cls, data)
        _check_one_line(study.study, ("study",))
        _check_paper(study.paper)
        networks = {name: _network(x, ("networks", name)) for name, x in study.networks.items()}
        generators = {name: validated(GeneratorSource, x, ("generators", name)) for name, x in study.generators.items()}
        attacks = tuple(_entry(x, ("attacks", n)) for n, x in enumerate(study.attacks))
        study = study.model_copy(
            update={
                "cohort": study.cohort.anywhere(folder),
                "networks": {name: _network_anywhere(x, folder) for name, x in networks.items()},
                "generators": {
                    name: x.model_copy(update={"cohort": x.cohort.anywhere(folder)}) for name, x in generators.items()
                },
                "attacks": tuple(_attack_anywhere(x, folder) for x in attacks),
                "audit": _audit(study.audit),
            }
        )
        _check_references(study)
        return study

    @property
    def document(self) -> Document | None:
        """The file that it was read from."""
        return self._document

    def dump(self) -> dict[str, Any]:
        """The study as plain data, from which `of` makes the same again from any folder."""
        data = self.model_dump(mode="json", exclude_defaults=True, exclude={"networks", "generators", "attacks", "audit"})
        data["networks"] = {name: x.model_dump(mode="json", exclude_defaults=True) for name, x in self.networks.items()}
        if self.generators:
            data["generators"] = {
                name: x.model_dump(mode="json", exclude_defaults=True) for name, x in self.generators.items()
            }
        data["attacks"] = [_written(x) for x in self.attacks]
        data["audit"] = {"cases": self.audit.cases, **self.audit.settings} if self.audit else False
        return data


def told(document: Document | None, make: Callable[[], Result]) -> Result:
    """What `make` makes; what is wrong is said with file and line, where there is a file.

    Raises:
        InputError: something is wrong.
    """
    try:
        return make()
    except Misplaced as error:
        if document is None:
            raise
        raise InputError(document.sentence(error)) from None


def _network(data: Any, place: Place) -> Network:
    if isinstance(data, str):
        data = {"path": data}
    return validated(kind_of_network(data), data, place)


def _network_anywhere(network: Network, folder: Path) -> Network:
    if isinstance(network, FileNetwork):
        return network.anywhere_from(folder)
    if isinstance(network, TrainedNetwork):
        how = network.train
        validation = None if how.validation is None else how.validation.anywhere(folder)
        how = how.model_copy(update={"cohort": how.cohort.anywhere(folder), "validation": validation})
        return network.model_copy(update={"train": how})
    return network


def _entry(data: Any, place: Place) -> AttackEntry:
    """An entry of the attacks, its settings not looked at yet: what they span depends on the network's channels."""
    if isinstance(data, str):
        data = {"attack": data}
    if not isinstance(data, dict):
        raise Misplaced(
            place, "an attack is given with its name, such as {attack: fgsm, epsilon: 0.05}, or by its name alone."
        )
    if "attack" not in data:
        raise Misplaced(place, f"the name of the attack is missing (attack: NAME; names are {', '.join(GROUPS)} for groups).")
    own = {key: data[key] for key in _OWN if key in data}
    attacks = tuple(names_of(own.pop("attack"), (*place, "attack")))
    if isinstance(own.get("networks"), str):
        own["networks"] = [own["networks"]]
    try:
        entry = AttackEntry(
            attacks=attacks, place=place, settings={key: x for key, x in data.items() if key not in _OWN}, **own
        )
    except ValidationError as error:
        raise misplaced(error, AttackEntry, data, place) from None
    if entry.name is not None and len(attacks) > 1:
        raise Misplaced((*place, "name"), f"one name cannot stand for {len(attacks)} attacks; give each an entry of its own.")
    if entry.name is not None and not entry.name.strip():
        raise Misplaced((*place, "name"), "the name is empty; give one, or leave it out.")
    _check_one_line(entry.name or "", (*place, "name"))
    return entry


def _attack_anywhere(entry: AttackEntry, folder: Path) -> AttackEntry:
    """The entry with absolute paths of the files that it names; other words stay what they are."""

    def path(value: Any) -> Any:
        if isinstance(value, list):
            return [path(x) for x in value]
        if isinstance(value, str) and not value.startswith("builtin:") and Path(value).suffix and (folder / value).exists():
            return str((folder / value).absolute())
        return value

    files = ("region", "target", "source", "perturbation", "generator")
    return entry.model_copy(update={"settings": {k: path(x) if k in files else x for k, x in entry.settings.items()}})


def _audit(data: Any) -> Audited | None:
    """How the networks are audited; None: not at all."""
    if data is False or data is None:
        return None
    if data is True:
        return Audited()
    if not isinstance(data, dict):
        raise Misplaced(("audit",), "an audit is given by its settings, such as {cases: 4, effort: quick}, or is false.")
    given = dict(data)
    cases = {"cases": given.pop("cases")} if "cases" in given else {}
    audited = validated(Audited, {**cases, "settings": given or {"effort": "quick"}}, ("audit",))
    validated(AuditSettings, given, ("audit",))
    return audited


def _written(entry: AttackEntry) -> dict[str, Any]:
    own = {"name": entry.name, "networks": entry.networks and list(entry.networks), "repeats": entry.repeats}
    names: Any = entry.attacks[0] if len(entry.attacks) == 1 else list(entry.attacks)
    return {"attack": names, **{key: x for key, x in own.items() if x is not None}, **entry.settings}


def _check_names(data: Mapping[str, Any]) -> None:
    """Names are shown in tables and tell results apart: none may be empty, or be another's but for capitals or spaces."""
    for part in ("networks", "generators"):
        names = data.get(part)
        seen: dict[str, str] = {}
        for name in names if isinstance(names, Mapping) else ():
            plain = " ".join(str(name).split()).casefold()
            if not plain:
                raise Misplaced((part, name), "the name is empty; give one.")
            _check_one_line(str(name), (part, name))
            if plain in seen:
                raise Misplaced((part, name), f'this is called like "{seen[plain]}" but for capitals or spaces; rename one.')
            seen[plain] = str(name)


def _check_one_line(name: str, place: Place) -> None:
    """Names stand in tables, in figures and on terminals, which line breaks and control characters would take apart."""
    if wrong := [x for x in name if unicodedata.category(x) in ("Cc", "Cs", "Zl", "Zp")]:
        raise Misplaced(place, f"the name holds a line break or a control character (U+{ord(wrong[0]):04X}); leave it out.")


def _check_paper(paper: str | None) -> None:
    """A report compares with papers that are known."""
    from SegAdversarialLib.studies import papers

    if paper is not None and paper not in papers.NAMES:
        raise Misplaced(("paper",), f'there is no paper "{paper}"{nearest(paper, papers.NAMES)}')


def _check_references(study: Study) -> None:
    """Networks that others name must be there, and no network may be made of itself."""
    networks = study.networks

    def known(name: str, place: Place) -> None:
        if name not in networks:
            raise Misplaced(place, f'the study has no network "{name}"{nearest(name, networks)}')

    for name, network in networks.items():
        if isinstance(network, EnsembleNetwork):
            for n, member in enumerate(network.members):
                known(member, ("networks", name, "members", n))
                if isinstance(networks[member], EnsembleNetwork):
                    raise Misplaced(("networks", name, "members", n), f"{member} is an ensemble itself; name its members.")
            if len(set(network.members)) < len(network.members):
                raise Misplaced(("networks", name, "members"), "a network is named twice; name each once.")
    for name, generator in study.generators.items():
        known(generator.network, ("generators", name, "network"))
    for entry in study.attacks:
        for n, name in enumerate(entry.networks or ()):
            known(name, (*entry.place, "networks", n))
    kinds: dict[str, str] = {}
    for entry in study.attacks:
        for attack in entry.attacks:
            called = entry.name or attack
            if kinds.setdefault(called, attack) != attack:
                raise Misplaced((*entry.place, "name"), f'"{called}" is another attack already ({kinds[called]}); rename one.')
    if study.regions is not None:
        for region, labels in study.regions.items():
            if not labels:
                raise Misplaced(("regions", region), "the structure has no label value; give one at least.")
