"""What a network is like, found out by asking it a few small questions instead of assuming it.

Does it change its input in place? Does it answer the same twice? Does it answer the same for a window alone and beside others?
Are its outputs probabilities? Which of several outputs is its answer? Whatever is assumed wrongly here gives wrong numbers
without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.model.network_outputs import NetworkOutputs, OutputKey, named, parts_of, several
from SegAdversarialLib.model.preprocessing import Preprocessing

_log = logging.getLogger(__name__)

_SMALL = {2: 64, 3: 16}
"""Sizes of a first question; a network that takes no such size is asked at its own, or at larger ones."""
_LARGER = {2: (128, 256, 512), 3: (32, 64, 96, 128)}

_SAME = 1e-3
"""Largest difference of two answers that are the same but for rounding, as a share of what the answer varies by."""
_SAME_ROUGHLY = 5e-2
"""The same for half precision."""

_LAST_IS_FINAL = ("BasicUNetPlusPlus",)
"""Architectures (MONAI 1.6) that hand out all their heads, the final one last."""
_FINAL_NAMES = ("out", "logits")
"""What torchvision and transformers call the answer among others."""


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
class Question:
    """How a network is asked.

    Attributes:
        channels: what it takes.
        outputs: what it gives, as far as the user says.
        sizes: sizes of the input, tried in this order until it takes one.
        in_batches: whether it will be given several windows at once.
        device: where it runs.
        dtype: what it computes in.
    """

    channels: int
    outputs: NetworkOutputs
    sizes: tuple[tuple[int, ...], ...]
    in_batches: bool
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Nature:
    """What a network is like.

    Attributes:
        in_place: it changes its input.
        alone: its windows must go through one at a time; False also where it was not asked.
        random: it says something else each time.
        key: which of several outputs counts; None: it gives but one.
        several: how many outputs of full size there are.
        kind: what its outputs are: "one" (probabilities that sum to 1 over the classes), "each" (probabilities, each by
            itself), or "" for logits.
        range: its smallest and largest output, as far as they were finite.
    """

    in_place: bool
    alone: bool
    random: bool
    key: OutputKey | None
    several: int
    kind: Literal["one", "each", ""]
    range: tuple[float, float]


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


_remembered: dict[tuple[str, Question], Nature] = {}
"""What files hold that were examined in this process, by a hash of them and how they were asked."""


def examine(network: torch.nn.Module, question: Question, file_hash: str = "") -> Nature | None:
    """What a network is like: it is asked two or three times; None: it takes no input of these sizes.

    Args:
        network: on its device, in evaluation mode.
        question: how it is asked.
        file_hash: of the file that it is from; networks of the same file are asked once in a process.

    Raises:
        InputError: it gives several outputs of full size, and which one counts is not known; or not the one that is said.
    """
    known = _remembered.get((file_hash, question)) if file_hash else None
    if known is not None:
        return known
    try:
        with torch.no_grad(), _own_random_numbers(question.device):
            found = _Examination(network, question).nature()
    except InputError:
        raise
    except Exception as error:  # a stranger's network may raise anything, at any time
        _log.debug("The network cannot be examined (%s).", detail_of(error))
        return None
    if found is not None and file_hash:
        _remembered[file_hash, question] = found
    return found


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
    if nature.random and not said.allow_random:
        raise InputError(
            f"The network {name} gives another answer each time it is asked the same, so that no result could be repeated; "
            "most often dropout is switched on inside it: save it in evaluation mode, or say that it is meant to be random "
            '("allow_random": true).'
        )
    notes: list[str] = []
    if said.key is None and nature.key is not None:
        outputs = replace(outputs, key=nature.key)
        if nature.several > 1:
            notes.append(
                f"The network {name} gives {nature.several} outputs of full size; the final one counts (output: {nature.key})."
            )
    if said.outputs is None and nature.kind:
        outputs = replace(outputs, are_probabilities=True)
        sums = ", and for each voxel they sum to 1" if nature.kind == "one" else ""
        notes.append(
            f"The network {name} gives probabilities (all its outputs lie between 0 and 1{sums}), not logits; they are turned "
            "back into logits (outputs: probabilities)."
        )
    if said.outputs == "probabilities" and not (nature.range[0] >= -0.01 and nature.range[1] <= 1.01):
        raise InputError(
            f"The network {name} is said to give probabilities, but its outputs reach from {nature.range[0]:.3g} to "
            f'{nature.range[1]:.3g}; leave "outputs" out, or say "logits".'
        )
    if nature.alone:
        notes.append(
            f"The network {name} gives another answer for a window alone than beside others (most often it was traced with a "
            "batch of one); its windows go through one at a time (window_batch: 1)."
        )
    in_place = nature.in_place if said.in_place is None else said.in_place
    return Treatment(outputs, in_place, nature.alone, tuple(notes))


def question_sizes(window: Sequence[int] | None, multiple: int, preprocessing: Preprocessing) -> tuple[tuple[int, ...], ...]:
    """The sizes at which a network may be asked, the smallest first: some are made for one size alone."""
    dimensions = preprocessing.dimensions

    def taken(sizes: Sequence[int]) -> tuple[int, ...]:
        return tuple(-(-size // multiple) * multiple for size in sizes)

    own = window
    if own is None and preprocessing.size is not None:
        own = preprocessing.on_grid((1, 1, 1), np.eye(4)).network_shape[3 - dimensions :]
    small = (_SMALL[dimensions],) * dimensions
    if own is None:
        tried = [small, *((size,) * dimensions for size in _LARGER[dimensions])]
    else:
        medium = (2 * _SMALL[dimensions],) * dimensions
        tried = [tuple(map(min, size, own)) for size in (small, medium)] + [tuple(own)]
    return tuple(dict.fromkeys(map(taken, tried)))


class _Examination:
    """The questions themselves."""

    def __init__(self, network: torch.nn.Module, question: Question) -> None:
        self._network, self._question = network, question
        self._outputs, self._several, self._in_place = question.outputs, 0, False
        self._is_exact = question.dtype in (torch.float32, torch.float64)

    def nature(self) -> Nature | None:
        """The answers, or None where the network takes no input of these sizes."""
        for size in self._question.sizes:
            usual, unusual = self._numbers(size)
            first = self._first(usual)
            if first is not None:
                break
        else:
            return None
        answers, agrees, fits = [first], False, self._question.in_batches
        if fits:
            try:
                other, beside = self._ask(torch.cat([unusual, usual])).split(1)
                agrees = self._same(beside, first)
                answers.append(other)
            except Exception as error:
                _log.debug("The network takes no two windows at once (%s).", detail_of(error))
                fits = not (isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error))
        # who says in company what was said alone says the same twice
        random = not agrees and not self._same(self._ask(usual), first)
        lowest, highest, kind = self._kind(answers, unusual)
        return Nature(
            in_place=self._in_place,
            alone=fits and not agrees and not random,
            random=random,
            key=self._outputs.key,
            several=self._several,
            kind=kind,
            range=(lowest, highest),
        )

    def _numbers(self, size: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """Two inputs (1, C, *size): one as normalised images are, and one as they are not."""
        generator = torch.Generator().manual_seed(0)
        usual, unusual = torch.randn((2, 1, self._question.channels, *size), generator=generator)
        device, dtype = self._question.device, self._question.dtype
        return usual.to(device, dtype), (100 * unusual + 50).to(device, dtype)

    def _first(self, batch: torch.Tensor) -> torch.Tensor | None:
        """The first answer, which also tells which output counts; None where the network does not take such an input."""
        try:
            given = self._given(batch)
        except Exception as error:  # a stranger's network may raise anything
            _log.debug("The network takes no input of shape %s (%s).", tuple(batch.shape), detail_of(error))
            return None
        full, parts = self._outputs.full_size(given, batch), parts_of(given, batch)
        if self._outputs.key is not None and parts:
            named(parts, self._outputs.key)
        elif full:
            self._outputs, self._several = replace(self._outputs, key=_final(self._network, full)), len(full)
        try:
            return self._outputs.chosen(given, batch).clone()
        except InputError as error:  # it is said when the network is used, with the sizes that are used
            _log.debug("%s", error)
            return None

    def _kind(self, answers: list[torch.Tensor], unusual: torch.Tensor) -> tuple[float, float, Literal["one", "each", ""]]:
        """What the outputs reach from and to, and whether they are probabilities."""
        lowest, highest, kind = _kind_of(answers)
        if kind and len(answers) == 1:  # whatever the input is
            try:
                lowest, highest, kind = _kind_of([*answers, self._ask(unusual)])
            except Exception as error:
                _log.debug("The network takes no unusual input (%s).", detail_of(error))
        return lowest, highest, kind

    def _same(self, found: torch.Tensor, expected: torch.Tensor) -> bool:
        """Whether two answers are the same but for rounding."""
        finite = expected.isfinite()
        if not torch.equal(found.isfinite(), finite):
            return False
        found, expected = found[finite].double(), expected[finite].double()
        if not expected.numel():
            return True
        varies = torch.linalg.vector_norm(expected - expected.mean())
        rounding = 100 * torch.finfo(self._question.dtype).eps * torch.linalg.vector_norm(expected)
        differs = torch.linalg.vector_norm(found - expected)
        return bool(differs <= (_SAME if self._is_exact else _SAME_ROUGHLY) * varies + rounding)

    def _ask(self, batch: torch.Tensor) -> torch.Tensor:
        """The network's answer (B, N, *size) in memory of its own."""
        return self._outputs.chosen(self._given(batch), batch).clone()

    def _given(self, batch: torch.Tensor) -> Any:
        lent = batch.clone()
        version = lent._version
        given = self._network(lent)
        # the version tells also where what is written is what was there
        self._in_place |= lent._version != version or not torch.equal(lent, batch)
        return given


def _kind_of(answers: list[torch.Tensor]) -> tuple[float, float, Literal["one", "each", ""]]:
    """The range of finite answers, and whether they are probabilities.

    Single values, such as the 0 and 1 of a threshold, are none: where there is no more than that, nothing is certain.
    """
    finite = [x for x in (x.float() for x in answers) if x.isfinite().all()]
    if not finite:
        return 0.0, 0.0, ""
    rounding = 1e-6 if answers[0].dtype in (torch.float32, torch.float64) else 1e-2
    lowest, highest = min(float(x.min()) for x in finite), max(float(x.max()) for x in finite)
    if lowest < -rounding or highest > 1 + rounding or len(finite[0].flatten()[:4096].unique()) <= 2 * finite[0].shape[1]:
        return lowest, highest, ""
    sums = all(bool(((x.sum(1) - 1).abs() <= 1e-3 + 10 * rounding).all()) for x in finite)
    return lowest, highest, "one" if sums and finite[0].shape[1] > 1 else "each"


def _final(network: torch.nn.Module, full: Mapping[OutputKey, torch.Tensor]) -> OutputKey:
    """Which of several outputs of full size is the network's answer.

    Raises:
        InputError: it is not known.
    """
    keys = list(full)
    if len(keys) == 1:
        return keys[0]
    if getattr(network, "original_name", type(network).__name__) in _LAST_IS_FINAL:
        return keys[-1]
    named = [x for x in _FINAL_NAMES if x in full]
    if len(named) == 1:
        return named[0]
    if all(torch.equal(x, full[keys[0]]) for x in full.values()):
        return keys[0]
    raise InputError(several(full))


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """A network that draws numbers does not draw others after this."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        yield
