"""What all attacks have in common: a configuration that is called on a model and a case."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, ValidationInfo, field_serializer, field_validator

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.documentation import Documented
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.attacks.settings import parameter, positions_of, some_or_none
from SegAdversarialLib.attacks.threshold import Threshold
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import split_choice
from SegAdversarialLib.volumes.intensity import IntensityRange, RangeKind
from SegAdversarialLib.volumes.reading import read_mask

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.budget import Budget
    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Found:
    """What a search comes back with.

    Attributes:
        image: the adversarial image, a tensor (C, K, J, I).
        perturbation: what was done; None: something was added, which the difference of the images says.
        label: the reference (K, J, I) int16 as it lies in the adversarial image; None: where it was.
        state: what the same search with another budget can begin from (`AttackRun.begins_at`); None: the image.
        thresholds: the least budgets that were found, where these were searched for.
    """

    image: torch.Tensor
    perturbation: Perturbation | None = None
    label: np.ndarray | None = None
    state: Any = None
    thresholds: tuple[Threshold, ...] = ()


class Attack(Documented, ABC):
    """A configuration that is called: `attack(model, case) -> AttackResult`.

    A subclass states its `name`, `title` and `citation`, adds its fields, and finds the adversarial image in `_search`. The
    base checks everything, draws from one seeded generator, and keeps what lies outside `channels` and `region` untouched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    citation: ClassVar[str]
    """Where it comes from."""
    groups: ClassVar[tuple[Group, ...]]
    """What it belongs to; a list shows it with the first of them."""
    asks_network: ClassVar[bool] = True
    """False for attacks that work without any network."""
    works_itself: ClassVar[bool] = False
    """Its steps take much beside what they ask of the network, such as warping: its pace says little of the network's."""
    needs: ClassVar[str] = ""
    """The setting without which it cannot run, such as a file, if there is one; "all attacks" leaves it out unless given."""
    bounds: ClassVar[tuple[str, ...]] = ()
    """The settings that say how much it may do; of several, the first is the one that is varied first."""

    channels: tuple[str, ...] | None = parameter(
        None, "Channels to attack; none: every channel that the network takes.", choose="channels", min_length=1
    )
    region: Any = parameter(
        None,
        'Where to attack: a mask of whole numbers (array (K, J, I) or image file, other than 0 inside), "foreground" (voxels '
        'above 0 in any channel: the head in skull-stripped MR, not the body in CT), "reference" (labelled voxels), or none '
        "for everywhere.",
        choose="region",
    )
    clip: bool = parameter(
        True, "Keep the result inside each channel's own intensity range.", advanced=True, label="Keep to range"
    )
    intensity_range: RangeKind = parameter(
        "full",
        "Which intensities count for a channel's range, from which a relative epsilon and the limits follow; padding outside "
        "the field of view never counts. full: all; robust: from the 0.5th to the 99.5th percentile of the "
        "voxels other than 0.",
        advanced=True,
        label="Range",
        texts={"full": "all intensities", "robust": "without outliers"},
    )
    quantize: bool = parameter(
        False,
        "Round channels that are stored as integers, within the budget, so that saving them changes nothing.",
        advanced=True,
        label="Whole numbers",
    )
    seed: int = parameter(0, "Seed of every random draw.", advanced=True, ge=0, le=2**63 - 1)

    @field_validator("*", mode="before")
    @classmethod
    def _truths_are_no_numbers(cls, value: Any, about: ValidationInfo) -> Any:
        """true counts as 1 in Python; nobody means it where a number belongs."""
        if isinstance(value, bool) and cls.model_fields[str(about.field_name)].annotation in (int, float):
            raise ValueError(f"{about.field_name} must be a number, not {str(value).lower()}")
        return value

    @field_validator("channels", mode="before")
    @classmethod
    def _one_channel_is_a_list(cls, channels: Any) -> Any:
        if channels is None:
            return None
        return tuple(str(x) for x in some_or_none("channel", channels))

    @field_validator("region", mode="after")
    @classmethod
    def _region_is_mask_or_text(cls, region: Any) -> Any:
        if region is None or isinstance(region, (str, np.ndarray)):
            return region
        if hasattr(region, "__fspath__"):
            return str(region)
        raise ValueError('region must be a mask array, an image file, "foreground" or "reference"')

    @field_serializer("region")
    def _region_as_data(self, region: Any) -> Any:
        return {"mask": fingerprint(region)} if isinstance(region, np.ndarray) else region

    @property
    def needs_reference(self) -> bool:
        """Whether the case must have a reference label map; the region aside."""
        return False

    @property
    def cost(self) -> Cost:
        """What it asks of its network, if it goes on to its end."""
        return Cost()

    @property
    def least_cost(self) -> Cost:
        """What it asks of its network, if it ends as soon as it may."""
        return self.cost

    @property
    def likely_cost(self) -> Cost:
        """What it asks of its network in between, where nothing is known of how soon it ends."""
        return self.cost

    @property
    def by_channel(self) -> bool:
        """Whether single channels can be attacked."""
        return True

    @property
    def is_random(self) -> bool:
        """Whether its result depends on the seed."""
        return False

    @property
    def bounded_norm(self) -> Literal["linf", "l2"]:
        """The norm that `budget` bounds."""
        return "linf"

    @property
    def looks_everywhere(self) -> bool:
        """Whether it uses the image's gradient also where nothing may change."""
        return True

    @property
    def helps(self) -> bool:
        """Whether it is meant to help the network, not to break its segmentation."""
        return False

    @property
    def budget(self) -> float:
        """The largest change of a voxel that is allowed, in the attack's units; infinite where something else is bounded."""
        return math.inf

    @property
    def is_relative(self) -> bool:
        """Whether the attack's units are fractions of each channel's largest absolute intensity, not scanner units."""
        return True

    @property
    def does_nothing(self) -> bool:
        """Whether the budget is zero, so that the result is the original."""
        return False

    def bound(self, name: str) -> float:
        """The value of one of the settings in `bounds`, whether it was given or is known otherwise."""
        return float(getattr(self, name))

    def least_bound(self, name: str) -> float:
        """The least value above 0 that one of the settings in `bounds` may have; 0: any."""
        return 0.0

    @checked
    def __call__(
        self,
        model: SegmentationModel | None,
        case: Case,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
    ) -> AttackResult:
        """Attack a case.

        Args:
            model: the network; may be None for attacks that do not ask one.
            case: the subject; it is not changed.
            progress: called with the finished fraction and a text.
            cancel: asked between gradients; True ends the attack with `Cancelled`.

        Raises:
            InputError: the configuration does not fit the case or the network.
            Cancelled: `cancel` said so.
        """
        if model is None and self.asks_network:
            raise InputError(f"{self.title} needs a network to attack; give one.")
        case = case if model is None else case.in_terms_of(model.head)
        self.check(model, case)
        started = time.perf_counter()
        with self.running(model, case, progress, cancel) as run:
            found = self._search(run)
            return self._result(run, found if isinstance(found, Found) else Found(found), started)

    @contextmanager
    def running(
        self,
        model: SegmentationModel | None,
        case: Case,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
    ) -> Iterator[AttackRun]:
        """What a search works with, on the network's device; arguments as of the call."""
        from SegAdversarialLib.attacks.engine.progress import Progress
        from SegAdversarialLib.attacks.engine.run import AttackRun

        told = Progress(self.cost, progress, cancel, self.title, self.likely_cost)
        budget = self.budget_on(model, case)
        with AttackRun.start(self.title, budget, model, case, asks_network=self.asks_network, progress=told) as run:
            yield run

    def budget_on(self, model: SegmentationModel | None, case: Case) -> Budget:
        """What the attack may do to a case's image.

        Raises:
            InputError: the configuration does not fit the case or the network.
        """
        from SegAdversarialLib.attacks.engine.budget import Budget

        ranges = tuple(IntensityRange.of(values, self.intensity_range) for values in case.image)
        return Budget(
            norm=self.bounded_norm,
            radius=self.budget,
            units=tuple(x.largest if self.is_relative else 1.0 for x in ranges),
            ranges=ranges,
            positions=tuple(self.attacked_channels(model, case)),
            region=self.region_mask(case),
            clip=self.clip,
            whole_numbers=self.quantize,
            seed=self.seed,
        )

    def _result(self, run: AttackRun, found: Found, started: float) -> AttackResult:
        """What is handed out, from what a search has found and when it began (`time.perf_counter`)."""
        case = run.case
        adversarial = case.with_image(run.finished_image(found.image))
        if found.label is not None:
            adversarial = replace(adversarial, label=found.label)
        if not self.does_nothing and np.array_equal(adversarial.image, case.image):
            _log.warning("%s changed nothing: the budget is below one step of intensity, or there is no gradient.", self.title)
        return AttackResult(
            original=case,
            adversarial=adversarial,
            perturbation=found.perturbation or Perturbation.between(case, adversarial),
            attack=self,
            model=run.model.name if run.model is not None else "",
            trace=run.trace,
            restart=run.kept_restart,
            iteration=run.result_iteration,
            snapshots=run.snapshots,
            gradient_evaluations=run.gradient_evaluations,
            forward_evaluations=run.forward_evaluations,
            windows_spared=run.windows_spared,
            seconds=time.perf_counter() - started,
            device=str(run.device),
            intensities=run.budget.describe(case.channels),
            network=run.model,
            thresholds=found.thresholds,
        )

    @abstractmethod
    def _search(self, run: AttackRun) -> torch.Tensor | Found:
        """Find the adversarial image (C, K, J, I) within the budget, from what the run knows; with what was done to the
        image, and to the reference, where that is more than an addition."""

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Find out whether the configuration fits a network and a case, before any work.

        Raises:
            InputError: it does not.
        """
        self.attacked_channels(model, case)
        self.region_mask(case)

    def check_early(self, case: Case, name: str = "", channels: Sequence[str] | None = None) -> None:
        """The part of `check` that asks no network, before one is opened; of that, name and channels may be known."""
        self.check(None, case)
        if channels is not None and self.channels is not None:
            positions_of(self.channels, case, name, case.positions_for(name, channels))

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that are attacked.

        Raises:
            InputError: the case, or the network, has no such channel.
        """
        taken = range(len(case.channels)) if model is None else model.channel_positions(case)
        if self.channels is None:
            return sorted(taken)
        return positions_of(self.channels, case, "" if model is None else model.name, taken)

    def region_mask(self, case: Case) -> np.ndarray | None:
        """The mask (K, J, I) bool that the region means on a case, or None for everywhere.

        Raises:
            InputError: it cannot be read, lies on another grid, or is empty.
        """
        if self.region is None:
            return None
        if isinstance(self.region, np.ndarray):
            if self.region.shape != case.shape:
                raise InputError(f"The region has the shape {self.region.shape}, the case {case.shape}; both must agree.")
            mask = self.region != 0
        elif self.region == "foreground":
            mask = (case.image > 0).any(0)
        elif self.region == "reference":
            if case.label is None:
                raise InputError("The region is the reference, but the case has no label map; give one (--label FILE).")
            mask = case.label != 0
        else:
            if not os.path.exists(split_choice(self.region)[0]):
                raise InputError(
                    f"There is no file {self.region} for the region; a region is the image file of a mask, or foreground "
                    "(voxels above 0 in any channel), or reference (labelled voxels)."
                )
            mask = read_mask(self.region, case.grid)
        if not mask.any():
            raise InputError("The region is empty: no voxel could be attacked.")
        return mask

    def describe(self) -> dict[str, Any]:
        """The configuration as plain JSON data, from which `make_attack` makes the same attack again; of masks that were
        given as arrays only a fingerprint is kept, so that these must be given again."""
        return {"attack": self.name, **self.model_dump(mode="json")}

    def summary(self) -> str:
        """One line for names of nodes and rows: "FGSM, epsilon 0.05, T1 + T2"."""
        where = " + ".join(self.channels) if self.channels else "all channels"
        inside = "" if self.region is None else f", in {self._region_name()}"
        return ", ".join(x for x in (self.title, self._budget_in_words(), where) if x) + inside

    def _budget_in_words(self) -> str:
        """What a summary says of the budget."""
        return ""

    def _region_name(self) -> str:
        """What a summary calls the region; of an image file its name without folder and ending."""
        if not isinstance(self.region, str):
            return "a region"
        name = PurePath(self.region).name
        ending = next((x for x in (".nii.gz", ".seg.nrrd") if name.lower().endswith(x)), PurePath(name).suffix)
        return name[: len(name) - len(ending)] or name


def fingerprint(array: np.ndarray) -> dict[str, Any]:
    """What identifies a mask in a stored configuration: its shape, its size and a hash of it."""
    mask = np.ascontiguousarray(array)
    digest = hashlib.sha256(mask.tobytes()).hexdigest()[:16]
    return {"shape": list(mask.shape), "voxels": int((mask != 0).sum()), "sha256": digest}
