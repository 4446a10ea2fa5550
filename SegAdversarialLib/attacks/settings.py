"""What an attack's settings are made of: how a field is said, and the fields that several families share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case

Choice = Literal[
    "channels",
    "classes",
    "class",
    "region",
    "network",
    "generator",
    "pattern",
    "attack",
    "random-attack",
    "bounded-attack",
    "trust",
]
"""What the network, the case or the user, not the schema, says the possible values of a field are."""


def parameter(
    default: Any,
    description: str,
    unit: str = "",
    *,
    choose: Choice | Literal[""] = "",
    advanced: bool = False,
    label: str = "",
    texts: Mapping[str, str] | None = None,
    **bounds: Any,
) -> Any:
    """A field of an attack. All that is said here goes into the JSON schema, from which panels and lists are made.

    Args:
        default: its value where nothing else is said.
        description: what it is, in one line.
        unit: what numbers are measured in.
        choose: whose parts are offered: the network's channels ("channels", several), its structures ("classes", several),
            one of its classes ("class"), or a place in the image ("region"); the file of a network
            ("network"), of a generator ("generator") or of a universal perturbation ("pattern"); another attack ("attack"),
            one that draws at random ("random-attack"), or one with a budget ("bounded-attack"); or only the user, each time
            anew ("trust": it has no editor and is never stored).
        advanced: most people leave it alone, so that a panel may fold it away.
        label: what people call it, where that is not just the field's name.
        texts: what people call its values, where these are words of a fixed set; "none": what null means, where that is
            not a value of its own that is worked out.
        bounds: limits, as pydantic's `Field` takes them.
    """
    hints: dict[str, Any] = {"unit": unit, "choose": choose, "advanced": advanced, "label": label, "texts": dict(texts or {})}
    said = {key: value for key, value in hints.items() if value}
    return Field(default, description=description, json_schema_extra=said or None, **bounds)


def one_or_many(value: Any) -> tuple[Any, ...]:
    """A setting that takes several values, given as one of them or as a list."""
    if isinstance(value, (str, int)):
        return (value,)
    if not isinstance(value, Iterable):
        raise ValueError("give one of them, or a list")
    return tuple(value)


def some_or_none(noun: str, value: Any) -> tuple[Any, ...]:
    """One or many of something, but not nothing: a list that was emptied by hand does not mean all of them.

    Raises:
        ValueError: the list is empty.
    """
    several = one_or_many(value)
    if not several:
        raise ValueError(f"choose at least one {noun}, or all of them")
    return several


LossName = Literal[
    "soft_dice",
    "cross_entropy",
    "masked_cross_entropy",
    "balanced_masked_cross_entropy",
    "jensen_shannon",
    "margin",
    "segpgd",
    "cospgd",
]

LOSS_TEXTS = {
    "soft_dice": "soft Dice",
    "cross_entropy": "cross-entropy",
    "masked_cross_entropy": "masked cross-entropy",
    "balanced_masked_cross_entropy": "balanced masked cross-entropy",
    "jensen_shannon": "Jensen-Shannon divergence",
    "margin": "margin",
    "segpgd": "SegPGD's weighting",
    "cospgd": "CosPGD's weighting",
}

MOST_SNAPSHOTS = 50
"""Snapshots are whole images: however many steps there are, no more than this are kept."""


class ChosenLoss(BaseModel):
    """The loss is the user's choice."""

    loss: LossName = parameter("soft_dice", "Loss whose gradient is followed.", advanced=True, texts=LOSS_TEXTS)


class KeepsBest(BaseModel):
    """The result is the best step, or the last."""

    keep: Literal["best", "last"] = parameter(
        "best",
        "Which step is the result: the one that serves the attack best, or the last, as published.",
        advanced=True,
        texts={"best": "best step", "last": "last step"},
    )


Temperature = Annotated[
    Annotated[float, Field(gt=0)] | Literal["auto", "deviation"],
    # what a panel offers
    WithJsonSchema(
        {
            "anyOf": [{"exclusiveMinimum": 0, "type": "number"}, {"const": "auto", "type": "string"}],
            "$comment": 'Also "deviation": unit scale, as audits choose it.',
        }
    ),
]


class ScalesLogits(BaseModel):
    """The loss sees the logits on another scale."""

    temperature: Temperature = parameter(
        1.0,
        'Logits are divided by this first; "auto" measures it; above 1 it revives the gradients of saturated networks.',
        advanced=True,
    )


def snapshots_apart(wanted: int, steps: int) -> int:
    """How many of `steps` lie between two snapshots, where every k-th was wanted, so that there are not too many; 0: none."""
    return max(wanted, -(-steps // (MOST_SNAPSHOTS - 1))) if wanted else 0


class KeepsSnapshots(BaseModel):
    """Some iterations are kept whole."""

    snapshot_every: int = parameter(
        0,
        f"Keep image and segmentation of every k-th iteration, {MOST_SNAPSHOTS} at most; 0: none.",
        unit="steps",
        label="Keep every",
        ge=0,
    )


def positions_of(chosen: Sequence[str], case: Case, name: str, taken: Sequence[int]) -> list[int]:
    """The positions of a case's channels that were chosen.

    Args:
        chosen: their names.
        case: whose they are.
        name: the network's name.
        taken: the positions of those that the network takes.

    Raises:
        InputError: the case has no such channel, or the network does not take it.
    """
    positions = sorted({case.channel_index(x) for x in chosen})
    unused = [case.channels[n] for n in positions if n not in taken]
    if unused:
        raise InputError(f"The network {name} does not take the channel(s) {', '.join(unused)}, so attacking is idle.")
    return positions
