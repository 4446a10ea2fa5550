"""What goes wrong for reasons that the user can mend, and how a long task is told to stop."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Something that the user gave is wrong; the message is one sentence: what, where, and what would be right."""


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


def detail_of(error: BaseException) -> str:
    """What a library's error says after its source positions and stack: the last line, cut to a readable length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200].rstrip(".") if lines else type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say after a sentence on a name that does not exist: the name that was meant, or all that there are."""
    known = list(known)
    close = difflib.get_close_matches(name.lower(), [x.lower() for x in known], n=1)
    if close:
        return f"; did you mean {next(x for x in known if x.lower() == close[0])}?"
    return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known)}." if known else "."


def shown(value: Any) -> str:
    """A value in a sentence: itself where that is short, else what it is."""
    if value is None or isinstance(value, (str, int, float, bool)):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "__fspath__"):
        return repr(str(value))
    if hasattr(value, "__array__") and hasattr(value, "shape"):
        return f"an array of the shape {tuple(value.shape)}"
    if isinstance(value, (list, tuple, dict)) and len(repr(value)) <= 60:
        return repr(value)
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


_TYPES = {"float", "int", "str", "bool", "none"}


def first_problem(error: ValidationError, known: Iterable[str] = ()) -> str:
    """The first thing that a settings model found wrong, as one sentence: where, what, and what would be right.

    Args:
        error: what the model raised.
        known: the settings that there are, for one that is misspelt.
    """
    problem = error.errors()[0]
    # pydantic also puts the type that it tried into the path, which tells the user nothing
    parts = [str(x) for x in problem["loc"] if isinstance(x, int) or (x.isidentifier() and x not in _TYPES)]
    where = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        path = problem["loc"]
        return f"there is no setting {where or path[-1]}{nearest(str(path[-1]), known if len(path) == 1 else ())}"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    told = isinstance(given, (str, int, float, bool)) or problem["type"] not in ("value_error", "missing")
    ending = "" if not told else f" (given: {shown(given)})"
    # a name such as PGD keeps its capitals
    first = message[0].lower() if message[1:2].islower() or not message[1:2].isalpha() else message[0]
    sentence = f"{first}{message[1:].rstrip('.')}{ending}" + ("" if message.endswith("?") else ".")
    return f"{where}: {sentence}" if where else sentence[0].upper() + sentence[1:]
