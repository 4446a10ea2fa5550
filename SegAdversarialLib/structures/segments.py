"""Segments: named structures of a reference, which may overlap, and the one label map that holds all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.naming import name_of
from SegAdversarialLib.structures.terminology import meaning_of

_LARGEST = int(np.iinfo(np.int16).max)


@dataclass(frozen=True)
class Segment:
    """A structure that somebody has drawn.

    Attributes:
        name: what it is called; nothing where nobody has named it.
        values: the label values of its voxels; several where it overlaps other segments, none where it is empty.
        number: the label value that it has where it comes from, which may be another segment's, too; None: not known.
        terminology: its terminology entry in Slicer's notation, or nothing.
        said: its name was given by the user as the answer to what it is.
    """

    name: str
    values: tuple[int, ...]
    number: int | None = None
    terminology: str = ""
    said: bool = False

    @property
    def title(self) -> str:
        """What messages call it."""
        return f'"{self.name}"' if self.name else f"the label value {self.number}"

    @property
    def called(self) -> str:
        """What it says that it is, where only a name can be kept: its name, or its terminology where that alone says it."""
        own, term = name_of(self.name), meaning_of(self.terminology)
        if own.says_nothing and not name_of(term).says_nothing:
            return term
        return f"{self.name} ({term})" if own.contradicts(name_of(term)) else self.name


def values_in(label: np.ndarray) -> dict[int, int]:
    """How many voxels of a label map have each value that occurs, 0 included."""
    lowest, highest = label.min(), label.max()
    if label.dtype.kind not in "iu" or int(highest) - int(lowest) > _LARGEST:
        values, counts = np.unique(label, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist()))
    counts = np.zeros(int(highest) - int(lowest) + 1, np.int64)
    for slab in label:  # bincount makes a copy of eight bytes for each voxel
        counts += np.bincount(slab.ravel().astype(np.int64) - int(lowest), minlength=len(counts))
    return {int(n) + int(lowest): int(counts[n]) for n in np.flatnonzero(counts)}


def named_values(names: Mapping[int, str] | None, present: Iterable[int]) -> tuple[Segment, ...]:
    """The values of a label map as segments: those of one name are one segment, and what has no name is one each."""
    by_name: dict[str, list[int]] = {}
    unnamed = []
    for value in sorted(x for x in present if x != 0):
        name = (names or {}).get(value, "")
        if name:
            by_name.setdefault(name, []).append(value)
        else:
            unnamed.append(Segment("", (value,), value))
    named = [Segment(name, tuple(x), x[0] if len(x) == 1 else None) for name, x in by_name.items()]
    return (*named, *unnamed)


def renamed(segments: Sequence[Segment], answers: Mapping[Any, str]) -> tuple[Segment, ...]:
    """The segments with the names that the user gives them, by their own names or by their numbers.

    Numbers that no segment has are left out: not every subject has every structure.

    Raises:
        InputError: there is no segment of a name.
    """
    found = list(segments)
    for key, name in answers.items():
        wanted = str(key).strip()
        called = [n for n, x in enumerate(segments) if x.name and x.name == key]
        called = called or [n for n, x in enumerate(segments) if x.name.strip().casefold() == wanted.casefold()]
        called = called or [n for n, x in enumerate(segments) if str(x.number) == wanted]
        if not called and not wanted.removeprefix("-").isdecimal():
            known = ", ".join(x.title for x in segments) or "none"
            raise InputError(f'The reference has no segment "{wanted}" that could be called {name}; it has {known}.')
        for n in called:
            found[n] = replace(segments[n], name=str(name), said=True)
    return tuple(found)


class Overlay:
    """Paints segments that may overlap into one label map, in which every set of segments that share voxels has a value.

    Nothing is lost: a segment is where the label map has one of its values. Where segments do not overlap, or lie one within
    the other, each has its own number (or, where numbers are missing or shared, its place, counted from 1) and of nested
    ones the smaller is seen.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._segments: list[Segment] = []
        self._groups: list[frozenset[int]] = [frozenset()]
        self._map = np.zeros(shape, np.int32)

    def add(self, segment: Segment, mask: np.ndarray) -> None:
        """Paint a segment (its values are not asked) where a mask (K, J, I) is True."""
        new = len(self._segments)
        self._segments.append(segment)
        covered = self._map[mask]
        grown = np.arange(len(self._groups), dtype=np.int32)
        known = {group: n for n, group in enumerate(self._groups)}
        for old in np.flatnonzero(np.bincount(covered, minlength=1)):
            group = self._groups[old] | {new}
            if group not in known:
                known[group] = len(self._groups)
                self._groups.append(group)
            grown[old] = known[group]
        self._map[mask] = grown[covered]

    def finished(self) -> tuple[np.ndarray, tuple[Segment, ...]]:
        """The label map (K, J, I) int16, and the segments with their values in it.

        Raises:
            InputError: there are more sets of overlapping segments than a label map has values.
        """
        counts = values_in(self._map)
        groups = {n: group for n, group in enumerate(self._groups) if n in counts and group}
        sizes = [sum(counts[n] for n, group in groups.items() if m in group) for m in range(len(self._segments))]
        values = self._values(groups, counts, sizes)
        table = np.zeros(len(self._groups), np.int16)
        for n, value in values.items():
            table[n] = value
        held = [tuple(sorted(values[n] for n, group in groups.items() if m in group)) for m in range(len(self._segments))]
        return table[self._map], tuple(replace(segment, values=x) for segment, x in zip(self._segments, held))

    def _values(self, groups: Mapping[int, frozenset[int]], counts: Mapping[int, int], sizes: Sequence[int]) -> dict[int, int]:
        """The label value of each set of segments."""
        numbers = [x.number for x in self._segments]
        own = [n for n in numbers if n is not None and 0 < n <= _LARGEST]
        if len(set(own)) < len(numbers):
            own = list(range(1, len(numbers) + 1))
        values: dict[int, int] = {}
        taken: set[int] = set()
        # the set in which a segment is the innermost one has its number; where there are several, the one with fewest others
        for n, group in sorted(groups.items(), key=lambda x: (len(x[1]), -counts[x[0]])):
            innermost = min(group, key=lambda m: (sizes[m], -m))
            if own[innermost] not in taken:
                values[n] = own[innermost]
                taken.add(own[innermost])
        free = iter(x for x in range(1, _LARGEST + 1) if x not in {*taken, *own})
        for n in groups:
            if n not in values:
                value = next(free, None)
                if value is None:
                    raise InputError("The reference's segments overlap in more ways than a label map has values.")
                values[n] = value
        return values


def names_of_values(label: np.ndarray, segments: Sequence[Segment], what: str) -> dict[int, str]:
    """What each value of a label map is called where segments do not overlap.

    Raises:
        InputError: they do, so that without a network's classes nobody can say which of them counts.
    """
    names: dict[int, str] = {}
    shared: dict[tuple[str, str], int] = {}
    for value in sorted({x for segment in segments for x in segment.values}):
        here = [x for x in segments if value in x.values]
        if len(here) > 1:
            for pair in combinations([x.title for x in here], 2):
                shared[pair] = shared.get(pair, 0) + int((label == value).sum())
        names[value] = here[0].called
    if shared:
        (one, other), count = max(shared.items(), key=lambda x: x[1])
        more = f" (and {len(shared) - 1} more pair(s))" if len(shared) > 1 else ""
        raise InputError(
            f"The segments {one} and {other}{more} of {what[0].lower()}{what[1:]} overlap in {count} voxel(s), and which of "
            "them counts there depends on the network: read them for it (head=model.head), or draw them without overlap."
        )
    return names


def innermost(segments: Sequence[Segment]) -> Segment | None:
    """The segment that lies within all the others, or None."""
    smallest = min(segments, key=lambda x: len(x.values))
    inside = set(smallest.values)
    others = [x for x in segments if x is not smallest]
    return smallest if all(inside < set(x.values) for x in others) else None
