"""DICOM: a folder of a series, a multi-frame file or a single slice, as one volume.

Which of several is meant is said after a `#`: `study#301` (the series' number), `study#1.2.840...` (its UID) or
`study#T1 MPRAGE` (its description); `study#301:2` is the second of several stacks in one series. A path that exists as it
stands, `#` and all, is that path.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.dicom_frames import Frame, frames_in, frames_of, is_dicom, kind_of
from SegAdversarialLib.volumes.dicom_pixels import intensities
from SegAdversarialLib.volumes.dicom_stacks import Stack, affine_of, difference, stacks_of
from SegAdversarialLib.volumes.files import split_choice
from SegAdversarialLib.volumes.geometry import Grid
from SegAdversarialLib.volumes.volume import ALIGNED, Space, Volume

_SHOWN = 20
"""Stacks that an error lists at most."""


class Choice(NamedTuple):
    """A stack that can be read: `key` is what chooses it, `words` describe it, the `series` has a UID and a description."""

    key: str
    words: str
    series: str
    description: str
    stack: Stack


def holds_dicom(path: str | Path) -> bool:
    """Whether a path (with or without a choice after a `#`) names a folder or a DICOM file."""
    place, choice = split_choice(path)
    return os.path.isdir(place) or is_dicom(place) or bool(choice)


def read_dicom(path: str | Path) -> Volume:
    """Read one volume from a folder or a DICOM file; slices in the order of their positions, each scaled by its own slope.

    Raises:
        InputError: there is none or more than one (the message lists them), or it is no whole, even stack of slices.
    """
    stack = _stack_of(path)
    placed = stack[0].place is not None
    return Volume(intensities(stack), affine_of(stack), Space() if placed else Space.of(ALIGNED))


def dicom_grid(path: str | Path) -> Grid:
    """Where the voxels of the volume that `read_dicom` would read are; none of them is read.

    Raises:
        InputError: as `read_dicom`, as far as headers tell.
    """
    stack = _stack_of(path)
    return Grid((len(stack), *stack[0].source.shape), affine_of(stack))


def _stack_of(path: str | Path) -> Stack:
    place, wanted = split_choice(path)
    if os.path.isdir(place):
        frames = _without_copies(frames_in(place))
        if not frames:
            raise InputError(f"{place} is a folder without DICOM images; give a folder of a DICOM series, or an image file.")
    elif is_dicom(place):
        frames = frames_of(place)
        if not frames:
            raise InputError(f"{place} holds no scanner's image (it is {kind_of(place)}); give an image, or its folder.")
    else:
        raise InputError(f"{place} is no DICOM file, and has no series to choose from; leave out #{wanted}.")
    return _chosen(place, wanted, _choices(frames))


def _choices(frames: Sequence[Frame]) -> list[Choice]:
    """All stacks, in the order of the series' numbers."""
    by_series: dict[str, list[Frame]] = {}
    for frame in frames:
        by_series.setdefault(frame.source.series, []).append(frame)
    numbers = [own[0].source.series_number for own in by_series.values()]
    found: list[tuple[float, Choice]] = []
    for (series, own), number in zip(by_series.items(), numbers):
        key = str(number) if number is not None and numbers.count(number) == 1 else series
        stacks = stacks_of(own)
        for n, stack in enumerate(stacks):
            stack_key = f"{key}:{n + 1}" if len(stacks) > 1 else key
            others = [x for x in stacks if x is not stack]
            words = f"{stack_key} ({_described(stack, others)})"
            place = float("inf") if number is None else float(number)
            found.append((place, Choice(stack_key, words, series, own[0].source.description, stack)))
    return [choice for _, choice in sorted(found, key=lambda x: (x[0], x[1].series))]


def _described(stack: Stack, others: Sequence[Stack]) -> str:
    source, count = stack[0].source, len(stack)
    size = f"{count} slice{'s' if count > 1 else ''} of {source.shape[1]}x{source.shape[0]}"
    words = [f'"{source.description}"' if source.description else "", source.modality, size, difference(stack, others)]
    return ", ".join(word for word in words if word)


def _chosen(place: Path, wanted: str, choices: Sequence[Choice]) -> Stack:
    found = list(_matching(wanted, choices))
    if len(found) == 1:
        return found[0].stack
    listed = found or choices
    more = [f"and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
    words = "; ".join([x.words for x in listed[:_SHOWN]] + more)
    what = "volumes" if len({x.series for x in listed}) < len(listed) else "DICOM series"
    if not found:
        raise InputError(f'{place} holds no DICOM series "{wanted}"; it holds: {words}.')
    chosen = f' as "{wanted}"' if wanted else ""
    example = max(listed, key=lambda x: len(x.stack)).key
    raise InputError(
        f'{place} holds {len(listed)} {what}{chosen}; choose one after a #, such as "{place}#{example}": {words}.'
    )


def _matching(wanted: str, choices: Sequence[Choice]) -> Iterator[Choice]:
    """The stacks that a choice names: by its key, else by the series' key or UID, else by its description."""
    ways = (
        lambda x: not wanted or wanted == x.key,
        lambda x: wanted in (x.series, x.key.partition(":")[0]),
        lambda x: wanted == f"{x.series}:{x.key.partition(':')[2]}",
        lambda x: wanted.lower() == x.description.lower(),
    )
    return iter(next((found for way in ways if (found := [x for x in choices if way(x)])), []))


def _without_copies(frames: Sequence[Frame]) -> list[Frame]:
    """The frames without those of files that are copies, byte for byte, of earlier ones."""
    originals: dict[str, Path] = {}
    kept = []
    for frame in frames:
        path = frame.source.path
        original = originals.setdefault(frame.source.uid, path)
        if original == path or not frame.source.uid or not filecmp.cmp(original, path, shallow=False):
            kept.append(frame)
    return kept
