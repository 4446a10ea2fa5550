"""What a worker keeps from cell to cell: open networks, the last cases, and what the networks say of these unchanged."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from SegAdversarialLib.formats.model_cache import ModelCache
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.model.ensemble import ensemble
from SegAdversarialLib.studies.outcomes import Line, qq_lines
from SegAdversarialLib.volumes.files import split_choice

if TYPE_CHECKING:
    from SegAdversarialLib.cohorts.entry import Entry
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel
    from SegAdversarialLib.structures.output_head import OutputHead
    from SegAdversarialLib.volumes.case import Case

Made = TypeVar("Made")


class Memory:
    """What one worker process keeps, so that many attacks on one case read it once and ask for its clean answer once.

    Args:
        networks: how many stay open.
        cases: how many cases stay in memory, each with the clean answer of one network; the least recently used goes.
    """

    def __init__(self, networks: int = 8, cases: int = 2) -> None:
        self._models = ModelCache(networks)
        self._ensembles: _Last[tuple[list[SegmentationModel], SegmentationModel]] = _Last(networks)
        self._cases: _Last[Case] = _Last(cases)
        self._clean: _Last[tuple[SegmentationModel, Case, Prediction]] = _Last(cases)
        self._lines: _Last[tuple[Case, list[Line]]] = _Last(cases)

    def network(self, data: Mapping[str, Any]) -> SegmentationModel:
        """The network that a cell names: a `ModelSource` as JSON data, or {"members": [...]} of these for their ensemble."""
        if "members" not in data:
            return self.model(ModelSource.model_validate(data))
        members = [self.network(member) for member in data["members"]]
        return self._ensembles.get(tuple(map(id, members)), lambda: (members, ensemble(members)))[1]

    def model(self, source: ModelSource) -> SegmentationModel:
        """The network that a source names."""
        return self._models.get(source)

    def case(self, entry: Entry, head: OutputHead) -> Case:
        """A case, with its reference in the labels of a network."""
        key = entry.model_dump_json(), head, _states(entry)  # before reading: what changes meanwhile is read again
        return self._cases.get(key, lambda: entry.read(head))

    def clean(self, model: SegmentationModel, case: Case) -> Prediction:
        """What a network says of a case as it is."""
        # the objects are kept beside the answer, so that their ids stay theirs
        return self._clean.get((id(model), id(case)), lambda: (model, case, model.predict(case)))[2]

    def lines(self, case: Case) -> list[Line]:
        """The normal QQ plots' lines of a case as it is."""
        return self._lines.get(id(case), lambda: (case, qq_lines(case, case)))[1]


class _Last(Generic[Made]):
    """The last things that were made."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Hashable, Made] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The thing of this key, which is made unless it is there."""
        if key not in self._kept:
            while len(self._kept) >= self._limit:  # before the next one is made: memory is for so many
                self._kept.popitem(last=False)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]


def _states(entry: Entry) -> tuple[tuple[str, int, int], ...]:
    """Size and time of each of a case's files, as far as they are there."""
    paths = [split_choice(x)[0] for x in (*entry.channels.values(), *([entry.label] if entry.label else []))]
    found = [(str(path), os.stat(path)) for path in paths if os.path.exists(path)]
    return tuple((path, state.st_size, state.st_mtime_ns) for path, state in found)
