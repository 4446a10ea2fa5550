"""From one entry of a study's attacks to the configurations that it spans."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.attacks import GROUPS, Attack, attack_class
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.reading import Misplaced, Place

EACH, ALL = "each", "all"
"""Words for channels: each of them alone, and all of them together."""

MOST = 100_000
"""Configurations that one entry may span; more are a mistake."""


def names_of(given: Any, place: Place) -> list[str]:
    """The registered names of the attacks that an entry means: a name, a group's name, or a list of such.

    Raises:
        Misplaced: there is no such attack.
    """
    found: list[str] = []
    several = given if isinstance(given, list) else [given]
    for n, name in enumerate(several):
        where = (*place, n) if isinstance(given, list) else place
        if not isinstance(name, str):
            raise Misplaced(where, f"the name of an attack is a text, such as fgsm (given: {name!r}).")
        if name in GROUPS:
            found += [cls.name for cls in GROUPS[name] if not cls.needs or cls.name == "generative"]
            continue
        try:
            found.append(attack_class(name).name)
        except InputError as error:
            raise Misplaced(where, f"{str(error)[:1].lower()}{str(error)[1:]}") from None
    if not found:
        raise Misplaced(place, "the list names no attack; name one at least.")
    return list(dict.fromkeys(found))


def takes_list(cls: type[Attack], setting: str) -> bool:
    """Whether a setting of an attack is a list."""
    kind = cls.model_fields[setting].annotation if setting in cls.model_fields else None
    return any(isinstance(x, type) and issubclass(x, (tuple, list, set, frozenset)) for x in _kinds(kind))


def spanned(
    cls: type[Attack], settings: Mapping[str, Any], channels: Sequence[str], place: Place = ()
) -> Iterator[tuple[dict[str, Any], dict[str, Place]]]:
    """The configurations that some settings of an attack span, each with the place of each of its settings.

    A list, where a setting takes one value, spans the grid; where a setting takes a list, a list in which lists, or null,
    stand does. `channels` also takes the words "each" and "all", alone and in a list.

    Args:
        cls: the attack.
        settings: as people wrote them.
        channels: what "each" means.
        place: where the settings stand.

    Raises:
        Misplaced: the attack has no such setting, a list is empty, or the grid is too large.
    """
    axes: list[list[tuple[Any, Place]]] = []
    size = 1
    for name, given in settings.items():
        if name not in cls.model_fields:
            raise Misplaced((*place, name), f"{cls.title} has no setting {name}{nearest(name, cls.model_fields)}")
        axis = _axis(cls, name, given, channels, (*place, name))
        size *= len(axis)
        if size > MOST:
            raise Misplaced(place, f"this spans more than {MOST:,} configurations; shorten a list.")
        axes.append(axis)
    for chosen in itertools.product(*axes):
        yield (
            {name: value for name, (value, _) in zip(settings, chosen)},
            {name: where for name, (_, where) in zip(settings, chosen)},
        )


def _axis(cls: type[Attack], name: str, given: Any, channels: Sequence[str], place: Place) -> list[tuple[Any, Place]]:
    """The values that a setting takes, one after the other."""
    if name == "channels":
        return _channel_axis(given, channels, place)
    if not isinstance(given, list):
        return [(x, place) for x in _alternatives(given, channels, place)]
    if not given:
        raise Misplaced(place, "the list is empty; give one value at least, or leave the setting out.")
    if takes_list(cls, name) and not any(x is None or isinstance(x, list) for x in given):
        return [(given, place)]
    return [(x, (*place, n)) for n, each in enumerate(given) for x in _alternatives(each, channels, (*place, n))]


def _channel_axis(given: Any, channels: Sequence[str], place: Place) -> list[tuple[Any, Place]]:
    if isinstance(given, list) and any(x is None or isinstance(x, list) or x in (EACH, ALL) for x in given):
        return [y for n, x in enumerate(given) for y in _channel_axis(x, channels, (*place, n))]
    if given == EACH:
        return [([x], place) for x in channels]
    if given == ALL or given is None:
        return [(None, place)]
    if given == []:
        raise Misplaced(place, "choose one channel at least, or all, or each.")
    return [(given if isinstance(given, list) else [given], place)]


def _alternatives(value: Any, channels: Sequence[str], place: Place) -> list[Any]:
    """What a value means: itself; of an attack that is a setting of another one, all that its own lists span."""
    if not (isinstance(value, Mapping) and isinstance(value.get("attack"), (str, list))):
        return [value]
    inner = {key: x for key, x in value.items() if key != "attack"}
    return [
        {"attack": name, **settings}
        for name in names_of(value["attack"], (*place, "attack"))
        for settings, _ in spanned(attack_class(name), inner, channels, place)
    ]


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types in an annotation, the outermost ones of each alternative."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _kinds(typing.get_args(annotation)[0])
    elif origin is None or isinstance(origin, type) and issubclass(origin, (tuple, list, set, frozenset)):
        yield origin or annotation
    else:
        for x in typing.get_args(annotation):
            yield from _kinds(x)
