"""Networks that stay open from job to job."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from SegAdversarialLib.formats.source import ModelSource, Opener, describe_source, open_source
from SegAdversarialLib.formats.trust import digest, trusts

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_Key = tuple[str, tuple[tuple[str, int, int], ...]]


class ModelCache:
    """Opens each network once, and again when its source or one of its files has changed.

    A source that is trusted and the same source without trust are two: what was opened with trust opens no door later. A
    program whose trust was taken back meanwhile goes, and opening it anew is refused.

    Args:
        limit: how many networks are kept; the least recently used one goes.
        open_model: opens a network that is not there.
    """

    def __init__(self, limit: int = 3, open_model: Opener = open_source) -> None:
        self._limit, self._open = limit, open_model
        self._models: OrderedDict[_Key, tuple[SegmentationModel, tuple[str, ...]]] = OrderedDict()

    def get(self, source: ModelSource, opening: Callable[[str], None] | None = None) -> SegmentationModel:
        """The network that a source names.

        Args:
            source: which network.
            opening: called with its name before it is opened, if it has to be.

        Raises:
            InputError: it cannot be opened.
        """
        known = describe_source(source)
        key = _key(source, known.files)  # before opening: a file that changes meanwhile is opened again next time
        if key in self._models and not trusts(source.trust, self._models[key][1]):
            del self._models[key]
        if key not in self._models:
            if opening is not None:
                opening(source.path)
            sums = tuple(map(digest, known.programs))
            self._models[key] = self._open(source), sums
        self._models.move_to_end(key)
        while len(self._models) > self._limit:
            self._models.popitem(last=False)
        return self._models[key][0]

    def clear(self) -> None:
        """Let go of all networks."""
        self._models.clear()


def _key(source: ModelSource, files: Iterable[Path]) -> _Key:
    states = [(str(x.resolve()), x.stat()) for x in files]
    return source.model_dump_json(), tuple((path, state.st_mtime_ns, state.st_size) for path, state in states)
