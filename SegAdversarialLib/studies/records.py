"""What the parts of a study hand each other: a cell, which is one job, and what comes out of it, as plain data.

The plan makes cells, workers turn each into an outcome, the store keeps both, and tables, figures and reports read them back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

CellKind = Literal["train", "generator", "attack", "audit"]

STRUCTURE_COLUMNS = (
    *("structure", "region", "dice_before", "dice_after", "dice_unwarped", "drop", "success", "iou_before", "iou_after"),
    *("hd95_before", "hd95_after", "volume_before", "volume_after"),
)
"""Of one structure in one case under one attack: whether it is a region that was measured beside the network's own structures,
overlap in [0, 1], HD95 in mm (inf: missed; nan: neither there nor claimed), volume in ml; `dice_unwarped`
is nan where no anatomy moved."""

CHANNEL_COLUMNS = (
    *("channel", "psnr", "ssim", "rmse", "perceptibility", "largest_change"),
    *("qq_slope_before", "qq_intercept_before", "qq_slope_after", "qq_intercept_after"),
)
"""Of one channel: PSNR in dB, perceptibility in SD, RMSE as a share of the range, largest change in intensities; slope and
intercept of the normal QQ plot of its intensities inside the foreground, in intensities."""

AUDITED_COLUMNS = ("epsilon", "structure", "plain", "audited", "strongest")
"""Of an audit: mean Dice at a relative epsilon under the plain attack and under the strongest one, and which that was."""

THRESHOLD_COLUMNS = ("structure", "setting", "unit", "drop", "lower", "upper", "largest", "before", "after", "searched")
"""Of a least budget of one structure ("mean": of the mean Dice) in one case, as `attacks.threshold.Threshold`; `upper` is inf
where the largest budget did not do."""

CHECK_COLUMNS = ("check", "verdict", "number", "sentence")
"""Of an audit: one check."""


@dataclass(frozen=True)
class Cell:
    """One job of a study.

    Attributes:
        kind: "train" a network, train a "generator", "attack" one case, "audit" one network.
        network: the name that the study gives the network.
        case, patient: whose images; empty where it is about a network.
        attack: what the study calls the attack (an attack without a name of its own: its registered name); empty otherwise.
        settings: all that is set: of an attack its whole configuration, {"attack": "fgsm", "epsilon": 0.05}.
        repeat: which repetition, from 0; its seed stands in the settings.
        work: everything that a worker needs beside that, as JSON data: sources of network and case, files, regions.
        needs: keys of the cells whose products it uses.
    """

    kind: CellKind
    network: str
    case: str = ""
    patient: str = ""
    attack: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    repeat: int = 0
    work: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What identifies the job: the SHA-256 of its whole configuration, as 32 letters."""
        said = [_with_trust_as_word(x) for x in (self.settings, self.work)]
        told = [self.kind, self.network, self.case, self.attack, said[0], self.repeat, said[1], sorted(self.needs)]
        return hashlib.sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]


def _with_trust_as_word(data: Any) -> Any:
    """Data in which it makes no difference whether files are trusted by a word or by their SHA-256."""
    if isinstance(data, dict):
        return {key: True if key == "trust" and x is not False else _with_trust_as_word(x) for key, x in data.items()}
    return [_with_trust_as_word(x) for x in data] if isinstance(data, list | tuple) else data


@dataclass(frozen=True)
class Outcome:
    """What came out of a cell.

    Attributes:
        structures: rows with STRUCTURE_COLUMNS.
        channels: rows with CHANNEL_COLUMNS.
        thresholds: rows with THRESHOLD_COLUMNS.
        trace: rows by iteration of an attack (as `AttackResult.trace`), or by epoch of a training.
        audited: rows with AUDITED_COLUMNS.
        checks: rows with CHECK_COLUMNS.
        product: the file that it made for other cells, relative to the study's folder: a network's settings, a generator.
        kept: volumes that were kept, relative to the study's folder.
        notes: what was odd, in sentences.
        seconds: wall-clock time.
        versions: of the software that it was made with.
    """

    structures: list[dict[str, Any]] = field(default_factory=list)
    channels: list[dict[str, Any]] = field(default_factory=list)
    thresholds: list[dict[str, Any]] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)
    audited: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    product: str = ""
    kept: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
