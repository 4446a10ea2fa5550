"""Networks that stay open from job to job."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.formats.source import ModelSource, Opener, check_source, open_source

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_Key = tuple[str, tuple[tuple[str, int, int], ...]]


class ModelCache:
    """Opens each network once, and again when its source or one of its files has changed.

    A source that is trusted and the same source without trust are two: what was opened with trust opens no door later.

    Args:
        limit: how many networks are kept; the least recently used one goes.
        open_model: opens a network that is not there.
    """

    def __init__(self, limit: int = 3, open_model: Opener = open_source) -> None:
        self._limit, self._open = limit, open_model
        self._models: OrderedDict[_Key, SegmentationModel] = OrderedDict()

    def get(self, source: ModelSource, opening: Callable[[str], None] | None = None) -> SegmentationModel:
        """The network that a source names.

        Args:
            source: which network.
            opening: called with its name before it is opened, if it has to be.

        Raises:
            InputError: it cannot be opened.
        """
        key = self._key(source)  # before opening: a file that changes meanwhile is opened again next time
        if key not in self._models:
            if opening is not None:
                opening(source.path)
            self._models[key] = self._open(source)
        self._models.move_to_end(key)
        while len(self._models) > self._limit:
            self._models.popitem(last=False)
        return self._models[key]

    def clear(self) -> None:
        """Let go of all networks."""
        self._models.clear()

    def _key(self, source: ModelSource) -> _Key:
        check_source(source)
        files = describe_file(source.path, source.settings, **source.changes).files
        states = [(str(x.resolve()), x.stat()) for x in files]
        return source.model_dump_json(), tuple((path, state.st_mtime_ns, state.st_size) for path, state in states)
