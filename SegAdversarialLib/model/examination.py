"""What a network is like, found out by asking it a few small questions instead of assuming it.

Does it change its input in place? Does it answer the same twice? Does it answer the same for a window alone and beside others?
Are its outputs probabilities? Which of several outputs is its answer? Whatever is assumed wrongly here gives wrong numbers
without a word.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.model.network_outputs import NetworkOutputs, OutputKey, named, parts_of, several
from SegAdversarialLib.model.preprocessing import Preprocessing

_log = logging.getLogger(__name__)

_SMALL = {2: 64, 3: 16}
"""Sizes of a first question; a network that takes no such size is asked at its own, or at larger ones."""
_LARGER = {2: (128, 256, 512), 3: (32, 64, 96, 128)}
"""Those that are tried in turn where nothing says what its own size is."""

_SAME = 1e-3
"""Largest difference of two answers that are the same but for rounding, as a share of what the answer varies by."""
_SAME_ROUGHLY = 5e-2
"""The same for half precision."""

_LAST_IS_FINAL = ("BasicUNetPlusPlus",)
"""Architectures (MONAI 1.6) that hand out all their heads, the final one last."""
_FINAL_NAMES = ("out", "logits")
"""What torchvision and transformers call the answer among others."""

_SPREAD = 0.05
"""Outputs that come as near as this to 0 and to 1, and go beyond neither, whatever the input, are probabilities."""

_BETWEEN_0_AND_1 = {"SigmoidBackward0", "SoftmaxBackward0", "HardsigmoidBackward0"}
_STAYS_BETWEEN = re.compile(
    "(UnsafeView|View|Reshape|Squeeze|Unsqueeze|Permute|Transpose|Slice|Select|Cat|Stack|Unbind|Split|ToCopy|Clone|Alias|Upsample|"
    "Mean|AsStrided)"
)
"""What autograd calls the steps of a network; the second kind only moves or averages what the first has made."""
_MOST_STEPS = 1000
"""Where a graph is larger than that, it is not looked at any further."""

Kind = Literal["exclusive", "each", "perhaps", "logits"]
"""What outputs are; see `Nature`."""


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
        kind: what its outputs are: probabilities that sum to 1 over the classes, or each by itself; perhaps, where they lie
            between 0 and 1 and nothing else tells; or logits.
        range: its smallest and largest output, as far as they were finite.
    """

    in_place: bool
    alone: bool
    random: bool
    key: OutputKey | None
    several: int
    kind: Kind
    range: tuple[float, float]


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


def question_sizes(window: Sequence[int] | None, multiple: int, preprocessing: Preprocessing) -> tuple[tuple[int, ...], ...]:
    """The sizes at which a network may be asked, the smallest first: some are made for one size alone."""
    dimensions = preprocessing.dimensions

    def taken(sizes: Sequence[int]) -> tuple[int, ...]:
        return tuple(-(-size // multiple) * multiple for size in sizes)

    own = window
    if own is None and preprocessing.fixed_size is not None:
        own = [preprocessing.fixed_size["ijk".index(axis)] for axis in preprocessing.axes]
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
        answers, agrees, takes_two = [first], False, self._question.in_batches
        if takes_two:
            try:
                other, beside = self._ask(torch.cat([unusual, usual])).split(1)
                agrees = self._same(beside, first)
                answers.append(other)
            except Exception as error:
                _log.debug("The network takes no two windows at once (%s).", detail_of(error))
                # too little memory for two says nothing of the network
                takes_two = not (isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error))
        # who says in company what was said alone says the same twice
        random = not agrees and not self._same(self._ask(usual), first)
        lowest, highest, kind = self._kind(answers, unusual)
        return Nature(
            in_place=self._in_place,
            alone=takes_two and not agrees and not random,
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
        if self._outputs.key is not None:
            named(parts or {0: given}, self._outputs.key)
        elif full:
            self._outputs, self._several = replace(self._outputs, key=_final(self._network, full)), len(full)
        try:
            return self._outputs.chosen(given, batch).clone()
        except InputError as error:  # it is said when the network is used, with the sizes that are used
            _log.debug("%s", error)
            return None

    def _kind(self, answers: list[torch.Tensor], unusual: torch.Tensor) -> tuple[float, float, Kind]:
        """What the outputs reach from and to, and what they are."""
        lowest, highest, kind = _kind_of(answers)
        if kind != "logits" and len(answers) == 1:  # whatever the input is
            try:
                lowest, highest, kind = _kind_of([*answers, self._ask(unusual)])
            except Exception as error:
                _log.debug("The network takes no unusual input (%s).", detail_of(error))
        reaches = lowest < _SPREAD and highest > 1 - _SPREAD
        return lowest, highest, "each" if kind == "perhaps" and (reaches or self._makes_probabilities(unusual)) else kind

    def _makes_probabilities(self, batch: torch.Tensor) -> bool:
        """Whether autograd has seen a sigmoid or softmax last, but for what only moves or averages numbers."""
        try:
            with torch.enable_grad():
                leaf = batch.detach().requires_grad_(True)
                waiting = [self._outputs.chosen(self._network(leaf.clone()), leaf).grad_fn]
        except Exception as error:
            _log.debug("The network has no graph to be looked at (%s).", detail_of(error))
            return False
        for node in waiting:  # it grows on the way
            name = "" if node is None else node.name()
            if _STAYS_BETWEEN.match(name) and len(waiting) < _MOST_STEPS:
                assert node is not None
                waiting += [before for before, _ in node.next_functions]
            elif name not in _BETWEEN_0_AND_1:
                return False
        return True

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
        """What the network hands out for a copy of the input; whether it has changed the copy is remembered."""
        lent = batch.clone()
        version = lent._version
        given = self._network(lent)
        # the version tells also where what is written is what was there
        self._in_place |= lent._version != version or not torch.equal(lent, batch)
        return given


def _kind_of(answers: list[torch.Tensor]) -> tuple[float, float, Kind]:
    """The range of finite answers, and what they are as far as it tells.

    Single values, such as the 0 and 1 of a threshold, are no probabilities: where there is no more, nothing is known.
    """
    finite = [x for x in (x.float() for x in answers) if x.isfinite().all()]
    if not finite:
        return 0.0, 0.0, "logits"
    rounding = 1e-6 if answers[0].dtype in (torch.float32, torch.float64) else 1e-2
    lowest, highest = min(float(x.min()) for x in finite), max(float(x.max()) for x in finite)
    classes = finite[0].shape[1]
    if lowest < -rounding or highest > 1 + rounding or len(finite[0].flatten()[:4096].unique()) <= 2 * classes:
        return lowest, highest, "logits"
    sums = all(bool(((x.sum(1) - 1).abs() <= 1e-3 + 10 * rounding).all()) for x in finite)
    return lowest, highest, "exclusive" if sums and classes > 1 else "perhaps"


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
    final = [x for x in _FINAL_NAMES if x in full]
    if len(final) == 1:
        return final[0]
    if all(torch.equal(x, full[keys[0]]) for x in full.values()):
        return keys[0]
    raise InputError(several(full))


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """A network that draws numbers does not draw others after this."""
    with torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        yield
