"""Which networks of a study are programs, so that somebody can be asked about them before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.describing import NetworkDescription, describe_file
from SegAdversarialLib.studies.sources import FileNetwork, TrainedNetwork
from SegAdversarialLib.studies.study import Study


def programs(study: Study) -> list[NetworkDescription]:
    """The networks that open only when their files are trusted, each once; none is opened.

    What cannot be described is left out: running the study says what is wrong with it.
    """
    found: dict[str, NetworkDescription] = {}
    for path, settings, changes in _named(study):
        with suppress(InputError):
            known = describe_file(path, settings, **changes)
            if known.needs_trust:
                found[str(known.file)] = known
    return list(found.values())


def _named(study: Study) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """The network files that a study names: path, settings file, changed settings."""
    for network in study.networks.values():
        if isinstance(network, FileNetwork):
            yield network.path, network.settings, network.changes
        elif isinstance(network, TrainedNetwork):
            for key in ("teacher", "network"):
                if isinstance(path := network.train.recipe.get(key), str):
                    yield path, None, {}
    for entry in study.attacks:
        sources = entry.settings.get("source")
        for path in sources if isinstance(sources, list) else [sources]:
            if isinstance(path, str) and path not in study.networks:
                yield path, None, {}
