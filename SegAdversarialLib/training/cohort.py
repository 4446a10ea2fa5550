"""The cases of a training: looked at once, kept preprocessed where there is room, and put in an order in each epoch."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.transforms import Compose, Transform

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.training import randomness
from SegAdversarialLib.training.augmentation import Augmentation
from SegAdversarialLib.training.samples import Cut, Sample, sample_of
from SegAdversarialLib.training.settings import TrainingSettings
from SegAdversarialLib.training.task import Task
from SegAdversarialLib.volumes.case import Case

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One thing to see in an epoch: which case, which of its parts, and which slice where that is settled."""

    case: int
    part: int
    slice: int | None = None


class _Prepared(Transform):  # type: ignore[misc]
    """A case, by its number, as a dictionary of tensors, which MONAI's datasets keep."""

    def __init__(self, cases: Sequence[Case], task: Task) -> None:
        self._cases, self._task = cases, task

    def __call__(self, key: dict[str, Any]) -> dict[str, Any]:
        sample = sample_of(self._cases[key["case"]], self._task)
        return {"image": sample.image, "targets": sample.targets, "spacing": list(sample.spacing), "name": sample.name}


class Cohort:
    """Cases as a network in training sees them.

    Args:
        cases: read whenever they are asked for, if they are read from files.
        task: what is learned.
        settings: how.
        folder: of the training, where preprocessed cases lie if they are kept on disk.
        look: called with the number and the name of each case before it is looked at for the first time.

    Raises:
        InputError: there are no cases, or one of them cannot be learned from.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        task: Task,
        settings: TrainingSettings,
        folder: Path | None = None,
        look: Callable[[int], None] | None = None,
    ) -> None:
        if not len(cases):
            raise InputError("There are no cases to train on; give one at least.")
        self._cases, self._settings, self._task = cases, settings, task
        self.cut = Cut(task.dimensions, settings.patch, task.head.foreground)
        if settings.patch is not None and len(settings.patch) != self.cut.dimensions:
            raise InputError(
                f"The patch must have {self.cut.dimensions} sizes, as the network has axes; it has {list(settings.patch)}."
            )
        self._augment = Augmentation(settings.augmentation, task.preprocessing.axes)
        self._kept = self._dataset(folder)
        self.names: list[str] = []
        self._shapes: list[tuple[int, ...]] = []
        self._look(look or (lambda number: None))

    def __len__(self) -> int:
        return len(self._cases)

    def items(self, epoch: int) -> list[Item]:
        """What an epoch sees, in its order."""
        found = [item for case in range(len(self)) for item in self._parts(case)]
        order = np.random.default_rng(randomness.sequence(self._settings.seed, randomness.ORDER, epoch)).permutation(
            len(found)
        )
        return [found[n] for n in order]

    def batches(self, epoch: int, size: int) -> list[list[Item]]:
        """An epoch in batches of up to `size` parts, each of one shape."""
        waiting: dict[tuple[int, ...], list[Item]] = {}
        full: list[list[Item]] = []
        for item in self.items(epoch):
            shape = self.cut.shape_of(self._shapes[item.case])
            waiting.setdefault(shape, []).append(item)
            if len(waiting[shape]) == size:
                full.append(waiting.pop(shape))
        return full + list(waiting.values())

    def sample(self, item: Item, epoch: int) -> Sample:
        """A part of a case, augmented; the same each time that it is asked for."""
        kept = self._whole(item.case)
        whole = Sample(kept["image"], kept["targets"], tuple(kept["spacing"]), kept["name"])
        source = randomness.sequence(self._settings.seed, randomness.SAMPLE, epoch, item.case, item.part)
        places, changes = source.spawn(2)
        return self._augment(self.cut(whole, item.slice, np.random.default_rng(places)), changes)

    def _whole(self, case: int) -> dict[str, Any]:
        """A preprocessed case.

        Raises:
            InputError: it cannot be learned from.
        """
        try:
            found: dict[str, Any] = self._kept[case]
        except RuntimeError as error:  # MONAI wraps whatever its transforms raise
            if isinstance(cause := _innermost(error), (InputError, MemoryError)):
                raise cause from None
            raise
        return found

    def _parts(self, case: int) -> Iterator[Item]:
        if self._settings.patches is not None:
            yield from (Item(case, n) for n in range(self._settings.patches))
        elif self.cut.dimensions == 2:
            yield from (Item(case, n, n) for n in range(self._shapes[case][0]))
        else:
            yield Item(case, 0)

    def _dataset(self, folder: Path | None) -> Any:
        prepared = _Prepared(self._cases, self._task)
        transform, keys = Compose([prepared]), [{"case": n} for n in range(len(self))]
        if self._settings.cache == "disk":
            if folder is None:
                raise InputError("Preprocessed cases are kept on disk in the training's folder; give one (folder).")
            known = [{"case": n, "identity": self._identity(n)} for n in range(len(self))]
            return PersistentDataset(known, transform, folder / "cache")
        if self._settings.cache == "none" or not self._settings.cache_gib:
            return Dataset(keys, transform)
        first = prepared(keys[0])
        size = first["image"].nbytes + first["targets"].nbytes
        room = int(self._settings.cache_gib * 2**30 // size)
        kept = [first, *[None] * (len(keys) - 1)][:room]
        return CacheDataset(keys, transform, cache_num=room, copy_cache=False, progress=False, runtime_cache=kept)

    def _identity(self, number: int) -> str:
        """What a preprocessed case on disk is the outcome of."""
        case = self._cases[number]
        found = hashlib.sha256(case.image.tobytes())
        found.update(b"" if case.label is None else case.label.tobytes())
        task = [self._task.channels, self._task.head, self._task.preprocessing.model_dump(mode="json"), case.affine.tolist()]
        found.update(json.dumps(task, default=str).encode())
        return found.hexdigest()

    def _look(self, look: Callable[[int], None]) -> None:
        """Go through all cases once: each can be learned from, and each class is there in one of them."""
        seen = torch.zeros(len(self._task.head.labels), dtype=torch.bool)
        for n in range(len(self)):
            look(n)
            kept = self._whole(n)
            self.names.append(kept["name"])
            self._shapes.append(tuple(kept["targets"].shape[1:]))
            seen |= kept["targets"].flatten(1).amax(1) > 0
        for n in self._task.head.foreground:
            if not seen[n]:
                _log.warning(
                    "None of the %d cases holds %s: the network cannot learn it.", len(self), self._task.head.names[n]
                )


def _innermost(error: BaseException) -> BaseException:
    """What was first wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
