"""What the library offers, as plain data: attacks and networks.

The library needs packages that a fresh Slicer lacks, so that it is imported only when something is asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from SegAdversarialLib.errors import InputError


@dataclass(frozen=True)
class AttackEntry:
    """An attack, as far as a panel needs to know it.

    Attributes:
        name: what configurations call it.
        title: what people call it.
        oneLine: what it does.
        citation: where it comes from.
        schema: the JSON schema of its settings.
        asksNetwork: whether it needs a network.
        transferable: whether it can be made on one network and measured on another.
        drawable: whether it can be drawn at random.
        bounded: whether it has a budget, the least of which can be searched for.
    """

    name: str
    title: str
    oneLine: str
    citation: str
    schema: Mapping[str, Any]
    asksNetwork: bool
    transferable: bool = False
    drawable: bool = False
    bounded: bool = False


@dataclass(frozen=True)
class NetworkEntry:
    """A network, as far as a panel needs to know it.

    Attributes:
        name: what results call it.
        channels: the channels that it takes, in its order.
        classes: label value and name of its outputs, in their order.
        head: "softmax" (exclusive classes) or "sigmoid" (overlapping regions).
        grid: the grid that it works on, in words.
        sizeBytes: size of its file.
        needsTrust: whether it is a program, to be opened only when its source is trusted.
        description: what its makers say of it.
        structures: the names of the outputs that are not background.
        targets: what an attack can lead it to: the value in a configuration, and the name.
        outputs: what its outputs stand for (an `OutputHead`).
        content: what its file is, in words.
        runs: what in its files could run code, in words.
        programs: the files in which that stands, whose bytes have to be trusted.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[tuple[int, str], ...]
    head: str
    grid: str
    sizeBytes: int
    needsTrust: bool
    description: str
    structures: tuple[str, ...] = ()
    targets: tuple[tuple[int | str, str], ...] = ()
    outputs: Any = None
    content: str = ""
    runs: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


def attacks() -> list[AttackEntry]:
    """All attacks that the library has.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.attacks import ATTACKS
    from SegAdversarialLib.attacks.least_budget import LeastBudget
    from SegAdversarialLib.attacks.transfer import Transfer
    from SegAdversarialLib.attacks.worst_of_k import WorstOfK

    return [
        AttackEntry(
            name,
            cls.title,
            cls.one_line(),
            cls.citation,
            schemaOf(cls),
            cls.asks_network,
            Transfer.can_make(cls),
            WorstOfK.can_draw(cls),
            LeastBudget.can_bound(cls),
        )
        for name, cls in ATTACKS.items()
    ]


def attackProblem(name: str, settings: Mapping[str, Any]) -> str:
    """What is wrong with an attack's settings, in one sentence, or nothing.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.attacks import make_attack

    try:
        attack = make_attack(name, settings)
    except InputError as error:
        return str(error)
    if attack.needs and getattr(attack, attack.needs) is None:
        label = type(attack).model_json_schema()["properties"][attack.needs].get("label", attack.needs)
        return _("{attack} needs something more: give {setting}.").format(attack=attack.title, setting=_(label))
    return ""


def needsReference(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether an attack with these settings works against a reference segmentation; not where the settings are wrong.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.attacks import make_attack

    try:
        return make_attack(name, settings).needs_reference
    except InputError:
        return False


def network(path: str, settings: str = "") -> NetworkEntry:
    """A network from its settings alone; the network itself is not opened.

    Args:
        path: a built-in network's name, a file, or a folder with one network.
        settings: the JSON file that describes it; empty: the one beside it.

    Raises:
        InputError: there is no such network, or its settings are missing or wrong.
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.formats import describe_file

    found = describe_file(path, settings or None)
    head = found.output_head()
    return NetworkEntry(
        name=found.name,
        channels=tuple(found.channels),
        classes=tuple(zip(head.labels, head.names)),
        head=found.head,
        grid=_gridInWords(found.preprocessing, found.window),
        sizeBytes=found.size_bytes,
        needsTrust=found.needs_trust,
        description=found.description,
        structures=tuple(head.names[n] for n in head.foreground),
        # a label that the network merges with others, or gives another meaning than the reference, is not a clear target
        targets=tuple(
            (label if region == (label,) else name, name) for label, name, region in zip(head.labels, head.names, head.regions)
        ),
        outputs=head,
        content=found.content,
        runs=found.runs,
        programs=tuple(map(str, found.programs)),
    )


def builtinNetworks() -> list[str]:
    """The networks that come with the software, by the names that `network` takes.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.formats import builtin

    return list(builtin.names())


def builtinGenerators() -> list[str]:
    """The generators that come with the software, by the names that `generator` takes.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.formats import builtin

    return builtin.generator_names()


def schemaOf(cls: Any) -> dict[str, Any]:
    """The JSON schema of an attack; fields of types that JSON does not have are left open, and do not hide the attack."""
    from pydantic.json_schema import GenerateJsonSchema

    class Lenient(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
            return {}

    return dict(cls.model_json_schema(schema_generator=Lenient))


def _gridInWords(preprocessing: Any, window: tuple[int, ...] | None) -> str:
    """The grid that a network works on: "voxels of 1 × 1 × 1 mm, RAS; windows of 96 × 96 × 96 voxels"."""
    if preprocessing.spacing is not None:
        words = _("voxels of {spacing} mm").format(spacing=_product(preprocessing.spacing))
    elif preprocessing.size is not None:
        words = _("{size} voxels").format(size=_product(preprocessing.size))
    else:
        words = _("the images' own grid")
    if preprocessing.orientation is not None:
        words = _("{grid}, {orientation}").format(grid=words, orientation=preprocessing.orientation)
    if preprocessing.dimensions == 2:
        words = _("{grid}; slice by slice").format(grid=words)
    if window is not None:
        words = _("{grid}; windows of {window} voxels").format(grid=words, window=_product(window))
    return words


def _product(numbers: tuple[float | None, ...]) -> str:
    return " × ".join(_("own") if x is None else f"{x:g}" for x in numbers)
