"""What an audit found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.defenses.audit.checks import Finding
from SegAdversarialLib.defenses.audit.measured import Measured
from SegAdversarialLib.defenses.audit.picture import draw
from SegAdversarialLib.defenses.audit.probes import ITERATIVE, NOISE, SINGLE
from SegAdversarialLib.defenses.audit.settings import AuditSettings
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.files import versions
from SegAdversarialLib.evaluation.tables import format_table, write_table
from SegAdversarialLib.showing import notebook
from SegAdversarialLib.volumes.files import RESULT_MARKER, whole_folder
from SegAdversarialLib.volumes.json_data import write_json

if TYPE_CHECKING:
    import pandas

CHECKS = ("check", "verdict", "number", "sentence")
CHECKS_FILE, EPSILONS_FILE, ATTACKS_FILE, PICTURE_FILE = "checks.csv", "audited.csv", "attacks.csv", "audit.png"

_AUDITED = "audited Dice"


@dataclass(frozen=True, eq=False)
class Audit:
    """Whether a network's robustness is real.

    Attributes:
        findings: of each check its verdict ("pass", "warn" or "not applicable"), its number and one sentence.
        measured: what each attack left of Dice on each case.
        settings: how it was audited, every number and the seed included.
        network: what the network is, as `SegmentationModel.describe` says.
        surrogate: the network that attacks were transferred from; empty where there was none.
        reference: what Dice was counted against.
        seconds: wall-clock time.
    """

    findings: tuple[Finding, ...]
    measured: Measured
    settings: AuditSettings
    network: dict[str, Any]
    surrogate: str = ""
    reference: str = "reference"
    seconds: float = 0.0

    def __repr__(self) -> str:
        count = len(self.measured.cases)
        epsilon = max(self._sizes)
        dice = f"mean Dice {self.measured.clean_mean:.3f}, audited {self.dice(epsilon):.3f} at epsilon {epsilon:g}"
        warned = ", ".join(x.title for x in self.warnings)
        verdicts = f"{sum(x.verdict == 'pass' for x in self.findings)} checks pass, {len(self.warnings)} warn"
        return (
            f"<Audit of {self.network.get('name', 'network')} on {count} case{'s' if count > 1 else ''}: {dice}; {verdicts}"
            f"{f' ({warned})' if warned else ''}>"
        )

    def _repr_html_(self) -> str:
        table = notebook.table(self.epsilons, list(self.epsilons[0]), f"Mean Dice against the {self.reference}, by epsilon")
        return notebook.table(self.rows, CHECKS, "Is the robustness real?") + table

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The checks: what should hold, verdict, number, sentence."""
        return [{"check": x.title, "verdict": x.verdict, "number": x.number, "sentence": x.sentence} for x in self.findings]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The checks that warn."""
        return tuple(x for x in self.findings if x.verdict == "warn")

    @property
    def epsilons(self) -> list[dict[str, Any]]:
        """For each size the mean Dice under plain attacks, the audited Dice and by structure, and the strongest attack.

        The audited Dice is what the strongest of all attacks within this size left, for each case by itself.
        """
        found = []
        for epsilon in self.measured.epsilons():
            audited = self.measured.audited(epsilon)
            plain = {name: self._plain(name, epsilon) for name in (NOISE, SINGLE, ITERATIVE)}
            by_structure = {f"{_AUDITED} {name}": value for name, value in audited.items() if name != "mean"}
            strongest = self.measured.strongest(epsilon)
            found.append({"epsilon": epsilon, **plain, _AUDITED: audited["mean"], **by_structure, "strongest": strongest})
        return found

    def _plain(self, attack: str, epsilon: float) -> float | None:
        """What a plain attack left; None where it was not made at this size."""
        if not self.measured.of(attack, epsilon):
            return self.measured.clean_mean if epsilon == 0 else None
        return self.measured.mean(attack, epsilon)

    @checked
    def dice(self, epsilon: float, structure: str = "mean") -> float:
        """The audited (adaptive, worst-case) Dice within an epsilon: mean over the cases, of a structure or their mean.

        Raises:
            InputError: nothing was attacked with this epsilon, or there is no such structure.
        """
        if epsilon not in self.measured.epsilons():
            known = ", ".join(f"{x:g}" for x in self.measured.epsilons())
            raise InputError(f"The audit has no epsilon {epsilon:g}; it has {known}.")
        found = {name.lower(): value for name, value in self.measured.audited(epsilon).items()}
        if structure.lower() not in found:
            raise InputError(f"The audit has no structure {structure}; it has {', '.join(found)}.")
        return found[structure.lower()]

    @checked
    def get(self, check: str) -> Finding:
        """What one check found, by its short name.

        Raises:
            InputError: there is no such check.
        """
        for finding in self.findings:
            if finding.check == check.lower():
                return finding
        raise InputError(f"There is no check {check}; there are {', '.join(x.check for x in self.findings)}.")

    @checked
    def frame(self, of: Literal["epsilons", "checks", "attacks"] = "epsilons") -> pandas.DataFrame:
        """The table by epsilon, the checks, or every attack on every case, as a pandas data frame.

        Raises:
            InputError: pandas is not installed.
        """
        rows = {"epsilons": self.epsilons, "checks": self.rows, "attacks": self._attacks}[of]
        return notebook.frame(rows, list(dict.fromkeys(key for row in rows for key in row)))

    def table(self) -> str:
        """Checks and the table by epsilon as text for a terminal."""
        return "\n".join([*self.sentences(), "", format_table(self.epsilons)])

    def sentences(self) -> list[str]:
        """What was found, a line for each check, and what the table by epsilon holds."""
        lines = [f"{_MARKS[x.verdict]:4} {x.title}: {x.sentence}" for x in self.findings]
        return [*lines, "", f"Mean Dice against the {self.reference}, by epsilon:"]

    def describe(self) -> dict[str, Any]:
        """All of it as plain JSON data."""
        return {
            "audit": [asdict(x) for x in self.findings],
            "epsilons": self.epsilons,
            "clean": [x.as_dict() for x in self.measured.clean],
            "attacks": [{**x.as_dict(), "restarts": list(x.restarts)} for x in self.measured.rows],
            "reference": self.reference,
            "settings": self.settings.model_dump(mode="json"),
            "network": self.network,
            "surrogate": self.surrogate,
            "seconds": round(self.seconds, 3),
            "versions": versions(),
        }

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write a folder, whole or not at all: result.json, the three tables as CSV, and, with matplotlib, a picture.

        Raises:
            InputError: the folder cannot be written, or holds something else.
        """
        with whole_folder(folder) as temporary:
            self.write_into(temporary)
        return Path(folder)

    def write_into(self, folder: Path) -> None:
        """Write the files of `save` into a folder that is there."""
        write_json(folder / RESULT_MARKER, self.describe())
        write_table(self.rows, folder / CHECKS_FILE, CHECKS)
        write_table(self.epsilons, folder / EPSILONS_FILE)
        write_table(self._attacks, folder / ATTACKS_FILE)
        draw(self.measured, folder / PICTURE_FILE)

    @property
    def _attacks(self) -> list[dict[str, Any]]:
        return [x.as_dict() for x in (*self.measured.clean, *self.measured.rows)]

    @property
    def _sizes(self) -> list[float]:
        """The sizes between 0 and the full range."""
        return [x for x in self.measured.epsilons() if 0 < x < 1] or [0.0]


_MARKS = {"pass": "pass", "warn": "WARN", "not applicable": "n/a"}
