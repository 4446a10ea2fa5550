"""What the segments of a reference mean to a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.rasterization import segment_ids, segment_masks

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead


def labels_of_segments(node: Any, like: Any, head: OutputHead | None) -> tuple[np.ndarray, dict[int, str]]:
    """A segmentation as a reference label map (`scene.case_of_nodes` says how).

    Args:
        node: the segmentation node.
        like: the volume node that gives the grid.
        head: the network's classes, or None.

    Returns:
        (K, J, I) int16, and the label values' names.

    Raises:
        InputError: a segment means nothing to the network, or all of them lie outside the volume.
    """
    if not node.GetSegmentation().GetNumberOfSegments():
        raise InputError(f"The reference {node.GetName()} has no segments; draw them or choose another.")
    if head is None:
        labels, names = _by_value(node, like)
    elif head.kind == "sigmoid":
        labels, names = _Regions(node, like, head).labels(), names_of(head)
    else:
        labels, names = _by_class(node, like, head)
    if not labels.any():
        _check_within(node, like)
    return labels, names


def _by_value(node: Any, like: Any) -> tuple[np.ndarray, dict[int, str]]:
    """Each segment by its label value, or by its place where two have the same or one has none."""
    segments = {x: node.GetSegmentation().GetSegment(x) for x in segment_ids(node)}
    values = {x: int(segment.GetLabelValue()) for x, segment in segments.items()}
    if len(set(values.values())) < len(values) or min(values.values()) < 1 or max(values.values()) > np.iinfo(np.int16).max:
        values = {x: n for n, x in enumerate(segments, 1)}
    labels = _empty(like)
    for identifier, mask in segment_masks(node, like):
        labels[mask] = values[identifier]
    return labels, {values[x]: segment.GetName() for x, segment in segments.items()}


def _by_class(node: Any, like: Any, head: OutputHead) -> tuple[np.ndarray, dict[int, str]]:
    """Exclusive classes; of overlapping segments the last one counts, as where Slicer exports them."""
    outputs, values = _meanings(node, head)
    labels = _empty(like)
    for identifier, mask in segment_masks(node, like):
        if identifier in outputs:
            labels[mask] = head.regions[outputs[identifier]][0]
        elif identifier in values:
            labels[mask] = values[identifier]
        elif mask.any():
            raise _meaningless(node, identifier, head)
    return labels, names_of(head)


def names_of(head: OutputHead) -> dict[int, str]:
    """Each reference label's name: that of the output which stands for it and for the fewest others."""
    names: dict[int, str] = {}
    for name, region in sorted(zip(head.names, head.regions), key=lambda x: -len(x[1])):
        names.update(dict.fromkeys(region, name))
    return dict(sorted(names.items()))


class _Regions:
    """Overlapping regions: which of them claim each voxel, and the label that belongs to exactly these."""

    def __init__(self, node: Any, like: Any, head: OutputHead) -> None:
        self._node, self._like, self._head = node, like, head
        self._claimants: list[frozenset[int]] = [frozenset()]
        self._claims = np.zeros(like.GetImageData().GetDimensions()[::-1], np.int32)

    def labels(self) -> np.ndarray:
        """The reference label map: (K, J, I) int16."""
        outputs, values = _meanings(self._node, self._head)
        for identifier, mask in segment_masks(self._node, self._like):
            if identifier in outputs:
                self._claim(mask, frozenset([outputs[identifier]]))
            elif identifier in values:
                self._claim(mask, self._owners(values[identifier]))
            elif mask.any():
                raise _meaningless(self._node, identifier, self._head)
        counts = np.bincount(self._claims.ravel(), minlength=len(self._claimants))
        table = [self._label_of(x, int(count)) if count else 0 for x, count in zip(self._claimants, counts)]
        return np.array(table, np.int16)[self._claims]

    def _claim(self, mask: np.ndarray, regions: frozenset[int]) -> None:
        """Add regions to the claims on some voxels."""
        claims = self._claims[mask]
        grown = np.arange(len(self._claimants), dtype=np.int32)
        for old in np.flatnonzero(np.bincount(claims)):
            wanted = self._claimants[old] | regions
            if wanted not in self._claimants:
                self._claimants.append(wanted)
            grown[old] = self._claimants.index(wanted)
        self._claims[mask] = grown[claims]

    def _owners(self, value: int) -> frozenset[int]:
        """The regions that a reference label belongs to."""
        return frozenset(n for n, region in enumerate(self._head.regions) if value in region)

    def _label_of(self, claim: frozenset[int], count: int) -> int:
        if not claim:
            return 0
        known = {value: self._owners(value) for value in sorted(set().union(*self._head.regions))}
        wider = [owners for owners in known.values() if owners >= claim]
        fewest = {owners for owners in wider if len(owners) == min(map(len, wider))}
        if len(fewest) != 1:
            names = " and ".join(self._head.names[n] for n in sorted(claim))
            raise InputError(
                f"{count} voxel(s) of the reference {self._node.GetName()} lie in {names}, and no single label of the network "
                f"({_words(self._head)}) belongs to just that; correct the segments where they overlap."
            )
        return next(value for value, owners in known.items() if owners in fewest)


def _meanings(node: Any, head: OutputHead) -> tuple[dict[str, int], dict[str, int]]:
    """The segments that have the name of an output, with the output, and further ones that their label value tells."""
    segments = {x: node.GetSegmentation().GetSegment(x) for x in segment_ids(node)}
    outputs, rest = {}, {}
    for identifier, segment in segments.items():
        n = _output_named(head, segment.GetName() or "")
        if n is None:
            rest[identifier] = int(segment.GetLabelValue())
        else:
            outputs[identifier] = n
    # a value that a class of that name takes already is most likely the number that Slicer gives to every new segment
    taken = {value for n in outputs.values() for value in head.regions[n]}
    known = set().union(*head.regions) - {0} - taken
    if len(set(rest.values())) < len(rest):
        return outputs, {}
    return outputs, {identifier: value for identifier, value in rest.items() if value in known}


def _output_named(head: OutputHead, name: str) -> int | None:
    if name in head.names:
        return head.names.index(name)
    found = [n for n, x in enumerate(head.names) if x.lower() == name.strip().lower()]
    return found[0] if len(found) == 1 else None


def _meaningless(node: Any, identifier: str, head: OutputHead) -> InputError:
    segment = node.GetSegmentation().GetSegment(identifier)
    return InputError(
        f"The segment {segment.GetName()} (label value {segment.GetLabelValue()}) of the reference {node.GetName()} means "
        f"nothing to the network: name it after one of its classes, or give each segment another label value of these: "
        f"{_words(head)}."
    )


def _words(head: OutputHead) -> str:
    """The classes with the reference labels that they stand for: "WT (1, 2, 4), ET (4)"."""
    return ", ".join(f"{name} ({', '.join(map(str, region))})" for name, region in zip(head.names, head.regions))


def _check_within(node: Any, like: Any) -> None:
    """Refuse a reference whose content lies beside the volume. One without content is a healthy subject's."""
    segmentation = node.GetSegmentation()
    stored = segmentation.GetSourceRepresentationName()
    contents = [segmentation.GetSegment(x).GetRepresentation(stored) for x in segment_ids(node)]
    if any(_has_content(x) for x in contents if x is not None):
        raise InputError(
            f"No segment of the reference {node.GetName()} lies within {like.GetName()}; "
            "check that both belong to the same subject, and the transforms above them."
        )


def _has_content(representation: Any) -> bool:
    if representation.IsA("vtkImageData"):
        return not representation.IsEmpty() and representation.GetScalarRange()[1] > 0
    return bool(representation.GetNumberOfPoints())


def _empty(like: Any) -> np.ndarray:
    return np.zeros(like.GetImageData().GetDimensions()[::-1], np.int16)
