"""dataset.json, the file in which the Medical Segmentation Decathlon and nnU-Net say what a data set is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError

FILE = "dataset.json"
IMAGES_TRAIN, IMAGES_TEST = "imagesTr", "imagesTs"
LABELS_TRAIN, LABELS_TEST = "labelsTr", "labelsTs"


def read(folder: Path) -> dict[str, Any] | None:
    """The dataset.json of a folder, or of the one above where that of its images is named; None where there is none.

    Raises:
        InputError: it is no JSON object.
    """
    path = root_of(folder) / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON ({error}); get it again.") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} must be a JSON object in braces.")
    return found


def root_of(folder: Path) -> Path:
    """The data set's folder."""
    return folder.parent if folder.name in (IMAGES_TRAIN, IMAGES_TEST) else folder


def channel_names(described: dict[str, Any], key: str, folder: Path) -> list[str]:
    """The channels in the order of their numbers: {"0": "FLAIR", "1": "T1w"}.

    Raises:
        InputError: they are something else.
    """
    named = described.get(key)
    path = root_of(folder) / FILE
    try:
        names = [str(named[x]) for x in sorted(named, key=int)]  # type: ignore[index,arg-type]
    except (TypeError, ValueError):
        raise InputError(f'{path}: {key} must be an object such as {{"0": "FLAIR", "1": "T1w"}}; it is {named!r}.') from None
    if not names or len({x.lower() for x in names}) < len(names):
        raise InputError(f"{path}: {key} must name each channel once; it is {named!r}.")
    return [x.replace(",", " ") for x in names]


def label_names(described: dict[str, Any], folder: Path) -> dict[str, str]:
    """What each label value is called, background left out, from both forms: {"1": "edema"} and {"edema": 1}.

    Of regions ({"whole tumor": [1, 2, 3], "enhancing tumor": [3]}) a value is called what the innermost that has it is.

    Raises:
        InputError: they are something else.
    """
    labels = described.get("labels")
    try:
        pairs = [_pair(x, y) for x, y in labels.items()]  # type: ignore[union-attr]
    except (AttributeError, TypeError, ValueError):
        path = root_of(folder) / FILE
        raise InputError(
            f'{path}: labels must be an object such as {{"1": "edema"}}, {{"edema": 1}} or {{"tumor": [1, 2]}}; '
            f"it is {labels!r}."
        ) from None
    found = {}
    for value in sorted({x for _, values in pairs for x in values} - {0}):
        holders = sorted((len(values), name) for name, values in pairs if value in values)
        if len(holders) == 1 or holders[0][0] < holders[1][0]:
            found[str(value)] = holders[0][1]
    return found


def _pair(key: str, value: Any) -> tuple[str, list[int]]:
    if isinstance(value, str) and not value.lstrip("-").isdecimal():
        return value, [int(key)]
    return key, [int(x) for x in value] if isinstance(value, list) else [int(value)]
