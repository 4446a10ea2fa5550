"""The Medical Segmentation Decathlon's folders: dataset.json lists the cases, all channels of a case lie in one file.

nnU-Net 1 keeps the same list, but its channels in files of their own (`case_0000.nii.gz`), which the list does not name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from SegAdversarialLib.cohorts import dataset_json
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.cohorts.listing import ending_of, stem_of
from SegAdversarialLib.errors import InputError

WORDS = "Medical Segmentation Decathlon (dataset.json with modality and training)"


def entries(folder: Path) -> list[Entry]:
    """The cases in a folder of the Decathlon's: those for training, or those of the folder of images that is named.

    Raises:
        InputError: dataset.json says what cannot be.
    """
    described = dataset_json.read(folder)
    if described is None or "modality" not in described:
        return []
    channels = dataset_json.channel_names(described, "modality", folder)
    names = dataset_json.label_names(described, folder)
    root = dataset_json.root_of(folder)
    listed = "test" if folder.name == dataset_json.IMAGES_TEST else "training"
    cases = described.get(listed)
    if not isinstance(cases, list):
        raise InputError(f"{root / dataset_json.FILE}: {listed} must be a list of cases; it is {cases!r}.")
    return [_entry(case, root, channels, names, f"{root / dataset_json.FILE}: {listed}") for case in cases]


def _entry(case: Any, root: Path, channels: list[str], label_names: dict[str, str], what: str) -> Entry:
    image, label = (case.get("image"), case.get("label")) if isinstance(case, dict) else (case, None)
    if not isinstance(image, str) or not isinstance(label, (str, type(None))):
        raise InputError(f'{what} must hold {{"image": FILE, "label": FILE}}; it holds {case!r}.')
    path = root / image
    name = stem_of(path.name)
    separate = [path.with_name(f"{name}_{n:04d}{ending_of(path.name)}") for n in range(len(channels))]
    own = not path.exists() and separate[0].exists()
    files = dict(zip(channels, map(str, separate))) if own else {",".join(channels): str(path)}
    if label is None and root / dataset_json.IMAGES_TEST == path.parent:
        found = root / dataset_json.LABELS_TEST / path.name
        label = str(found) if found.exists() else None
    every = [*files.values(), *([str(root / label)] if label else [])]
    missing = [x for x in every if not Path(x).exists()]
    return Entry(
        name=name,
        patient=name,
        channels=files,
        label=str(root / label) if label else None,
        label_names=label_names,
        problem="; ".join(f"there is no {x}" for x in missing),
    )
