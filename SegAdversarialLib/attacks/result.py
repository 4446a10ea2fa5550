"""What an attack gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.attacks.files import write_attack
from SegAdversarialLib.attacks.threshold import Threshold
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.evaluation import Evaluation
from SegAdversarialLib.evaluation.measuring import evaluate
from SegAdversarialLib.showing.notebook import before_after, table
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.geometry import sizes

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.structures.output_head import OutputHead


class Configuration(Protocol):
    """What a result knows of the attack that made it."""

    name: ClassVar[str]
    title: ClassVar[str]

    @property
    def seed(self) -> int:
        """The seed of every random draw."""

    @property
    def channels(self) -> tuple[str, ...] | None:
        """The channels that were chosen; None: all that the network takes."""

    @property
    def region(self) -> Any:
        """Where it was allowed."""

    @property
    def helps(self) -> bool:
        """Whether it is meant to help the network, not to break its segmentation."""

    def describe(self) -> dict[str, Any]:
        """The configuration as plain JSON data."""

    def summary(self) -> str:
        """One line for names of nodes and rows."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The attack's state at one iteration: the image (C, K, J, I) float32 and what the network says of it (K, J, I) int16.

    With `quantize` only the result's own snapshot holds whole numbers: only that image is rounded.
    """

    iteration: int
    image: np.ndarray
    segmentation: np.ndarray

    def __repr__(self) -> str:
        voxels = sizes(self.segmentation.shape)
        return f"<Snapshot of iteration {self.iteration}: {len(self.image)} channels of {voxels} voxels>"


@dataclass(frozen=True, eq=False)
class AttackResult:
    """An attack on one case, with all that is needed to run it again.

    Attributes:
        original, adversarial: the case before and after; same grid and channels. Where the attack has moved the anatomy, the
            adversarial case has the reference labels moved with it.
        perturbation: what was done.
        attack: the attack's configuration, its seed included.
        model: the attacked network's name.
        trace: a row for each iteration of each restart: "restart", "iteration", "loss", "psnr" (dB, over the attacked
            channels, those of one single intensity aside), "dice NAME" for each structure and their mean "dice mean", and,
            where the network sees the volume in several goes, "windows spared" (their share since the row before). Iteration
            0 is the starting point; the row of the kept restart and iteration is the result's (`kept_row`). Empty for attacks
            that do not ask the network.
            Where a least budget was searched for, a row for each image that was tried, with its budget ("at budget").
        restart, iteration: which of several restarts, and which of its iterations, was kept.
        snapshots: every k-th iteration of the kept restart, if they were asked for.
        gradient_evaluations, forward_evaluations: how often the network was differentiated, and asked without a gradient.
        windows_spared: the share of the windows' passes through the network, forwards or backwards, that were left out because
            what they give was known to the last bit.
        seconds: wall-clock time.
        device: where the network ran.
        intensities: by channel, "unit" (what a relative epsilon of 1 is), "low" and "high" (the range that counts) and, where
            the channel has any, "padding" (the value outside the field of view, which is left alone); in scanner units.
        network: the attacked network itself, where it is still at hand.
        thresholds: the least budgets that were found, where these were searched for: that for the mean Dice first, then those
            for single structures; the adversarial image is that of the first.
    """

    original: Case
    adversarial: Case
    perturbation: Perturbation
    attack: Configuration
    model: str
    trace: list[dict[str, float]] = field(default_factory=list)
    restart: int = 0
    iteration: int = 0
    snapshots: list[Snapshot] = field(default_factory=list)
    gradient_evaluations: int = 0
    forward_evaluations: int = 0
    windows_spared: float = 0.0
    seconds: float = 0.0
    device: str = "cpu"
    intensities: dict[str, dict[str, float]] = field(default_factory=dict)
    network: SegmentationModel | None = None
    thresholds: tuple[Threshold, ...] = ()

    def __repr__(self) -> str:
        of_case = f" of {self.original.name}" if self.original.name else ""
        on_model = f" on {self.model}" if self.model else ""
        before, after = self._clean_row.get("dice mean"), self.kept_row.get("dice mean")
        dice = "" if after is None else f"mean Dice {before_after(before, after)}; "
        asked = ((self.gradient_evaluations, "gradient"), (self.forward_evaluations, "answer"))
        counts = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in asked)
        spared = f", {self.windows_spared:.0%} of the windows spared" if self.windows_spared else ""
        return f"<AttackResult {self.attack.summary()}{of_case}{on_model}: {dice}{counts}{spared}, {self.seconds:.1f} s>"

    def _repr_html_(self) -> str:
        before, after = self._clean_row, self.kept_row
        names = [name for name in after if name.startswith("dice ")]
        dice = [{"Dice of": name[5:], "before": before.get(name), "after": after[name]} for name in names]
        settings = [{"setting": name, "value": value} for name, value in self.attack.describe().items()]
        measured = table(dice, ("Dice of", "before", "after"), self.attack.summary()) if dice else ""
        return measured + table(settings, ("setting", "value"), f"{self.attack.title}: settings")

    @property
    def _clean_row(self) -> dict[str, float]:
        """The trace's row of the unchanged image, if the attack has looked at it."""
        return next((row for row in self.trace if row["psnr"] == math.inf), {})

    @property
    def kept_row(self) -> dict[str, float]:
        """The trace's row of the result; empty where there is no trace."""
        rows = (row for row in self.trace if (row["restart"], row["iteration"]) == (self.restart, self.iteration))
        return next(rows, {})

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        return self.attack.seed

    @property
    def moved_label(self) -> np.ndarray | None:
        """The reference labels (K, J, I) where the attack has moved them with the anatomy; None where it has moved nothing.

        Labels that differ without a displacement are the same reference in other words, such as merged classes.
        """
        before, after = self.original.label, self.adversarial.label
        if self.perturbation.displacement is None or before is None or after is None or np.array_equal(before, after):
            return None
        return after

    def in_classes_of(self, head: OutputHead) -> AttackResult:
        """The same with the reference, moved or not, in the values that a network itself writes, so that a value means the
        same in it and in the network's answers."""
        if self.original.label is None:
            return self
        label, moved = head.merged(self.original.label), self.moved_label
        after = label if moved is None else head.merged(moved)
        return replace(self, original=replace(self.original, label=label), adversarial=replace(self.adversarial, label=after))

    def describe(self) -> dict[str, Any]:
        """Configuration, counts and sizes as plain JSON data; "sizes" holds those of the perturbation's parts."""
        return {
            "attack": self.attack.describe(),
            "model": self.model,
            "case": self.original.name,
            "channels": list(self.original.channels),
            "restart": self.restart,
            "iteration": self.iteration,
            "gradient_evaluations": self.gradient_evaluations,
            "forward_evaluations": self.forward_evaluations,
            "windows_spared": self.windows_spared,
            "seconds": round(self.seconds, 3),
            "device": self.device,
            "largest_change": dict(zip(self.original.channels, np.abs(self.change()).max(axis=(1, 2, 3)).tolist())),
            "intensities": self.intensities,
            "sizes": self.perturbation.describe(self.original),
            "thresholds": [x.describe() for x in self.thresholds],
        }

    @checked
    def save(
        self,
        folder: str | Path,
        evaluation: Evaluation | None = None,
        *,
        model: SegmentationModel | None = None,
        ending: Literal[".nii.gz", ".nrrd"] = ".nii.gz",
    ) -> Path:
        """Write the folder of results that a job writes for an attack, whole or not at all; `read_attack` reads it again.

        Args:
            folder: where; an earlier result is replaced, anything else is refused.
            evaluation: what the attack did; None: it is measured.
            model: the network that is measured, and that the record describes; None: the attacked one.
            ending: of the images' files.

        Returns:
            The folder.

        Raises:
            InputError: there is no network to measure, or the folder cannot be written.
        """
        network = model if model is not None else self.network
        if network is None:
            raise InputError("A result without a network is saved with one to be measured on; give it (model=...).")
        write_attack(Path(folder), self, evaluate(self, network) if evaluation is None else evaluation, network, ending)
        return Path(folder)

    def change(self) -> np.ndarray:
        """What the attack changed of the intensities, in whichever way: (C, K, J, I) float32, in intensity units."""
        if self.perturbation.additive is not None and len(self.perturbation.parts()) == 1:
            return self.perturbation.additive
        return self.adversarial.image - self.original.image
