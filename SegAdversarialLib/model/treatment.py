"""How a network is treated: what the user says of it, and, where the user says nothing, what was found by asking it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.model.examination import Nature
from SegAdversarialLib.model.network_outputs import NetworkOutputs, OutputKey

_log = logging.getLogger(__name__)

_warned: set[tuple[str, str]] = set()
"""What was said in this process of which file's network."""


@dataclass(frozen=True)
class Said:
    """What the user says of a network, so that it is not asked.

    Attributes:
        outputs: whether it gives logits or probabilities; None: found out.
        key: which of its outputs counts; None: found out.
        in_place: whether it changes its input; None: found out.
        allow_random: it may say something else each time.
    """

    outputs: Literal["logits", "probabilities"] | None = None
    key: OutputKey | None = None
    in_place: bool | None = None
    allow_random: bool = False


@dataclass(frozen=True)
class Treatment:
    """How a network is treated, from what the user says of it and what was found.

    Attributes:
        outputs: how its logits are found.
        in_place: it gets a copy of its input each time.
        alone: its windows go through one at a time.
        notes: what was set by itself, one sentence each.
    """

    outputs: NetworkOutputs
    in_place: bool
    alone: bool
    notes: tuple[str, ...] = ()


def treatment(said: Said, nature: Nature | None, name: str, outputs: NetworkOutputs) -> Treatment:
    """How to treat a network.

    Args:
        said: what the user says of it.
        nature: what was found; None: it could not be asked.
        name: what results call it.
        outputs: its classes.

    Raises:
        InputError: it cannot be used, or is not what the user says.
    """
    outputs = replace(outputs, key=said.key, are_probabilities=said.outputs == "probabilities")
    if nature is None:
        return Treatment(outputs, in_place=said.in_place is not False, alone=False)
    _check(said, nature, name)
    notes: list[str] = []
    if said.key is None and nature.key is not None:
        outputs = replace(outputs, key=nature.key)
        if nature.several > 1:
            notes.append(
                f"The network {name} gives {nature.several} outputs of full size; the final one counts (output: {nature.key})."
            )
    if said.outputs is None and nature.kind == "perhaps":
        notes.append(
            f"All outputs of the network {name} lay between 0 and 1 when it was tried out, but are taken for logits; if they "
            "are probabilities, say so (--model-outputs probabilities, or outputs: probabilities in its settings)."
        )
    elif said.outputs is None and nature.kind != "logits":
        outputs = replace(outputs, are_probabilities=True)
        sums = ", and for each voxel they sum to 1" if nature.kind == "exclusive" else ""
        notes.append(
            f"The network {name} gives probabilities (all its outputs lie between 0 and 1{sums}), not logits; they are turned "
            "back into logits (outputs: probabilities)."
        )
    if nature.alone:
        notes.append(
            f"The network {name} gives another answer for a window alone than beside others (most often it was traced with a "
            "batch of one); its windows go through one at a time (window_batch: 1)."
        )
    in_place = nature.in_place if said.in_place is None else said.in_place
    return Treatment(outputs, in_place, nature.alone, tuple(notes))


def say(notes: tuple[str, ...], file_hash: str = "") -> None:
    """Warn of what was set by itself; of the network of one file once in a process."""
    for note in notes:
        if not file_hash or (file_hash, note) not in _warned:
            _log.warning(note)
        _warned.add((file_hash, note))


def _check(said: Said, nature: Nature, name: str) -> None:
    """Refuse what cannot be used, and what is not as the user says."""
    if nature.random and not said.allow_random:
        raise InputError(
            f"The network {name} gives another answer each time it is asked the same, so that no result could be repeated; "
            "most often dropout is switched on inside it: save it in evaluation mode, or say that it is meant to be random "
            '(--allow-random, or "allow_random": true in its settings).'
        )
    if said.outputs == "probabilities" and not (nature.range[0] >= -0.01 and nature.range[1] <= 1.01):
        raise InputError(
            f"The network {name} is said to give probabilities, but its outputs reach from {nature.range[0]:.3g} to "
            f'{nature.range[1]:.3g}; leave "outputs" out, or say "logits".'
        )
