"""What a network is, told from its settings alone: nothing is opened, nothing of it runs, and torch is not needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import builtin
from SegAdversarialLib.formats.described import Described, described
from SegAdversarialLib.formats.fetching.store import located
from SegAdversarialLib.formats.finding import described_file, is_name, network_file
from SegAdversarialLib.formats.naming import name_of
from SegAdversarialLib.formats.recognition import Content, recognise
from SegAdversarialLib.formats.settings import (
    ClassSettings,
    ModelSettings,
    candidates_beside,
    read_settings,
    settings_beside,
)
from SegAdversarialLib.formats.torchscript import settings_within
from SegAdversarialLib.formats.trust import Trust, digest, trusts
from SegAdversarialLib.formats.unopened import NotOpened
from SegAdversarialLib.model.agreement import Member, check_agreement
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.structures.output_head import OutputHead, Painting
from SegAdversarialLib.volumes.files import is_file

# what the command line calls the settings that every network needs
_OPTIONS = {"channels": "--model-channels", "classes": "--classes"}


@dataclass(frozen=True)
class NetworkFile:
    """What a network's path means.

    Attributes:
        file: the file that was meant: the settings of a network, or the network itself.
        settings: what is known of it.
        data: the file with the weights or the program.
        content: what that file is.
        members: of an ensemble, by what it calls them; its own `data` is the file that names them.
        foreign: what another tool's file or folder says of it; None: it is none.
        notes: what is to be said when it opens, one sentence each.
    """

    file: Path
    settings: ModelSettings
    data: Path
    content: Content
    members: tuple[tuple[str, NetworkFile], ...] = ()
    foreign: Described | None = None
    notes: tuple[str, ...] = ()

    def name(self, path: str | Path) -> str:
        """What results call it.

        Args:
            path: as it was given.
        """
        return name_of(path, self.file, self.foreign.name if self.foreign is not None else "")

    @property
    def runs(self) -> tuple[str, ...]:
        """What in its files, or its members', could run code, in words."""
        if self.members:
            return tuple(dict.fromkeys(y for _, x in self.members for y in x.runs))
        own = self.foreign.runs if self.foreign is not None else ()
        return own or (("the program in it (TorchScript)",) if self.content.kind == "torchscript" else ())

    @property
    def programs(self) -> tuple[Path, ...]:
        """The files in which that stands: those whose bytes have to be trusted."""
        found: list[Path] = []
        for part in self.parts:
            if part.foreign is not None and part.foreign.runs:
                found += part.foreign.files
            elif part.content.kind == "torchscript":
                found.append(part.data)
        return tuple(dict.fromkeys(found))

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files with its own weights or program: several where it is several folds."""
        return (self.foreign.weights if self.foreign is not None else ()) or (self.data,)

    @property
    def within(self) -> str:
        """Where in its files the networks stand, where these hold others beside them."""
        return "; ".join(x.settings.weights_within or (x.foreign.within if x.foreign else "") for x in self.parts).strip("; ")

    @property
    def first(self) -> NetworkFile:
        """Where channels, classes and preprocessing are said: the network itself, or an ensemble's first member."""
        return self.members[0][1].first if self.members else self

    @property
    def parts(self) -> tuple[NetworkFile, ...]:
        """The networks that have weights: the network itself, or all of an ensemble's."""
        return tuple(y for _, x in self.members for y in x.parts) if self.members else (self,)


@dataclass(frozen=True)
class NetworkDescription:
    """A network file as its settings describe it.

    Attributes:
        name: what results call it.
        channels: the case channels that it takes, in its order.
        classes: its outputs in their order: label value, name, and the reference labels that each stands for.
        head: "softmax" (exclusive classes) or "sigmoid" (overlapping regions).
        threshold: of a sigmoid head, the probability above which a region is present.
        preprocessing: what it wants done to a case.
        window: voxels that it sees at once, in its own axis order; None: everything.
        size_bytes: size of its weights or program on disk.
        content: what its file is, in words.
        needs_trust: whether it is a program, which opens only when its source is trusted.
        description: what its makers say of it.
        file: the file that was meant: the settings of a network, or the network itself.
        files: all files that make it what it is: weights or program, and settings.
        members: what an ensemble calls its members.
        painting: which of overlapping outputs a label map shows; see `OutputHead`.
        runs: what in its files could run code, in words.
        programs: the files in which that stands, which open only when their bytes are trusted.
        spared: what its own tool would run in it and this software does not, in words.
        within: where in its files the network stands, where they hold others beside it; "": they are this network alone.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[ClassSettings, ...]
    head: Literal["softmax", "sigmoid"]
    threshold: float
    preprocessing: Preprocessing
    window: tuple[int, ...] | None
    size_bytes: int
    content: str
    needs_trust: bool
    description: str
    file: Path
    files: tuple[Path, ...]
    members: tuple[str, ...] = ()
    painting: Painting = "largest first"
    runs: tuple[str, ...] = ()
    programs: tuple[Path, ...] = ()
    spared: str = ""
    within: str = ""

    def opens(self, trust: Trust) -> bool:
        """Whether it opens with the user's word, or with what is remembered.

        Raises:
            InputError: a file of it cannot be read.
        """
        return not self.needs_trust or trusts(trust, map(digest, self.programs))

    def output_head(self) -> OutputHead:
        """What the network's outputs stand for."""
        return head_of(self.classes, self.head, self.threshold, self.painting)


def describe_file(path: str | Path, settings: str | Path | None = None, **changes: Any) -> NetworkDescription:
    """Describe a network without opening it; takes what `open_model` takes.

    Args:
        path: a network file, the name of a built-in network or of one of the catalogue, or a folder that holds one network.
        settings: the JSON file that says what the network takes and gives; None: the one beside the file.
        changes: settings that take the place of the file's, by the names of `ModelSettings`.

    Raises:
        InputError: there is no such file, or settings are missing, damaged or wrong.
    """
    found = resolve(path, settings, changes)
    check_complete(found)
    chosen = found.first.settings
    assert chosen.channels is not None
    head_of(chosen.covering_classes, chosen.head, chosen.threshold, chosen.painting)
    if found.members:
        check_agreement([_member(member, x.first.settings) for member, x in found.members])
    source = Path(settings) if settings is not None else settings_beside(found.file, itself=found.foreign is None)
    return NetworkDescription(
        name=found.name(path),
        channels=chosen.channels,
        classes=tuple(x if x.stands_for else x.model_copy(update={"stands_for": (x.label,)}) for x in chosen.covering_classes),
        head=chosen.head,
        threshold=chosen.threshold,
        preprocessing=chosen.preprocessing,
        window=chosen.window,
        size_bytes=sum(y.stat().st_size for x in found.parts for y in x.weights),
        content=found.content.what,
        needs_trust=bool(found.runs),
        description=found.settings.description,
        file=found.file,
        files=tuple(dict.fromkeys(_files(found, source))),
        members=tuple(x for x, _ in found.members),
        painting=chosen.painting,
        runs=found.runs,
        programs=found.programs,
        spared=found.content.spared,
        within=found.within,
    )


def _member(name: str, settings: ModelSettings) -> Member:
    """A network as an ensemble sees it, from its settings alone."""
    assert settings.channels is not None
    return Member(
        name=name,
        channels=settings.channels,
        head=head_of(settings.covering_classes, settings.head, settings.threshold, settings.painting),
        preprocessing=settings.preprocessing,
        window=settings.window,
        overlap=settings.overlap,
        blending=settings.blending,
        size_multiple=settings.size_multiple,
        window_places=settings.window_places,
        mirror=settings.mirror,
    )


def _files(found: NetworkFile, source: Path | None) -> Iterator[Path]:
    """All files of a network: weights, programs and settings."""
    yield found.data
    if found.foreign is not None:
        yield from found.foreign.files
    if source is not None:
        yield source
    for _, member in found.members:
        yield from _files(member, settings_beside(member.file, itself=member.foreign is None))


def resolve(
    path: str | Path, settings: str | Path | None, changes: Mapping[str, Any], within: tuple[Path, ...] = ()
) -> NetworkFile:
    """The file that a path means, its settings, and what it is by its content; of an ensemble, those of its members.

    Args:
        path: as `describe_file` takes it; a name of the catalogue means its archive in the folder for fetched networks.
        settings: as `describe_file` takes it.
        changes: settings that take the place of the file's.
        within: the ensembles that this network is a member of, the outermost first.

    Raises:
        InputError: there is no such file, it is none that this software opens, or its settings are damaged or wrong; an
            ensemble names itself.
    """
    path = located(path)
    if not builtin.is_builtin(str(path)) and (foreign := described(Path(path))) is not None:
        chosen = read_settings(Path(path), settings, changes, foreign.settings)
        if chosen.network is None and chosen.members is None:
            return NetworkFile(Path(path), chosen, foreign.data, foreign.content, foreign=foreign)
    file = network_file(path)
    chosen = read_settings(file, settings, changes)
    if chosen.members is not None:
        return _ensemble(file if settings is None else Path(settings), chosen, within)
    data = _data_file(file, chosen)
    if data != Path(path) and chosen.network is None and (foreign := described(data)) is not None:
        said_by = settings if settings is not None or file == data else file  # named by settings, or alone in a folder
        told = read_settings(file, said_by, changes, foreign.settings)
        files = foreign.files if said_by is None else (*foreign.files, Path(said_by))
        return NetworkFile(file, told, foreign.data, foreign.content, foreign=replace(foreign, files=files))
    content, notes = recognise(data), tuple[str, ...]()
    if content.kind == "torchscript" and (inside := settings_within(data)):
        said_by = settings if settings is not None or file == data else file
        chosen, notes = _with_inside(file, said_by, changes, inside)
        content = replace(content, what=f"{content.what} with settings in it ({', '.join(inside)})")
    if content.kind == "other" or (content.kind == "weights" and chosen.network is None):
        raise content.refusal(data, ("network", *_lacking(chosen)) if content.kind == "weights" else ())
    kinds = {"torchscript": "torchscript", "monai": "weights", "weights": "weights", "ensemble": "ensemble"}
    said, found = kinds.get(str(chosen.format)), content.kind
    if said is not None and said != found:
        raise InputError(f"{data} is {content.what}, but its settings say format {chosen.format}; leave that out.")
    return NetworkFile(file, chosen, data, content, notes=notes)


def _with_inside(
    file: Path, said_by: str | Path | None, changes: Mapping[str, Any], inside: Mapping[str, Any]
) -> tuple[ModelSettings, tuple[str, ...]]:
    """The settings of a program that says some of them itself, and what is to be said of them: a JSON file beside it wins."""
    chosen = read_settings(file, said_by, changes, inside)
    source = Path(said_by) if said_by is not None else settings_beside(file, itself=False)
    try:
        told = ModelSettings.model_validate(dict(inside))
    except ValidationError:  # what is wrong in it is said elsewhere
        return chosen, ()
    differing = [x for x in inside if x not in changes and getattr(told, x) != getattr(chosen, x)]
    if not differing or source is None:
        return chosen, ()
    return chosen, (f"{file.name} says another {' and '.join(differing)} by itself; what {source.name} says counts.",)


def _ensemble(file: Path, chosen: ModelSettings, within: tuple[Path, ...]) -> NetworkFile:
    """The networks that an ensemble's settings name."""
    assert chosen.members is not None
    if chosen.format not in (None, "ensemble"):
        raise InputError(f"{file} names the members of an ensemble, but says format {chosen.format}; leave that out.")
    if file.resolve() in within:
        raise InputError(f"The ensemble {file} is a member of itself; name other networks (members).")
    inside = (*within, file.resolve())
    members = []
    for name in chosen.members:
        path = name if is_name(name) else file.parent / name
        members.append((name, resolve(path, None, chosen.for_members, inside)))
    content = Content("ensemble", f"a file that names an ensemble of {len(members)} networks")
    return NetworkFile(file, chosen, file, content, tuple(members))


def _data_file(file: Path, chosen: ModelSettings) -> Path:
    """The file with the weights or the program: the one that was given, or the one that given settings name.

    Raises:
        InputError: the settings name none, or it is not there.
    """
    if file.suffix != ".json":
        return file
    if chosen.weights is None:
        if (beside := described_file(file)) is not None:
            return beside
        raise InputError(f"{file} describes a network without its file; name that (weights), relative to {file.name}.")
    weights = file.parent / chosen.weights
    if not is_file(weights):
        raise InputError(f"There is no weights file {weights}; name it (weights) in {file.name}, relative to that file.")
    return weights


def check_complete(found: NetworkFile) -> None:
    """Refuse settings that leave open what every network has.

    Raises:
        InputError: channels or classes are missing.
    """
    for _, member in found.members:
        check_complete(member)
    if found.members:
        return
    if missing := _lacking(found.settings):
        foreign = [x.name for x in candidates_beside(found.data) if is_file(x) and settings_beside(found.data) != x]
        passed_over = f" ({foreign[0]} beside it is another software's)" if foreign and found.file == found.data else ""
        raise NotOpened(
            f"It is not known which {' and '.join(missing)} the network {found.file} has; say so in a JSON file beside it"
            f"{passed_over}, or on the command line ({', '.join(_OPTIONS[field] for field in missing)}).",
            found.file,
            found.content.what,
            missing,
            programs=found.programs,
            runs=found.runs,
            spared=found.content.spared,
        )


def _lacking(settings: ModelSettings) -> list[str]:
    """What every network has and these settings do not say."""
    return [field for field in ("channels", "classes") if getattr(settings, field) is None]


def head_of(
    classes: tuple[ClassSettings, ...],
    kind: Literal["softmax", "sigmoid"],
    threshold: float = 0.5,
    painting: Painting = "largest first",
) -> OutputHead:
    """The output head that class settings mean.

    Raises:
        InputError: the classes do not fit together.
    """
    stands_for = {x.label: x.stands_for for x in classes if x.stands_for}
    return OutputHead.of({x.label: x.name for x in classes}, kind, stands_for, threshold, painting)
