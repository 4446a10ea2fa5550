"""Networks that others have published and that can be fetched by name, as plain data; and fetching one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer

from SegAdversarialGui.worker import Worker


@dataclass(frozen=True)
class PublishedNetwork:
    """A network of the catalogue, as far as a panel needs to know it.

    Attributes:
        name: what it is called wherever a network is named.
        version: its makers' count.
        task: what it finds in what.
        channels: the channels that it takes, in its order.
        licence: of its code and weights.
        data: whose data it was trained on, and under which terms these are.
        megabytes: about how much there is to download.
        file: where it lies, or would lie.
    """

    name: str
    version: str
    task: str
    channels: tuple[str, ...]
    licence: str
    data: str
    megabytes: int
    file: str

    @property
    def there(self) -> bool:
        """Whether it was fetched."""
        return os.path.isfile(self.file)


def publishedNetworks() -> list[PublishedNetwork]:
    """All networks that can be fetched.

    Raises:
        ImportError: a package that the library needs is not installed.
    """
    from SegAdversarialLib.formats.fetching.catalogue import CATALOGUE
    from SegAdversarialLib.formats.fetching.store import place_of

    return [
        PublishedNetwork(x.name, x.version, x.task, x.channels, x.licence, x.data, x.megabytes, str(place_of(x)))
        for x in CATALOGUE.values()
    ]


class Fetcher:
    """Downloads networks, one at a time, in a process of its own: neither Slicer nor a run of a network waits for it.

    Args:
        makeWorker: makes the process.
    """

    def __init__(self, makeWorker: Callable[[], Worker] = Worker) -> None:
        self._makeWorker = makeWorker
        self._worker: Worker | None = None
        self._request = self._name = ""
        self._onEvent: Callable[[dict[str, Any]], None] = lambda event: None

    @property
    def name(self) -> str:
        """The network that is being downloaded; empty: none is."""
        return self._name

    def start(self, name: str, onEvent: Callable[[dict[str, Any]], None]) -> None:
        """Begin to download a network, or go on where that broke off.

        Args:
            onEvent: called with each event of the worker; the last is of the kind "done", "cancelled" or "error".

        Raises:
            RuntimeError: another one is being downloaded.
        """
        if self._name:
            raise RuntimeError(f"{self._name} is being downloaded.")
        if self._worker is None:
            self._worker = self._makeWorker()
            slicer.app.connect("aboutToQuit()", self.stop)
        self._name, self._onEvent = name, onEvent
        self._request = self._worker.submit({"request": "fetch", "network": name}, self._hear)

    def cancel(self) -> None:
        """Stop; what has come is kept."""
        if self._worker is not None and self._request:
            self._worker.cancel(self._request)

    def stop(self) -> None:
        """End the process, as when the panel goes away; what has come is kept."""
        worker, self._worker = self._worker, None
        if worker is not None:
            slicer.app.disconnect("aboutToQuit()", self.stop)
            worker.stop()

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] in ("done", "cancelled", "error"):
            self._name = self._request = ""
        self._onEvent(event)
