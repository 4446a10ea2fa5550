"""The regions of brain tumours that BraTS measures: whole tumour, tumour core and enhancing tumour."""

from __future__ import annotations

from collections.abc import Sequence

from SegAdversarialLib.structures.naming import Name, name_of
from SegAdversarialLib.structures.output_head import OutputHead

_REST_OF_CORE = ("necrosis", "non enhancing tumor", "non enhancing tumor core")
_EDEMA, _ENHANCING, _CORE, _WHOLE = "edema", "enhancing tumor", "tumor core", "whole tumor"

_REGIONS = {"WT": _WHOLE, "TC": _CORE, "ET": _ENHANCING}


def tumour_regions(head: OutputHead) -> dict[str, frozenset[int]]:
    """The reference labels of each part of a tumour, by its concept, where a network's classes are those of BraTS.

    They are told by their names, not by their numbers, which differ: 1, 2, 4 until 2021, 1, 2, 3 from 2023, and others in
    the Medical Segmentation Decathlon. Either the exclusive parts are there (necrosis or what does not enhance, oedema,
    enhancing tumour), or the nested regions (WT, TC, ET). Empty for every other network.
    """
    found = {name_of(head.names[n]).concept: frozenset(head.regions[n]) for n in head.foreground}
    rest = frozenset[int]().union(*(found[x] for x in _REST_OF_CORE if x in found))
    if rest and {_EDEMA, _ENHANCING} <= set(found):
        core = rest | found[_ENHANCING]
        return {**found, _CORE: core, _WHOLE: core | found[_EDEMA]}
    if {_WHOLE, _CORE, _ENHANCING} <= set(found) and found[_WHOLE] > found[_CORE] > found[_ENHANCING]:
        parts = {_EDEMA: found[_WHOLE] - found[_CORE], **dict.fromkeys(_REST_OF_CORE, found[_CORE] - found[_ENHANCING])}
        return {**parts, **found}
    return {}


def brats_regions(head: OutputHead) -> dict[str, tuple[int, ...]]:
    """WT, TC and ET as reference labels, where a network's exclusive classes make them up and none of them is called so."""
    parts = tumour_regions(head) if head.kind == "softmax" else {}
    return {name: tuple(sorted(parts[x])) for name, x in _REGIONS.items() if x in parts and name not in head.names}


def nested_regions(names: Sequence[str]) -> list[tuple[int, tuple[int, ...]]] | None:
    """The label value of each of a network's outputs, and the values that it covers, where they are WT, TC and ET.

    The values are those of BraTS until 2021: 1 core without enhancement, 2 oedema, 4 enhancing. None for other names.
    """
    nested = {_WHOLE: (2, (1, 2, 4)), _CORE: (1, (1, 4)), _ENHANCING: (4, (4,))}
    found = [name_of(x).concept for x in names]
    return [nested[x] for x in found] if sorted(found) == sorted(nested) else None


def is_part_of_tumour(part: Name, whole: Name) -> bool:
    """Whether one name is a part of a tumour that BraTS tells apart, and the other the tumour as a whole."""
    return part.concept in (*_REST_OF_CORE, _EDEMA, _ENHANCING, _CORE) and whole.concept in (_WHOLE, "tumor", "brain tumor")
