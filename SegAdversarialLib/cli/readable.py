"""Data as lines for people: each thing under its name, as wide as the terminal."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_LABEL = 16
"""Letters that the name of a thing gets, with its colon."""

_SHORT = 24
"""Letters up to which the words of a list share a line."""

_WORD = r"(?:'[^']*'|[^\s'])+"
_TOKEN = re.compile(rf"--\S+(?: (?!--){_WORD})?|{_WORD}")
"""A word of a command line as a shell takes it, or an option with its value."""


def columns() -> int:
    """How many letters a line may have."""
    return max(40, shutil.get_terminal_size((100, 24)).columns)


def lines(name: str, value: Any) -> Iterator[str]:
    """A thing by its name: "name: value"; what needs more than a line goes on below, further to the right.

    Args:
        name: what it is called.
        value: a text, a number, or lists and dictionaries of these.
    """
    room = columns() - _LABEL - 1
    told = [y for x in _parts(name, value) for y in (_wrapped(x, room) or [""])]
    for label, line in zip((f"{name}:", *[""] * len(told)), told or ["nothing"]):
        yield f"{label:{_LABEL}} {line}".rstrip()


def _parts(name: str, value: Any) -> Iterator[str]:
    """What begins a line of its own."""
    if name == "classes" and isinstance(value, list):
        yield from map(_class, value)
    elif isinstance(value, Mapping):
        yield from (f"{key}: {_inline(x)}" for key, x in value.items() if _says(x))
    elif isinstance(value, list) and value and not all(isinstance(x, str) for x in value):
        yield from [_inline(x)[1:-1] for x in value] if isinstance(value[0], Mapping) else [_inline(value)[1:-1]]
    elif isinstance(value, list) and any(" " in x or "/" in x or os.sep in x or len(x) > _SHORT for x in value):
        yield from value
    elif isinstance(value, list):
        yield from [", ".join(value)] if value else ["nothing"]
    elif isinstance(value, str) and value.startswith("segadversarial "):
        first, *others = re.split(r" or (?=segadversarial )", value)
        yield from (first, *(y for x in others for y in ("or", x)))
    else:
        yield f"{value:,}" if name in ("bytes", "parameters") and isinstance(value, int) else _inline(value)


def _class(data: Mapping[str, Any]) -> str:
    """A class of a network: its value in label maps and its name, and what it covers where that is something else."""
    covered = data.get("stands_for") or [data["label"]]
    other = "" if covered == [data["label"]] else f" (stands for {', '.join(map(str, covered))})"
    return f"{data['label']} {data['name']}{other}"


def _says(value: Any) -> bool:
    return value is not None and value != [] and value != {} and value != ""


def _inline(value: Any) -> str:
    """A thing within a line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {_inline(x)}" for key, x in value.items() if _says(x)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or value == "":
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _wrapped(text: str, room: int) -> list[str]:
    """A text in lines; a command so that it can be copied."""
    if not text.startswith("segadversarial ") or os.name == "nt":
        return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False, subsequent_indent="  ")
    found = [""]
    for word in _TOKEN.findall(text):
        if found[-1] and len(found[-1]) + len(word) + 3 > room:
            found[-1] += " \\"
            found.append(f"    {word}")
        else:
            found[-1] += f" {word}" if found[-1] else word
    return found
