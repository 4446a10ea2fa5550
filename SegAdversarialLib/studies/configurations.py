"""The attacks of a study on one network, each with all of its settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from SegAdversarialLib.attacks import Attack, attack_class
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.finding import is_name
from SegAdversarialLib.studies.grid import spanned
from SegAdversarialLib.studies.reading import Misplaced, Place
from SegAdversarialLib.studies.study import AttackEntry, Study
from SegAdversarialLib.studies.validation import misplaced

_LARGEST_SEED = 2**63 - 1

_FILES = ("region", "target", "source", "perturbation", "generator")
"""Settings that may name a file."""


@dataclass(frozen=True)
class Configuration:
    """An attack with all of its settings.

    Attributes:
        name: what the study calls it.
        settings: all of them, as plain data.
        repeat: which repetition, from 0.
        generator: the study's generator that it uses, by its name.
        source: the study's network that a transfer is made on, by its name.
        files: the files that its settings name.
        place: where it stands in the study file.
    """

    name: str
    settings: dict[str, Any]
    repeat: int
    generator: str | None
    source: str | None
    files: tuple[str, ...]
    place: Place


def configurations(study: Study, network: str, channels: Sequence[str], is_random: bool = False) -> Iterator[Configuration]:
    """The attacks of a study on a network, each configuration once for each repetition.

    Args:
        study: the study.
        network: the network's name in it.
        channels: those that the network takes.
        is_random: the network answers at random, so that every attack is repeated.

    Raises:
        Misplaced: a setting is wrong, or does not fit the network.
    """
    for entry in study.attacks:
        if entry.networks is not None and network not in entry.networks:
            continue
        for name in entry.attacks:
            cls = attack_class(name)
            for given, places in spanned(cls, entry.settings, channels, entry.place):
                yield from _repeated(study, entry, cls, given, places, channels, is_random)


def _repeated(
    study: Study,
    entry: AttackEntry,
    cls: type[Attack],
    given: dict[str, Any],
    places: dict[str, Place],
    channels: Sequence[str],
    is_random: bool,
) -> Iterator[Configuration]:
    attack = _made(cls, given, places, entry.place)
    _check_channels(attack, channels, places, entry.place)
    generator = given.get("generator") if given.get("generator") in study.generators else None
    source = given.get("source") if given.get("source") in study.networks else None
    random = is_random or attack.is_random
    count = (entry.repeats or study.repeats) if random else 1
    first = attack.seed if "seed" in given else study.seed if random else 0
    if first + count - 1 > _LARGEST_SEED:
        raise Misplaced(places.get("seed", entry.place), f"the seeds of {count} repetitions go beyond {_LARGEST_SEED}.")
    for key, known in (("generator", study.generators), ("source", study.networks), ("perturbation", ())):
        _check_file(key, given.get(key), known, places.get(key, entry.place))
    _check_region(given.get("region"), places.get("region", entry.place))
    files = tuple(x for key in _FILES if isinstance(x := given.get(key), str) and Path(x).is_absolute() and Path(x).exists())
    for repeat in range(count):
        settings = attack.model_copy(update={"seed": first + repeat}).describe()
        if trust := getattr(attack, "trust", False):  # no description holds it, but the study file says it
            settings["trust"] = trust
        yield Configuration(entry.name or cls.name, settings, repeat, generator, source, files, entry.place)


def _made(cls: type[Attack], given: dict[str, Any], places: dict[str, Place], place: Place) -> Attack:
    try:
        attack = cls.model_validate(given)
    except ValidationError as error:
        wrong = misplaced(error, cls, given)
        first = str(wrong.place[0]) if wrong.place else ""
        raise Misplaced((*places.get(first, (*place, first) if first else place), *wrong.place[1:]), wrong.problem) from None
    except InputError as error:  # of an attack in it
        raise Misplaced(places.get("method", place), str(error)) from None
    if cls.needs and getattr(attack, cls.needs) is None:
        raise Misplaced(place, f"{cls.title} needs the setting {cls.needs}; give it.")
    return attack


def _check_file(setting: str, value: Any, known: Iterable[str], place: Place) -> None:
    """A setting that can only be a file, or a name of the study, must be one that is there."""
    if isinstance(value, str) and value not in known and not is_name(value) and not Path(value).exists():
        names = ", ".join(known)
        raise Misplaced(place, f'there is no file "{value}"{f", and the study has only {names}" if names else ""}.')


def _check_region(region: Any, place: Place) -> None:
    """A region is an image file that is there, unless it is one of the words that mean one."""
    if isinstance(region, str) and region not in ("foreground", "reference") and not Path(region).exists():
        raise Misplaced(place, f'the region "{region}" is no image file that is there; give one, or foreground or reference.')


def _check_channels(attack: Attack, channels: Sequence[str], places: dict[str, Place], place: Place) -> None:
    """Channels that are attacked must be channels of the network, and the attack one of single channels."""
    known = {x.lower() for x in channels}
    where = places.get("channels", place)
    if attack.channels is None:
        return
    if unknown := [x for x in attack.channels if x.lower() not in known]:
        raise Misplaced(where, f"the network takes no channel {unknown[0]}; it takes {', '.join(channels)}.")
    if not attack.by_channel and {x.lower() for x in attack.channels} != known:
        raise Misplaced(where, f"{attack.title} moves the anatomy, and so all channels; leave channels out, or say all.")
