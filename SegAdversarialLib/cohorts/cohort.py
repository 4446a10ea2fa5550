"""Many cases under one name: selected, split by patient, read one after the other, and kept as plain data."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from pydantic import TypeAdapter, ValidationError

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.cohorts.checking import Check, NetworkLike, check_entry, problems_of
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel, first_problem
from SegAdversarialLib.showing import notebook
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead

_log = logging.getLogger(__name__)

_SHOWN = 20
"""Cases that a table or a warning lists at most."""


@dataclass(frozen=True, repr=False)
class Cohort:
    """Cases that are read when they are needed: `len(cohort)`, `cohort[3]`, `cohort[:10]`, `for case in cohort`.

    Attributes:
        name: what it is called.
        kind: the layout in which its files lie, such as "brats".
        entries: its cases, not read yet.
        channels: those that each case should have.
        labelled: whether each case should have a reference.
    """

    name: str
    kind: str
    entries: tuple[Entry, ...]
    channels: tuple[str, ...]
    labelled: bool

    @classmethod
    def of(cls, name: str, kind: str, entries: list[Entry]) -> Cohort:
        """A cohort that should have the channels that half of its cases or more have, and references if any of them has."""
        counts = Counter(x for entry in entries for x in dict.fromkeys(entry.channel_names))
        channels = tuple(x for x, count in counts.items() if 2 * count >= len(entries))
        return cls(name, kind, tuple(entries), channels, any(x.has_reference for x in entries))

    def __repr__(self) -> str:
        patients = len(self.patients)
        of_whom = f" of {patients} patient{'s' if patients != 1 else ''}" if patients != len(self) else ""
        reference = "with references" if self.labelled else "without references"
        channels = ", ".join(self.channels) or "no channel that half of them have"
        wrong = sum(bool(self.problems(x)) for x in self.entries)
        return (
            f"<Cohort {self.name} ({self.kind}): {len(self)} case{'s' if len(self) != 1 else ''}{of_whom}; "
            f"{channels}; {reference}{f'; {wrong} wrong' if wrong else ''}>"
        )

    def _repr_html_(self) -> str:
        more = f", of which the first {_SHOWN} are shown" if len(self) > _SHOWN else ""
        return notebook.table(
            [
                {"case": x.name, "patient": x.patient, "channels": x.channel_names, "reference": x.has_reference}
                | {"problem": "; ".join(self.problems(x))}
                for x in self.entries[:_SHOWN]
            ],
            ("case", "patient", "channels", "reference", "problem"),
            f"{self.name} ({self.kind}): {len(self)} cases{more}",
        )

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, which: int) -> Case: ...
    @overload
    def __getitem__(self, which: slice) -> Cohort: ...
    def __getitem__(self, which: int | slice) -> Case | Cohort:
        """Read one case, or select some of them: `cohort[3]`, `cohort[:10]`."""
        if isinstance(which, slice):
            return replace(self, entries=self.entries[which])
        return self.entries[which].read()

    def __iter__(self) -> Iterator[Case]:
        """Read one case after the other; see `read`."""
        return self.read()

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients, each once."""
        return tuple(dict.fromkeys(x.patient for x in self.entries))

    def problems(self, entry: Entry) -> list[str]:
        """What is known to be wrong with a case without reading anything."""
        return problems_of(entry, self.channels, self.labelled)

    def read(self, head: OutputHead | None = None, skipped: dict[str, str] | None = None) -> Iterator[Case]:
        """Read one case after the other; wrong ones are skipped, and a warning at the end says which and why.

        Args:
            head: the classes of the network that they are read for (`model.head`).
            skipped: gets the name of each case that was skipped, and why.

        Raises:
            InputError: there are cases, and none can be read.
        """
        left_out: dict[str, str] = {} if skipped is None else skipped
        for entry in self.entries:
            known = self.problems(entry)
            try:
                if known:
                    raise InputError(f"{'; '.join(known)}.")
                case = entry.read(head)
            except InputError as error:
                left_out[entry.name] = str(error).removeprefix(f"{entry.name}: ").rstrip(".")
                continue
            yield case
        if not left_out:
            return
        reasons = [f"{name} ({reason})" for name, reason in list(left_out.items())[:_SHOWN]]
        more = [f"and {len(left_out) - _SHOWN} more"] if len(left_out) > _SHOWN else []
        sentence = f"of the {len(self)} cases of {self.name}: {'; '.join(reasons + more)}."
        if len(left_out) == len(self):
            raise InputError(f"None can be read {sentence}")
        _log.warning("%s", f"{len(left_out)} were skipped {sentence}")

    def check(
        self,
        model: NetworkLike | None = None,
        *,
        labels: bool = False,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
    ) -> Check:
        """Find out what is wrong with which case, without stopping at any; of most files only the header is read.

        Args:
            model: the network that they are for, whose channels they need; otherwise all of the cohort's.
            labels: also read the references, find the values in them, and whether the network understands them.
            progress: gets the finished fraction and the case's name.
            cancel: asked between cases; True stops with `Cancelled`.
        """
        found = []
        for n, entry in enumerate(self.entries):
            check_cancel(cancel)
            if progress is not None:
                progress(n / len(self), f"checking: {entry.name}")
            found.append(check_entry(entry, self.channels, self.labelled, model, labels))
        return Check(self.name, tuple(found))

    def without(self, names: Collection[str]) -> Cohort:
        """The cohort without the cases of these names: `cohort.without(cohort.check().wrong)`."""
        return replace(self, entries=tuple(x for x in self.entries if x.name not in names))

    @checked(validation="a share above 0 and below 1", seed="a whole number of 0 or more")
    def split(self, validation: float = 0.2, seed: int = 0) -> tuple[Cohort, Cohort]:
        """Split by patient into a part for training and one for validation; the same seed gives the same parts.

        Args:
            validation: the share of the patients that come into the second part; at least one does, and one does not.
            seed: 0 or more.

        Raises:
            InputError: the share is not between 0 and 1, or there is only one patient.
        """
        if not 0 < validation < 1:
            raise InputError(f"The share for validation must be above 0 and below 1; it is {validation}.")
        if seed < 0:
            raise InputError(f"The seed of a split must be 0 or more; it is {seed}.")
        patients = sorted(self.patients)
        if len(patients) < 2:
            raise InputError(f"{self.name} has {len(patients)} patient(s); two parts of different patients need two or more.")
        count = min(max(round(validation * len(patients)), 1), len(patients) - 1)
        held = set(np.random.default_rng(seed).permutation(patients)[:count].tolist())
        parts = ([x for x in self.entries if (x.patient in held) is wanted] for wanted in (False, True))
        training, validating = (replace(self, entries=tuple(part)) for part in parts)
        return training, validating

    def data(self) -> dict[str, Any]:
        """The cohort as plain data for JSON; `from_data` is the way back."""
        found: dict[str, Any] = TypeAdapter(Cohort).dump_python(self, mode="json")
        found["entries"] = [x.model_dump(mode="json", exclude_defaults=True) for x in self.entries]
        return found

    @classmethod
    def from_data(cls, data: Any) -> Cohort:
        """A cohort from what `data` gave.

        Raises:
            InputError: it says something that no cohort has.
        """
        try:
            return TypeAdapter(Cohort).validate_python(data)
        except ValidationError as error:
            raise InputError(f"The cohort: {first_problem(error)}") from None
