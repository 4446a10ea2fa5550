"""YAML files that people write, as plain data with the line of each place; what is wrong is said with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.files import is_file

if TYPE_CHECKING:
    import yaml

Place = tuple[str | int, ...]
"""Where something stands in a file: ("attacks", 0, "epsilon")."""

_MOST_VALUES = 200_000
"""Values of a file, those that anchors repeat included: more are a mistake, or meant to fill the memory."""

_DEEPEST = 100
"""Brackets in brackets: no study nests so deep."""

_LARGEST = 16 << 20
"""Bytes of a file that somebody may have written by hand."""

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_WHOLE = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")

_LONGEST_NUMBER = 4000
"""Digits of a whole number; Python refuses longer ones."""

_KNOWN_TAGS = ("str", "int", "float", "bool", "null", "seq", "map")


class Misplaced(InputError):
    """Something in data is wrong, and where: the place is told apart, so that who read a file can name the line."""

    def __init__(self, place: Sequence[str | int], problem: str) -> None:
        self.place, self.problem = tuple(place), problem
        super().__init__(f"{in_words(place)}: {problem}" if place else f"{problem[:1].upper()}{problem[1:]}")


@dataclass(frozen=True)
class Document:
    """A file as plain data.

    Attributes:
        path: the file.
        data: mappings with texts as keys, lists, texts, numbers, True, False and None.
        text: the file as it stands.
    """

    path: Path
    data: dict[str, Any]
    text: str = field(repr=False)
    _lines: dict[Place, int] = field(repr=False)

    def line(self, place: Sequence[str | int]) -> int:
        """The line, from 1, in which a place begins; that of what it lies in, where it is not there itself."""
        return next(self._lines[tuple(place[:n])] for n in range(len(place), -1, -1) if tuple(place[:n]) in self._lines)

    def sentence(self, error: Misplaced) -> str:
        """What is wrong, with file, line and key."""
        return f"{self.path}, line {self.line(error.place)}{_after(error.place)}: {error.problem}"


def in_words(place: Sequence[str | int]) -> str:
    """A place as people write it: "attacks[0].epsilon"."""
    text = ""
    for step in place:
        plain = isinstance(step, str) and re.fullmatch(r"[\w-]+", step)
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if plain else f'."{step}"'
    return text.removeprefix(".")


def read_yaml(path: str | Path) -> Document:
    """Read a YAML file that holds a mapping.

    Numbers and words are those of YAML 1.2: 1e-3 is a number, and `no`, `on`, 010 and 12:30 are what they look like. Keys are
    texts, as they stand.

    Raises:
        InputError: it is missing, empty, no YAML, no mapping, holds a key twice or a tag that makes objects, or the package
            that reads YAML is missing.
    """
    path = Path(path)
    text = _text(path)
    yaml = _package()
    try:
        nodes = list(_composed(text))
    except yaml.YAMLError as error:
        raise InputError(_unreadable(path, text, error)) from None
    except RecursionError:
        raise InputError(f"{path} nests too deep to be read.") from None
    if not nodes or (len(nodes) == 1 and nodes[0].id == "scalar" and nodes[0].value in ("", "~", "null")):
        raise InputError(f"{path} is empty; a study file names a study, a cohort, networks and attacks.")
    if len(nodes) > 1:
        line = nodes[1].start_mark.line + 1
        raise InputError(f"{path}, line {line}: a second document begins here (---); a file holds one.")
    if not isinstance(nodes[0], yaml.MappingNode):
        line = nodes[0].start_mark.line + 1
        raise InputError(f'{path}, line {line}: the file must be made of keys and values, such as "seed: 0".')
    builder = _Builder(path)
    data = builder.value(nodes[0], ())
    return Document(path, data, text, builder.lines)


def yaml_text(data: Any) -> str:
    """Plain data as the text of a YAML file, from which `read_yaml` reads the same."""
    yaml = _package()

    class Dumper(yaml.SafeDumper):  # type: ignore[name-defined,misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represented(dumper: Any, text: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _read(text) is text else '"')

    Dumper.add_representer(str, represented)
    written: str = yaml.dump(data, Dumper=Dumper, sort_keys=False, width=120)
    return written


def _package() -> Any:
    try:
        import yaml
    except ImportError:
        raise InputError(
            "Reading a study file needs the package PyYAML, which is not installed; install it (pip install pyyaml)."
        ) from None
    return yaml


def _text(path: Path) -> str:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the study file in it.")
    if not is_file(path):
        raise InputError(f"There is no study file {path}; check the path.")
    try:
        raw = path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError as error:
        raise InputError(f"The study file {path} cannot be read ({error.strerror or error}).") from None
    if raw is None:
        raise InputError(f"{path} is too large for a study file; give the YAML file that describes the study.")
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: this is no text in UTF-8; save the file as UTF-8.") from None


def _composed(text: str) -> Any:
    """The nodes of all documents. No tag is resolved by YAML 1.1's rules, which make `no` False and 1e-3 a text."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

        def fetch_flow_collection_start(self, *token: Any) -> None:
            if self.flow_level >= _DEEPEST:  # the time that PyYAML takes grows with the square of the depth
                raise RecursionError
            super().fetch_flow_collection_start(*token)

    return yaml.compose_all(text, Loader=Loader)


def _unreadable(path: Path, text: str, error: yaml.YAMLError) -> str:
    """The sentence on a file that is no YAML."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or "")
    if mark is None:  # a character that no YAML may hold
        place = int(getattr(error, "position", 0) or 0)
        line = text[:place].count("\n") + 1
        return f"{path}, line {line}: a character stands here that no YAML file may hold; write the line anew."
    lines = text.splitlines() or [""]
    number = min(mark.line, len(lines) - 1)
    begins = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    if "\\t" in problem or "\t" in begins:
        return f"{path}, line {number + 1}: a tab stands before the text; YAML wants spaces."
    if "mapping values are not allowed" in problem:
        problem = "a colon stands where none may be; put the text in quotes, or mind the spaces before the key"
    if "could not find expected ':'" in problem:
        problem = "a key without a colon and a value; write KEY: VALUE"
    context = str(getattr(error, "context", None) or "")
    return f"{path}, line {number + 1}: this is no YAML: {problem}{f' ({context})' if context else ''}."


class _Builder:
    """Plain data from nodes, and the line of each place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: set[int] = set()
        self._count = 0
        self.lines: dict[Place, int] = {}

    def value(self, node: Any, place: Place, line: int | None = None) -> Any:
        """What a node stands for; `line` is where its key stands."""
        self.lines[place] = node.start_mark.line + 1 if line is None else line
        self._count += 1
        if id(node) in self._open:
            raise self._wrong(node, "an anchor holds itself; write out what is meant")
        if self._count > _MOST_VALUES:
            raise self._wrong(node, f"the file holds more than {_MOST_VALUES} values, with those that anchors repeat")
        tag = node.tag.rpartition(":")[2]
        if not node.tag.startswith("tag:yaml.org,2002:") or tag not in _KNOWN_TAGS:
            name = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._wrong(node, f"the tag {name} makes something else of a value; leave it out")
        self._open.add(id(node))
        try:
            if node.id == "mapping":
                return self._mapping(node, place)
            if node.id == "sequence":
                return [self.value(x, (*place, n)) for n, x in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        own: dict[str, tuple[Any, int]] = {}
        merged: list[Any] = []
        for key, value in node.value:
            if key.id != "scalar":
                raise self._wrong(key, "a key must be a word or a text, not a list or a mapping")
            self._check_characters(key)
            line = key.start_mark.line + 1
            if key.value == "<<" and key.style is None:
                merged += value.value if value.id == "sequence" else [value]
                continue
            if key.value in own:
                raise self._wrong(key, f"{key.value} is given twice, first in line {own[key.value][1]}; give it once")
            own[key.value] = (value, line)
        found: dict[str, Any] = {}
        for other in merged:
            if other.id != "mapping":
                raise self._wrong(other, "<< takes a mapping that has an anchor, or a list of such")
            line = self.lines[place]
            found = {**self.value(other, place, line), **found}
        return {**found, **{key: self.value(value, (*place, key), line) for key, (value, line) in own.items()}}

    def _scalar(self, node: Any) -> Any:
        text: str = node.value
        self._check_characters(node)
        if node.style is not None:  # in quotes, or a block
            return text
        if len(text) > _LONGEST_NUMBER and _WHOLE.fullmatch(text):
            raise self._wrong(node, "this number has too many digits")
        return _read(text)

    def _check_characters(self, node: Any) -> None:
        """Halves of characters, which escapes such as \\ud800 write, can be neither stored nor shown."""
        if half := [x for x in node.value if "\ud800" <= x <= "\udfff"]:
            raise self._wrong(node, f"U+{ord(half[0]):04X} is half a character; write the character itself")

    def _wrong(self, node: Any, problem: str) -> InputError:
        return InputError(f"{self._path}, line {node.start_mark.line + 1}: {problem}.")


def _read(text: str) -> Any:
    """What a text without quotes stands for, by the rules of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _after(place: Sequence[str | int]) -> str:
    return f" ({in_words(place)})" if place else ""
