"""What a network is to learn: from which channels, after which preprocessing, and what its outputs stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.errors import InputError, first_problem
from SegAdversarialLib.formats.settings import ClassSettings, ModelSettings
from SegAdversarialLib.model.normalization import ZScore
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.structures.output_head import OutputHead

if TYPE_CHECKING:
    from SegAdversarialLib.volumes.case import Case

STANDARDIZED = Preprocessing(normalization=ZScore())
"""What is done to cases where nothing else is said: zero mean and unit standard deviation in each channel."""

DESCRIBED = (
    *("channels", "classes", "stands_for", "head", "threshold", "painting", "preprocessing"),
    *("window", "overlap", "blending", "window_places", "mirror", "size_multiple", "description"),
)
"""What can be said of a network that is to be trained, by the names of `ModelSettings`."""


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        channels: the case channels that the network takes, in its order.
        head: what its outputs stand for.
        settings: all that was said of the network.
    """

    channels: tuple[str, ...]
    head: OutputHead
    settings: ModelSettings

    @classmethod
    def of(cls, first: Case, described: Mapping[str, Any]) -> Task:
        """The task that a description means; what it leaves out is as in the first case.

        Raises:
            InputError: it says something unknown or wrong, or nobody says which classes there are.
        """
        unknown = next((name for name in described if name not in DESCRIBED), None)
        if unknown is not None:
            raise InputError(f"Of a network that is to be trained nothing is called {unknown}{nearest(unknown, DESCRIBED)}")
        given = {name: value for name, value in described.items() if value is not None}
        if "classes" not in given:
            given["classes"] = _classes_of(first, softmax=given.get("head", "softmax") == "softmax")
        try:
            settings = ModelSettings(**{"preprocessing": STANDARDIZED, **given})
        except ValidationError as error:
            raise InputError(f"The network to be trained: {first_problem(error, ModelSettings)}") from None
        classes = settings.covering_classes
        regions = {x.label: x.stands_for for x in classes if x.stands_for}
        head = OutputHead.of({x.label: x.name for x in classes}, settings.head, regions, settings.threshold, settings.painting)
        return cls(settings.channels or first.channels, head, settings)

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to a case first."""
        return self.settings.preprocessing

    @property
    def dimensions(self) -> int:
        """3, or 2 for a network that sees slices."""
        return self.preprocessing.dimensions

    @property
    def structures(self) -> list[str]:
        """The names of the outputs that are structures."""
        return [self.head.names[n] for n in self.head.foreground]

    def classes(self) -> tuple[ClassSettings, ...]:
        """The outputs, as settings say them."""
        head = self.head
        return tuple(
            ClassSettings(label=label, name=name, stands_for=() if region == (label,) else region)
            for label, name, region in zip(head.labels, head.names, head.regions)
        )

    def check(self, case: Case) -> None:
        """Refuse a case that it cannot learn from.

        Raises:
            InputError: the case lacks a channel or a reference, or that holds labels that no class stands for.
        """
        there = {x.lower() for x in case.channels}
        lacking = [x for x in self.channels if x.lower() not in there]
        if lacking:
            raise InputError(
                f"The network learns from {', '.join(self.channels)}; {case.called} lacks {', '.join(lacking)}, "
                f"it has {', '.join(case.channels)}."
            )
        if case.label is None:
            raise _without_reference(case)
        try:
            self.head.check_label(case.label)
        except InputError as error:
            raise InputError(f"{case.name}: {error}") from None


def _classes_of(case: Case, softmax: bool) -> dict[int, str]:
    """The classes that a case names."""
    if case.label is None:
        raise _without_reference(case)
    if not case.label_names:
        raise InputError(
            f"It is not known which classes the network has to learn, as {case.called} does not name its label values; "
            'say so (classes={0: "background", 1: "tumour"}, --classes "0=background,1=tumour").'
        )
    names = {value: name for value, name in sorted(case.label_names.items()) if value or softmax}
    return {0: "background", **names} if softmax else names


def _without_reference(case: Case) -> InputError:
    return InputError(
        f"A network learns from references: {case.called} has no reference labels; give it some (label), or leave it out."
    )
