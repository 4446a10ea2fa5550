"""The list of attacks, and all about one of them; what the list of recipes shares with it."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator

from SegAdversarialLib.attacks import ATTACKS, GROUPS, Attack, attack_class
from SegAdversarialLib.attacks.documentation import Documented, settings_of, source_of
from SegAdversarialLib.attacks.groups import DESCRIPTIONS
from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.readable import columns

_ENDING = (
    "All about one of them: segadversarial attacks NAME. The command attack takes names, groups (--attack paper) and all; "
    "those that need a file of their own only where it is given."
)


def attacks(options: argparse.Namespace, console: Console) -> None:
    """List the attacks, or those of a group, or explain one."""
    chosen = GROUPS.get(options.attack) or ([attack_class(options.attack)] if options.attack else list(ATTACKS.values()))
    if options.json:
        print(json.dumps({cls.name: cls.model_json_schema() for cls in chosen}, indent=2, ensure_ascii=False))
        return
    width = columns()
    lines = _all_about(chosen[0], width) if options.attack and options.attack not in GROUPS else _listed(chosen, width)
    console.say("\n".join(lines))
    for cls in chosen:
        console.emit({"event": "attack", "name": cls.name, "groups": list(cls.groups), "schema": cls.model_json_schema()})


def _listed(chosen: list[type[Attack]], width: int) -> Iterator[str]:
    """A line for each attack, under the first of its groups."""
    column = max(len(cls.name) for cls in chosen)
    for group, description in DESCRIPTIONS.items():
        if own := [cls for cls in chosen if cls.groups[0] == group]:
            yield from textwrap.wrap(f"{group}: {description}", width)
            yield from (line(cls, column, width) for cls in own)
            yield ""
    yield from textwrap.wrap(_ENDING, width)


def _all_about(cls: type[Attack], width: int) -> Iterator[str]:
    return explained(cls, width, f"Groups: {', '.join(cls.groups)}.")


def line(cls: type[Documented], column: int, width: int) -> str:
    """Name and description of an attack or a recipe, shortened to one line; `column` letters are the name's."""
    start = f"  {cls.name.ljust(column)}"
    before, colon, after = cls.one_line().partition(": ")
    said = (after if colon and len(before) < 50 else cls.one_line()).rstrip(".")
    room = width - len(start) - 2
    return f"{start}  {_shortened(said[0].upper() + said[1:], room)}" if room >= 20 else start.rstrip()


def _shortened(text: str, room: int) -> str:
    """A sentence without its last parts, where there is no room for them."""
    if len(text) <= room:
        return text
    ends = [n for n, letter in enumerate(text[: room + 1]) if letter in ",;" and 2 * n > room]
    return text[: ends[-1]] if ends else textwrap.shorten(text, room, placeholder=" ...")


def _heading(cls: type[Documented]) -> str:
    """Name, title and description, without saying anything twice."""
    before, _, after = cls.one_line().partition(": ")
    said = after if _same(before, cls.title) else cls.one_line()
    title = "" if _same(cls.name, cls.title) else f"{cls.title}. "
    return f"{cls.name}: {title}{said[0].upper()}{said[1:]}"


def _same(one: str, other: str) -> bool:
    """Whether two names differ in nothing but capitals, spaces and hyphens."""
    return [x for x in one.lower() if x.isalnum()] == [x for x in other.lower() if x.isalnum()]


def explained(cls: type[Documented], width: int, belongs_to: str = "") -> Iterator[str]:
    """All about one attack or recipe."""
    yield from textwrap.wrap(_heading(cls), width)
    for paragraph in cls.about().split("\n\n") if cls.about() else ():
        yield ""
        yield from textwrap.wrap(" ".join(paragraph.split()), width)
    yield ""
    if source := source_of(cls):
        yield from textwrap.wrap(f"Source: {source}.", width)
    yield from textwrap.wrap(belongs_to, width)
    settings = settings_of(cls)
    for advanced, heading in ((False, "Settings"), (True, "Settings that most people leave alone")):
        chosen = [setting for setting in settings if setting.advanced == advanced]
        if chosen:
            yield ""
            yield f"{heading}:"
            for setting in chosen:
                yield from setting.lines(width, indent="  ")
