"""What a result is a result of: fingerprints of the images, the reference, the network and the measured regions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

_INCIDENTAL = ("name", "device", "acceleration")
"""What may differ between two runs of one network: what its file is called, where it runs, and how quickly."""


def fingerprints(
    case: Case, source: ModelSource, model: SegmentationModel, regions: Mapping[str, Sequence[int]] | None
) -> dict[str, str]:
    """What tells whether two results belong into one table: the same wherever the files lie and whatever they are called.

    Args:
        case: the subject as it was read.
        source: where the network comes from.
        model: the network, opened.
        regions: the structures that are measured beside the network's own.
    """
    described = {key: value for key, value in model.describe().items() if key not in _INCIDENTAL}
    described["window_batch"] = None  # incidental, too; it may be measured in between
    known = describe_file(source.path, source.settings, **source.changes)
    return {
        "images": _digest(_text([case.channels, case.shape, np.asarray(case.affine).tolist()]), case.image),
        "reference": "" if case.label is None else _digest(case.label.astype(np.int32)),
        "network": _digest(_text(described), *known.files, known.within.encode()),
        "regions": "" if regions is None else _digest(_text({name: sorted(x) for name, x in regions.items()})),
    }


def _digest(*parts: bytes | np.ndarray | Path) -> str:
    """The SHA-256 of bytes, arrays and files' contents, as sixteen letters."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        else:
            found.update(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part)
    return found.hexdigest()[:16]


def _text(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, default=str).encode()
