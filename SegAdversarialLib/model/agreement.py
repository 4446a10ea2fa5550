"""What the members of an ensemble have in common, and in which order each has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.crop import ForegroundCrop
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.structures.output_head import OutputHead


@dataclass(frozen=True)
class Member:
    """A network as an ensemble sees it; the names are those of `SegmentationModel`."""

    name: str
    channels: tuple[str, ...]
    head: OutputHead
    preprocessing: Preprocessing
    window: tuple[int, ...] | None
    overlap: float
    blending: str
    size_multiple: int
    window_places: str = "dense"
    mirror: str = ""


def check_agreement(members: Sequence[Member]) -> None:
    """Refuse networks whose answers for one voxel cannot be averaged.

    Raises:
        InputError: there are fewer than two, or two of them differ in channels (their order aside), classes, head,
            preprocessing or windows; it names these two.
    """
    if len(members) < 2:
        raise InputError(f"An ensemble needs at least two members; it has {len(members)}.")
    first = members[0]
    for other in members[1:]:
        for what, told in _TOLD.items():
            if told(first) != told(other):
                raise InputError(
                    f"The members {first.name} and {other.name} of an ensemble must agree in their {what}; they have "
                    f"{_shown(told(first))} and {_shown(told(other))}."
                )


def channel_order(member: Member, channels: Sequence[str]) -> tuple[int, ...]:
    """Where each of the member's channels is among these."""
    known = [x.lower() for x in channels]
    return tuple(known.index(x.lower()) for x in member.channels)


def class_order(member: Member, head: OutputHead) -> tuple[int, ...]:
    """Where each output of this head is among the member's."""
    return tuple(member.head.labels.index(label) for label in head.labels)


def _normalisations(member: Member) -> Any:
    """What is done to each channel, whatever the channels' order."""
    chosen = member.preprocessing.normalization
    if not isinstance(chosen, tuple) or len(chosen) != len(member.channels):
        return chosen
    return sorted(zip((x.lower() for x in member.channels), map(repr, chosen)))


def _crop(member: Member) -> Any:
    """What is cropped, whatever the channels' order."""
    crop = member.preprocessing.crop
    if not isinstance(crop, ForegroundCrop) or crop.channels is None:
        return crop
    return crop.model_copy(update={"channels": None}), sorted(member.channels[n].lower() for n in crop.channels)


_TOLD: dict[str, Callable[[Member], Any]] = {
    "channels": lambda x: sorted(name.lower() for name in x.channels),
    "head": lambda x: x.head.kind,
    "threshold": lambda x: x.head.threshold,
    "classes": lambda x: sorted(zip(x.head.labels, x.head.names, map(sorted, x.head.regions))),
    "normalization": _normalisations,
    "crop": _crop,
    "preprocessing": lambda x: x.preprocessing.model_dump(mode="json", exclude={"normalization", "crop"}),
    "window": lambda x: x.window,
    "overlap": lambda x: x.overlap,
    "blending": lambda x: x.blending,
    "size multiple": lambda x: x.size_multiple,
    "window places": lambda x: x.window_places,
    "mirror": lambda x: "".join(sorted(x.mirror)) or "none",
    "painting": lambda x: x.head.painting,
}


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
