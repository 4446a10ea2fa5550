"""Which class of a network each segment of a reference is: names count first, numbers only where nothing speaks against."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.brats import is_part_of_tumour, tumour_regions
from SegAdversarialLib.structures.naming import Name, name_of
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.structures.segments import Segment, innermost, named_values, names_of_values, renamed, values_in
from SegAdversarialLib.structures.terminology import meaning_of

BACKGROUND = "background"
"""What a segment is called that is to count as no structure; always understood, whatever the network's classes."""

_LABEL_NUMBER = re.compile(r"\s*(?:label[\s_-]*)?([0-9]{1,9})\s*", re.IGNORECASE)
"""A name that tells a label value; the number in "Segment_1" only counts the segments."""


@dataclass(frozen=True)
class Structure:
    """What a segment can be to a network: one of its outputs, or a region that is made of its outputs.

    Attributes:
        name: what it is called.
        labels: the reference labels that belong to it; none: it is background.
    """

    name: str
    labels: frozenset[int]


@dataclass(frozen=True)
class Matching:
    """What is known of a reference's segments, by their place in it.

    Attributes:
        structures: the segments that are a structure by their name.
        labels: the segments that are a reference label by their number.
        undecided: why it is not known of the others.
    """

    structures: dict[int, Structure]
    labels: dict[int, int]
    undecided: dict[int, str]


def match(segments: Sequence[Segment], head: OutputHead) -> Matching:
    """Find out what segments are to a network. Segments without a voxel are left out.

    A segment is the class whose name says the same (`naming.Name.means`), or whose name its terminology says. A segment whose
    name says nothing ("Segment_1") is the class of its number, unless a name in the same reference contradicts its number, the
    number belongs to another segment, or no class has it. So is a part of what a class merges, whose name and number agree
    with the class. All else is undecided, as are two segments that both say one class.
    """
    return _Matcher(segments, head).matching()


class _Matcher:
    def __init__(self, segments: Sequence[Segment], head: OutputHead) -> None:
        self._segments = {n: x for n, x in enumerate(segments) if x.values}
        self._outputs = _structures(head)
        self._parts = [Structure(concept, labels) for concept, labels in tumour_regions(head).items()]
        self._found: dict[int, Structure] = {}
        self._undecided: dict[int, str] = {}

    def matching(self) -> Matching:
        """The answer for all segments."""
        for n, segment in self._segments.items():
            self._ask_name(n, segment)
        rest = [n for n in self._segments if n not in self._found and n not in self._undecided]
        self._refuse_doubles()
        doubt = self._doubt_of_numbers()
        numbers: dict[int, int] = {}
        for n in rest:
            segment = self._segments[n]
            # a value that nobody has named at all is that of a plain label map, of which others were named by hand
            reason, number = self._number_refused(n) or (doubt if segment.name else ""), segment.number
            if reason or number is None:
                self._undecided[n] = reason
            else:
                numbers[n] = number
        return Matching(self._found, numbers, dict(sorted(self._undecided.items())))

    def _ask_name(self, n: int, segment: Segment) -> None:
        """Let a segment's name, or its terminology, decide what it is."""
        found, term = self._named(segment.name), meaning_of(segment.terminology)
        if found is None:
            own = name_of(segment.name)
            if own.says_nothing or name_of(term).is_part_of(own):
                found = self._named(term)
        elif not segment.said and name_of(segment.name).contradicts(name_of(term)):
            self._undecided[n] = f"its terminology says {term}"
            return
        if found is not None:
            self._found[n] = found

    def _named(self, text: str) -> Structure | None:
        """The one structure that a name means."""
        wanted = name_of(text)
        for same in (str.strip, str.casefold):
            exact = [x for x in self._outputs if same(x.name) == same(text.strip())]
            if len(exact) == 1:
                return exact[0]
        found = [x for x in self._outputs if name_of(x.name).means(wanted)]
        found = found or [x for x in self._parts if x.name == wanted.concept and not wanted.sides]
        if not found and name_of(BACKGROUND).means(wanted):
            return Structure(BACKGROUND, frozenset())
        return found[0] if len(found) == 1 else None

    def _refuse_doubles(self) -> None:
        """Two segments that say one class, unless it is the user who says so."""
        by_structure: dict[str, list[int]] = {}
        for n, structure in self._found.items():
            if structure.labels and not self._segments[n].said:
                by_structure.setdefault(structure.name, []).append(n)
        for name, several in by_structure.items():
            for n in several if len(several) > 1 else ():
                other = next(x for x in several if x != n)
                self._undecided[n] = f"{self._segments[other].title} is {name}, too"
                del self._found[n]

    def _doubt_of_numbers(self) -> str:
        """Why numbers say nothing in this reference: a segment's name says another class than its number."""
        for n, structure in self._found.items():
            segment = self._segments[n]
            told = segment.number is not None and bool(structure.labels) and not segment.said
            if told and segment.number not in structure.labels:
                return f"numbers say nothing here, as {segment.title} has {segment.number} but is {structure.name}"
        return ""

    def _number_refused(self, n: int) -> str:
        """Why a segment's number does not decide, or nothing."""
        segment, term = self._segments[n], meaning_of(self._segments[n].terminology)
        holders = [x for x in self._outputs if segment.number in x.labels]
        own, says = name_of(segment.name), "no class is called so"
        if own.says_nothing and not name_of(term).says_nothing:
            own, says = name_of(term), f"its terminology says {term}, and no class is called so"
        if not own.says_nothing and not any(_is_part(own, x) for x in holders):
            several = any(name_of(x.name).means(own) for x in self._outputs)
            return "several classes are called so" if several else says
        named = _LABEL_NUMBER.fullmatch(segment.name)
        if named is not None and int(named[1]) != segment.number:
            return f"it is called {int(named[1])}, and its number is {segment.number}"
        if not holders:
            return "no class has its number"
        if sum(x.number == segment.number for x in self._segments.values()) > 1:
            return "another segment has its number, too"
        if any(segment.number in x.labels for x in self._found.values()):
            return "another segment is the class of its number"
        return ""


def _is_part(name: Name, structure: Structure) -> bool:
    """Whether a structure merges several reference labels, of which a segment's name is one."""
    whole = name_of(structure.name)
    return len(structure.labels) > 1 and (name.is_part_of(whole) or is_part_of_tumour(name, whole))


def _structures(head: OutputHead) -> list[Structure]:
    """A network's outputs; one that stands for label 0 is background."""
    return [Structure(x, frozenset() if 0 in region else frozenset(region)) for x, region in zip(head.names, head.regions)]


def understood(
    label: np.ndarray,
    segments: Sequence[Segment] | None,
    answers: Mapping[Any, str] | None,
    head: OutputHead | None,
    what: str,
) -> tuple[np.ndarray, dict[int, str] | None]:
    """A reference as it is to be used, with the names of its values.

    Args:
        label: (K, J, I) as it is stored.
        segments: those that are painted in it; None: nothing is known but its values.
        answers: what the user says that segments are, by their names or numbers.
        head: the classes of the network that it is for, in whose reference labels it is given then; None: not known yet.
        what: what messages call the reference.

    Raises:
        InputError: it is not known which class a segment is, or segments overlap that are not known to overlap.
    """
    if segments is None and answers:
        segments = named_values(None, values_in(label))
    if segments is not None:
        segments = renamed(segments, answers or {})
    if head is None:
        numbered = {int(x): name for x, name in (answers or {}).items() if str(x).removeprefix("-").isdecimal()}
        names = {**numbered, **names_of_values(label, segments or (), what)}
        return label, {value: name for value, name in names.items() if name} or None
    if segments is not None:
        label = relabelled(label, segments, None, head, what)
    head.check_label(label)
    return label, head.reference_names


def relabelled(
    label: np.ndarray, segments: Sequence[Segment], names: Mapping[int, str] | None, head: OutputHead, what: str
) -> np.ndarray:
    """A label map in a network's own reference labels.

    Where segments overlap, the label is that which belongs to just their structures, or else to the fewest more; of exclusive
    classes that lie one within the other, the inner one counts.

    Args:
        label: (K, J, I) int16.
        segments: those that are painted in it.
        names: what its other values are called.
        head: the network's classes.
        what: what messages call the reference.

    Returns:
        (K, J, I) int16; `label` itself where nothing changes.

    Raises:
        InputError: it is not known what a segment is, or segments overlap that are not known to overlap.
    """
    present = values_in(label)
    painted = {value for segment in segments for value in segment.values}
    here = [replace(x, values=tuple(v for v in x.values if v in present)) for x in segments]
    labels = _labels_of_values([*here, *named_values(names, set(present) - painted)], head, present, what)
    if all(value == wanted for value, wanted in labels.items()):
        return label
    # negative values count from the table's end
    table = np.array([*range(max(*present, 0) + 1), *range(min(*present, 0), 0)], np.int16)
    for value, wanted in labels.items():
        table[value] = wanted
    return table[label]


def _labels_of_values(segments: Sequence[Segment], head: OutputHead, counts: Mapping[int, int], what: str) -> dict[int, int]:
    """The reference label of a network for each value of a label map in which segments are painted."""
    matching = match(segments, head)
    if matching.undecided:
        raise InputError(question(segments, matching, head, what))
    reader = _Reader(segments, matching, head)
    labels = {}
    for value in sorted({x for segment in segments for x in segment.values}):
        label = reader.label(value)
        if label is None:
            names = " and ".join(x.title for x in reader.claimants(value))
            classes = ", ".join(f"{x} ({', '.join(map(str, region))})" for x, region in zip(head.names, head.regions))
            raise InputError(
                f"{counts[value]} voxel(s) of {what[0].lower()}{what[1:]} lie in {names}, and no single label of the network "
                f"({classes}) belongs to just that; correct the segments where they overlap."
            )
        labels[value] = label
    return labels


def question(segments: Sequence[Segment], matching: Matching, head: OutputHead, what: str) -> str:
    """The undecided segments, why, and how to say what they are, in one sentence."""
    reasons = "; ".join(f"{segments[n].title} ({why})" for n, why in matching.undecided.items())
    first = segments[next(iter(matching.undecided))]
    key = first.name or first.number
    classes = ", ".join(head.names[n] for n in head.foreground)
    example = head.names[head.foreground[0]]
    return (
        f"{what} leaves open which class of the network is meant by {reasons}: say it for each "
        f'(label_names={{{key!r}: {example!r}}}, --label-names "{key}={example}"); the classes are {classes}, and '
        f"{BACKGROUND} for what is none of them."
    )


class _Reader:
    """Which label belongs to the structures that claim a voxel."""

    def __init__(self, segments: Sequence[Segment], matching: Matching, head: OutputHead) -> None:
        outputs = _structures(head)
        self._segments, self._matching = segments, matching
        self._exclusive = head.kind == "softmax"
        self._drawn = set(matching.structures.values())
        self._drawn |= {x for number in matching.labels.values() for x in outputs if number in x.labels}
        self._known = {*outputs, *self._drawn}
        self._labels = sorted(frozenset[int]().union(*(x.labels for x in outputs)))

    def claimants(self, value: int) -> list[Segment]:
        """The segments that lie in the voxels with a value."""
        return [self._segments[n] for n in self._here(value)]

    def label(self, value: int) -> int | None:
        """The reference label of the voxels with a value; None: no single one belongs to its segments."""
        here = self._here(value)
        if not here:
            return 0
        if len(here) == 1 and here[0] in self._matching.labels:
            return self._matching.labels[here[0]]
        found = self._label_of(here)
        if found is None and self._exclusive:
            inner = innermost([self._segments[n] for n in here])
            found = self._label_of([n for n in here if self._segments[n] is inner]) if inner is not None else None
        return found

    def _here(self, value: int) -> list[int]:
        """The places of the segments, background left out, that have a value."""
        places = [n for n, x in enumerate(self._segments) if value in x.values]
        return [n for n in places if n in self._matching.labels or self._matching.structures[n].labels]

    def _label_of(self, here: Sequence[int]) -> int | None:
        """The label that belongs to all that some segments are, and to the fewest others, those first that are drawn."""
        claim = frozenset[Structure]().union(*(self._structures_of(n) for n in here))
        best: dict[frozenset[Structure], int] = {}
        fewest = (len(self._known) + 1, 0)
        for label in self._labels:
            owners = frozenset(x for x in self._known if label in x.labels)
            rank = len(owners & self._drawn), len(owners)
            if owners >= claim and rank <= fewest:
                best = best if rank == fewest else {}
                fewest = rank
                best.setdefault(owners, label)
        return next(iter(best.values())) if len(best) == 1 else None

    def _structures_of(self, n: int) -> frozenset[Structure]:
        if n in self._matching.structures:
            return frozenset([self._matching.structures[n]])
        return frozenset(x for x in self._known if self._matching.labels[n] in x.labels)
