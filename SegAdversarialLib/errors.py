"""What goes wrong for reasons that the user can mend, and how a long task is told to stop."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class InputError(ValueError):
    """Something that the user gave is wrong; the message is one sentence: what, where, and what would be right.

    Names that the user gave may hold anything; line breaks, other control characters and halves of characters, which no
    terminal and no file takes, are told by their escapes.
    """

    def __str__(self) -> str:
        return "".join(_shown(x) for x in super().__str__())


def _shown(letter: str) -> str:
    """A letter as it can be shown in a line."""
    hidden = not letter.isprintable() and unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    return letter.encode("unicode_escape").decode() if hidden else letter


class Cancelled(Exception):
    """The user stopped the work; what was finished before is kept."""


ProgressCallback = Callable[[float, str], None]
"""Called with the finished fraction in [0, 1] and a short text of what is going on."""

CancelCheck = Callable[[], bool]
"""Asked between units of work; True stops the work with `Cancelled`."""


def check_cancel(cancel: CancelCheck | None) -> None:
    """Raise `Cancelled` if the user has asked to stop."""
    if cancel is not None and cancel():
        raise Cancelled("Cancelled by the user; what was finished is kept.")


_READABLE = 200
"""Letters of a library's error that are shown."""

_DECORATION = re.compile(r"\x1b\[[0-9;]*m|\[enforce fail at [^\]]*\] (?:err == 0)?\. ?")
_NOISE = re.compile(
    r"""^(?:
        Traceback\b .* | File\ " .* | frame\ \#.* | \#\d+:?\ .* | Exception\ raised\ from\ .*  # where it came from
        | [~^\s]* (?:<---\ HERE)? | [|:,.]+  # marks under a line of code
        | [\w()]+:\ (?:fallthrough\ )?registered\ (?:at|as)\ .*  # torch's table of kernels
        | The\ following\ operation\ failed\ in\ the\ TorchScript\ interpreter\. .*
        | Weights\ only\ load\ failed\. .* | \(\d\)\ (?:In|Alternatively,)\ .*  # torch.load's advice
        | (?:Check\ the\ documentation|For\ debugging\ consider|Compile\ with|CUDA\ kernel\ errors\ might)\b .*
        | (?:Set\ TORCHDYNAMO_VERBOSE|from\ user\ code)\b .*
        | Exception\ thrown\ in\ SimpleITK\ .* | /\S+\.(?:cxx|hxx|h|cpp):\d+:
    )$""",
    re.VERBOSE,
)
_CAUSE = re.compile(
    r"^(?:.*\bWeightsUnpickler error:|(?:[\w.]+\.)?\w*(?:Error|Exception):|(?:sitk::|itk::|ITK )ERROR:|\[\w+\] \w+:)\s*(.*)$"
)
"""Lines that name the cause: Python's and TorchScript's last, ITK's, and the innermost of Teem's (NRRD)."""
_ITK_OBJECT = re.compile(r"^\w+ ?\(0x[0-9a-f]+\): ?(?:ERROR: )?")
_ADVICE = re.compile(
    r" (?:This is an internal miniz error|If you are seeing this error|In PyTorch 2\.6|Please (?:use|file|report|see)|Hint:).*"
)


def detail_of(error: BaseException) -> str:
    """What a library's error says: its most telling line, without source positions, stacks and advice, in readable length."""
    if callable(getattr(error, "error_count", None)):  # pydantic's
        return first_problem(cast("ValidationError", error)).rstrip(".")
    lines = [line.strip() for line in _DECORATION.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not _NOISE.match(line)]
    causes = [n for n, line in enumerate(lines) if _CAUSE.match(line)]
    if causes:
        found = cast("re.Match[str]", _CAUSE.match(lines[causes[-1]]))
        lines = [x for x in (_ITK_OBJECT.sub("", found[1]), *lines[causes[-1] + 1 :]) if x]
    elif len(lines) > 2 and lines[0].startswith("Error while "):  # the last line says what it was
        lines = [lines[0].rstrip(".") + ":", lines[-1]]
    if not lines:
        return "the data end too early" if isinstance(error, EOFError) else type(error).__name__
    text = _ADVICE.sub("", lines[0])
    if len(lines) > 1 and (text.endswith(":") or causes and len(text) + len(lines[1]) < _READABLE):
        text += f"{'' if text.endswith((':', '.', '!')) else ';'} {lines[1]}"
    return _cut(text if " " in text else f"{type(error).__name__}: {text}")


def _cut(text: str) -> str:
    """As many whole sentences as are readable, or words where the first sentence is longer."""
    if len(text) > _READABLE:
        ends = [match.end() for match in re.finditer(r"[.!] ", text[: _READABLE + 1])]
        text = text[: ends[-1]].rstrip() if ends else (text[:_READABLE].rpartition(" ")[0] or text[:_READABLE]) + " ..."
    return text if text.endswith("...") else text.rstrip(".")


_TYPES = {"float", "int", "str", "bool", "none"}
_EXPECTED = {
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "dict_type": "it must be an object in braces",
    "model_type": "it must be an object in braces",
    "model_attributes_type": "it must be an object in braces",
    "missing": "it is missing",
    **dict.fromkeys(("float_parsing", "float_type"), "it must be a number"),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "it must be a whole number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "it must be true or false"),
    "string_type": "it must be a text",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be {ge} or more",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be {le} or less",
    "finite_number": "it must be a finite number",
    "literal_error": "it must be {expected}",
    "too_short": "it must hold {min_length} or more; it holds {actual_length}",
    "too_long": "it must hold {max_length} or fewer; it holds {actual_length}",
    "string_too_short": "it must not be empty",
}
"""What is right, by the kind of pydantic's problem; in braces what pydantic tells of it."""


def first_problem(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """The first thing that a settings model found wrong, as one sentence: where, what, and what would be right.

    Args:
        error: what the model raised.
        model: the model, so that the names that it knows can be told where one is unknown.
    """
    problems = error.errors()
    problem = most_precise(problems)
    place = _place(problem)
    if problem["type"] == "extra_forbidden":
        known = known_names(model, place[:-1]) if model is not None else ()
        return f"there is no setting {_dotted(place)}" + (f"; there are {', '.join(known)}." if known else ".")
    given = problem.get("input")
    simple = isinstance(given, (str, int, float, bool))
    shown = f" (given: {_short(given)})" if simple else ""
    # a value may be a number or one of some words
    tried = [x for x in problems if simple and _place(x) == place and len(x["loc"]) == len(problem["loc"])] or [problem]
    told = " or ".join(dict.fromkeys(complaint(x, model) for x in tried)).replace(" or it must be ", ", or ")
    sentence = f"{told}{shown}."
    if place and told.startswith(f"{place[-1]} "):  # as our own checks begin
        return ".".join([*map(str, place[:-1]), sentence])
    return f"{_dotted(place)}: {sentence}" if place else sentence[0].upper() + sentence[1:]


def _dotted(place: Sequence[str | int]) -> str:
    """Where in the settings, in readable length."""
    return _cut(".".join(map(str, place)))


def _short(given: Any) -> str:
    """What was given, in readable length."""
    text = repr(given) if not isinstance(given, int) or abs(given) < 10**_READABLE else "a number of very many digits"
    return text if len(text) <= _READABLE else f"{text[:_READABLE]} ..."


def complaint(problem: Any, model: type[BaseModel] | None) -> str:
    """What is wrong with a value, as the rest of a sentence, from one of pydantic's `errors()`."""
    if problem["type"] == "union_tag_invalid":
        return f"the {problem['ctx']['discriminator'].strip(chr(39))} must be one of {problem['ctx']['expected_tags']}"
    if problem["type"] == "union_tag_not_found":
        tag = problem["ctx"]["discriminator"].strip("'")
        choices = _objects_at(model, _place(problem)) if model is not None else []
        known = dict.fromkeys(repr(x["properties"][tag].get("const")) for x in choices if tag in x["properties"])
        return f"its {tag} is missing" + (f"; it must be one of {', '.join(known)}" if known else "")
    if problem["type"] in _EXPECTED:
        told = {key: f"{x:g}" if isinstance(x, float) else x for key, x in problem.get("ctx", {}).items()}
        return _EXPECTED[problem["type"]].format(**told)
    message = problem["msg"].removeprefix("Value error, ").replace("Input should ", "it must ").rstrip(".")
    return message[0].lower() + message[1:]


def _place(problem: Any) -> list[str | int]:
    # pydantic also puts the type that it tried into the path, which tells the user nothing
    return [x for x in problem["loc"] if isinstance(x, int) or (x.isidentifier() and x not in _TYPES)]


def most_precise(problems: list[Any]) -> Any:
    """The first problem; of a place where several types were tried, what the best-fitting one found."""
    first = next((x for x in problems if x["type"] != "missing"), problems[0])  # a misspelt name is missing, too
    tried = next((n for n, x in enumerate(first["loc"]) if isinstance(x, str) and "[" in x), None)
    if tried is None:
        return first
    return max((x for x in problems if x["loc"][:tried] == first["loc"][:tried]), key=lambda x: len(_place(x)))


def known_names(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The names that can be set at a place in a settings model."""
    return list(dict.fromkeys(name for node in _objects_at(model, place) for name in node["properties"]))


def _objects_at(model: type[BaseModel], place: Sequence[str | int]) -> list[dict[str, Any]]:
    """What may stand at a place, as the objects of the model's JSON schema; a tag in the place chooses one of a union."""
    schema = model.model_json_schema()
    found = _objects(schema, schema)
    for step in place:
        if isinstance(step, str):
            inside = [x["properties"][step] for x in found if step in x["properties"]]
            chosen = [x for x in found if any(field.get("const") == step for field in x["properties"].values())]
            found = [y for x in inside for y in _objects(x, schema)] if inside else chosen
    return found


def _objects(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects with named fields that a node of a JSON schema allows, alone or in a list."""
    if "$ref" in node:
        return _objects(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    if "properties" in node:
        return [node]
    items = [node["items"]] if isinstance(node.get("items"), dict) else []
    return [y for x in (*node.get("anyOf", ()), *node.get("oneOf", ()), *items) for y in _objects(x, schema)]
