"""The pattern of a universal perturbation, and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import whole_file
from SegAdversarialLib.volumes.learned_files import LearnedKind

Cases = Sequence[Case] | Callable[[], Iterable[Case]]
"""A set of cases: a sequence, or a function that gives them one after the other each time it is called."""

_TENSOR = "pattern"
_KIND = LearnedKind(
    "segadversarial-universal-perturbation", "universal perturbation", "perturbation file", "learned", "learn-universal"
)


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a universal perturbation adds, for each unit of epsilon.

    Attributes:
        values: (C, K, J, I) float32 in [-1, 1]; times epsilon, in epsilon's units, it is what is added.
        channels: the names of its channels; none: a case's channels in their order.
        learned: how it came about, as plain JSON data: network, epsilon, cases, a row for each epoch under "by_epoch".
    """

    values: np.ndarray
    channels: tuple[str, ...] = ()
    learned: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        object.__setattr__(self, "values", values)
        if values.ndim != 4 or (self.channels and len(self.channels) != len(values)):
            raise InputError(
                f"A universal perturbation has the shape (channels, slices, rows, columns); this one has {values.shape} for "
                f"{len(self.channels) or 'any'} channels."
            )
        if not np.abs(values).max(initial=0) <= 1:  # also where it is no number
            raise InputError("The values of a universal perturbation lie between -1 and 1 (times epsilon); these do not.")

    @property
    def fingerprint(self) -> str:
        """What identifies it: the start of the SHA-256 of its values and its channels' names."""
        digest = hashlib.sha256(json.dumps([self.values.shape, self.channels]).encode())
        digest.update(self.values.tobytes())
        return digest.hexdigest()[:16]

    def write(self, path: str | Path) -> None:
        """Write it to a safetensors file.

        Raises:
            InputError: the file cannot be written.
        """
        import safetensors.numpy

        told = {"format": _KIND.description, "channels": json.dumps(self.channels), "learned": json.dumps(self.learned)}
        with whole_file(path) as temporary:
            safetensors.numpy.save_file({_TENSOR: self.values}, temporary, told)

    @classmethod
    def read(cls, path: str | Path) -> Pattern:
        """Read it from the file that `write` wrote; nothing in it can run.

        Raises:
            InputError: there is no such file, or it holds something else.
        """
        return _read(*_KIND.state(path))


@lru_cache(maxsize=1)
def _read(path: str, changed_ns: int, size: int) -> Pattern:
    """The pattern in a file; the last one is kept, since a cohort is attacked with one and the same."""
    with _KIND.opened(path, "numpy") as (content, told):
        return Pattern(content.get_tensor(_TENSOR), tuple(json.loads(told["channels"])), json.loads(told["learned"]))
