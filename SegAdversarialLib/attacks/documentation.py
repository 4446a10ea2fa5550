"""What the settings of an attack or a recipe are, for people: in `help`, in the command line's list, in tables."""

from __future__ import annotations

import inspect
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel

from SegAdversarialLib.arguments import InOneSentence

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

_SIGNS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


@dataclass(frozen=True)
class Setting:
    """One setting, in words.

    Attributes:
        name: what configurations call it.
        description: what it is, in a sentence.
        default: its value where nothing else is said.
        unit: what its numbers are measured in; may be empty.
        bounds: what values it takes; may be empty.
        advanced: whether most people leave it alone.
    """

    name: str
    description: str
    default: str
    unit: str = ""
    bounds: str = ""
    advanced: bool = False

    @property
    def about(self) -> str:
        """Unit and bounds: "mm, >= 0, <= 100"."""
        return ", ".join(x for x in (self.unit, self.bounds) if x)

    def lines(self, width: int, indent: str = "    ") -> list[str]:
        """The setting as text of at most `width` columns."""
        about = f"  ({self.about})" if self.about else ""
        inside = indent + "    "
        return [
            *textwrap.wrap(f"{self.name} = {self.default}{about}", width, initial_indent=indent, subsequent_indent=inside),
            *textwrap.wrap(self.description, width, initial_indent=inside, subsequent_indent=inside),
        ]


def settings_of(attack: Any) -> list[Setting]:
    """The settings of a class, those that most people leave alone last."""
    found = []
    for name, field in attack.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        found.append(
            Setting(
                name,
                field.description or "",
                in_words(field.get_default(call_default_factory=True)),
                str(extra.get("unit", "")),
                ", ".join(dict.fromkeys(_bounds(field.annotation, field.metadata))),
                bool(extra.get("advanced", False)),
            )
        )
    return sorted(found, key=lambda setting: setting.advanced)


def source_of(settings: Any) -> str:
    """Where a class of attacks, or of recipes, comes from; may be empty."""
    return str(getattr(settings, "citation", "") or getattr(settings, "source", ""))


def in_words(value: Any) -> str:
    """A setting's value as the command line takes it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(in_words, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def documentation(attack: Any, written: str) -> str:
    """What `help` says of a class: what is written there, its source, and its settings."""
    lines = [inspect.cleandoc(written), ""]
    if source := source_of(attack):
        lines += [f"Source: {source}.", ""]
    lines.append("Settings, by their names (unit, what it takes):")
    for setting in settings_of(attack):
        lines += setting.lines(100)
    return "\n".join(lines)


def _bounds(annotation: Any, metadata: Sequence[Any]) -> Iterator[str]:
    """What values a field takes, from its type and what is said beside it."""
    for said in metadata:
        for inner in getattr(said, "metadata", None) or [said]:
            yield from (f"{sign} {getattr(inner, key)}" for key, sign in _SIGNS if getattr(inner, key, None) is not None)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        yield ("or " if len(parts) == 1 else "one of ") + ", ".join(map(str, parts))
    elif hasattr(annotation, "__metadata__"):
        yield from _bounds(annotation.__origin__, annotation.__metadata__)
    elif origin in (typing.Union, types.UnionType):
        for part in parts:
            yield from _bounds(part, ())
    elif origin is tuple and typing.get_origin(parts[0]) is Literal:
        yield "some of " + ", ".join(map(str, typing.get_args(parts[0])))


class SettingsClass(InOneSentence, ModelMetaclass):
    """What makes the classes of attacks and recipes: `help` shows their settings, and wrong ones are one sentence."""

    if not TYPE_CHECKING:

        @property
        def __doc__(self) -> str:
            """What is written in the class, and its settings; put together when somebody asks."""
            written = vars(self).get("__doc__") or ""
            return documentation(self, written) if self.__pydantic_complete__ else written

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            # names and defaults; what the settings take is said more readably in the documentation
            kind = inspect.Parameter.KEYWORD_ONLY
            defaults = {name: field.get_default(call_default_factory=True) for name, field in self.model_fields.items()}
            self.__signature__ = inspect.Signature([inspect.Parameter(x, kind, default=y) for x, y in defaults.items()])


class Documented(BaseModel, metaclass=SettingsClass):
    """Settings whose class says in its documentation what they are for."""

    name: ClassVar[str]
    """What the command line and files call it."""
    title: ClassVar[str]
    """What people call it."""

    @classmethod
    def one_line(cls) -> str:
        """The first line of the documentation."""
        return cls._written().splitlines()[0]

    @classmethod
    def about(cls) -> str:
        """What follows the first line of the documentation; may be empty."""
        return cls._written().partition("\n")[2].strip()

    @classmethod
    def model_json_schema(cls, *arguments: Any, **named: Any) -> dict[str, Any]:
        """The schema of the settings; its description is what is written of the class."""
        return {**super().model_json_schema(*arguments, **named), "description": cls._written()}

    @classmethod
    def _written(cls) -> str:
        return inspect.cleandoc(vars(cls).get("__doc__") or "")
