"""What is wrong with a case, found from names and headers; references are read only where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.showing import notebook
from SegAdversarialLib.structures.matching import understood
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.structures.segments import values_in
from SegAdversarialLib.volumes.geometry import Grid, check_right_angles, describe_two_grids, same_grid, sizes, spacing_of
from SegAdversarialLib.volumes.headers import Header, read_header
from SegAdversarialLib.volumes.pictures import fits_pixels, is_picture
from SegAdversarialLib.volumes.reading import checked_label, read_reference
from SegAdversarialLib.volumes.segmentation_file import segment_keys


class NetworkLike(Protocol):
    """What is asked of a network: a `SegmentationModel`."""

    @property
    def channels(self) -> Sequence[str]:
        """The channels that it takes."""

    @property
    def head(self) -> OutputHead:
        """Its classes."""


@dataclass(frozen=True)
class Finding:
    """What was found out about a case.

    Attributes:
        name: the case's name.
        patient: whose case it is.
        problems: what is wrong with it; empty where nothing is.
        grid: size and spacing along i, j, k, in words; empty where not known.
        labels: how many voxels have each label value, 0 included; None where the reference was not read.
    """

    name: str
    patient: str
    problems: tuple[str, ...] = ()
    grid: str = ""
    labels: dict[int, int] | None = None


@dataclass(frozen=True)
class Check:
    """What was found out about a cohort.

    Attributes:
        cohort: its name.
        findings: one for each case, in the cohort's order.
    """

    cohort: str
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> dict[str, str]:
        """What is wrong with each case with which something is."""
        return {x.name: "; ".join(x.problems) for x in self.findings if x.problems}

    def rows(self) -> list[dict[str, Any]]:
        """One row for each case, for tables."""
        return [
            {"case": x.name, "patient": x.patient, "voxels": x.grid, "labels": _values(x), "problem": "; ".join(x.problems)}
            for x in self.findings
        ]

    def __repr__(self) -> str:
        wrong = self.wrong
        said = "; ".join(f"{name}: {reason}" for name, reason in list(wrong.items())[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return (
            f"<Check of {self.cohort}: {len(wrong)} of {len(self.findings)} cases wrong{f' ({said}{more})' if wrong else ''}>"
        )

    def _repr_html_(self) -> str:
        return notebook.table(self.rows(), ("case", "patient", "voxels", "labels", "problem"), self.cohort)


def problems_of(entry: Entry, channels: Sequence[str], labelled: bool) -> list[str]:
    """What is wrong with a case as far as names tell.

    Args:
        channels: those that it needs.
        labelled: whether it needs a reference.
    """
    problems = [entry.problem] if entry.problem else []
    present = {x.lower() for x in entry.channel_names}
    missing = [x for x in channels if x.lower() not in present]
    if missing:
        there = ", ".join(entry.channel_names) or "none"
        problems.append(f"channel{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing (there: {there})")
    if labelled and not entry.has_reference:
        problems.append("no reference")
    return problems


def check_entry(
    entry: Entry, channels: Sequence[str], labelled: bool, model: NetworkLike | None, with_labels: bool
) -> Finding:
    """Find out what is wrong with a case; see `Cohort.check`."""
    problems = problems_of(entry, channels if model is None else model.channels, labelled)
    if entry.phantom is not None:
        case = entry.read() if with_labels else None
        labels = None if case is None or case.label is None else values_in(case.label)
        return Finding(entry.name, entry.patient, tuple(problems), sizes(entry.phantom.shape), labels)
    first, wrong = _compare_grids(entry)
    labels = None
    if with_labels and first is not None and entry.label is not None and not wrong:
        try:
            labels = _labels(entry, first, model)
        except InputError as error:
            wrong.append(_part(error))
    words = f"{sizes(first.shape)} of {'x'.join(f'{x:.3g}' for x in spacing_of(first.affine))} mm" if first else ""
    return Finding(entry.name, entry.patient, (*problems, *wrong), words, labels)


def _compare_grids(entry: Entry) -> tuple[Grid | None, list[str]]:
    """The first channel's grid, and what is wrong with the files, as far as their headers tell."""
    first: Grid | None = None
    first_path = Path()
    wrong = []
    for key, path in entry.channels.items():
        try:
            header = read_header(Path(path), entry.prefer)
            _check_count(path, key, header)
            if first is None:
                check_right_angles(header.grid.affine, path)
                first, first_path = header.grid, Path(path)
            else:
                _check_place(first, first_path, header.grid, path, entry.resample)
        except InputError as error:
            wrong.append(_part(error))
    if entry.label is not None and first is not None:
        try:
            if segment_keys(Path(entry.label)) is None:
                _check_place(first, first_path, read_header(Path(entry.label), entry.prefer).grid, entry.label, entry.resample)
            else:  # it may cover a part of the image only
                read_reference(Path(entry.label), first, entry.prefer)
        except InputError as error:
            wrong.append(_part(error))
    return first, wrong


def _check_count(path: str, key: str, header: Header) -> None:
    names = key.split(",")
    grey = len(names) == 1 and header.channels == 3 and is_picture(path)  # its colours may all be the same
    if header.channels != len(names) and not grey:
        raise InputError(f"{path} holds {header.channels} channel(s), but {len(names)} were named for it: {', '.join(names)}.")


def _check_place(first: Grid, first_path: Path, grid: Grid, path: str, resample: bool) -> None:
    if fits_pixels(first, first_path, grid, path) or same_grid(*first, *grid) or resample:
        return
    there, own, apart = describe_two_grids(first, grid)
    raise InputError(f"{path} lies on another grid ({own}) than {first_path} ({there}): {apart}.")


def _labels(entry: Entry, grid: Grid, model: NetworkLike | None) -> dict[int, int]:
    """How many voxels have each label value, in a reference that a network, if there is one, understands."""
    assert entry.label is not None
    volume, segments = read_reference(Path(entry.label), grid, entry.prefer)
    what = f"The reference {entry.label}"
    label = checked_label(volume.array, volume.array.shape, what)
    understood(label, segments, entry.label_names, None if model is None else model.head, what)
    return values_in(label)


def _part(error: InputError) -> str:
    """A sentence as a part of another."""
    return str(error).rstrip(".")


def _values(finding: Finding) -> str:
    return "" if finding.labels is None else ", ".join(str(x) for x in sorted(finding.labels) if x)
