"""The attacks of a job: each with its configuration, and with the folder that its result goes to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.attacks import Attack, attack_class, make_attack
from SegAdversarialLib.attacks.transfer import with_opened_source
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.formats.trust import without_trust
from SegAdversarialLib.jobs.specification import AttackJob
from SegAdversarialLib.volumes.files import file_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from SegAdversarialLib.model.segmentation_model import SegmentationModel


@dataclass(frozen=True)
class Planned:
    """An attack that is to run, and its configuration as the job asked for it, with absolute paths."""

    attack: Attack
    asked: dict[str, Any]


def planned(job: AttackJob) -> list[Planned]:
    """The attacks of a job as it names them.

    Raises:
        InputError: there is no such attack, or a setting is wrong.
    """
    attacks = [_configured(data) for data in job.attacks]  # as they were given, so that errors speak of these
    return [Planned(attack, without_trust(asked)) for attack, asked in zip(attacks, job.anywhere().attacks)]


def with_source(plan: Planned, device: str, open_model: Callable[[ModelSource], SegmentationModel]) -> Planned:
    """A transfer with its source network opened as the job's own network is, so that both may stay open from job to job."""
    return replace(plan, attack=with_opened_source(plan.attack, device, open_model))


def varied(plans: Iterable[Planned], channels: Sequence[str]) -> Iterator[Planned]:
    """Each attack, followed by the same on each single channel where that was asked for and makes a difference."""
    for plan in plans:
        yield plan
        if len(channels) > 1 and plan.attack.channels is None and plan.attack.by_channel:
            for channel in channels:
                attack = plan.attack.model_copy(update={"channels": (channel,)})
                yield Planned(attack, {**plan.asked, "channels": [channel]})


def named(plans: Iterable[Planned], earlier: Mapping[str, Mapping[str, Any]]) -> dict[str, Planned]:
    """A folder name for each attack: its own name, its channels, and a number where that is taken.

    Args:
        earlier: the records of results that are there already. The same attack with the same settings takes the place of its
            earlier result; any other gets a name that is free.
    """
    found: dict[str, Planned] = {}
    settings = {name: _settings(asked_of(record)) for name, record in earlier.items()}
    for plan in plans:
        wanted = _settings(plan.asked)
        again = (name for name, known in settings.items() if known == wanted and name not in found)
        base = file_name("-".join([attack_class(plan.attack.name).name, *(plan.attack.channels or ())]))
        free = (x for x in itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2))) if x not in {*found, *earlier})
        found[next(itertools.chain(again, free))] = plan
    return found


def asked_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a result was asked for with, from its record."""
    return dict(record.get("asked") or record.get("attack") or {})


def _settings(asked: Mapping[str, Any]) -> Any:
    """All settings of an attack, those that were left out included; the configuration itself where it fits no attack."""
    try:
        return json.loads(json.dumps(_configured(asked).describe()))
    except InputError:
        return dict(asked)


def _configured(data: Mapping[str, Any]) -> Attack:
    settings = dict(data)
    if not isinstance(settings.get("attack"), str):
        raise InputError('Each attack of a job needs the name of an attack, such as {"attack": "fgsm", "epsilon": 0.05}.')
    return make_attack(settings.pop("attack"), settings)
