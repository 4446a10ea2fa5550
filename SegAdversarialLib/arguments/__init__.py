"""Wrong arguments of what people call, as one sentence. Nothing but the standard library is imported here."""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
import numbers
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from SegAdversarialLib.errors import InputError, first_problem

Anything = TypeVar("Anything", bound=Callable[..., Any])
Class = TypeVar("Class")

_OURS = {
    "AttackResult": "an attack's result",
    "Case": "a Case",
    "Evaluation": "what evaluate gives back",
    "Module": "a torch module",
    "Objective": "an objective",
    "Prediction": "what a network predicts",
    "Preprocessing": "a Preprocessing",
    "SegmentationModel": "a network (as open_model gives)",
}
"""Classes that are known by their names, so that no file must be imported to check for one, and what people call them."""

_WORDS = {
    "str": "a text",
    "Path": "a path",
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number",
    "ndarray": "an array",
    "Mapping": "a mapping",
    "dict": "a mapping",
    "Callable": "a function",
    "None": "None",
    **dict.fromkeys(("Sequence", "Iterable", "tuple", "list"), "a list"),
    **_OURS,
}

_READABLE = 60
"""Letters of a value that are shown."""

_MANY = {"int": "whole numbers", "float": "numbers", "str": "texts"}


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on a name that does not exist: the one that is nearest to it, or all that there are."""
    names = {x.lower(): x for x in known}
    close = difflib.get_close_matches(name.lower(), names, n=1)
    if close:
        return f"; the nearest name is {names[close[0]]}."
    return f"; there {'is' if len(names) == 1 else 'are'} {', '.join(names.values())}." if names else "."


def called(name: str, known: Mapping[str, type[Class]]) -> type[Class] | None:
    """The class that is known by a name, or has it; capitals, dashes and underscores do not matter. None: there is none."""

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "")

    return next((cls for each, cls in known.items() if plain(name) in (plain(each), plain(cls.__name__))), None)


def shown(value: Any) -> str:
    """A value in a sentence: itself where that is short, else what it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "__fspath__"):
        return repr(str(value))
    if hasattr(value, "__array__") and hasattr(value, "shape"):
        return f"an array of the shape {tuple(value.shape)}"
    if value is None or isinstance(value, (str, int, float, list, tuple, dict)):
        text = repr(value)
        if len(text) <= _READABLE:
            return text
        if isinstance(value, str):
            return f"{text[:_READABLE]}..."
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


class InOneSentence(type):
    """What makes the classes of settings: what is given wrongly when one of them is called is an `InputError`.

    Data that is validated inside another model, or by `model_validate`, stays a matter between the models.
    """

    if not typing.TYPE_CHECKING:  # the signature of each class is that of its fields

        def __call__(cls, *unnamed: Any, **settings: Any) -> Any:
            if unnamed:
                raise InputError(_without_names(cls, unnamed))
            if inspect.isabstract(cls):
                raise InputError(f"{cls.__name__} is what others are made from; choose one of these.")
            try:
                return super().__call__(**settings)
            except ValueError as error:
                if not hasattr(error, "errors"):  # it says what is wrong by itself
                    raise
                raise InputError(f"{getattr(cls, 'title', cls.__name__)}: {_problem(cls, error)}") from None


@typing.overload
def checked(function: Anything, /) -> Anything: ...


@typing.overload
def checked(**words: str) -> Callable[[Anything], Anything]: ...


def checked(function: Any = None, /, **words: str) -> Any:
    """A function, method or dataclass whose wrong arguments are an `InputError` in one sentence.

    What is right is what its type hints say: names of arguments, and of the types those of Python, arrays, `Literal`s and
    the classes that people meet. Whatever else a hint says is not looked at.

    Args:
        function: what is called.
        words: what an argument should be, where its hint does not say it well: "a file for each channel".
    """
    if function is None:
        return lambda decorated: checked(decorated, **words)
    if isinstance(function, type):
        function.__init__ = checked(function.__init__, **words)  # type: ignore[misc]
        return function
    hints = _Hints(function, words)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        hints.check(arguments, named)
        return function(*arguments, **named)

    return call


class _Hints:
    """What a function's hints say of its arguments; read when it is first called."""

    def __init__(self, function: Callable[..., Any], words: Mapping[str, str]) -> None:
        self._function, self._words = function, words

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @functools.cached_property
    def _kinds(self) -> dict[str, ast.expr]:
        said = {
            name: x.annotation
            for name, x in self._signature.parameters.items()
            if isinstance(x.annotation, str) and x.kind not in (x.VAR_POSITIONAL, x.VAR_KEYWORD)
        }
        return {name: ast.parse(text, mode="eval").body for name, text in said.items()}

    @functools.cached_property
    def _places(self) -> list[str]:
        """The arguments that may be given without their names."""
        return [name for name, x in self._signature.parameters.items() if x.kind is x.POSITIONAL_OR_KEYWORD]

    def check(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Raise `InputError` where something does not fit."""
        unbound = ""
        try:
            given = self._signature.bind(*arguments, **named).arguments
        except TypeError as error:
            unbound = self._unbound(arguments, named, error)
            known = {name: value for name, value in named.items() if name in self._kinds}
            given = self._signature.bind_partial(*arguments[: len(self._places)], **known).arguments
        for name, value in given.items():
            if name in self._kinds and not self._fits(value, self._kinds[name]):
                raise InputError(f"{self._name(arguments)}: {self._wrong(name, value, given)}")
        if unbound:
            raise InputError(unbound)

    def _name(self, arguments: tuple[Any, ...]) -> str:
        own = self._function.__qualname__
        if not own.endswith(("__call__", "__init__")):
            return own
        return str(getattr(arguments[0], "title", type(arguments[0]).__name__)) if arguments else own

    def _unbound(self, arguments: tuple[Any, ...], named: Mapping[str, Any], error: TypeError) -> str:
        """The sentence on arguments that are missing, too many or misspelt."""
        known = [name for name in self._signature.parameters if name not in ("self", "cls")]
        unknown = next((name for name in named if name not in known), None)
        if unknown is not None and "unexpected" in str(error):
            return f"{self._name(arguments)} has no argument {unknown}{nearest(unknown, known)}"
        missing = [
            name
            for name, x in self._signature.parameters.items()
            if x.default is x.empty and name not in named and x.kind in (x.KEYWORD_ONLY, x.POSITIONAL_OR_KEYWORD)
        ]
        lacking = [name for name in missing if name not in self._places[: len(arguments)]]
        if lacking:
            return f"{self._name(arguments)} needs {', '.join(f'{x} ({self._said(x)})' for x in lacking)}."
        return f"{self._name(arguments)} takes {', '.join(known)}: {error}."

    def _wrong(self, name: str, value: Any, given: Mapping[str, Any]) -> str:
        for other, theirs in given.items():
            swappable = other != name and other in self._kinds and self._is_ours(other)
            if swappable and self._fits(theirs, self._kinds[name]) and self._fits(value, self._kinds[other]):
                return f"{name} and {other} are swapped; {name} is {self._said(name)}, {other} {self._said(other)}."
        return f"{name} must be {self._said(name)}; it is {shown(value)}."

    def _is_ours(self, name: str) -> bool:
        return any(isinstance(x, ast.Name) and x.id in _OURS for x in ast.walk(self._kinds[name]))

    def _said(self, name: str) -> str:
        """What an argument should be, in words."""
        if name in self._words:
            return self._words[name]
        found = dict.fromkeys(_words(self._kinds[name])) if name in self._kinds else {}
        *first, last = found or {"something else": None}
        return f"{', '.join(first)} or {last}" if first else last

    def _fits(self, value: Any, kind: ast.expr) -> bool:
        """Whether a value is of the kind that a hint names; also where that cannot be told."""
        match kind:
            case ast.BinOp(left=left, right=right):
                return self._fits(value, left) or self._fits(value, right)
            case ast.Constant(value=constant):  # None, or the dots of tuple[int, ...]
                return constant is None and value is None
            case ast.Attribute(attr=name) | ast.Name(id=name):
                return self._is_a(value, name)
            case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
                return any(type(value) is type(x) and value == x for x in map(ast.literal_eval, _parts(choices)))
            case ast.Subscript(value=ast.Name(id="Mapping" | "dict") as outer, slice=ast.Tuple(elts=[key, inner])):
                # keys that were numbers may have become texts in a file
                fits = self._fits(value, outer) and all(self._fits(x, key) or str(x).isdigit() for x in value)
                return fits and all(self._fits(x, inner) for x in value.values())
            case ast.Subscript(value=ast.Name(id="Sequence" | "tuple" | "list") as outer, slice=inner):
                members = value if isinstance(value, (list, tuple)) else ()
                return self._fits(value, outer) and all(any(self._fits(x, y) for y in _parts(inner)) for x in members)
            case ast.Subscript(value=outer):
                return self._fits(value, outer)
        return True

    def _is_a(self, value: Any, name: str) -> bool:
        match name:
            case "str":
                return isinstance(value, str)
            case "Path":
                return hasattr(value, "__fspath__")
            case "bool":
                return isinstance(value, bool) or type(value).__name__ == "bool"
            case "int":
                return isinstance(value, numbers.Integral)
            case "float":
                return isinstance(value, numbers.Real)
            case "ndarray":
                return hasattr(value, "__array__") or isinstance(value, (list, tuple))
            case "Mapping" | "dict":
                return isinstance(value, Mapping)
            case "Callable":
                return callable(value)
            case "tuple":  # a text stands for a tuple of one
                return isinstance(value, Iterable)
            case "Sequence" | "Iterable" | "list":
                return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
        if name in _OURS:
            return _may_be(value, name)
        known = inspect.unwrap(self._function).__globals__.get(name)
        # of Any, and of a protocol that is not made for being asked, nothing is known
        asked = isinstance(known, type) and known is not Any and getattr(known, "_is_runtime_protocol", True)
        return isinstance(value, known) if asked else True  # type: ignore[arg-type]


def _may_be(value: Any, name: str) -> bool:
    """Whether a value may stand for one of our classes: it is one, or a stranger's object that may do what one does."""
    kinds = {base.__name__ for base in type(value).__mro__}
    plain = value is None or isinstance(value, (str, bytes, numbers.Number, list, tuple, set, Mapping, type))
    return name in kinds or not (plain or kinds & set(_OURS) or hasattr(value, "__array__") or hasattr(value, "__fspath__"))


def _first(node: ast.expr) -> str:
    """The name of what a list is of."""
    first = _parts(node)[0]
    return first.id if isinstance(first, ast.Name) else ""


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _words(kind: ast.expr) -> Iterator[str]:
    """What a hint means, in words."""
    match kind:
        case ast.BinOp(left=left, right=right):
            yield from _words(left)
            yield from _words(right)
        case ast.Constant(value=None):
            yield "None"
        case ast.Attribute(attr=name) | ast.Name(id=name):
            yield _WORDS.get(name, name)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            yield from (ast.unparse(x) for x in _parts(choices))
        case ast.Subscript(value=ast.Name(id="Sequence" | "tuple" | "list"), slice=inner) if words := _MANY.get(_first(inner)):
            yield f"a list of {words}"
        case ast.Subscript(value=outer):
            yield from _words(outer)


def _problem(cls: Any, error: Any) -> str:
    """What is wrong with settings, by what pydantic says."""
    first = error.errors()[0]
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return f"there is no setting {first['loc'][0]}{nearest(str(first['loc'][0]), cls.model_fields)}"
    return first_problem(error)


def _without_names(cls: Any, unnamed: tuple[Any, ...]) -> str:
    """The sentence on settings that were given by their position."""
    kinds = {base.__name__ for value in unnamed for base in type(value).__mro__}
    if {"Case", "SegmentationModel"} & kinds:
        return f"{cls.__name__} is made of settings, and what it makes is called: {cls.__name__}()(model, case)."
    own = [name for name in vars(cls).get("__annotations__", {}) if name in cls.model_fields]
    example = "epsilon" if "epsilon" in cls.model_fields else next(iter([*own, *cls.model_fields]), "")
    example = "**settings" if isinstance(unnamed[0], Mapping) else f"{example}=..."
    return (
        f"{cls.__name__} takes its settings by their names, such as {cls.__name__}({example}); {shown(unnamed[0])} was given "
        "without one."
    )
