"""nnU-Net 2's raw folders: `imagesTr/case_0000.nii.gz` for each channel, `labelsTr/case.nii.gz`, and dataset.json."""

from __future__ import annotations

import re
from pathlib import Path

from SegAdversarialLib.cohorts import dataset_json
from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.cohorts.listing import PICTURES, visible
from SegAdversarialLib.errors import InputError

WORDS = "nnU-Net's raw data (dataset.json with channel_names and file_ending)"


def entries(folder: Path) -> list[Entry]:
    """The cases in a raw data set: those for training, or those of the folder of images that is named.

    Raises:
        InputError: dataset.json says what cannot be.
    """
    described = dataset_json.read(folder)
    if described is None or "channel_names" not in described:
        return []
    root = dataset_json.root_of(folder)
    channels = dataset_json.channel_names(described, "channel_names", folder)
    names = dataset_json.label_names(described, folder)
    ending = described.get("file_ending")
    if not isinstance(ending, str) or not ending:
        raise InputError(f'{root / dataset_json.FILE}: file_ending must be such as ".nii.gz"; it is {ending!r}.')
    test = folder.name == dataset_json.IMAGES_TEST or not (root / dataset_json.IMAGES_TRAIN).is_dir()
    images = root / (dataset_json.IMAGES_TEST if test else dataset_json.IMAGES_TRAIN)
    labels = root / (dataset_json.LABELS_TEST if test else dataset_json.LABELS_TRAIN)
    cases: dict[str, dict[str, str]] = {}
    for path in visible(images):
        match = re.fullmatch(rf"(?P<case>.+)_(?P<channel>\d{{4}}){re.escape(ending)}", path.name)
        if match and int(match["channel"]) < len(channels):
            cases.setdefault(match["case"], {})[channels[int(match["channel"])]] = str(path)
    if len(channels) > 1 and ending.lower() in PICTURES:  # a picture keeps its colours in one file
        whole = ",".join(channels)
        cases = {name: {whole: files[channels[0]]} if [*files] == channels[:1] else files for name, files in cases.items()}
    return [_entry(name, files, labels / f"{name}{ending}", names) for name, files in sorted(cases.items())]


def _entry(name: str, files: dict[str, str], label: Path, label_names: dict[str, str]) -> Entry:
    return Entry(
        name=name, patient=name, channels=files, label=str(label) if label.exists() else None, label_names=label_names
    )
