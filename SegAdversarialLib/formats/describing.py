"""What a network is, told from its settings alone: nothing is opened, nothing of it runs, and torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import builtin
from SegAdversarialLib.formats.finding import described_file, network_file
from SegAdversarialLib.formats.recognition import Content, recognise
from SegAdversarialLib.formats.settings import (
    ClassSettings,
    ModelSettings,
    candidates_beside,
    read_settings,
    settings_beside,
)
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.files import is_file


@dataclass(frozen=True)
class NetworkFile:
    """What a network's path means.

    Attributes:
        file: the file that was meant: the settings of a network, or the network itself.
        settings: what is known of it.
        data: the file with the weights or the program.
        content: what that file is.
    """

    file: Path
    settings: ModelSettings
    data: Path
    content: Content


@dataclass(frozen=True)
class NetworkDescription:
    """A network file as its settings describe it.

    Attributes:
        name: what results call it.
        channels: the case channels that it takes, in its order.
        classes: its outputs in their order: label value, name, and the reference labels that each stands for.
        head: "softmax" (exclusive classes) or "sigmoid" (overlapping regions).
        preprocessing: what it wants done to a case.
        window: voxels that it sees at once, in its own axis order; None: everything.
        size_bytes: size of its weights or program on disk.
        content: what its file is, in words.
        needs_trust: whether it is a program, which opens only when its source is trusted.
        description: what its makers say of it.
        file: the file that was meant: the settings of a MONAI network, or the network itself.
        files: all files that make it what it is: weights or program, and settings.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[ClassSettings, ...]
    head: Literal["softmax", "sigmoid"]
    preprocessing: Preprocessing
    window: tuple[int, ...] | None
    size_bytes: int
    content: str
    needs_trust: bool
    description: str
    file: Path
    files: tuple[Path, ...]

    def output_head(self) -> OutputHead:
        """What the network's outputs stand for."""
        return head_of(self.classes, self.head)


def describe_file(path: str | Path, settings: str | Path | None = None, **changes: Any) -> NetworkDescription:
    """Describe a network without opening it; takes what `open_model` takes.

    Args:
        path: a network file, a built-in network's name, or a folder that holds one network.
        settings: the JSON file that says what the network takes and gives; None: the one beside the file.
        changes: settings that take the place of the file's, by the names of `ModelSettings`.

    Raises:
        InputError: there is no such file, or settings are missing, damaged or wrong.
    """
    found = resolve(path, settings, changes)
    file, chosen = found.file, found.settings
    check_complete(found, name_of(path, file))
    assert chosen.channels is not None
    head_of(chosen.covering_classes, chosen.head)
    source = Path(settings) if settings is not None else settings_beside(file)
    return NetworkDescription(
        name=name_of(path, file),
        channels=chosen.channels,
        classes=tuple(x if x.stands_for else x.model_copy(update={"stands_for": (x.label,)}) for x in chosen.covering_classes),
        head=chosen.head,
        preprocessing=chosen.preprocessing,
        window=chosen.window,
        size_bytes=found.data.stat().st_size,
        content=found.content.what,
        needs_trust=found.content.kind == "torchscript",
        description=chosen.description,
        file=file,
        files=tuple(dict.fromkeys(x for x in (found.data, source) if x is not None)),
    )


def resolve(path: str | Path, settings: str | Path | None, changes: Mapping[str, Any]) -> NetworkFile:
    """The file that a path means, its settings, and what it is by its content.

    Raises:
        InputError: there is no such file, it is none that this software opens, or its settings are damaged or wrong.
    """
    file = network_file(path)
    chosen = read_settings(file, settings, changes)
    data = _data_file(file, chosen)
    content = recognise(data)
    if content.kind == "other" or (content.kind == "weights" and chosen.network is None):
        raise content.refusal(data)
    said, found = {"torchscript": "torchscript", "monai": "weights"}.get(str(chosen.format)), content.kind
    if said is not None and said != found:
        raise InputError(f"{data} is {content.what}, but its settings say format {chosen.format}; leave that out.")
    return NetworkFile(file, chosen, data, content)


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


def name_of(path: str | Path, file: Path) -> str:
    """What results call a network."""
    return str(path) if builtin.is_builtin(str(path)) else file.stem


def check_complete(found: NetworkFile, name: str) -> None:
    """Refuse settings that leave open what every network has.

    Raises:
        InputError: channels or classes are missing.
    """
    missing = [field for field in ("channels", "classes") if getattr(found.settings, field) is None]
    if missing:
        foreign = [x.name for x in candidates_beside(found.data) if is_file(x) and settings_beside(found.data) != x]
        passed_over = f" ({foreign[0]} beside it is another software's)" if foreign and found.file == found.data else ""
        raise InputError(
            f"It is not known which {' and '.join(missing)} the network {name} has; say so in a JSON file beside it"
            f"{passed_over}, or in the call."
        )


def head_of(classes: tuple[ClassSettings, ...], kind: Literal["softmax", "sigmoid"]) -> OutputHead:
    """The output head that class settings mean.

    Raises:
        InputError: the classes do not fit together.
    """
    stands_for = {x.label: x.stands_for for x in classes if x.stands_for}
    return OutputHead.of({x.label: x.name for x in classes}, kind, stands_for)
