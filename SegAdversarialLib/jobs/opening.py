"""What the runners of jobs share: opening what a job names, and telling how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError, ProgressCallback
from SegAdversarialLib.evaluation.structures import check_regions
from SegAdversarialLib.formats.source import Describer, ModelSource, Opener
from SegAdversarialLib.jobs.results_folder import ResultsFolder
from SegAdversarialLib.jobs.sources import CaseSource
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.bias_correction import without_bias
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.reading import read_reference

if TYPE_CHECKING:
    from SegAdversarialLib.attacks import Attack
    from SegAdversarialLib.formats.describing import NetworkDescription
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

Emit = Callable[[dict[str, Any]], None]
"""Called with each event: plain JSON data with its kind under "event"."""


def open_case(source: CaseSource, head: OutputHead | None = None) -> Case:
    """Read, or make, the case that a job works on, with its reference in the labels of the job's network."""
    case = _case_of(source, head)
    return without_bias(case) if source.n4 else case


def _case_of(source: CaseSource, head: OutputHead | None) -> Case:
    if source.phantom is not None:
        from SegAdversarialLib import phantom

        case = phantom.subject(seed=source.phantom.seed, shape=source.phantom.shape)
        return case if head is None else case.in_terms_of(head)
    return Case.read(
        dict(source.channels),
        source.label,
        label_names=source.label_names,
        head=head,
        name=source.name,
        resample=source.resample,
        replace_nonfinite=source.replace_nonfinite,
        prefer=source.prefer,
    )


@dataclass(frozen=True, eq=False)
class Networks:
    """How the runners of jobs come by networks.

    Attributes:
        open: opens the network that a source names.
        describe: tells what is known of it before that.
    """

    open: Opener
    describe: Describer


@dataclass(frozen=True, eq=False)
class Unopened:
    """A job's case, and what is known of its network, which is not open yet: what is wrong is told now, as opening it takes
    longer than all else that comes before the work.

    Attributes:
        case: the case, with its reference in the network's labels where these are known.
        known: the network's description; None: there is none before it is open.
    """

    case: Case
    known: NetworkDescription | None
    _source: ModelSource
    _networks: Networks
    _model: SegmentationModel | None = None

    @classmethod
    def of(cls, source: CaseSource, network: ModelSource, emit: Emit, networks: Networks) -> Unopened:
        """Read a job's case, which must fit what is known of the network."""
        emit(progress_event(0.0, "reading"))
        known = networks.describe(network)
        if known is None:
            model = networks.open(network) if source.needs_classes else None
            case = open_case(source, None if model is None else model.head)
            _say_unused_names(source, case, emit)
            return cls(case, None, network, networks, model)
        head = known.output_head()
        case = open_case(source, head)
        _say_unused_names(source, case, emit)
        _check_fits(case, known.name, known.channels, head)
        return cls(case, known, network, networks)

    def check_regions(self, regions: Mapping[str, Sequence[int]] | None) -> None:
        """Refuse regions that do not fit the network's classes."""
        if self.known is not None:
            check_regions(self.known.output_head(), regions)

    def check_attack(self, attack: Attack) -> None:
        """Refuse an attack that does not fit the case, or the network's channels."""
        if self.known is None:
            attack.check_early(self.case)
        else:
            attack.check_early(self.case, self.known.name, self.known.channels)

    def opened(self) -> tuple[Case, SegmentationModel]:
        """The case and the network, which fit each other."""
        model = self._networks.open(self._source) if self._model is None else self._model
        case = self.case.in_terms_of(model.head)
        _check_fits(case, model.name, model.channels, model.head)
        return case, model


def _say_unused_names(source: CaseSource, case: Case, emit: Emit) -> None:
    """Say which label values have got a name and do not occur: of a cohort not every case has every structure, but who names
    the values of one case means them."""
    numbers = [x for x in source.label_names if x.strip().removeprefix("-").isdecimal()]
    if source.label is None or not numbers:
        return
    volume, segments = read_reference(Path(source.label), case.grid, source.prefer)
    found = np.unique(volume.array).tolist() if segments is None else [x.number for x in segments if x.number is not None]
    present = sorted({int(x) for x in found} - {0})
    for number in numbers:
        if int(number) not in present:
            shown = ", ".join(map(str, present)) or "none"
            message = f"The reference {source.label} has no label {number} to be called {source.label_names[number]}"
            emit({"event": "log", "level": "warning", "message": f"{message}; it has {shown}."})


def _check_fits(case: Case, name: str, channels: Sequence[str], head: OutputHead) -> None:
    """Refuse a case that lacks a network's channels, or whose reference holds what none of its classes stands for."""
    case.positions_for(name, channels)
    if case.label is not None:
        head.check_label(case.label)


class CasesOnDemand(Sequence[Case]):
    """Cases that are read when they are asked for, so that a cohort need not lie in memory."""

    def __init__(self, sources: Sequence[CaseSource], head: OutputHead | None = None) -> None:
        self._sources, self._head = sources, head

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, number: Any) -> Any:
        source = self._sources[number]
        try:
            return open_case(source, self._head)
        except InputError as error:
            if type(error) is not InputError or not source.name or source.name in str(error):
                raise
            raise InputError(f"{source.name}: {error}") from None  # which of many it is


def files_read(cases: Iterable[CaseSource], model: ModelSource) -> list[Path]:
    """The files that a job reads: those of its cases and its network."""
    named = [Path(x) for x in (model.path, model.settings) if x is not None]
    inside = [y for x in named if not x.exists() for y in x.parents if y.is_file()]  # of what is named in an archive that
    network = [*(x for x in named if x.exists()), *inside]
    return [*(path for case in cases for path in case.files), *network]


def announce(place: ResultsFolder, names: Sequence[str], emit: Emit) -> None:
    """Say what becomes of earlier results."""
    if message := place.announcement(names):
        emit({"event": "log", "level": "info", "message": message})


def part_of(emit: Emit, start: float, end: float) -> ProgressCallback:
    """Progress of one part, as progress of the whole."""
    return lambda fraction, message: emit(progress_event(start + fraction * (end - start), message))


def progress_event(fraction: float, message: str, left: float | None = None) -> dict[str, Any]:
    """How far a job is, as an event; with the seconds that are left, where the job itself can tell."""
    told = {} if left is None else {"left": round(max(0.0, left), 1)}
    return {"event": "progress", "fraction": round(fraction, 4), "message": message, **told}
