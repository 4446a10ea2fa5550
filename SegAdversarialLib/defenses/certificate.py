"""What is certain of a smoothed network's answer, whatever an attack within a radius does to the case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.files import versions
from SegAdversarialLib.evaluation.tables import format_table, write_table
from SegAdversarialLib.showing import notebook
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import RESULT_MARKER, file_name, whole_folder
from SegAdversarialLib.volumes.json_data import write_json
from SegAdversarialLib.volumes.writing import write_volume

if TYPE_CHECKING:
    import pandas

SMOOTHED, ABSTAINED, VOTE_SHARE, STRUCTURES, TABLE = "smoothed", "abstained", "vote-share", "structures", "metrics.csv"
"""The names, volumes' without ending, of a certificate's files, and of the folder with what is certain of each structure."""

OUTSIDE, INSIDE, UNDECIDED = 0, 1, 2
"""What is certain of a voxel and a structure."""

COLUMNS = (
    *("structure", "certified Dice", "smoothed Dice", "network Dice"),
    *("certified IoU", "smoothed IoU", "network IoU", "abstained", "abstained in reference"),
)
"""The columns of a certificate as a table."""


@dataclass(frozen=True)
class Tests:
    """How a certificate was come by.

    Attributes:
        sigmas: standard deviation of the noise by channel, in scanner units.
        tau: what share of all noisy copies must say the same, so that it is certain.
        alpha: the chance that anything at all is wrongly said to be certain.
        n0, n: how many copies guessed, and how many voted.
        number: how many tests, one for each voxel and structure, background included.
        enough: how many of the n votes were enough; n + 1: nothing is certain.
        seed: of the noise.
        seconds: how long it took.
    """

    sigmas: Mapping[str, float]
    tau: float
    alpha: float
    n0: int
    n: int
    number: int
    enough: int
    seed: int
    seconds: float

    @property
    def weighted_radius(self) -> float:
        """The certified radius in standard deviations of the noise: the inverse normal distribution at tau."""
        from scipy.stats import norm

        return float(norm.ppf(self.tau))

    @property
    def radii(self) -> dict[str, float]:
        """The certified L2 radius by channel, in scanner units, of changes of that channel alone."""
        return {channel: sigma * self.weighted_radius for channel, sigma in self.sigmas.items()}


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is certain of a smoothed network's answer for a case (Fischer, Baader and Vechev 2021).

    With a probability of at least 1 - alpha over the draws, all that is said here to be certain holds for every change d of
    the case with sqrt(sum over channels of |d_c|^2 / sigma_c^2) < inverse normal distribution at tau, |d_c| being the L2 norm
    over all voxels of a channel in scanner units. It holds for the smoothed network with these sigmas, not for the network by
    itself.

    Attributes:
        case: the subject.
        labels: (K, J, I) int16, what most noisy copies say.
        abstained: (K, J, I) bool, where that is not certain.
        vote_share: (K, J, I) float32 in [0, 1], the share of the n copies that say it; where structures
            overlap, the least of theirs.
        certain: for each structure (K, J, I) uint8: `OUTSIDE` (0), `INSIDE` (1) or `UNDECIDED` (2). A voxel may be undecided
            between two classes and yet certain for a region that holds both.
        rows: for each structure Dice and IoU of the worst answer that agrees with what is certain, of the smoothed answer and
            of the network itself, and the share of the volume's and of the reference's voxels that are undecided.
        reference: what they are measured against: "label", or "prediction" (the network's own) where there are no labels.
        tests: how it was come by.
        network: the network, as `SegmentationModel.describe` says.
    """

    case: Case
    labels: np.ndarray
    abstained: np.ndarray
    vote_share: np.ndarray
    certain: Mapping[str, np.ndarray]
    rows: list[dict[str, Any]]
    reference: str
    tests: Tests
    network: Mapping[str, Any]

    def __repr__(self) -> str:
        shown = ", ".join(f"{row['structure']} {row['certified Dice']:.3f}" for row in self.rows[:4])
        more = f" and {len(self.rows) - 4} more" if len(self.rows) > 4 else ""
        return (
            f"<Certificate of {self.case.name or 'a case'}: no change below L2 {self.radius:.4g} lowers Dice (against the "
            f"{self.reference}) under {shown}{more}; {self.abstained.mean():.1%} abstained>"
        )

    def _repr_html_(self) -> str:
        caption = f"Certified against every change below L2 {self.radius:.4g} scanner units, against the {self.reference}"
        return notebook.table(self.rows, COLUMNS, caption)

    @property
    def radius(self) -> float:
        """The certified L2 radius over all channels and voxels together, in scanner units: that of the channel with the least
        noise. Changes of other channels may be larger: see `radii`."""
        return min(self.radii.values())

    @property
    def radii(self) -> dict[str, float]:
        """The certified L2 radius by channel, in scanner units, of changes of that channel alone: sigma times the inverse
        normal distribution at tau."""
        return self.tests.radii

    @property
    def evenly(self) -> dict[str, float]:
        """How much the whole radius is for each voxel of a channel where it is spread evenly over all of them, in scanner
        units: what makes a radius comparable with an attack's epsilon."""
        return {channel: radius / math.sqrt(self.labels.size) for channel, radius in self.radii.items()}

    def holds(self, change: np.ndarray) -> bool:
        """Whether a change (C, K, J, I) of the case's channels, in scanner units, is within what is certified.

        Raises:
            InputError: the change has another shape than the case.
        """
        if change.shape != self.case.image.shape:
            raise InputError(f"The change has the shape {change.shape}, the case {self.case.image.shape}.")
        total = 0.0
        for channel, sigma in self.tests.sigmas.items():
            total += float(np.square(change[self.case.channel_index(channel)], dtype=np.float64).sum()) / sigma**2
        return math.sqrt(total) < self.tests.weighted_radius

    def get(self, structure: str) -> dict[str, Any]:
        """The row of one structure; capitals do not matter.

        Raises:
            InputError: there is none.
        """
        for row in self.rows:
            if row["structure"].lower() == structure.lower():
                return row
        known = ", ".join(row["structure"] for row in self.rows)
        raise InputError(f"The certificate has no structure {structure}; it has {known}.")

    def frame(self) -> pandas.DataFrame:
        """The rows as a pandas data frame.

        Raises:
            InputError: pandas is not installed.
        """
        return notebook.frame(self.rows, COLUMNS)

    def table(self) -> str:
        """The rows as text for a terminal, and below them what they hold for."""
        return f"{format_table(self.rows)}\n\n{self.sentence()}"

    def sentence(self) -> str:
        """What is certified against what, in a few sentences."""
        tests = self.tests
        radii = ", ".join(f"{channel} {radius:.4g}" for channel, radius in self.radii.items())
        even = ", ".join(f"{channel} {x:.2g}" for channel, x in self.evenly.items())
        if tests.enough > tests.n:
            return f"Nothing is certain: no voxel had enough of the {tests.n} votes. Take more draws, or less noise."
        return (
            f"With a probability of at least {1 - tests.alpha:g}, no change of one channel below its radius (L2 over all "
            f"voxels, scanner units: {radii}), nor any of all channels together below {self.radius:.4g}, changes what is "
            f"certain of the smoothed network's answer. Spread evenly over all voxels that is a change of {even} for each. "
            f"Enough votes: {tests.enough} of {tests.n}."
        )

    def describe(self) -> dict[str, Any]:
        """The certificate without its volumes, as plain JSON data."""
        tests = {key: value for key, value in vars(self.tests).items() if key != "sigmas"}
        return {
            "case": self.case.name,
            "channels": list(self.case.channels),
            "certificate": {**tests, "sigmas": dict(self.tests.sigmas)},
            "weighted_radius": self.tests.weighted_radius,
            "radius": self.radius,
            "radii": self.radii,
            "evenly": self.evenly,
            "abstained": float(self.abstained.mean()),
            "structures": list(self.certain),
            "evaluation": self.rows,
            "reference": self.reference,
            "network": dict(self.network),
        }

    def save(self, folder: str | Path, ending: str = ".nii.gz", about: Mapping[str, Any] | None = None) -> Path:
        """Write it as files, whole or not at all: smoothed answer, abstained voxels, share of votes, what is certain of each
        structure, table (CSV) and record (JSON).

        Args:
            folder: an earlier result in it is replaced.
            ending: of the volumes: .nii.gz or .nrrd.
            about: what else the record says.

        Raises:
            InputError: the folder holds files that are not ours, or cannot be written to.
        """
        folder = Path(folder)
        volumes = {SMOOTHED: self.labels, ABSTAINED: self.abstained.astype(np.uint8), VOTE_SHARE: self.vote_share}
        names = structure_files(list(self.certain))
        with whole_folder(folder) as temporary:
            for name, values in volumes.items():
                write_volume(temporary / f"{name}{ending}", values, self.case.affine, self.case.space)
            for name, values in zip(names, self.certain.values()):
                write_volume(temporary / STRUCTURES / f"{name}{ending}", values, self.case.affine, self.case.space)
            write_table(self.rows, temporary / TABLE, COLUMNS)
            made = {"versions": versions(), "ending": ending}
            write_json(temporary / RESULT_MARKER, {**(about or {}), **self.describe(), **made})
        return folder


def structure_files(structures: list[str]) -> list[str]:
    """A file name, without ending, for each structure; a number tells those apart that would have the same."""
    found: list[str] = []
    for structure in structures:
        name = base = file_name(structure)
        number = 2
        while name.lower() in {x.lower() for x in found}:
            name, number = f"{base}-{number}", number + 1
        found.append(name)
    return found
