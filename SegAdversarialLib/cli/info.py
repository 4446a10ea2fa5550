"""What `segadversarial info` shows: this installation, one network, or what can be set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from SegAdversarialLib.cli import readable
from SegAdversarialLib.cli.console import Console

if TYPE_CHECKING:
    import argparse

    from SegAdversarialLib.formats.describing import NetworkDescription
    from SegAdversarialLib.formats.source import ModelSource


def info(options: argparse.Namespace, console: Console) -> None:
    """Versions and devices, what a network is, or what can be set."""
    from SegAdversarialLib.cli.making import model_of

    options.model = options.model or options.network
    if options.model is not None:
        show_network(model_of(options), console, _said_of_it(options))
    elif options.preprocessing is not None:
        show_preprocessing(console)
    else:
        show_installation(console)


def show_installation(console: Console) -> None:
    """Versions, devices, networks and attacks."""
    from SegAdversarialLib.attacks import ATTACKS
    from SegAdversarialLib.evaluation.files import versions
    from SegAdversarialLib.formats import builtin
    from SegAdversarialLib.model.devices import advice, list_devices

    devices = [f"{x['id']}: {x['name']}" for x in list_devices()]
    found: dict[str, Any] = {**versions(), "devices": devices, "networks": builtin.names(), "attacks": list(ATTACKS)}
    if hint := advice():
        found["advice"] = hint
    _show([found], console)


def show_network(source: ModelSource, console: Console, said: Sequence[str] = ()) -> None:
    """What a network is: a program whose source is not trusted is described by its settings alone, and what does not open yet
    by what it is, what is missing, and the line that would open it.

    Args:
        source: the network.
        console: where.
        said: the options with which it was described, which belong into that line.

    Raises:
        InputError: there is no such file, it is damaged, or its settings are wrong.
    """
    from SegAdversarialLib.cli.unopened import unopened
    from SegAdversarialLib.formats.source import describe_source
    from SegAdversarialLib.formats.unopened import NotOpened

    try:
        known = describe_source(source)
    except NotOpened as error:
        _show([unopened(error, said)], console)
        return
    _show(_described(known, source, said), console)


def _described(known: NetworkDescription, source: ModelSource, said: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is shown of a network that opens, or would with trust: what its files say, which is there at once; then what is
    found out by opening it, which takes seconds."""
    from SegAdversarialLib.formats.source import open_source
    from SegAdversarialLib.formats.trust import digest
    from SegAdversarialLib.formats.unopened import NotInstalled
    from SegAdversarialLib.formats.verdicts import verdict

    found: dict[str, Any] = {"file": known.content, "files": [str(x) for x in known.files], "bytes": known.size_bytes}
    found["could_run"] = list(known.runs)
    if known.needs_trust:
        found |= {"scan": verdict(*known.programs), "sha256": [digest(x) for x in known.programs]}
    if known.spared:
        found["not_run"] = known.spared
    described = {
        "name": known.name,
        "channels": list(known.channels),
        "classes": [x.model_dump(mode="json") for x in known.classes],
        "head": known.head,
        "preprocessing": known.preprocessing.model_dump(mode="json"),
        "window": list(known.window) if known.window else None,
        **({"members": list(known.members)} if known.members else {}),
    }
    if known.description:
        described["description"] = known.description
    if not known.opens(source.trust):
        yield {**found, "trust": "needed: a program, not opened here (--trust)", **described}
    else:
        yield {**found, **{key: x for key, x in described.items() if key != "members"}}
        try:
            yield open_source(source).describe()
        except NotInstalled as error:
            yield {"opens": "not yet", "missing": [str(error)], **described}
    path, given = shlex.quote(source.path), " --trust" if known.needs_trust else ""
    images = " ".join(f"--channel {shlex.quote(x)}=FILE" for x in known.channels)
    told = "".join(f" {shlex.quote(x)}" for x in said)
    yield {"open_with": f"segadversarial segment --model {path}{given}{told} {images} --output FOLDER"}


def _said_of_it(options: argparse.Namespace) -> list[str]:
    """The words of the command line without its own name, the network's, and those that the line to type has anyway."""
    words = [str(x) for x in options.words[1:]]
    for option in ("--model", "--device"):
        while option in words:
            del words[words.index(option) : words.index(option) + 2]
    words = [x for x in words if not x.startswith(("--model=", "--device="))]
    return [x for x in words if x not in (str(options.network), "--events", "--trust")]


class SettingRow(NamedTuple):
    """One setting for people: its name, what it may be, what it is unless given, and what it means."""

    name: str
    values: str
    default: str
    meaning: str


class SettingTable(NamedTuple):
    """The settings of one place, under what they are called together."""

    title: str
    meaning: str
    rows: list[SettingRow]


def preprocessing_tables() -> list[SettingTable]:
    """All that can be set under `preprocessing`, then under each kind of `crop`, under `resampling` and under each kind of
    `normalization`, from the models themselves."""
    from SegAdversarialLib.model.preprocessing import Preprocessing

    schema = Preprocessing.model_json_schema()
    parts, fields = schema["$defs"], schema["properties"]
    tables = [SettingTable("preprocessing", schema["description"], _rows(fields))]
    tables += [_kind_table("crop", parts[name]) for name in _named(fields["crop"]["anyOf"][0]["oneOf"])]
    resampling = parts["Resampling"]
    title = "resampling, output_resampling"
    tables.append(SettingTable(title, resampling["description"], _rows(resampling["properties"])))
    normalizations = _named(fields["normalization"]["anyOf"][0]["oneOf"])
    return tables + [_kind_table("normalization", parts[name]) for name in normalizations]


def _named(nodes: list[dict[str, str]]) -> list[str]:
    return [node["$ref"].rpartition("/")[2] for node in nodes]


def _kind_table(setting: str, kind: dict[str, Any]) -> SettingTable:
    fields = {key: field for key, field in kind["properties"].items() if "const" not in field}
    return SettingTable(f'{setting}, "kind": "{kind["properties"]["kind"]["const"]}"', kind["description"], _rows(fields))


def show_preprocessing(console: Console) -> None:
    """All that can be set under `preprocessing`."""
    from SegAdversarialLib.model.preprocessing import Preprocessing

    console.emit({"event": "info", "preprocessing": Preprocessing.model_json_schema()})
    console.say('Under "preprocessing" in the JSON file beside a network, or as --preprocessing JSON:')
    for table in preprocessing_tables():
        console.say(f"\n{table.title}\n  {table.meaning}")
        for row in table.rows:
            console.say(f"    {row.name} = {row.default}  ({row.values})\n        {row.meaning}")


def _rows(fields: dict[str, Any]) -> list[SettingRow]:
    return [SettingRow(name, _values(field), _default(field), field.get("description", "")) for name, field in fields.items()]


def _default(field: dict[str, Any]) -> str:
    return json.dumps(field["default"]) if "default" in field else "must be given"


_KINDS = {
    "number": "a number",
    "integer": "a whole number",
    "string": "a text",
    "boolean": "true or false",
    "object": "names and their values",
    "null": "null",
}


def _values(field: dict[str, Any]) -> str:
    """What a field of a JSON schema may be, in words."""
    if "anyOf" in field:
        return _either([_values(x) for x in field["anyOf"]])
    if "oneOf" in field:
        tags = {target.rpartition("/")[2]: tag for tag, target in field["discriminator"]["mapping"].items()}
        return f"an object with a kind ({', '.join(tags[x] for x in _named(field['oneOf']))})"
    if "$ref" in field:
        return "an object"
    if "enum" in field:
        return _either([json.dumps(x) for x in field["enum"]])
    if "prefixItems" in field:
        return _several(str(len(field["prefixItems"])), field["prefixItems"][0])
    if field["type"] == "array":
        return "a list of such" if "oneOf" in field["items"] else _several("a list of", field["items"])
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join([_KINDS[field["type"]], *(f"{word} {field[key]:g}" for key, word in limits.items() if key in field)])


def _several(how_many: str, field: dict[str, Any]) -> str:
    """Several values of one kind in words, such as 3 numbers."""
    if "enum" in field:
        return f"{how_many} of {_either([json.dumps(x) for x in field['enum']]).replace(' or ', ' and ')}"
    kinds = [x["type"] for x in field.get("anyOf", [field])]
    return f"{how_many} {_KINDS[kinds[0]].removeprefix('a ')}s{' (each may be null)' if 'null' in kinds else ''}"


def _either(choices: list[str]) -> str:
    """["a", "b", "c"] as "a, b or c"; with a comma before the last where one of them has commas itself."""
    *before, last = choices
    return f"{', '.join(before)}{',' if any(',' in x for x in choices) else ''} or {last}" if before else last


def _show(parts: Iterable[dict[str, Any]], console: Console) -> None:
    """Show things by their names as they come; a program that reads events gets all of them at once."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key not in found:
                console.say("\n".join(readable.lines(key, value)))
        found |= part
    console.emit({"event": "info", **found})
