"""Segmentations as 3D Slicer saves them (.seg.nrrd): named segments in one label map, or in layers where they overlap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.segments import Overlay, Segment, values_in
from SegAdversarialLib.structures.terminology import entry_in
from SegAdversarialLib.volumes.geometry import Grid, same_grid
from SegAdversarialLib.volumes.nrrd_header import NrrdHeader
from SegAdversarialLib.volumes.volume import Volume

_KEY = re.compile(r"Segment(\d+)_(ID|Name|LabelValue|Layer|Tags)")
_BINARY = "Binary labelmap"


def segment_keys(path: Path) -> Mapping[str, str] | None:
    """The keys in the header of an existing NRRD file that names segments; None for every other file.

    Raises:
        InputError: its name ends as those of NRRD files do, but it is none.
    """
    if not path.name.lower().endswith((".nrrd", ".nhdr")):
        return None
    keys = NrrdHeader.read(path).keys
    return keys if any(_KEY.fullmatch(key) for key in keys) else None


def read_segments(
    layers: Sequence[Volume], keys: Mapping[str, str], path: Path, grid: Grid
) -> tuple[Volume, tuple[Segment, ...]]:
    """The segments of a file in one label map.

    Slicer stores only the part of a grid that holds something, or more than the grid: what lies on the grid's voxels is put
    there; what lies on others stays where it is.

    Args:
        layers: the label maps in the file.
        keys: as `segment_keys` gives them.
        path: the file, for messages.
        grid: of the case.

    Returns:
        The label map, and the segments with their values in it.

    Raises:
        InputError: the file holds something else than label maps, its header and its voxels contradict each other, or all its
            segments lie beside the case.
    """
    for key in ("Segmentation_SourceRepresentation", "Segmentation_MasterRepresentation"):
        if keys.get(key, _BINARY) != _BINARY:
            raise InputError(
                f'The segments of {path} are stored as "{keys[key]}", and "{_BINARY}" is right; convert them in Slicer\'s '
                "Segmentations module."
            )
    segments = _segments(keys, len(layers), path)
    arrays, affine = [x.array for x in layers], layers[0].affine
    if arrays[0].size == 1 and np.prod(grid.shape) > 1:  # how Slicer saves that there is nothing
        arrays, affine = [np.zeros(grid.shape, np.uint8) for _ in layers], grid.affine
    if len(layers) == 1 and _values_differ(segments):
        labels, drawn = _plain(arrays[0], segments)
    else:
        labels, drawn = _painted(arrays, segments)
    placed, affine = _placed(labels, affine, path, grid)
    return Volume(placed, affine, layers[0].space, layers[0].notes), drawn


def _segments(keys: Mapping[str, str], layers: int, path: Path) -> list[tuple[int, Segment]]:
    """The segments that the header names, each with its layer; they have no values yet.

    Before Slicer 4.11 each segment had a layer of its own and the value 1, and the header did not say so.
    """
    found: dict[int, dict[str, str]] = {}
    for key, text in keys.items():
        if match := _KEY.fullmatch(key):
            found.setdefault(int(match[1]), {})[match[2]] = text
    segments = []
    for place, (n, said) in enumerate(sorted(found.items())):
        try:
            layer = int(said.get("Layer", place if layers > 1 else 0))
            number = int(said.get("LabelValue", 1))
        except ValueError as error:
            raise InputError(f"The header of {path} has a wrong number for its segment {n} ({error}); save it anew.") from None
        if not 0 <= layer < layers:
            raise InputError(
                f"The header of {path} puts its segment {n} into layer {layer}, but it has {layers} layer(s); save it anew."
            )
        segments.append((layer, Segment(said.get("Name", ""), (), number, entry_in(said.get("Tags", "")))))
    return segments


def _values_differ(segments: list[tuple[int, Segment]]) -> bool:
    numbers = [segment.number for _, segment in segments]
    return len(set(numbers)) == len(numbers)


def _plain(layer: np.ndarray, segments: list[tuple[int, Segment]]) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """A single label map as it is; values that no segment has are segments without a name."""
    present = set(values_in(layer)) - {0}
    held = tuple(
        Segment(x.name, (x.number,) if x.number is not None and x.number in present else (), x.number, x.terminology)
        for _, x in segments
    )
    return layer, (*held, *(_nameless(x) for x in sorted(present - {x.number for x in held})))


def _painted(layers: list[np.ndarray], segments: list[tuple[int, Segment]]) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Layers painted into one label map, from which every segment can be told."""
    overlay = Overlay(layers[0].shape)
    for layer, segment in segments:
        overlay.add(segment, layers[layer] == segment.number)
    for n, values in enumerate(layers):
        named = {segment.number for place, segment in segments if place == n}
        for value in sorted(set(values_in(values)) - {0} - named):
            overlay.add(_nameless(value), values == value)
    return overlay.finished()


def _nameless(value: int) -> Segment:
    """What has a value that the header does not know."""
    return Segment(f"label {value}", (value,), value)


def _placed(labels: np.ndarray, affine: np.ndarray, path: Path, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """A label map and its affine; cut or filled up with 0 to a grid where it lies on the grid's voxels."""
    start = np.rint(np.linalg.solve(grid.affine, affine[:, 3])[:3])
    shifted = grid.affine.copy()
    shifted[:3, 3] += grid.affine[:3, :3] @ start
    if same_grid(*grid, labels.shape, affine) or not same_grid(labels.shape, shifted, labels.shape, affine):
        return labels, affine
    whole = _pasted(labels, grid.shape, [int(x) for x in reversed(start)])
    if labels.any() and not whole.any():
        raise InputError(f"No segment of {path} lies within the images; check that both belong to the same subject.")
    return whole, grid.affine


def _pasted(labels: np.ndarray, shape: tuple[int, ...], start: list[int]) -> np.ndarray:
    """A label map as a part of a volume of this shape; `start` is where its first voxel lies, which may be outside."""
    whole = np.zeros(shape, labels.dtype)
    target = tuple(slice(max(a, 0), max(min(a + n, size), 0)) for a, n, size in zip(start, labels.shape, shape))
    source = tuple(slice(max(-a, 0), max(min(n, size - a), 0)) for a, n, size in zip(start, labels.shape, shape))
    whole[target] = labels[source]
    return whole
