"""Reading back what jobs of certifying and auditing wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SegAdversarialLib.defenses.audit.report import CHECKS
from SegAdversarialLib.defenses.certificate import ABSTAINED, COLUMNS, SMOOTHED, VOTE_SHARE
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.certifying import FOLDER
from SegAdversarialLib.jobs.results import read_record
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import RESULT_MARKER
from SegAdversarialLib.volumes.json_data import number
from SegAdversarialLib.volumes.reading import read_channel, read_label


@dataclass(frozen=True, eq=False)
class WrittenCertificate:
    """A certificate as it was written: smoothed answer (K, J, I) int16, abstained voxels (bool), share of votes (float32), the
    rows of its table, and its record."""

    labels: np.ndarray
    abstained: np.ndarray
    vote_share: np.ndarray
    rows: list[dict[str, Any]]
    record: dict[str, Any]


def read_certificate(folder: str | Path, case: Case) -> WrittenCertificate:
    """Read back what a job of certifying found.

    Args:
        folder: the job's output folder.
        case: the case that was certified.

    Raises:
        InputError: the folder holds no such result, or it is damaged.
    """
    place = Path(folder) / FOLDER
    record = read_record(place)
    try:
        ending = record["ending"]
        rows = [{key: number(row[key]) for key in COLUMNS if key in row} for row in record["evaluation"]]
        return WrittenCertificate(
            labels=read_label(place / f"{SMOOTHED}{ending}", case.grid),
            abstained=read_label(place / f"{ABSTAINED}{ending}", case.grid) != 0,
            vote_share=read_channel(place / f"{VOTE_SHARE}{ending}", case.grid),
            rows=rows,
            record=record,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The certificate in {place} is damaged or of another version ({error}).") from error


def read_audit(folder: str | Path) -> dict[str, Any]:
    """Read back what an audit found: its record, with "rows" (the checks as a table) beside "epsilons".

    Raises:
        InputError: the folder holds no audit, or it is damaged.
    """
    path = Path(folder) / RESULT_MARKER
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        rows = [{**x, "check": x["title"], "number": number(x["number"])} for x in record["audit"]]
        epsilons = [{key: number(x) for key, x in row.items()} for row in record["epsilons"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no audit, or one of another version ({error}).") from error
    return {**record, "rows": [{key: row[key] for key in CHECKS} for row in rows], "epsilons": epsilons}
