"""Frames into stacks: which slices make one volume, in which order, and where that volume lies.

Positions decide, never file names or instance numbers: a slice lies where its ImagePositionPatient says
(DICOM PS3.3 C.7.6.2.1.1; for multi-frame files C.7.6.16.2.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.dicom_frames import ACQUISITION, FILE, TRAITS, Frame, Place
from SegAdversarialLib.volumes.geometry import RAS_FROM_LPS

_SAME_DIRECTION = 5e-4
"""How far the components of two slices' directions may differ: 0.1 mm at the edge of 200 mm."""

_SHARE_OF_VOXEL = 0.1
"""How far a slice may lie from where an even stack has it, as a share of the voxel: scanners round positions."""

_TILT = 1e-3
"""How far a stack may lean, as mm sideways for each mm (0.06 degrees): scanners round directions."""

Stack = list[Frame]


def stacks_of(frames: Sequence[Frame]) -> list[Stack]:
    """The stacks in the frames of one series, each in the order of its slices; ordered by where they begin in the series.

    Frames of other sizes, directions, image types, echo times or b-values never make one stack. Where slices would lie on each
    other (repeated acquisitions, time points, ...), they are told apart by whatever keeps them apart.
    """
    always = [trait.name for trait in TRAITS if trait.always]
    alike: list[Stack] = []
    for frame in frames:
        home = next((x for x in alike if _belongs(frame, x[0], always)), None)
        if home is None:
            alike.append([frame])
        else:
            home.append(frame)
    stacks = [sorted_stack(part) for stack in alike for part in _kept_apart(sorted_stack(stack))]
    return sorted(stacks, key=lambda stack: min((x.source.instance, x.source.path.name, x.number) for x in stack))


def sorted_stack(frames: Sequence[Frame]) -> Stack:
    """Frames in the order in which they lie along the normal of the first."""
    heights = _heights(frames)
    if heights is None:
        return list(frames)
    return [frames[n] for n in np.argsort(heights, kind="stable")]


def difference(stack: Stack, others: Sequence[Stack]) -> str:
    """In words, what tells a stack from the others of its series."""
    planes = [_plane(x) for x in (stack, *others)]
    words = [planes[0]] if len(set(planes)) > 1 else []
    for name in (*(trait.name for trait in TRAITS), FILE):
        values = [_values(x, name) for x in (stack, *others)]
        if any(x != values[0] for x in values) and len(values[0]) == 1:
            (value,) = values[0]
            words.append(f"{name} {'not given' if value is None else value}")
    return ", ".join(words[:2])


def affine_of(stack: Stack) -> np.ndarray:
    """The (i, j, k) to RAS affine of a stack, after checking that it is one: slices at even distances, one above the other.

    A slice without a place gets none: it begins at 0, its rows point left and its columns to posterior.

    Raises:
        InputError: slices are missing, doubled, uneven, sheared (a tilted gantry), or say too little about their place.
    """
    first = stack[0]
    for frame in stack:
        if len(stack) > 1 and (frame.place is None or frame.spacing is None):
            raise InputError(
                f"{_name(frame)} says nothing of its place (ImagePositionPatient, ImageOrientationPatient, PixelSpacing) "
                f"and cannot be stacked with {len(stack) - 1} other(s); give one file of a single image, or a volume."
            )
    between_rows, between_columns = first.spacing or (1.0, 1.0)
    if min(between_rows, between_columns) <= 0:
        raise InputError(f"{_name(first)} has a PixelSpacing of {[between_rows, between_columns]}; the header is damaged.")
    if first.place is None:
        return RAS_FROM_LPS @ np.diag([between_columns, between_rows, abs(first.thickness or 1.0), 1.0])
    row, column, normal = _axes(first.place, _name(first))
    if len(stack) == 1:
        step = abs(first.thickness or 0.0) or 1.0
    else:
        step = _even_step(stack, normal, min(between_rows, between_columns))
    affine = np.eye(4)
    affine[:3] = np.stack([row * between_columns, column * between_rows, normal * step, first.place.position], axis=1)
    return RAS_FROM_LPS @ affine


def _belongs(frame: Frame, other: Frame, always: Sequence[str]) -> bool:
    if frame.source.shape != other.source.shape or any(frame.traits[x] != other.traits[x] for x in always):
        return False
    if (frame.place is None) != (other.place is None) or (frame.spacing is None) != (other.spacing is None):
        return False
    if frame.place is not None and other.place is not None:
        apart = [np.abs(a - b).max() for a, b in zip(frame.place[1:], other.place[1:])]
        if max(apart) > _SAME_DIRECTION:
            return False
    return np.allclose(frame.spacing or 0, other.spacing or 0, rtol=1e-4)


def _kept_apart(stack: Stack) -> list[Stack]:
    """The stack as it is, or in the fewest parts in each of which no slice lies on another."""
    if len(stack) == 1 or _heights(stack) is None:
        return [stack]
    if not _doubled(stack):
        # acquisitions between each other's slices are as separate as those on each other's
        numbers = [frame.traits[ACQUISITION] for frame in stack]
        blocks = 1 + sum(a != b for a, b in zip(numbers, numbers[1:]))
        return [stack] if blocks == len(set(numbers)) else _parts(stack, ACQUISITION)
    # what changes from slice to slice (a time) tells no stacks apart: there are about as many stacks as slices at one place
    most = 2 * _most_at_one_place(stack)
    found = [_parts(stack, name) for name in (*(trait.name for trait in TRAITS), FILE)]
    apart = [parts for parts in found if 1 < len(parts) <= most and not any(_doubled(part) for part in parts)]
    return min(apart, key=len, default=[stack])


def _most_at_one_place(stack: Stack) -> int:
    """The largest number of slices of a sorted stack that lie on each other; 0: some say nothing of their place."""
    heights = _heights(stack)
    if heights is None:
        return 0
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) >= _too_near(stack))
    return int(np.diff(starts, append=len(stack)).max())


def _parts(stack: Stack, name: str) -> list[Stack]:
    """The slices of a stack by their value of a trait, each part in the stack's order."""
    found: dict[Any, Stack] = {}
    for frame in stack:
        found.setdefault(frame.traits[name], []).append(frame)
    return list(found.values())


def _values(stack: Stack, name: str) -> set[Any]:
    return {frame.traits[name] for frame in stack}


def _plane(stack: Stack) -> str:
    """The plane of the body in which a stack's slices lie, as nearly as they do."""
    place = stack[0].place
    if place is None:
        return "without a place"
    return ("sagittal", "coronal", "axial")[int(np.abs(np.cross(place.row, place.column)).argmax())]


def _doubled(stack: Stack) -> tuple[Frame, Frame] | None:
    """Two frames at the same place in a sorted stack, if there are such."""
    heights = _heights(stack)
    if heights is None:
        return None
    near = np.flatnonzero(np.diff(heights) < _too_near(stack))
    return (stack[near[0]], stack[near[0] + 1]) if near.size else None


def _too_near(stack: Stack) -> float:
    """Slices nearer to each other than this, in mm, lie at the same place."""
    return 0.01 * min(stack[0].spacing or (1.0,))


def _heights(frames: Sequence[Frame]) -> np.ndarray | None:
    """How far along the normal of the first each slice lies, in mm; None where some do not say."""
    places = [frame.place for frame in frames if frame.place is not None]
    if len(places) < len(frames):
        return None
    normal = np.cross(places[0].row, places[0].column)
    return np.array([normal @ place.position for place in places])


def _axes(place: Place, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The directions of i, j and k, of length 1 and at right angles."""
    _, row, column = place
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if np.abs(np.subtract(lengths, 1)).max() > 1e-2 or abs(row @ column) > 1e-2:
        raise InputError(
            f"ImageOrientationPatient of {name} is {[*row.tolist(), *column.tolist()]}, not two directions of length 1 at a "
            "right angle; the header is damaged."
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _even_step(stack: Stack, normal: np.ndarray, pixel: float) -> float:
    """The distance between slices, if it is the same all along the stack."""
    places = np.array([frame.place.position for frame in stack if frame.place is not None])
    heights = places @ normal
    if pair := _doubled(stack):
        a, b = pair
        raise InputError(
            f"{_name(a)} and {_name(b)} lie at the same place ({heights[stack.index(a)]:.6g} mm along the stack), and their "
            "headers do not tell two stacks apart; take one of them away."
        )
    _check_straight(stack, places, normal, pixel)
    gaps = np.diff(heights)
    step = float(gaps.mean())
    away = heights - step * np.arange(len(stack))
    if np.ptp(away) / 2 > _SHARE_OF_VOXEL * step:
        raise InputError(_unevenness(stack, gaps))
    return step


def _check_straight(stack: Stack, places: np.ndarray, normal: np.ndarray, pixel: float) -> None:
    """Refuse a stack whose slices do not lie one above the other."""
    along = (places - places[0]) @ normal
    sideways = places - places[0] - np.outer(along, normal)
    allowed = max(_SHARE_OF_VOXEL * pixel, _TILT * along[-1])
    drift = np.linalg.norm(sideways, axis=1)
    if drift.max() <= allowed:
        return
    which = f"The slices of {_name(stack[0])} to {_name(stack[-1])}"
    leaning = np.outer(along / along[-1], sideways[-1])
    if np.abs(leaning - sideways).max() > allowed:
        raise InputError(
            f"{which} are shifted against each other sideways by up to {drift.max():.4g} mm and make no straight stack; "
            "resample them to one first."
        )
    angle = np.degrees(np.arctan2(drift[-1], along[-1]))
    raise InputError(
        f"{which} lean by {angle:.3g} degrees (a tilted gantry), so that the volume is sheared; resample it to right angles "
        "first (dcm2niix does)."
    )


def _unevenness(stack: Stack, gaps: np.ndarray) -> str:
    """The sentence on a stack whose slices have these distances in mm: some are missing, or all vary."""
    widest, usual = int(np.argmax(gaps)), float(np.median(gaps))
    if gaps[widest] > 1.5 * usual:
        missing = round(gaps[widest] / usual) - 1
        return (
            f"Between {_name(stack[widest])} and {_name(stack[widest + 1])} lie {gaps[widest]:.4g} mm, between other slices "
            f"{usual:.4g} mm: {missing} slice(s) are probably missing; complete the series."
        )
    return (
        f"The distances between the slices of {_name(stack[0])} to {_name(stack[-1])} vary from {gaps.min():.4g} to "
        f"{gaps.max():.4g} mm; resample them to even distances first (dcm2niix does)."
    )


def _name(frame: Frame) -> str:
    return f"{frame.source.path}" + (f" (frame {frame.number + 1})" if frame.source.frames > 1 else "")
