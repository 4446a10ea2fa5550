"""What goes wrong for reasons that the user can mend, and how a long task is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

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


_TYPES = {"float", "int", "str", "bool", "none"}


def first_problem(error: ValidationError) -> str:
    """The first thing that a settings model found wrong, as one sentence: where, what, and what would be right."""
    problem = error.errors()[0]
    # pydantic also puts the type that it tried into the path, which tells the user nothing
    parts = [str(x) for x in problem["loc"] if isinstance(x, int) or (x.isidentifier() and x not in _TYPES)]
    where = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {where}."
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    sentence = f"{message[0].lower()}{message[1:].rstrip('.')}{shown}."
    return f"{where}: {sentence}" if where else sentence[0].upper() + sentence[1:]
