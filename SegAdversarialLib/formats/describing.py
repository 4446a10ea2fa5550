"""What a network is, told from its settings alone: nothing is opened, nothing of it runs, and torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import builtin, monai_network, torchscript
from SegAdversarialLib.formats.finding import network_file
from SegAdversarialLib.formats.settings import ClassSettings, ModelSettings, read_settings, settings_beside
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.structures.output_head import OutputHead

_FORMATS = (torchscript, monai_network)


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
    file, chosen, kind = resolve(path, settings, changes)
    check_complete(chosen, name_of(path, file))
    assert chosen.channels is not None and chosen.classes is not None
    head_of(chosen.classes, chosen.head)
    content = kind.content_file(file, chosen)
    source = Path(settings) if settings is not None else settings_beside(file)
    return NetworkDescription(
        name=name_of(path, file),
        channels=chosen.channels,
        classes=tuple(x if x.stands_for else x.model_copy(update={"stands_for": (x.label,)}) for x in chosen.classes),
        head=chosen.head,
        preprocessing=chosen.preprocessing,
        window=chosen.window,
        size_bytes=content.stat().st_size,
        needs_trust=kind.NEEDS_TRUST,
        description=chosen.description,
        file=file,
        files=tuple(dict.fromkeys(x for x in (content, source) if x is not None)),
    )


def resolve(path: str | Path, settings: str | Path | None, changes: Mapping[str, Any]) -> tuple[Path, ModelSettings, Any]:
    """The file that a path means, its settings, and the format (a module of this package) that opens it.

    Raises:
        InputError: there is no such file, no format takes it, or its settings are damaged or wrong.
    """
    file = network_file(path)
    chosen = read_settings(file, settings, changes)
    for kind in _FORMATS:
        if kind.opens(file, chosen):
            return file, chosen, kind
    raise InputError(
        f"{file} is no network file that this software opens; TorchScript (.ts, .pt, .pth, .torchscript) and MONAI networks "
        "(.json with .safetensors or .pt) are right."
    )


def name_of(path: str | Path, file: Path) -> str:
    """What results call a network."""
    return str(path) if builtin.is_builtin(str(path)) else file.stem


def check_complete(chosen: ModelSettings, name: str) -> None:
    """Refuse settings that leave open what every network has.

    Raises:
        InputError: channels or classes are missing.
    """
    missing = [field for field in ("channels", "classes") if getattr(chosen, field) is None]
    if missing:
        raise InputError(
            f"It is not known which {' and '.join(missing)} the network {name} has; say so in a JSON file beside it, or in "
            "the call."
        )


def head_of(classes: tuple[ClassSettings, ...], kind: Literal["softmax", "sigmoid"]) -> OutputHead:
    """The output head that class settings mean.

    Raises:
        InputError: the classes do not fit together.
    """
    stands_for = {x.label: x.stands_for for x in classes if x.stands_for}
    return OutputHead.of({x.label: x.name for x in classes}, kind, stands_for)
