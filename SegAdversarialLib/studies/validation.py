"""Data that people wrote, validated: what is wrong is told with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.errors import complaint, known_names, most_precise
from SegAdversarialLib.studies.reading import Misplaced, Place

Model = TypeVar("Model", bound=BaseModel)


def validated(cls: type[Model], data: Any, place: Place = ()) -> Model:
    """A model from data that stands at a place.

    Raises:
        Misplaced: it does not fit.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise misplaced(error, cls, data, place) from None


def misplaced(error: ValidationError, cls: type[BaseModel], data: Any, place: Place = ()) -> Misplaced:
    """What pydantic found wrong, with its place in the data."""
    problem = most_precise(error.errors())
    inside = _steps(problem["loc"], data)
    if problem["type"] == "extra_forbidden":
        *outer, name = inside
        known = known_names(cls, [x for x in outer if isinstance(x, str)])
        return Misplaced((*place, *inside), f"there is no setting {name}{nearest(str(name), known)}")
    if problem["type"] == "missing":
        missing = problem["loc"][-1]
        return Misplaced((*place, *inside), f"the setting {missing} is missing; give it.")
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return Misplaced((*place, *inside), f"{complaint(problem, cls)}{shown}.")


def _steps(loc: Sequence[str | int], data: Any) -> list[str | int]:
    """As much of pydantic's path as leads through the data: it also puts the types that it tried into it."""
    found: list[str | int] = []
    for step in loc:
        in_list = isinstance(data, (list, tuple)) and step in range(len(data))
        if in_list or isinstance(data, Mapping) and step in data:
            found.append(step)
            data = data[step]  # type: ignore[index]
    return found
