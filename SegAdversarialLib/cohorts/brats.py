"""BraTS' folders, 2017 to 2024: what its files are called, and what its label values are.

Until 2021 `BraTS20_Training_001_flair.nii.gz`, `_t1`, `_t1ce`, `_t2`, `_seg`; from 2023 on `BraTS-GLI-00000-000-t2f.nii.gz`,
`-t1n`, `-t1c`, `-t2w`, `-seg`. One folder for each case, at any depth (HGG and LGG, training and validation).
"""

from __future__ import annotations

import re
from pathlib import Path

from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.cohorts.listing import NIFTI, ending_of, folders_below, unpacked, visible

WORDS = "BraTS (BraTS20_Training_001_flair.nii.gz, BraTS-GLI-00000-000-t2f.nii.gz)"

_CHANNELS = {"t1": "T1", "t1n": "T1", "t1ce": "T1ce", "t1c": "T1ce", "t2": "T2", "t2w": "T2", "flair": "FLAIR", "t2f": "FLAIR"}
_ORDER = ("T1", "T1ce", "T2", "FLAIR")
_LABEL = "label"
_FILE = re.compile(r"(?P<case>brats.*?)[_-](?P<what>t1ce|t1c|t1n|t1|t2w|t2f|t2|flair|seg|gtv)", re.IGNORECASE)
_EARLY = re.compile(r"(?P<patient>brats1[789]_.+)_\d+", re.IGNORECASE)
"""2017 to 2019: the last number counts a patient's examinations (Brats18_TCIA01_131_1)."""
_LATE = re.compile(r"(?P<patient>brats-(?P<task>[a-z]+(?:-rt)?)-\d+)-(?P<session>\d+)", re.IGNORECASE)
"""From 2023 on: challenge, patient, examination (BraTS-GLI-00000-000)."""
_YEAR = re.compile(r"brats[-_ ]?(?:peds?[-_ ]?)?(?:20)?(2[3-9])(?!\d)", re.IGNORECASE)
"""The year that a folder's name gives: ASNR-MICCAI-BraTS2023-PED-Challenge-TrainingData, BraTS-PEDs2024_Training."""
_POST_TREATMENT = 100
"""From which number on examinations are those of 2024's gliomas after treatment."""

_CORE, _OEDEMA, _ENHANCING = "necrotic and non-enhancing tumor core", "edema", "enhancing tumor"
_UNTIL_2021 = {"1": _CORE, "2": _OEDEMA, "3": _ENHANCING, "4": _ENHANCING}
"""4 is the enhancing tumour; 3, which the challenge does not use, is what many programs turn it into."""
_GLIOMA_2023 = {"1": "necrotic tumor core", "2": _OEDEMA, "3": _ENHANCING}
_SINCE_2023 = {
    "1": "non-enhancing tumor core",
    "2": "surrounding non-enhancing FLAIR hyperintensity",
    "3": _ENHANCING,
    "4": "resection cavity",
}
_PAEDIATRIC_2024 = {"1": _ENHANCING, "2": "non-enhancing tumor", "3": "cystic component", "4": _OEDEMA}
_PAEDIATRIC = {
    "1": "necrosis in 2023, enhancing tumor in 2024",
    "2": "edema in 2023, non-enhancing tumor in 2024",
    "3": "enhancing tumor in 2023, cystic component in 2024",
    "4": _OEDEMA,
}
"""Where nothing tells the year; no network's class is called so, and it asks."""


def entries(folder: Path) -> list[Entry]:
    """The cases in a folder of BraTS'; none where there are no such files."""
    found: dict[tuple[Path, str], dict[str, Path]] = {}
    for place in folders_below(folder):
        for path in visible(place):
            match = _FILE.fullmatch(path.name.removesuffix(ending_of(path.name, NIFTI)))
            if match and ending_of(path.name, NIFTI):
                what = _CHANNELS.get(match["what"].lower(), _LABEL)
                found.setdefault((place, match["case"]), {}).setdefault(what, path)
    return [_entry(place, name, files) for (place, name), files in found.items()]


def _entry(place: Path, name: str, files: dict[str, Path]) -> Entry:
    label = files.get(_LABEL) or _irregular_label(place)
    early, late = _EARLY.fullmatch(name), _LATE.fullmatch(name)
    match = early or late
    return Entry(
        name=name,
        patient=match["patient"] if match else name,
        channels={x: str(unpacked(files[x])) for x in _ORDER if x in files},
        label=None if label is None else str(unpacked(label)),
        label_names=_label_names(late, place),
    )


def _irregular_label(place: Path) -> Path | None:
    """A reference that is not called as the others, such as W39_1998.09.19_Segm.nii of case 355 in 2020."""
    others = [x for x in visible(place) if ending_of(x.name, NIFTI) and not _FILE.match(x.name) and "seg" in x.name.lower()]
    return others[0] if len(others) == 1 else None


def _label_names(late: re.Match[str] | None, place: Path) -> dict[str, str]:
    if late is None:
        return _UNTIL_2021
    task = late["task"].upper()
    if task == "MEN-RT":
        return {"1": "gross tumor volume"}
    if task == "PED":
        years = [int(x) for x in _YEAR.findall(str(place))]
        return _PAEDIATRIC if not years else _GLIOMA_2023 if years[-1] == 23 else _PAEDIATRIC_2024
    if task in ("GLI", "SSA") and int(late["session"]) < _POST_TREATMENT:
        return _GLIOMA_2023
    return _SINCE_2023
