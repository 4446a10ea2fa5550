"""What the output channels of a segmentation network stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from SegAdversarialLib.errors import InputError

if TYPE_CHECKING:
    import torch

Painting = Literal["largest first", "in order"]

_NEVER = 50.0
"""exp(-50) beside 1 is nothing in double precision; a loss of such a logit is still a moderate number."""


@dataclass(frozen=True)
class OutputHead:
    """The meaning of a network's N output channels.

    Attributes:
        kind: "softmax" (exclusive classes, the largest logit wins) or "sigmoid" (overlapping regions, each present where its
            own probability is above the threshold).
        labels: the label value that each output writes into a label map.
        names: the outputs' names.
        regions: the reference label values that each output stands for; several where the network merges what the
            reference tells apart.
        threshold: of a sigmoid head, the probability above which a region is present.
        painting: which of the outputs that claim the same voxel a label map shows: "largest first", that of the fewest
            reference labels, and of equal ones the last; or "in order", the last.
    """

    kind: Literal["softmax", "sigmoid"]
    labels: tuple[int, ...]
    names: tuple[str, ...]
    regions: tuple[tuple[int, ...], ...]
    threshold: float = 0.5
    painting: Painting = "largest first"

    @classmethod
    def of(
        cls,
        classes: Mapping[int, str] | Sequence[str],
        kind: Literal["softmax", "sigmoid"] = "softmax",
        regions: Mapping[int, Sequence[int]] | None = None,
        threshold: float = 0.5,
        painting: Painting = "largest first",
    ) -> OutputHead:
        """Make a head from `{label value: name}` in the order of the outputs, and the outputs' reference labels where they
        are not just their own value. A list of names counts from 0, which is the background, or for sigmoid from 1.

        Raises:
            InputError: there are no classes, two have the same name, a value does not fit a label map, a region is named
                for a label that is no class, nothing but background is left, or the threshold is none.
        """
        first = 0 if kind == "softmax" else 1
        named = dict(classes) if isinstance(classes, Mapping) else dict(enumerate(classes, first))
        labels = tuple(int(x) for x in named)
        if not labels or (kind == "softmax" and len(labels) < 2):
            raise InputError("A network needs at least two classes for softmax, one for sigmoid, in the order of its outputs.")
        if len(set(named.values())) != len(named):
            raise InputError(f"The classes need different names; they are {', '.join(map(str, named.values()))}.")
        merged = {int(label): tuple(int(x) for x in values) for label, values in (regions or {}).items()}
        unknown = sorted(set(merged) - set(labels))
        if unknown:
            raise InputError(
                f"Regions are given for label(s) {unknown}, which are no classes; the classes are {list(labels)}."
            )
        if min(labels) < 0 or max(labels) > 32767:
            raise InputError(f"Label values must lie between 0 and 32767; they are {list(labels)}.")
        if not 0 < threshold < 1 or (kind == "softmax" and threshold != 0.5):
            raise InputError(
                f"The threshold is a probability between 0 and 1 above which a region of a sigmoid head is present; it is "
                f"{threshold} for {kind}."
            )
        names, stand_for = tuple(str(x) for x in named.values()), tuple(merged.get(x, (x,)) for x in labels)
        head = cls(kind, labels, names, stand_for, float(threshold), painting)
        if not all(head.regions) or not head.foreground:
            raise InputError(
                f"Each class must stand for some reference label, and one of them for something other than 0; they are "
                f"{dict(zip(head.names, head.regions))}."
            )
        if kind == "sigmoid" and len(head.foreground) != len(labels):
            raise InputError("A sigmoid head has no background: none of its outputs may have, or stand for, the label 0.")
        return head

    @property
    def limit(self) -> float:
        """The logit above which a region of a sigmoid head is present."""
        return math.log(self.threshold / (1 - self.threshold))

    @property
    def foreground(self) -> tuple[int, ...]:
        """The positions of the outputs that are structures, not background: those that do not stand for label 0."""
        return tuple(n for n, region in enumerate(self.regions) if 0 not in region)

    @property
    def absent(self) -> tuple[float, ...]:
        """Logits of each output where there is nothing: a probability of 1 for the background, also in double precision."""
        foreground = self.foreground
        if self.kind == "softmax" and len(foreground) == len(self.labels):
            return (0.0,) * len(self.labels)  # none of them is the background
        return tuple(-_NEVER if n in foreground else 0.0 for n in range(len(self.labels)))

    @property
    def reference_names(self) -> dict[int, str]:
        """Each reference label's name: that of the output which stands for it and for the fewest others."""
        names: dict[int, str] = {}
        for name, region in sorted(zip(self.names, self.regions), key=lambda x: -len(x[1])):
            names.update(dict.fromkeys(region, name))
        return dict(sorted(names.items()))

    def rows(self) -> list[dict[str, Any]]:
        """Each output's label, name and reference labels, as plain JSON data."""
        outputs = zip(self.labels, self.names, self.regions)
        return [{"label": label, "name": name, "stands_for": list(region)} for label, name, region in outputs]

    def output(self, structure: str | int) -> int:
        """The position of the output with this name or label value.

        Raises:
            InputError: there is none.
        """
        for n, (label, name) in enumerate(zip(self.labels, self.names)):
            if structure == label or str(structure).lower() in (str(label), name.lower()):
                return n
        raise InputError(f"The network has no class {structure}; it has {self.describe()}.")

    def describe(self) -> str:
        """The classes in words: "0 background, 1 tumour"."""
        return ", ".join(f"{label} {name}" for label, name in zip(self.labels, self.names))

    def check_label(self, label: np.ndarray) -> None:
        """Check that every value of a reference label map belongs to some class (label 0 may belong to none).

        Raises:
            InputError: it holds a value that no class stands for.
        """
        known = {0}.union(*self.regions)
        missing = [int(x) for x in np.unique(label) if int(x) not in known]
        if missing:
            shown = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            first = self.foreground[0]
            known_name, together = self.names[first], ",".join(map(str, (*self.regions[first], missing[0])))
            raise InputError(
                f"The reference holds the label value(s) {shown}, which none of the network's classes ({self.describe()}) "
                f"stands for; say which class each of them is (label_names={{{missing[0]}: {known_name!r}}}, "
                f'--label-names "{missing[0]}={known_name}", or --stands-for "{known_name}={together}"; none of them: '
                f'--label-names "{missing[0]}=background") or give another reference.'
            )

    def masks(self, label: torch.Tensor) -> torch.Tensor:
        """The voxels that each output should claim: (N, K, J, I) bool from a reference label map (K, J, I)."""
        import torch

        claimed = torch.empty((len(self.labels), *label.shape), dtype=torch.bool, device=label.device)
        for mask, region in zip(claimed, self.regions):
            torch.eq(label, region[0], out=mask)
            for value in region[1:]:
                mask |= label == value
        return claimed

    def predicted(self, logits: torch.Tensor) -> torch.Tensor:
        """The voxels that each output claims: (N, K, J, I) bool from logits of the same shape."""
        import torch

        if self.kind == "sigmoid":
            return logits > self.limit
        # torch's argmax over the first axis takes as long as a small network; the largest value and comparisons do not
        largest = logits.amax(0)
        claimed = torch.empty(logits.shape, dtype=torch.bool, device=logits.device)
        free = torch.ones(largest.shape, dtype=torch.bool, device=logits.device)
        for n, mask in enumerate(claimed[:-1]):
            torch.eq(logits[n], largest, out=mask)
            mask &= free  # of equal logits the first wins
            free ^= mask
        claimed[-1] = free
        return claimed

    def label_map(self, logits: torch.Tensor) -> torch.Tensor:
        """The label map (K, J, I) int16 that the logits (N, K, J, I) say."""
        return self.painted(self.predicted(logits))

    def painted(self, claimed: torch.Tensor) -> torch.Tensor:
        """The label map (K, J, I) int16 of what the outputs claim, (N, K, J, I) bool."""
        import torch

        painted = torch.zeros(claimed.shape[1:], dtype=torch.int16, device=claimed.device)
        for n in self._painted():
            painted.masked_fill_(claimed[n], self.labels[n])
        return painted

    def merged(self, label: np.ndarray) -> np.ndarray:
        """A reference label map (K, J, I) in the values that the network itself would write, so that both can be compared."""
        if all(region == (value,) for region, value in zip(self.regions, self.labels)):
            return label
        merged = np.zeros_like(label)
        for n in self._painted():
            merged[np.isin(label, self.regions[n])] = self.labels[n]
        return merged

    def _painted(self) -> list[int]:
        """The outputs in the order in which they are painted into a label map, each over those before it."""
        places = range(len(self.labels))
        return list(places) if self.painting == "in order" else sorted(places, key=lambda n: -len(self.regions[n]))
